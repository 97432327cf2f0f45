//! Model versions: what a successful run leaves in the registry, with its lineage.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    AttemptNo, Bytes, CheckpointId, Digest, FileEntry, JobId, ModelName, ProjectName, Timestamp,
    spec::Goal,
};

/// Where a model version came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage {
    /// The run.
    pub job: JobId,
    /// The attempt that ended well.
    pub attempt: AttemptNo,
    /// Digest of the job spec's canonical JSON.
    pub spec: Digest,
    /// Digest of the code bundle, if a work directory was sent.
    pub bundle: Option<Digest>,
    /// The git commit of the work directory, if it was one.
    pub commit: Option<String>,
    /// The last checkpoint that the attempt resumed from.
    pub resumed_from: Option<CheckpointId>,
    /// The last checkpoint catalogued before it ended.
    pub last_checkpoint: Option<CheckpointId>,
    /// The nodes of the final attempt.
    pub nodes: Vec<String>,
}

/// One version of a model. Registered once a run, by digest; its bytes verify on every read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelVersion {
    /// The model.
    pub model: ModelName,
    /// Counts from 1 within the model.
    pub version: u32,
    /// The project that it belongs to.
    pub project: ProjectName,
    /// When it was registered, by the leader's clock.
    pub created: Timestamp,
    /// Its files.
    pub files: Vec<FileEntry>,
    /// Bytes in all files.
    pub size: Bytes,
    /// Digest over the sorted `digest  path` lines of its files: what the version is known by.
    pub digest: Digest,
    /// Final metrics as decimal text, exactly as the run wrote them: replicas compare bytes.
    pub metrics: BTreeMap<String, String>,
    /// The metric by which versions of the model compare, as the spec named it.
    pub metric: Option<String>,
    /// Whether more of it is better.
    pub goal: Goal,
    /// Where it came from.
    pub lineage: Lineage,
}

/// The digest that names a set of files, whatever their order.
#[must_use]
pub fn files_digest(files: &[FileEntry]) -> Digest {
    let mut lines: Vec<String> =
        files.iter().map(|file| format!("{}  {}\n", file.digest, file.path)).collect();
    lines.sort();
    Digest::of(lines.concat().as_bytes())
}
