//! What a place costs, so that the best one can be chosen.

mod fragment;

pub use fragment::Mix;
pub(super) use fragment::{Demand, Residue};
