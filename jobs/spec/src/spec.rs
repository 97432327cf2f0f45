//! The job spec: what a researcher writes. The shape stands here, its defaults beside it;
//! reading it with spans and checking what shapes cannot say have their own files.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    BitRate, Bytes, DeviceKind, Digest, JobName, Millis, ModelName, ProjectName, Timestamp,
};

mod check;
mod error;
mod fraction;
mod number;
mod read;
mod schema;
mod speed;
mod tree;

pub use check::{InvalidCanonical, InvalidSpec, MAX_CANONICAL, MAX_GPUS, Problem};
pub use error::{SpecError, SpecErrors};
pub use fraction::Fraction;
pub use number::{CostLimit, InvalidUsdPerHour, Param, UsdPerHour};
pub use read::{Format, MAX_TEXT};
pub use schema::{SCHEMA_ID, schema};
pub use speed::{Speed, Speeds};

/// One training job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobSpec {
    /// What people call the job; need not be unique.
    #[schemars(extend("examples" = ["char-gpt"]))]
    pub name: JobName,
    /// The queue that it counts against.
    #[schemars(extend("examples" = ["research"]))]
    #[serde(default = "default_project")]
    pub project: ProjectName,
    /// Of two jobs of a queue that wait, the one with the higher number goes first.
    #[schemars(extend("examples" = [10]))]
    #[serde(default)]
    pub priority: i32,
    /// What it runs on.
    #[serde(default)]
    pub resources: Resources,
    /// What it runs.
    #[schemars(extend("examples" = [{"command": ["python", "train.py"]}]))]
    pub run: Run,
    /// When it saves its state.
    #[serde(default)]
    pub checkpoint: Checkpointing,
    /// What it may use up.
    #[serde(default)]
    pub limits: Limits,
    /// When it should be done.
    #[serde(default, skip_serializing_if = "Schedule::is_default")]
    pub schedule: Schedule,
    /// The model that it makes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub register: Option<Register>,
}

/// What a job runs on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Resources {
    /// Ranks: one process a GPU, or a CPU slot with `device = "cpu"`.
    #[schemars(extend("examples" = [8]))]
    #[schemars(range(min = 1, max = 65536))]
    pub gpus: u32,
    /// An elastic job may shrink to this many ranks, at a checkpoint.
    #[schemars(range(min = 1), extend("examples" = [4]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_gpus: Option<u32>,
    /// GPUs, or CPU slots.
    #[schemars(extend("examples" = ["cpu"]))]
    pub device: DeviceKind,
    /// Any of these GPU types, such as `h100`.
    #[schemars(extend("examples" = [["h100", "a100"]]))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gpu_type: Vec<String>,
    /// How many times as fast the job runs on GPUs of these types as on any other: it goes where
    /// its work costs least.
    #[schemars(extend("maxProperties" = Speeds::MOST, "examples" = [{"h100": 3.0, "a100": 1.8}]))]
    #[serde(skip_serializing_if = "Speeds::is_empty")]
    pub speed: Speeds,
    /// The least part of a GPU that each rank gets, as a MIG slice or a share, and never a whole
    /// one; 1, as without it, for whole GPUs alone.
    #[schemars(extend("examples" = [0.25]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_fraction: Option<Fraction>,
    /// The least memory that each GPU, or part of one, must have.
    #[schemars(extend("examples" = ["40GB"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_gpu_memory: Option<Bytes>,
    /// Logical CPUs of its node that each rank counts on. Nobody else is promised them.
    #[schemars(range(min = 1), extend("examples" = [12]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus_per_rank: Option<u32>,
    /// Main memory of its node that each rank counts on. Nobody else is promised it.
    #[schemars(extend("examples" = ["64GiB"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_per_rank: Option<Bytes>,
    /// Disk space of its node that each rank counts on, for what its attempt fetches and writes there.
    /// Nobody else is promised it.
    #[schemars(extend("examples" = ["200GB"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_per_rank: Option<Bytes>,
    /// Bandwidth of its node's network that each rank counts on. Nobody else is promised it.
    #[schemars(extend("examples" = ["10Gbps"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_per_rank: Option<BitRate>,
    /// At most this many ranks on one node.
    #[schemars(range(min = 1), extend("examples" = [8]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_ranks_per_node: Option<u32>,
    /// On no more nodes than the ranks need at the least: the job waits for such a place.
    #[schemars(extend("examples" = [true]))]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub compact: bool,
    /// Only nodes that carry all of these labels.
    #[schemars(extend("examples" = [{"rack": "b4"}]))]
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub node_labels: BTreeMap<String, String>,
}

impl Default for Resources {
    fn default() -> Self {
        Self {
            gpus: 1,
            min_gpus: None,
            device: DeviceKind::Gpu,
            gpu_type: Vec::new(),
            speed: Speeds::default(),
            gpu_fraction: None,
            min_gpu_memory: None,
            cpus_per_rank: None,
            memory_per_rank: None,
            disk_per_rank: None,
            network_per_rank: None,
            max_ranks_per_node: None,
            compact: false,
            node_labels: BTreeMap::new(),
        }
    }
}

