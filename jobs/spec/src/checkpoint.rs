//! Checkpoints: what a rank leaves in its spool, what the manifest in object storage says,
//! and how a checkpoint is known in the catalogue.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::{AttemptRef, Bytes, Digest};

/// The newest format of `checkpoint.json` and of manifests that this crate reads.
pub const FORMAT: u32 = 1;

/// The file in a spooled checkpoint directory that describes it.
pub const DESCRIPTION_FILE: &str = "checkpoint.json";

/// One file of a checkpoint or an artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its name relative to the checkpoint, with `/` between folders.
    pub path: String,
    /// Its object's key in the store.
    pub key: String,
    /// Its size.
    pub size: Bytes,
    /// The SHA-256 of its bytes.
    pub digest: Digest,
}

/// What a trainer writes beside its files, as [`DESCRIPTION_FILE`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// The format, [`FORMAT`].
    pub format: u32,
    /// Optimizer steps done.
    pub step: u64,
    /// Epochs begun before this step.
    #[serde(default)]
    pub epoch: u64,
    /// Ranks that took part.
    #[serde(default)]
    pub world_size: u32,
    /// How many nodes contribute a part.
    #[serde(default = "one")]
    pub parts: u32,
    /// Figures to show beside it.
    #[serde(default)]
    pub metrics: BTreeMap<String, f64>,
}

const fn one() -> u32 {
    1
}

/// One node's part of a checkpoint, as its agent reports it once the bytes are stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointPart {
    /// The attempt that wrote it.
    pub attempt: AttemptRef,
    /// Optimizer steps done.
    pub step: u64,
    /// Which node of the attempt, by group rank from 0.
    pub part: u32,
    /// How many nodes contribute.
    pub parts: u32,
    /// The part's manifest: key, size, digest.
    pub manifest: FileEntry,
    /// Bytes in all files of the part.
    pub size: Bytes,
}

/// The manifest of one part: the object that is written last, with a create-only put.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The format, [`FORMAT`].
    pub format: u32,
    /// The attempt that wrote it.
    pub attempt: AttemptRef,
    /// Which node of the attempt, by group rank from 0.
    pub part: u32,
    /// What the trainer said of it.
    pub description: Description,
    /// Its files.
    pub files: Vec<FileEntry>,
}

/// A catalogued checkpoint: the log index that committed it, unique and ordered in time. A
/// rollback lowers the step, so newest means by this id, never by step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CheckpointId(pub u64);

impl fmt::Display for CheckpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ckpt-{}", self.0)
    }
}
