//! The consensus driver: tikv's `raft` over a redb log, with snapshots, linearizable reads and
//! membership changes.
//!
//! Commands and snapshots are bytes to this crate; it must never learn what a job is, and never
//! reach for a clock or the network. Time enters [`Driver`] as [`Input::Tick`], messages leave
//! through a [`Transport`], and the thread that [`start`] spawns is all the concurrency there is.
//!
//! Start with [`Config`], a [`StateMachine`] and a [`Transport`]; [`start`] gives a [`RaftHandle`].

mod config;
mod counters;
mod driver;
mod error;
mod handle;
mod intake;
mod log_bridge;
mod machine;
mod runner;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
mod status;
mod storage;

#[cfg(test)]
mod tests;

pub use config::{ClusterId, Config};
pub use counters::Counters;
pub use driver::{Answer, Applied, Driver, Input, MemberChange, Reply, SnapshotFile};
pub use error::{
    ChangeError, ConfigError, Fatal, OpenError, ProposeError, ReadError, StorageError,
};
pub use handle::{RaftHandle, start};
pub use machine::{Capture, RestoreError, StateMachine, Transport};
pub use status::{PeerProgress, PeerState, Role, Status};
pub use storage::{Directory, StateAt, make_directory, read_directory};
