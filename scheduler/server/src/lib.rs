//! The scheduler daemon: the replicated state machine behind gRPC, and the loops that its leader
//! runs. Rules live in `trainyard-core`; this crate carries them out and talks to the world. What
//! it decides itself stands in [`decide`], without IO.

mod access;
mod announce;
mod archive;
mod audit;
mod backup;
mod book;
pub mod chunks;
mod clock;
mod config;
pub mod decide;
mod error;
mod identity;
mod leader;
pub mod machine;
mod metrics;
mod offline;
mod peer;
mod pki;
mod probes;
mod reasons;
mod rejoin;
mod replica;
mod run;
mod seen;
mod services;
mod sessions;
mod transport;
mod views;

pub use access::{LimitsConfig, Pace};
pub use archive::{ArchiveError, ArchiveStore};
pub use backup::{Backup, BackupError, Header as BackupHeader, verify as verify_backup};
pub use config::{Config, ConfigError};
pub use error::{Failure, SchedulerError};
pub use identity::IdentityError;
pub use machine::state_machine;
pub use offline::{Contents, Made, OfflineError, inspect, recover, restore};
pub use run::run;
