//! The scheduler daemon: the replicated state machine behind gRPC, and the loops that its leader
//! runs. Rules live in `trainyard-core`; this crate carries them out and talks to the world.

mod archive;
mod clock;
mod config;
mod error;
mod leader;
mod machine;
mod metrics;
mod reasons;
mod replica;
mod run;
mod services;
mod sessions;
mod transport;
mod views;

pub use archive::ArchiveError;
pub use config::{Config, ConfigError};
pub use error::SchedulerError;
pub use machine::state_machine;
pub use run::run;
