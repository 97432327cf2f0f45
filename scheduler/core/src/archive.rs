//! Jobs that left the state: the records that they became, the chain of digests over them, and
//! what the state machine still asks of them. Where the records lie is not this crate's affair;
//! that they are the same everywhere is: their order and bytes follow from the log alone.

use serde::{Deserialize, Serialize};
use trainyard_jobs::{Digest, IdempotencyKey, JobId, ProjectName};

use crate::{
    codec::{self, CodecError},
    command::Reply,
    state::{Job, KeyRecord},
};

/// How many records there are, and the digest of all of them: what the state keeps of its archive.
/// Each record's digest covers the one before it, so one digest vouches for the whole chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveHead {
    /// Records so far: the position of the next one.
    pub count: u64,
    /// The digest of the last record and all before it.
    pub digest: Digest,
}

impl Default for ArchiveHead {
    fn default() -> Self {
        Self { count: 0, digest: Digest::from_bytes([0; 32]) }
    }
}

impl ArchiveHead {
    /// The head once `record` follows.
    #[must_use]
    pub fn after(&self, record: &[u8]) -> Self {
        Self { count: self.count.saturating_add(1), digest: self.digest.chain(record) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// An archived job, with the key that made it, if that was still known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archived {
    /// The job as it was.
    pub job: Job,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<(IdempotencyKey, KeyRecord)>,
}

/// An encoded record and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveRecord {
    /// Its position, from 0.
    pub position: u64,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What it is found by.
    pub names: Names,
}

/// What a record is found by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The job's id.
    pub job: JobId,
    /// Its place among all jobs by age.
    pub sequence: u64,
    /// Its project.
    pub project: ProjectName,
    /// The key that made it.
    pub key: Option<IdempotencyKey>,
}

impl Archived {
    /// Reads a record.
    ///
    /// # Errors
    /// When the bytes are something else.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        codec::decode("an archived job", bytes)
    }

    /// What it is found by.
    #[must_use]
    pub fn names(&self) -> Names {
        Names {
            job: self.job.id.clone(),
            sequence: self.job.sequence,
            project: self.job.spec.project.clone(),
            key: self.key.as_ref().map(|(key, _)| *key),
        }
    }
}

/// What the state machine asks of the records. The answers must follow from the first `count`
/// records alone, which are equal on all replicas; any further ones are not part of the state yet.
pub trait Archive {
    /// The record of the job that `key` made, if it is among the first `count`.
    fn by_key(&self, key: IdempotencyKey, count: u64) -> Option<Archived>;

    /// Whether a job of this id is among the first `count`.
    fn contains(&self, id: &JobId, count: u64) -> bool;
}

/// No records at all.
#[derive(Debug, Clone, Copy)]
pub struct NoArchive;

impl Archive for NoArchive {
    fn by_key(&self, _: IdempotencyKey, _: u64) -> Option<Archived> {
        None
    }

    fn contains(&self, _: &JobId, _: u64) -> bool {
        false
    }
}

impl KeyRecord {
    /// The job that a submission under this key made.
    pub(crate) const fn made(&self) -> Option<&JobId> {
        match &self.reply {
            Reply::Submitted { job, .. } => Some(job),
            _ => None,
        }
    }
}
