//! The log: entries and hard state in [`Wal`], and in redb what changes rarely: the boundary behind
//! which the log was compacted, where the entries begin, and whose directory this is.
//!
//! One [`Batch`] is one record and one fsync. When [`LogStore::write`] returns, it is on disk; a
//! message that promises anything of it may only leave after that.

use std::{
    cell::Cell,
    path::{Path, PathBuf},
};

use protobuf::Message as _;
use raft::eraftpb::{ConfState, Entry, HardState};
use redb::{Database, TableDefinition, WriteTransaction};

use trainyard_probe::planted;

use super::{
    Damage, codec, count,
    files::SnapshotFiles,
    index::LogIndex,
    wal::{Wal, WalError},
};
use crate::{counters::SharedCounters, error::StorageError};

/// Where directories of format 1 kept entries: by index, sealed by [`codec::seal_entry`].
pub(crate) const ENTRIES: TableDefinition<'static, u64, &'static [u8]> =
    TableDefinition::new("entries");
/// Everything else, by name.
pub(crate) const META: TableDefinition<'static, &'static str, &'static [u8]> =
    TableDefinition::new("meta");

/// What one write makes durable.
#[derive(Debug, Default)]
pub(crate) struct Batch<'a> {
    /// The log starts anew after this (index, term): a leader's snapshot replaced it. Its file is
    /// durable already.
    pub(crate) replaced_by: Option<(u64, u64)>,
    /// Entries to append; those from the first one's index on are overridden.
    pub(crate) entries: &'a [Entry],
    /// The hard state, if it changed.
    pub(crate) hard: Option<&'a HardState>,
}

/// The log of one member.
#[derive(Debug)]
pub(crate) struct LogStore {
    pub(super) db: Database,
    pub(super) path: PathBuf,
    pub(super) wal: Wal,
    /// The file behind `wal`.
    pub(super) entries_path: PathBuf,
    pub(super) cluster: [u8; 16],
    pub(super) files: SnapshotFiles,
    pub(super) index: LogIndex,
    pub(super) hard: HardState,
    /// The members as of the snapshot that this life started from: what `raft` is told at boot.
    pub(super) boot_conf: ConfState,
    /// The newest snapshot's index; 0 for none.
    pub(super) snapshot: u64,
    /// True when the commit index in memory is ahead of the one on disk.
    pub(super) commit_behind: bool,
    /// Set when a peer asked for a newer snapshot than there is.
    pub(super) snapshot_wanted: Cell<bool>,
    /// Set when something could not be read as it was written.
    pub(super) damage: Damage,
    pub(super) counters: SharedCounters,
}

impl LogStore {
    /// Makes a batch durable, with one fsync. A snapshot that replaces the log takes more.
    pub(crate) fn write(&mut self, batch: &Batch<'_>) -> Result<(), StorageError> {
        if let Some(hard) = batch.hard {
            self.hard = hard.clone();
        }
        if let Some(boundary) = batch.replaced_by {
            self.replace(boundary)?;
        }
        let places = self.wal.append(&self.durable_hard(), batch.entries);
        let places = places.map_err(|e| self.wal_error("append to", e))?;
        self.counters.log_commits.add(1);
        self.commit_behind = false;
        if let Some(first) = batch.entries.first() {
            self.index.truncate(first.index);
        }
        for (entry, place) in batch.entries.iter().zip(places) {
            self.index.push(entry.clone(), place);
        }
        self.counters.entries_written.add(count(batch.entries.len()));
        Ok(())
    }

    /// Begins the log anew after a leader's snapshot, whose file is durable already. A crash in
    /// between leaves the old log, without the snapshot.
    fn replace(&mut self, boundary: (u64, u64)) -> Result<(), StorageError> {
        let (index, term) = boundary;
        // The old log counts until the transaction, and must not be told of a commit that it does
        // not reach.
        let commit = self.hard.commit.min(self.index.last());
        let first = self.wal.restart(&HardState { commit, ..self.hard.clone() });
        let first = first.map_err(|e| self.wal_error("begin anew", e))?;
        // A snapshot is committed by definition, and a start finds it only if the commit index
        // reaches it.
        self.hard.commit = self.hard.commit.max(index);
        self.commit("append to", |txn, hard| {
            let mut meta = txn.open_table(META)?;
            if !planted("snapshot metadata lost") {
                meta.insert("boundary", pair(index, term).as_slice())?;
            }
            meta.insert("snapshot", index.to_le_bytes().as_slice())?;
            meta.insert("first_record", first.to_le_bytes().as_slice())?;
            meta.insert("hard_state", hard)?;
            Ok(())
        })?;
        self.wal.free_before(first);
        self.index = self.index.emptied(boundary);
        self.snapshot = index;
        self.files.prune(index)
    }

    /// Notes a newer hard state that differs in its commit index alone, to ride in the next
    /// transaction. Losing it is safe: the leader tells it again, and no snapshot is recorded
    /// without the commit index that covers it.
    pub(crate) fn note_commit(&mut self, commit: u64) {
        if commit > self.hard.commit {
            self.hard.commit = commit;
            self.commit_behind = true;
        }
    }

