//! The scheduler daemon: the replicated state machine behind gRPC, and the loops that its leader
//! runs. Rules live in `trainyard-core`; this crate carries them out and talks to the world.

mod backup;
mod book;
mod clock;
mod config;
mod error;
mod identity;
mod leader;
mod machine;
mod metrics;
mod offline;
mod probes;
mod reasons;
mod rejoin;
mod replica;
mod run;
mod services;
mod sessions;
mod transport;
mod views;

pub use backup::{BackupError, Header as BackupHeader, read as read_backup};
pub use config::{Config, ConfigError};
pub use error::SchedulerError;
pub use identity::IdentityError;
pub use offline::{Contents, Made, OfflineError, inspect, recover, restore};
pub use run::run;
