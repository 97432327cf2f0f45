//! The whole control plane in one thread: the raft driver, the state machine, the leader's and the
//! agent's own decisions, on a network, disks, clocks and machines that fail by the draw of one
//! seed. First faults, then peace in which everything must come right; each invariant of the
//! design has a file of its own that watches.
//!
//! What is simulated here is the edge alone: processes that live and die, messages, time, ranks
//! that train. A rule that belongs to a daemon must never be written here a second time.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::large_enum_variant,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::too_many_arguments,
    clippy::too_many_lines,
    reason = "a simulation may fail loudly, and its numbers are small"
)]

mod around;
pub mod canaries;
mod checks;
mod client;
pub mod coverage;
mod depot;
mod facts;
mod faults;
mod gangs;
mod invariants;
mod letters;
mod machine;
mod operator;
mod reference;
mod scenario;
mod scheduler;
mod trace;
mod world;

pub use checks::Violation;
pub use coverage::Coverage;
pub use scenario::Scenario;
pub use world::{Outcome, run};
