//! How long jobs will take: what they say of themselves, what runs before them took.

mod forecast;
mod history;
mod outlook;
mod profile;
mod reserve;

pub(super) use forecast::{Facts, Seen, known, least, longest, remaining, stretch};
pub use history::Past;
pub(super) use history::{History, Kin, News, bucket};
pub(super) use outlook::Outlook;
pub(super) use profile::Profile;
pub(super) use reserve::{Reservations, ends, first_fit};
