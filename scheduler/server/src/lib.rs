//! The scheduler daemon: the replicated state machine behind gRPC, and the loops that its leader
//! runs. Rules live in `trainyard-core`; this crate carries them out and talks to the world. What
//! it decides itself stands in [`decide`], without IO.

mod access;
mod archive;
mod audit;
pub mod chunks;
mod clock;
mod config;
pub mod decide;
mod error;
mod leader;
pub mod machine;
mod metrics;
mod peer;
mod pki;
mod reasons;
mod replica;
mod run;
mod seen;
mod services;
mod sessions;
mod transport;
mod views;

pub use access::{LimitsConfig, Pace};
pub use archive::{ArchiveError, ArchiveStore};
pub use config::{Config, ConfigError};
pub use error::{Failure, SchedulerError};
pub use machine::state_machine;
pub use run::run;
