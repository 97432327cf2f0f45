//! What the tests read of `yard … -o json`. Fields that they do not look at are left out, so that
//! the output may grow.

use std::collections::BTreeMap;

use serde::Deserialize;

/// A listing.
#[derive(Debug, Deserialize)]
pub struct List<T> {
    /// What is listed.
    pub items: Vec<T>,
}

/// A job.
#[derive(Debug, Clone, Deserialize)]
pub struct Job {
    /// Its id.
    pub id: String,
    /// Where it stands.
    pub phase: String,
    /// Why it waits, or how it ended.
    pub reason: Option<String>,
    /// How often it was started again.
    pub restarts: u32,
    /// Its attempts, oldest first.
    #[serde(default)]
    pub attempts: Vec<Attempt>,
    /// Its catalogued checkpoints, oldest first.
    #[serde(default)]
    pub checkpoints: Vec<Checkpoint>,
    /// The model version that it registered.
    pub model: Option<String>,
}

impl Job {
    /// The attempt that was started last.
    #[must_use]
    pub fn last_attempt(&self) -> Option<&Attempt> {
        self.attempts.last()
    }

    /// The node that holds `rank` in the last attempt.
    #[must_use]
    pub fn node_of_rank(&self, rank: u32) -> Option<&str> {
        let placements = &self.last_attempt()?.placements;
        let holder = placements.iter().rfind(|place| place.first_rank <= rank)?;
        Some(&holder.node)
    }

    /// The nodes of the last attempt, by rank.
    #[must_use]
    pub fn nodes(&self) -> Vec<&str> {
        let placements = self.last_attempt().map(|attempt| attempt.placements.as_slice());
        placements.unwrap_or_default().iter().map(|place| place.node.as_str()).collect()
    }
}

/// One attempt of a job.
#[derive(Debug, Clone, Deserialize)]
pub struct Attempt {
    /// Counts from 1.
    pub attempt: u32,
    /// Where it stands.
    pub phase: String,
    /// Its nodes, by first rank.
    pub placements: Vec<Placement>,
    /// Why it ended.
    pub end: Option<String>,
    /// The checkpoint that it began with.
    pub resumed_from: Option<u64>,
}

/// One node's part of an attempt.
#[derive(Debug, Clone, Deserialize)]
pub struct Placement {
    /// The node's name.
    pub node: String,
    /// Its lowest rank.
    pub first_rank: u32,
}

/// A catalogued checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Checkpoint {
    /// Unique and ordered in time.
    pub id: u64,
    /// Optimizer steps done.
    pub step: u64,
    /// The attempt that wrote it.
    pub attempt: u32,
}

/// A node.
#[derive(Debug, Deserialize)]
pub struct Node {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `up`, `silent` or `lost`.
    pub state: String,
    /// Attempts that run there although the cluster does not know them.
    #[serde(default)]
    pub held: Vec<Held>,
}

/// An attempt that a node holds.
#[derive(Debug, Clone, Deserialize)]
pub struct Held {
    /// `JOB.ATTEMPT.GENERATION`.
    pub attempt: String,
    /// Its units.
    pub units: Vec<String>,
}

/// A GPU or a part of one.
#[derive(Debug, Clone, Deserialize)]
pub struct Gpu {
    /// The node that has it.
    pub node: String,
    /// Its id.
    pub unit: String,
    /// What part of a GPU it is, if not all of it.
    pub part: Option<Part>,
    /// Why it cannot be used.
    pub problem: Option<String>,
    /// Who holds it.
    pub owner: Option<Owner>,
}

/// A part of a GPU.
#[derive(Debug, Clone, Deserialize)]
pub struct Part {
    /// The GPU.
    pub parent: String,
    /// Which share of it, such as `1/4`.
    pub share: Option<String>,
}

/// The attempt that holds a unit.
#[derive(Debug, Clone, Deserialize)]
pub struct Owner {
    /// Its job.
    pub job: String,
}

/// One version of a model.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Version {
    /// The model.
    pub model: String,
    /// Counts from 1 within the model.
    pub model_version: u32,
    /// What the version is known by.
    pub digest: String,
    /// Its files.
    pub files: Vec<ModelFile>,
    /// Final metrics as decimal text.
    pub metrics: BTreeMap<String, String>,
    /// Where it came from.
    pub lineage: Lineage,
}

/// Where a model version came from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Lineage {
    /// The job that made it.
    pub job: String,
    /// The attempt that ended well.
    pub attempt: u32,
    /// The checkpoint that this attempt began with.
    pub resumed_from: Option<u64>,
    /// The nodes of that attempt.
    pub nodes: Vec<String>,
}

/// One file of a model version.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ModelFile {
    /// Its name.
    pub path: String,
    /// The SHA-256 of its bytes.
    pub digest: String,
}

impl Version {
    /// The digest of the file named `path`.
    #[must_use]
    pub fn digest_of(&self, path: &str) -> Option<&str> {
        self.files.iter().find(|file| file.path == path).map(|file| file.digest.as_str())
    }
}

/// The answer of `yard cluster status`.
#[derive(Debug, Deserialize)]
pub struct Status {
    /// The scheduler that leads.
    pub leader: Option<u64>,
    /// The recovery epoch.
    pub epoch: u64,
    /// The feature level that is switched on.
    pub feature_level: u16,
    /// Every member, as it sees itself.
    pub schedulers: Vec<Member>,
}

/// A scheduler as `yard cluster members` lists it.
#[derive(Debug, Clone, Deserialize)]
pub struct Seat {
    /// Its id.
    pub id: u64,
    /// Where it listens.
    pub address: String,
    /// Whether it leads.
    pub leader: bool,
    /// `voter`, `learner`, `joining` or `leaving`.
    pub state: String,
    /// What it runs, if it answers.
    pub version: Option<String>,
    /// How far its clock is off the answering scheduler's.
    pub clock_offset_ms: Option<i64>,
}

/// What `yard cluster add` and `replace` give.
#[derive(Debug, Deserialize)]
pub struct NewMember {
    /// Its id.
    pub id: u64,
    /// Its configuration, as TOML.
    pub config: String,
}

/// What `yard cluster restore` and `recover` give.
#[derive(Debug, Deserialize)]
pub struct NewHistory {
    /// The recovery epoch.
    pub epoch: u64,
    /// The member's id.
    pub id: u64,
    /// The first log index.
    pub index: u64,
}

/// What `yard cluster inspect` gives.
#[derive(Debug, Deserialize)]
pub struct DataDirectory {
    /// The recovery epoch.
    pub epoch: u64,
    /// The last entry that the state holds.
    pub index: u64,
    /// The feature level.
    pub feature_level: u16,
    /// The newest snapshot.
    pub snapshot_index: u64,
    /// The state's hash.
    pub state_hash: String,
}

/// One scheduler.
#[derive(Debug, Deserialize)]
pub struct Member {
    /// Its number in the cluster.
    pub id: Option<u64>,
    /// The last entry that it applied.
    pub applied: u64,
    /// The hash of its replicated state.
    pub state_hash: Option<String>,
    /// The entry that the hash is of.
    #[serde(default)]
    pub state_hash_index: u64,
}
