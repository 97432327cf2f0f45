//! The archive: jobs that ended some time ago, as records in `archive.redb`, by position, id, age,
//! project and key. What lies in it follows from the log alone, so that every replica has the same;
//! the state vouches for it by the number of the records and a digest over all of them.
//!
//! The file may be ahead of the state (a crash, a snapshot on its way), never behind a snapshot
//! that relies on it: [`ArchiveStore::sync`] comes first. Every record that is read is checked.

mod error;
mod read;
#[cfg(test)]
mod tests;
mod transfer;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use redb::{
    Database, Durability, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction,
};
use trainyard_core::archive::{ArchiveHead, ArchiveRecord};
use trainyard_jobs::Digest;

pub use error::ArchiveError;

/// Position to the digest of the chain up to the record, then the record.
const RECORDS: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("records");
/// Job id to position.
const IDS: TableDefinition<'static, &'static str, u64> = TableDefinition::new("ids");
/// Place by age to position.
const AGES: TableDefinition<'static, u64, u64> = TableDefinition::new("ages");
/// Project and place by age to position.
const PROJECTS: TableDefinition<'static, (&'static str, u64), u64> =
    TableDefinition::new("projects");
/// Key of the submission to position.
const KEYS: TableDefinition<'static, u128, u64> = TableDefinition::new("keys");

/// Pages held in memory. The operating system keeps more where there is room.
const CACHE_BYTES: usize = 16 << 20;

/// The archive of one member. Clones share it.
#[derive(Debug, Clone)]
pub struct ArchiveStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    db: Database,
    path: PathBuf,
    tip: Mutex<Tip>,
}

/// The end of the chain. Holding it is the right to append.
#[derive(Debug)]
struct Tip {
    head: ArchiveHead,
    /// Records that no fsync has covered yet.
    behind: bool,
}

impl ArchiveStore {
    /// Opens or makes the archive in a data directory.
    ///
    /// # Errors
    /// When it is in use, damaged, or the disk fails.
    pub fn open(dir: &Path) -> Result<Self, ArchiveError> {
        let path = dir.join("archive.redb");
        let made = std::fs::create_dir_all(dir).map_err(redb::Error::Io);
        let open = || -> Result<(Database, ArchiveHead), redb::Error> {
            made?;
            let db = Database::builder().set_cache_size(CACHE_BYTES).create(&path)?;
            let txn = begin(&db, Durability::Immediate)?;
            txn.open_table(IDS)?;
            txn.open_table(AGES)?;
            txn.open_table(PROJECTS)?;
            txn.open_table(KEYS)?;
            let last = txn.open_table(RECORDS)?.last()?.map(|(position, value)| {
                let digest = split(value.value()).map(|(digest, _)| digest);
                digest.map(|digest| ArchiveHead { count: position.value() + 1, digest })
            });
            txn.commit()?;
            let cut = || redb::Error::Corrupted("its last record is cut short".to_owned());
            let head = last.map_or(Some(ArchiveHead::default()), |head| head).ok_or_else(cut)?;
            Ok((db, head))
        };
        let (db, head) = open().map_err(|source| ArchiveError::database("open", &path, source))?;
        let tip = Mutex::new(Tip { head, behind: false });
        Ok(Self(Arc::new(Inner { db, path, tip })))
    }

    /// How far it goes.
    pub(crate) fn head(&self) -> ArchiveHead {
        self.tip().head
    }

    /// Whether it holds all that `head` vouches for, by the digest of the last record of it.
    pub(crate) fn check(&self, head: ArchiveHead) -> Result<(), ArchiveError> {
        let has = self.head().count;
        if has < head.count {
            return Err(ArchiveError::Behind { path: self.0.path.clone(), has, needs: head.count });
        }
        let Some(last) = head.count.checked_sub(1) else { return Ok(()) };
        if self.link(last)?.0 == head.digest {
            Ok(())
        } else {
            Err(self.damaged(last, "its digest is not the one that the state has"))
        }
    }

