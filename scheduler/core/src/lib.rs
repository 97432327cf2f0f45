//! The replicated state machine and the placement planner, sans IO.
//!
//! `State::apply` turns a committed command into a reply and events; `Planner::update` takes
//! what changed and `Planner::plan` says what to start. Both are pure: equal input gives equal
//! output on every replica, so there is no clock, no randomness, no hash order and no floating
//! point here. Time is an argument, ids come with the command.

mod apply;
pub mod archive;
pub mod codec;
pub mod command;
pub mod event;
mod keys;
pub mod placement;
pub mod recovery;
pub mod refusal;
pub mod state;
#[cfg(test)]
mod world;

pub use command::{Command, Envelope, Reply};
pub use event::Event;
pub use placement::{Delta, Planner};
pub use refusal::Refusal;
pub use state::State;
