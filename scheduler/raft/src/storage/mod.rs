//! What a member keeps on disk: the log's entries with the hard state in one
//! file, what changes rarely in redb, snapshots in files of their own.
//!
//! Nothing here knows of elections or commands; it must never answer *written* before the bytes are
//! on disk.

mod codec;
mod files;
mod found;
mod index;
mod log;
mod offline;
mod open;
mod view;
mod wal;

pub(crate) use codec::SnapshotFrame;
pub(crate) use files::SnapshotFiles;
pub(crate) use log::{Batch, LogStore};
pub use offline::{Directory, StateAt, make_directory, read_directory};
pub(crate) use open::{Boot, Disk, open_disk, open_store};

use std::sync::{Arc, Mutex, PoisonError};

use crate::error::StorageError;

/// What was found to be wrong with the disk while `raft` read from it, which has no way to say so.
/// Shared with whoever must know even if `raft` panics over it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Damage(Arc<Mutex<Option<StorageError>>>);

impl Damage {
    /// Notes it. The first one counts.
    pub(crate) fn note(&self, problem: StorageError) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(problem);
    }

    /// What was noted, once.
    pub(crate) fn take(&self) -> Option<StorageError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[cfg(test)]
pub(crate) use codec::{open_any_entry, seal_entry};
#[cfg(test)]
pub(crate) use log::{ENTRIES, META};
#[cfg(test)]
pub(crate) use open::FORMAT;
#[cfg(test)]
pub(crate) use wal::{Layout, Wal};

/// Lengths as the 64-bit counts that the log and `raft` use.
pub(crate) fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
