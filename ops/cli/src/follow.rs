//! Following a run live: what happened since the last look, said on a progress bar where a
//! person watches, and as plain lines elsewhere.

mod reporter;
mod summary;
mod tracker;

pub(crate) use reporter::Reporter;
pub(crate) use summary::Summary;
pub(crate) use tracker::{Figures, Happening, Tracker};
