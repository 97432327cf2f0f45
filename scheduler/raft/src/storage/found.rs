//! The entries as a start finds them: read from their file and checked, or moved there from the
//! database, where directories of format 1 kept them.

use raft::eraftpb::{Entry, HardState};
use redb::{Database, ReadableDatabase, ReadableTable, StorageBackend};

use super::{
    codec, count,
    index::LogIndex,
    log::{ENTRIES, META},
    open::FORMAT,
    wal::{Layout, Record, Wal, WalError},
};

/// Bytes of entries moved at a time.
const MOVED_AT_ONCE: usize = 4 << 20;

/// What the log holds, as far as it was read.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) index: LogIndex,
    pub(super) hard: HardState,
}

impl Found {
    /// Takes in one record that lies at `at`; gives the highest index among its entries.
    ///
    /// A leader's entries override all from their first index on. What lies behind the boundary is
    /// not needed, but overrides as well.
    pub(super) fn take(&mut self, record: &Record<'_>, at: u64) -> Result<u64, String> {
        self.merge(&record.hard);
        let (mut highest, mut due) = (0, None);
        for (place, sealed) in &record.entries {
            let entry = codec::open_any_entry(sealed)?;
            let index = entry.index;
            let limit = due.unwrap_or_else(|| self.index.last().saturating_add(1));
            if index > limit || due.is_some_and(|due| due != index) {
                return Err(misplaced(index, limit));
            }
            if due.is_none() {
                self.index.truncate(index.max(self.index.first()));
            }
            if index >= self.index.first() {
                self.index.push(entry, place.after(at));
            }
            highest = index;
            due = Some(index.saturating_add(1));
        }
        Ok(highest)
    }

    /// A later hard state wins: the term never falls, the vote is given once a term, and the commit
    /// index never falls. So the order in which the file and the database were written is no
    /// matter.
    fn merge(&mut self, other: &HardState) {
        if other.term > self.hard.term {
            (self.hard.term, self.hard.vote) = (other.term, other.vote);
        } else if other.term == self.hard.term && self.hard.vote == 0 {
            self.hard.vote = other.vote;
        }
        self.hard.commit = self.hard.commit.max(other.commit);
    }

    /// What is known to be committed must be there.
    pub(super) fn check_end(&self) -> Result<(), WalError> {
        let (last, commit) = (self.index.last(), self.hard.commit);
        if last < commit {
            let problem = format!("it ends at {last}, before the commit index {commit}");
            return Err(WalError::Damaged(problem));
        }
        Ok(())
    }

    /// Moves the entries of a directory of format 1 into their file, then marks the directory. A
    /// crash before the mark leaves it as it was, and the next start begins anew.
    pub(super) fn migrate(
        &mut self,
        db: &Database,
        file: Box<dyn StorageBackend>,
        layout: Layout,
    ) -> Result<Wal, MigrateError> {
        let mut wal = Wal::create(file, layout, &HardState::default())?;
        let (mut batch, mut bytes) = (Vec::new(), 0usize);
        {
            let table = db.begin_read().map_err(redb::Error::from)?;
            let table = table.open_table(ENTRIES).map_err(redb::Error::from)?;
            for item in table.iter().map_err(redb::Error::from)? {
                let (key, value) = item.map_err(redb::Error::from)?;
                let due = self.index.last().saturating_add(count(batch.len())).saturating_add(1);
                let entry = codec::open_entry(key.value(), value.value());
                let entry = entry.map_err(WalError::Damaged)?;
                if entry.index != due {
                    return Err(WalError::Damaged(misplaced(entry.index, due)).into());
                }
                bytes = bytes.saturating_add(value.value().len());
                batch.push(entry);
                if bytes >= MOVED_AT_ONCE {
                    self.append(&mut wal, std::mem::take(&mut batch))?;
                    bytes = 0;
                }
            }
        }
        self.append(&mut wal, batch)?;
        self.check_end()?;
        mark(db, &wal, layout)?;
        tracing::info!(entries = self.index.last(), "moved the log's entries to their own file");
        Ok(wal)
    }

    fn append(&mut self, wal: &mut Wal, entries: Vec<Entry>) -> Result<(), WalError> {
        let places = wal.append(&self.hard, &entries)?;
        for (entry, place) in entries.into_iter().zip(places) {
            self.index.push(entry, place);
        }
        Ok(())
    }
}

/// Why a directory could not be brought to the present format.
#[derive(Debug, thiserror::Error)]
pub(super) enum MigrateError {
    #[error(transparent)]
    Entries(#[from] WalError),
    #[error(transparent)]
    Database(#[from] redb::Error),
}

fn mark(db: &Database, wal: &Wal, layout: Layout) -> Result<(), redb::Error> {
    let txn = db.begin_write()?;
    {
        let mut meta = txn.open_table(META)?;
        meta.insert("format", FORMAT.to_le_bytes().as_slice())?;
        meta.insert("first_record", wal.first().to_le_bytes().as_slice())?;
        meta.insert("region", layout.region.to_le_bytes().as_slice())?;
    }
    txn.delete_table(ENTRIES)?;
    Ok(txn.commit()?)
}

fn misplaced(found: u64, due: u64) -> String {
    format!("entry {found} stands where {due} was due")
}
