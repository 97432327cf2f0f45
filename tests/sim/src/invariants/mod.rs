//! What must always hold: one file an invariant of the design, each with its own books, so that a
//! bug in the state cannot deceive its checker.

mod allowance;
pub mod coverage;
mod durable;
mod ended;
mod gangs;
mod healthy;
mod ownership;
mod registered;
mod replicas;
mod units;

use trainyard_core::State;
use trainyard_store::Store;

use crate::{around::Ms, facts::Fact};

/// A checker. An error says what was seen that must not be.
pub trait Invariant {
    /// What it guards, in the design's words.
    fn name(&self) -> &'static str;

    /// Something happened.
    fn see(&mut self, now: Ms, fact: &Fact<'_>) -> Result<(), String>;

    /// Everything has come to rest.
    fn at_end(&mut self, state: &State, store: &Store) -> Result<(), String> {
        let _ = (state, store);
        Ok(())
    }
}

/// Every checker, new.
pub fn all() -> Vec<Box<dyn Invariant>> {
    vec![
        Box::<durable::Durable>::default(),
        Box::<ownership::Ownership>::default(),
        Box::<units::Units>::default(),
        Box::<gangs::Gangs>::default(),
        Box::<ended::Ended>::default(),
        Box::<allowance::Allowance>::default(),
        Box::<healthy::Healthy>::default(),
        Box::<replicas::Replicas>::default(),
        Box::<registered::Registered>::default(),
    ]
}

/// Fails with a text unless a condition holds.
fn hold(condition: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if condition { Ok(()) } else { Err(what()) }
}