/// What a job runs: a command of the researcher's own, or a recipe of the native trainer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("oneOf" = [{ "required": ["command"] }, { "required": ["recipe"] }]))]
pub struct Run {
    /// Program and arguments; run as it is, once a rank, with torchrun's environment.
    #[schemars(extend("examples" = [["python", "train.py"]]))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// A recipe of the native trainer, such as `image-classifier`.
    #[schemars(extend("examples" = ["image-classifier"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipe: Option<String>,
    /// The recipe's parameters.
    #[schemars(extend("examples" = [{"epochs": 3, "learning_rate": 0.05}]))]
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, Param>,
    /// A directory to send along, relative to the spec; `.gitignore` is honoured.
    #[schemars(extend("examples" = ["."]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    /// Environment variables for every rank.
    #[schemars(extend("examples" = [{"OMP_NUM_THREADS": "4"}]))]
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// From SIGTERM to SIGKILL when the ranks are stopped.
    #[schemars(extend("examples" = ["30s"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_grace: Option<Millis>,
}

/// When a job saves its state, and how much of that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Checkpointing {
    /// The time between checkpoints.
    #[schemars(extend("examples" = ["10m"]))]
    pub every: Millis,
    /// How many of the newest to keep.
    #[schemars(extend("examples" = [3]))]
    #[schemars(range(min = 1))]
    pub keep: u32,
    /// Whether the program saves its state when `$YARD_CONTROL/request.json` asks for it. A recipe
    /// always does.
    #[schemars(extend("examples" = [true]))]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub on_request: bool,
}

impl Default for Checkpointing {
    fn default() -> Self {
        Self { every: Millis(600_000), keep: 3, on_request: false }
    }
}

/// What a job may use up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Run time, over all attempts.
    #[schemars(extend("examples" = ["2d"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Millis>,
    /// Money, over all attempts.
    #[schemars(extend("examples" = [400]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_cost_usd: Option<CostLimit>,
    /// How often a job is started again after its own ranks failed. A lost node does not count.
    #[schemars(extend("examples" = [20]))]
    pub max_restarts: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { time: None, max_cost_usd: None, max_restarts: 3 }
    }
}

/// When a job should be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Schedule {
    /// RFC 3339, such as `2026-12-24T08:00:00+01:00`.
    #[schemars(extend("format" = "date-time", "examples" = ["2026-12-24T08:00:00+01:00"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish_by: Option<String>,
    /// How long the job is expected to run, with all its ranks, on GPUs of speed 1. A hint:
    /// nothing ends at it.
    #[schemars(extend("examples" = ["6h"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub est_duration: Option<Millis>,
}

impl Schedule {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The model that a run makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Register {
    /// The model's name; each successful run adds a version.
    #[schemars(extend("examples" = ["char-gpt"]))]
    pub model: ModelName,
    /// The metric by which versions compare.
    #[schemars(extend("examples" = ["val_loss"]))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// Whether more of it is better.
    #[schemars(extend("examples" = ["maximize"]))]
    #[serde(default)]
    pub goal: Goal,
}

/// Whether more of a metric is better.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema, Default,
)]
#[serde(rename_all = "lowercase")]
pub enum Goal {
    /// Less is better.
    #[default]
    Minimize,
    /// More is better.
    Maximize,
}

#[expect(clippy::expect_used, reason = "a constant that a test reads")]
fn default_project() -> ProjectName {
    "default".parse().expect("`default` is a name")
}

impl JobSpec {
    /// From SIGTERM to SIGKILL when the ranks are stopped: as asked, or 30 s.
    #[must_use]
    pub fn stop_grace(&self) -> Millis {
        self.run.stop_grace.unwrap_or(Millis(30_000))
    }

    /// Whether its program saves its state when it is asked to.
    #[must_use]
    pub const fn saves_on_request(&self) -> bool {
        self.checkpoint.on_request || self.run.recipe.is_some()
    }

    /// Whether it uses keys that a scheduler of feature level 2 does not know.
    #[must_use]
    pub const fn needs_level_3(&self) -> bool {
        self.checkpoint.on_request || self.schedule.est_duration.is_some() || self.resources.compact
    }

    /// Whether it uses keys that a scheduler of feature level 3 does not know.
    #[must_use]
    pub fn needs_level_4(&self) -> bool {
        !self.resources.speed.is_empty()
    }

    /// Whether it uses keys that a scheduler of feature level 4 does not know.
    #[must_use]
    pub const fn needs_level_5(&self) -> bool {
        let Resources { gpu_fraction, cpus_per_rank, memory_per_rank, .. } = &self.resources;
        gpu_fraction.is_some() || cpus_per_rank.is_some() || memory_per_rank.is_some()
    }

    /// Whether it uses keys that a scheduler of feature level 5 does not know.
    #[must_use]
    pub const fn needs_level_6(&self) -> bool {
        self.resources.disk_per_rank.is_some() || self.resources.network_per_rank.is_some()
    }

    /// When it should be done.
    #[must_use]
    pub fn finish_by(&self) -> Option<Timestamp> {
        let text = self.schedule.finish_by.as_ref()?;
        let instant: jiff::Timestamp = text.parse().ok()?;
        u64::try_from(instant.as_millisecond()).ok().map(Timestamp)
    }

    /// The spec as canonical JSON: what is sent, stored and digested.
    #[must_use]
    pub fn canonical_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The digest of the canonical JSON.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.canonical_json().as_bytes())
    }
}

#[cfg(test)]
mod tests;
