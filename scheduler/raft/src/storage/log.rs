//! The log in redb: entries, hard state, the boundary behind which it was compacted, and whose
//! directory this is.
//!
//! One [`Batch`] is one transaction and one fsync. When [`LogStore::write`] returns, it is on disk;
//! a message that promises anything of it may only leave after that.

use std::{
    cell::Cell,
    path::{Path, PathBuf},
};

use protobuf::Message as _;
use raft::eraftpb::{ConfState, Entry, HardState};
use redb::{Database, ReadableDatabase, TableDefinition, WriteTransaction};

use trainyard_probe::planted;

use super::{codec, count, files::SnapshotFiles, index::LogIndex};
use crate::{counters::SharedCounters, error::StorageError};

/// Entries by index, sealed by [`codec::seal_entry`].
pub(crate) const ENTRIES: TableDefinition<'static, u64, &'static [u8]> =
    TableDefinition::new("entries");
/// Everything else, by name.
pub(crate) const META: TableDefinition<'static, &'static str, &'static [u8]> =
    TableDefinition::new("meta");

/// What one transaction makes durable.
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
    pub(super) counters: SharedCounters,
}

impl LogStore {
    /// Makes a batch durable, with one fsync.
    pub(crate) fn write(&mut self, batch: &Batch<'_>) -> Result<(), StorageError> {
        if let Some(hard) = batch.hard {
            self.hard = hard.clone();
        }
        if let Some((index, _)) = batch.replaced_by {
            // A snapshot is committed by definition, and a start finds it only if the commit index
            // reaches it.
            self.hard.commit = self.hard.commit.max(index);
        }
        let sealed = batch.entries.iter().map(|entry| Ok((entry.index, codec::seal_entry(entry)?)));
        let sealed: Vec<(u64, Vec<u8>)> =
            sealed.collect::<Result<_, String>>().map_err(|d| self.corrupt(d))?;
        let fill = |txn: &WriteTransaction, hard: &[u8]| -> Result<(), redb::Error> {
            let mut entries = txn.open_table(ENTRIES)?;
            let mut meta = txn.open_table(META)?;
            if let Some((index, term)) = batch.replaced_by {
                entries.retain(|_, _| false)?;
                if !planted("snapshot metadata lost") {
                    meta.insert("boundary", pair(index, term).as_slice())?;
                }
                meta.insert("snapshot", index.to_le_bytes().as_slice())?;
            }
            for (index, bytes) in &sealed {
                entries.insert(index, bytes.as_slice())?;
            }
            if let Some((last, _)) = sealed.last() {
                entries.retain_in(last.saturating_add(1).., |_, _| false)?;
            }
            meta.insert("hard_state", hard)?;
            Ok(())
        };
        self.commit("append to", fill)?;
        if let Some(boundary) = batch.replaced_by {
            self.index = self.index.emptied(boundary);
            self.snapshot = boundary.0;
            self.files.prune(boundary.0)?;
        }
        if let Some(first) = batch.entries.first() {
            self.index.truncate(first.index);
        }
        for (entry, (_, bytes)) in batch.entries.iter().zip(&sealed) {
            self.index.push(entry.clone(), count(bytes.len()));
        }
        self.counters.entries_written.add(count(sealed.len()));
        Ok(())
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
        self.commit("compact", |txn, hard| {
            txn.open_table(ENTRIES)?.retain_in(..=boundary, |_, _| false)?;
            let mut meta = txn.open_table(META)?;
            meta.insert("boundary", pair(boundary, term).as_slice())?;
            meta.insert("snapshot", index.to_le_bytes().as_slice())?;
            meta.insert("hard_state", hard)?;
            Ok(())
        })?;
        self.index.compact(boundary);
        self.snapshot = index;
        self.files.prune(index)
    }

    /// The entries `[low, high)` from the database, each checked.
    pub(crate) fn read(&self, low: u64, high: u64) -> Result<Vec<Entry>, StorageError> {
        let mut entries = Vec::new();
        let mut expected = low;
        let mut problem = None;
        let mut collect = || -> Result<(), redb::Error> {
            for item in self.db.begin_read()?.open_table(ENTRIES)?.range(low..high)? {
                let (key, value) = item?;
                match codec::open_entry(key.value(), value.value()) {
                    Ok(entry) if entry.index == expected => entries.push(entry),
                    Ok(_) => problem = Some(format!("entry {expected} is missing")),
                    Err(detail) => problem = Some(detail),
                }
                if problem.is_some() {
                    break;
                }
                expected = expected.saturating_add(1);
            }
            Ok(())
        };
        collect().map_err(|source| database("read", &self.path, source))?;
        if problem.is_none() && expected != high {
            problem = Some(format!("entry {expected} is missing"));
        }
        problem.map_or(Ok(entries), |detail| Err(self.corrupt(detail)))
    }

    /// Runs one durable transaction; the closure is given the hard state's bytes.
    pub(super) fn commit(
        &mut self,
        action: &'static str,
        fill: impl FnOnce(&WriteTransaction, &[u8]) -> Result<(), redb::Error>,
    ) -> Result<(), StorageError> {
        let mut hard = self.hard.clone();
        if planted("forget the vote") {
            hard.vote = 0;
        }
        let hard = hard.write_to_bytes().map_err(|e| self.corrupt(e.to_string()))?;
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

    pub(crate) fn log_bytes(&self) -> u64 {
        self.index.bytes()
    }

    pub(crate) fn bounds(&self) -> (u64, u64) {
        (self.index.first(), self.index.last())
    }

    pub(crate) fn corrupt(&self, detail: String) -> StorageError {
        StorageError::LogCorrupt { path: self.path.clone(), detail }
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

pub(super) fn pair(index: u64, term: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    let (head, tail) = bytes.split_at_mut(8);
    head.copy_from_slice(&index.to_le_bytes());
    tail.copy_from_slice(&term.to_le_bytes());
    bytes
}