    /// Adds records. Those that are there already, because the log is being replayed, must be the
    /// same. Not durable before [`Self::sync`], but there for every reader.
    pub(crate) fn append(&self, records: &[ArchiveRecord]) -> Result<(), ArchiveError> {
        let mut tip = self.tip();
        let mut head = tip.head;
        let (known, new): (Vec<_>, Vec<_>) =
            records.iter().partition(|record| record.position < head.count);
        for record in known {
            if self.read_bytes(record.position)? != record.bytes {
                return Err(self.damaged(record.position, "it is another than the log says"));
            }
        }
        for (expected, record) in (head.count..).zip(&new) {
            if record.position != expected {
                return Err(ArchiveError::Gap { expected, found: record.position });
            }
        }
        if new.is_empty() {
            return Ok(());
        }
        let fill = |txn: &WriteTransaction, head: &mut ArchiveHead| -> Result<(), redb::Error> {
            let mut tables = (
                txn.open_table(RECORDS)?,
                txn.open_table(IDS)?,
                txn.open_table(AGES)?,
                txn.open_table(PROJECTS)?,
                txn.open_table(KEYS)?,
            );
            for ArchiveRecord { position, bytes, names } in new {
                *head = head.after(bytes);
                let value = [&head.digest.as_bytes()[..], bytes].concat();
                tables.0.insert(position, value.as_slice())?;
                tables.1.insert(names.job.as_str(), position)?;
                tables.2.insert(names.sequence, position)?;
                tables.3.insert((names.project.as_str(), names.sequence), position)?;
                if let Some(key) = names.key {
                    tables.4.insert(key.0.as_u128(), position)?;
                }
            }
            Ok(())
        };
        let write = || -> Result<(), redb::Error> {
            let txn = begin(&self.0.db, Durability::None)?;
            fill(&txn, &mut head)?;
            Ok(txn.commit()?)
        };
        write().map_err(|source| self.failed("append to", source))?;
        *tip = Tip { head, behind: true };
        Ok(())
    }

    /// Makes what was appended durable.
    pub(crate) fn sync(&self) -> Result<(), ArchiveError> {
        let mut tip = self.tip();
        if tip.behind {
            let sync = || -> Result<(), redb::Error> {
                Ok(begin(&self.0.db, Durability::Immediate)?.commit()?)
            };
            sync().map_err(|source| self.failed("make durable", source))?;
            tip.behind = false;
        }
        Ok(())
    }

    fn tip(&self) -> MutexGuard<'_, Tip> {
        self.0.tip.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A record's digest in the chain, and its bytes, unchecked.
    fn link(&self, position: u64) -> Result<(Digest, Vec<u8>), ArchiveError> {
        let read = || -> Result<_, redb::Error> {
            let table = self.0.db.begin_read()?.open_table(RECORDS)?;
            let value = table.get(position)?;
            Ok(value.and_then(|v| split(v.value()).map(|(digest, bytes)| (digest, bytes.to_vec()))))
        };
        let link = read().map_err(|source| self.failed("read", source))?;
        link.ok_or_else(|| self.damaged(position, "it is missing or cut short"))
    }

    fn failed(&self, action: &'static str, source: redb::Error) -> ArchiveError {
        ArchiveError::database(action, &self.0.path, source)
    }

    fn damaged(&self, position: u64, detail: &'static str) -> ArchiveError {
        ArchiveError::Damaged { path: self.0.path.clone(), position, detail }
    }
}

/// After a crash the file is usable at once, however large: a durable commit leaves nothing to
/// repair.
fn begin(db: &Database, durability: Durability) -> Result<WriteTransaction, redb::Error> {
    let mut txn = db.begin_write()?;
    txn.set_durability(durability)?;
    txn.set_quick_repair(matches!(durability, Durability::Immediate));
    Ok(txn)
}

fn split(value: &[u8]) -> Option<(Digest, &[u8])> {
    let (digest, bytes) = value.split_first_chunk()?;
    Some((Digest::from_bytes(*digest), bytes))
}
