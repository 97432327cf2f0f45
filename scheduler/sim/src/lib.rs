//! Replay of workload traces through the real state machine and the real planner.
//!
//! A trace says who asked for how many GPUs when, and how long that took alone; a cluster file
//! says what there is. The replay makes of both the commands that a cluster's log would carry
//! (submits, starts, reports, ends, lost nodes), applies each to a [`State`](trainyard_core::State)
//! and asks the same [`Planner`](trainyard_core::Planner) that a leader asks. It must never decide
//! anything of scheduling itself: what it owns is the workload, the clock and the accounts.
//!
//! Everything follows from the inputs and one seed.

mod cluster;
mod error;
mod failures;
mod generate;
mod num;
mod plot;
mod queues;
mod read;
mod replay;
mod report;
mod workload;

pub use cluster::{At, Cluster, NodeGroup, Tariff, Window};
pub use error::SimError;
pub use failures::{Failures, InvalidFailures};
pub use generate::{Arrivals, Shape, generate};
pub use plot::plot;
pub use queues::{parse_queues, read_queues};
pub use read::{Dialect, read, read_text};
pub use replay::{Setting, replay};
pub use report::{Fate, Figures, Outcome, Usage};
pub use workload::{TraceJob, Workload};
