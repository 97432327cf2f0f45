//! How long jobs will take: what they say of themselves, what runs before them took.

mod forecast;
mod history;

pub(super) use forecast::{Facts, Seen, remaining};
pub(super) use history::History;
pub use history::Past;