    /// Writes the commit index if it is only in memory yet.
    pub(crate) fn flush_commit(&mut self) -> Result<(), StorageError> {
        if !self.commit_behind {
            return Ok(());
        }
        self.commit("record the commit index in", |txn, hard| {
            txn.open_table(META)?.insert("hard_state", hard)?;
            Ok(())
        })
    }

    /// Records a snapshot whose file is durable, and forgets the entries up to `boundary`, with one
    /// fsync.
    pub(crate) fn record_snapshot(
        &mut self,
        index: u64,
        boundary: u64,
    ) -> Result<(), StorageError> {
        let boundary = boundary.clamp(self.index.boundary().0, index);
        let Some(term) = self.index.term(boundary) else {
            return Err(self.corrupt(format!("entry {boundary} is missing")));
        };
        let first = self.wal.first_after(boundary);
        self.commit("compact", |txn, hard| {
            let mut meta = txn.open_table(META)?;
            meta.insert("boundary", pair(boundary, term).as_slice())?;
            meta.insert("snapshot", index.to_le_bytes().as_slice())?;
            meta.insert("first_record", first.to_le_bytes().as_slice())?;
            meta.insert("hard_state", hard)?;
            Ok(())
        })?;
        self.wal.free_before(first);
        self.index.compact(boundary);
        self.snapshot = index;
        self.files.prune(index)
    }

    /// The entries `[low, high)` from disk, each checked.
    pub(crate) fn read(&self, low: u64, high: u64) -> Result<Vec<Entry>, StorageError> {
        let read = |index: u64| {
            let missing = || self.corrupt(format!("entry {index} is missing"));
            let place = self.index.place(index).ok_or_else(missing)?;
            let sealed = self.wal.read(place).map_err(|e| self.wal_error("read", e))?;
            codec::open_entry(index, &sealed).map_err(|detail| self.corrupt(detail))
        };
        (low..high).map(read).collect()
    }

    /// Runs one durable transaction; the closure is given the hard state's bytes.
    pub(super) fn commit(
        &mut self,
        action: &'static str,
        fill: impl FnOnce(&WriteTransaction, &[u8]) -> Result<(), redb::Error>,
    ) -> Result<(), StorageError> {
        let hard = self.durable_hard().write_to_bytes().map_err(|e| self.corrupt(e.to_string()))?;
        let run = || -> Result<(), redb::Error> {
            // redb's default durability: the commit returns when its one fsync has.
            let txn = self.db.begin_write()?;
            fill(&txn, &hard)?;
            Ok(txn.commit()?)
        };
        run().map_err(|source| database(action, &self.path, source))?;
        self.counters.log_commits.add(1);
        self.commit_behind = false;
        Ok(())
    }

    /// The hard state as it goes to the disk.
    fn durable_hard(&self) -> HardState {
        let mut hard = self.hard.clone();
        if planted("forget the vote") {
            hard.vote = 0;
        }
        hard
    }

    /// Spoils a stored entry, as nothing but a fault would.
    #[cfg(test)]
    pub(crate) fn spoil(&self, index: u64) {
        self.wal.spoil(self.index.place(index).unwrap());
    }

    pub(crate) fn files(&self) -> &SnapshotFiles {
        &self.files
    }

    /// The members as of the snapshot that this life started from.
    pub(crate) fn boot_conf(&self) -> ConfState {
        self.boot_conf.clone()
    }

    pub(crate) fn hard(&self) -> &HardState {
        &self.hard
    }

    pub(crate) fn commit_behind(&self) -> bool {
        self.commit_behind
    }

    pub(crate) fn snapshot_index(&self) -> u64 {
        self.snapshot
    }

    /// Whether a peer needs a newer snapshot than the recorded one; asking clears it.
    pub(crate) fn take_snapshot_wanted(&self) -> bool {
        self.snapshot_wanted.take()
    }

    pub(crate) fn damage(&self) -> &Damage {
        &self.damage
    }

    pub(crate) fn log_bytes(&self) -> u64 {
        self.index.bytes()
    }

    pub(crate) fn bounds(&self) -> (u64, u64) {
        (self.index.first(), self.index.last())
    }

    pub(crate) fn corrupt(&self, detail: String) -> StorageError {
        StorageError::LogCorrupt { path: self.entries_path.clone(), detail }
    }

    fn wal_error(&self, action: &'static str, problem: WalError) -> StorageError {
        wal_error(action, &self.entries_path, problem)
    }
}

pub(super) fn database(action: &'static str, path: &Path, source: redb::Error) -> StorageError {
    match source {
        redb::Error::Corrupted(detail) => {
            StorageError::LogCorrupt { path: path.to_owned(), detail }
        }
        source => {
            StorageError::Database { action, path: path.to_owned(), source: Box::new(source) }
        }
    }
}

pub(super) fn wal_error(action: &'static str, path: &Path, problem: WalError) -> StorageError {
    let path = path.to_owned();
    match problem {
        WalError::Io(source) => StorageError::Io { action, path, source },
        WalError::Damaged(detail) => StorageError::LogCorrupt { path, detail },
    }
}

pub(super) fn pair(index: u64, term: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    let (head, tail) = bytes.split_at_mut(8);
    head.copy_from_slice(&index.to_le_bytes());
    tail.copy_from_slice(&term.to_le_bytes());
    bytes
}
