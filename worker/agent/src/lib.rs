//! The agent of one node: its inventory and telemetry, the supervision of ranks, the shipping
//! of logs and checkpoints. It never decides what runs where; the leader's desired set does.
//!
//! Decisions are pure ([`standing`], [`decide`], [`reconcile`], [`ending`], [`delivery`], [`pinning`], the
//! [supervisor](shim::supervisor) of a shim) and the rest is edges around them.
//! Losing the scheduler, or the agent itself, never stops a rank: each attempt's ranks belong
//! to a [`shim`], a process of its own that keeps their output and exit codes.

mod attempt;
mod backoff;
pub mod config;
pub mod decide;
pub mod delivery;
mod durable;
pub mod ending;
pub mod error;
mod grant;
mod identity;
mod metrics;
mod network;
mod node;
pub mod pinning;
pub mod reconcile;
mod renewal;
mod report;
mod run;
mod session;
pub mod shares;
pub mod shim;
pub mod standing;
mod telemetry;

pub use config::Config;
pub use error::{ConfigError, WorkerError};
pub use run::run;
pub use shim::shim_main;
