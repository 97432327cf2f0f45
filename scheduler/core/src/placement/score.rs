//! What a place costs, so that the best one can be chosen.

mod fragment;
mod market;

pub use fragment::Mix;
pub(super) use fragment::{Demand, Residue};
pub(super) use market::VALUE;
pub use market::{InvalidPrice, Price, Stakes, Terms};
