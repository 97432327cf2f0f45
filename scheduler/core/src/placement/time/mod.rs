//! How long jobs will take: what they say of themselves, what runs before them took.

mod bars;
mod forecast;
mod history;
mod measured;
mod outlook;
mod profile;
mod reserve;

pub(super) use forecast::{Facts, Seen, known, least, longest, remaining, stretch, times};
pub use history::{Alike, Past};
pub(super) use history::{History, Kin, News, Who, bucket, work};
pub(super) use measured::Measured;
pub(super) use outlook::Outlook;
pub(super) use profile::Profile;
pub(super) use reserve::{Reservations, ends, first_fit};
