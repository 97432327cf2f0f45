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
mod open;
mod view;
mod wal;

pub(crate) use codec::SnapshotFrame;
pub(crate) use files::SnapshotFiles;
pub(crate) use log::{Batch, LogStore};
pub(crate) use open::{Boot, Disk, open_disk, open_store};

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
