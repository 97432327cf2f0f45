//! How long jobs will take: what they say of themselves, what runs before them took.

mod forecast;
mod history;
mod reserve;

pub(super) use forecast::{Facts, Seen, longest, remaining};
pub(super) use history::History;
pub use history::Past;
pub(super) use reserve::{Reservations, ends};
