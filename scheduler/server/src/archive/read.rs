//! Reading the archive. Every reader says how many records count for it: those that its state
//! vouches for. What lies behind them is not history yet.

use redb::ReadableDatabase;
use trainyard_core::archive::{Archive, ArchiveHead, Archived};
use trainyard_jobs::{IdempotencyKey, JobId, ProjectName};

use super::{AGES, ArchiveError, ArchiveStore, IDS, KEYS, PROJECTS};

impl ArchiveStore {
    /// The bytes of a record, checked against the chain.
    pub(super) fn read_bytes(&self, position: u64) -> Result<Vec<u8>, ArchiveError> {
        let before = match position.checked_sub(1) {
            None => ArchiveHead::default(),
            Some(last) => ArchiveHead { count: position, digest: self.link(last)?.0 },
        };
        let (digest, bytes) = self.link(position)?;
        if before.after(&bytes).digest == digest {
            Ok(bytes)
        } else {
            Err(self.damaged(position, "it does not match its digest"))
        }
    }

    /// The record at `position`.
    pub(crate) fn read(&self, position: u64) -> Result<Archived, ArchiveError> {
        Ok(Archived::decode(&self.read_bytes(position)?)?)
    }

    /// The job of this id among the first `count`.
    pub(crate) fn job(&self, id: &JobId, count: u64) -> Result<Option<Archived>, ArchiveError> {
        let position = self.find(|txn| {
            let found = txn.open_table(IDS)?.get(id.as_str())?;
            Ok(found.map(|position| position.value()))
        })?;
        position
            .filter(|position| *position < count)
            .map(|position| self.read(position))
            .transpose()
    }

    /// Up to `most` jobs among the first `count` whose ids start with `prefix`.
    pub(crate) fn with_prefix(
        &self,
        prefix: &str,
        count: u64,
        most: usize,
    ) -> Result<Vec<JobId>, ArchiveError> {
        self.find(|txn| {
            let table = txn.open_table(IDS)?;
            let mut found = Vec::new();
            for item in table.range(prefix..)? {
                let (id, position) = item?;
                if !id.value().starts_with(prefix) || found.len() == most {
                    break;
                }
                if position.value() < count {
                    found.extend(id.value().parse::<JobId>().ok());
                }
            }
            Ok(found)
        })
    }

    /// Up to `limit` jobs among the first `count` that were submitted before the log index
    /// `before`, the newest first.
    pub(crate) fn newest(
        &self,
        project: Option<&ProjectName>,
        before: u64,
        count: u64,
        limit: usize,
    ) -> Result<Vec<Archived>, ArchiveError> {
        let counts = |position: &u64| *position < count;
        let positions: Vec<u64> = self.find(|txn| match project {
            None => {
                let table = txn.open_table(AGES)?;
                let newest = table.range(..before)?.rev().map(|item| Ok(item?.1.value()));
                newest.filter(|p| p.as_ref().map_or(true, counts)).take(limit).collect()
            }
            Some(project) => {
                let table = txn.open_table(PROJECTS)?;
                let name = project.as_str();
                let newest = table.range((name, 0)..(name, before))?.rev();
                let newest = newest.map(|item| Ok(item?.1.value()));
                newest.filter(|p| p.as_ref().map_or(true, counts)).take(limit).collect()
            }
        })?;
        positions.into_iter().map(|position| self.read(position)).collect()
    }

    fn find<T>(
        &self,
        look: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, ArchiveError> {
        let read = || look(&self.0.db.begin_read()?);
        read().map_err(|source| self.failed("read", source))
    }
}

/// What the state machine asks. A disk that cannot be read must end the replica: another answer
/// than the others' would be to diverge.
impl Archive for ArchiveStore {
    fn by_key(&self, key: IdempotencyKey, count: u64) -> Option<Archived> {
        let read = || -> Result<Option<Archived>, ArchiveError> {
            let position = self.find(|txn| {
                let found = txn.open_table(KEYS)?.get(key.0.as_u128())?;
                Ok(found.map(|position| position.value()))
            })?;
            position.filter(|p| *p < count).map(|position| self.read(position)).transpose()
        };
        read().unwrap_or_else(|error| panic!("cannot look up an idempotency key: {error}"))
    }

    fn contains(&self, id: &JobId, count: u64) -> bool {
        if count == 0 {
            return false;
        }
        let found = self.find(|txn| {
            let position = txn.open_table(IDS)?.get(id.as_str())?;
            Ok(position.is_some_and(|position| position.value() < count))
        });
        found.unwrap_or_else(|error| panic!("cannot look up job {id}: {error}"))
    }
}
