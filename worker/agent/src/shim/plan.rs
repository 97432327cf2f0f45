//! What passes between agent and shim, as files: the plan in, the processes and exits out.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};
use trainyard_jobs::{AttemptRef, Bytes, Millis, RankExit};

/// The newest format of these files that this version reads.
pub const FORMAT: u32 = 1;

/// What the shim is to start: `start.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The format, [`FORMAT`].
    pub format: u32,
    /// Whose ranks these are.
    pub attempt: AttemptRef,
    /// The node's ranks.
    pub ranks: Vec<RankPlan>,
    /// The folder that they start in.
    pub workdir: PathBuf,
    /// From SIGTERM to SIGKILL.
    pub grace: Millis,
    /// How long the ranks may run, by the monotonic clock.
    pub time_allowance: Option<Millis>,
    /// How large the log may grow; later lines are dropped, and one line says so.
    pub log_limit: Bytes,
    /// Whether to put the ranks into a cgroup of their own where the system allows it.
    pub cgroup: bool,
}

/// One rank of a [`Plan`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RankPlan {
    /// Its number in the whole job.
    pub rank: u32,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Its whole environment.
    pub env: BTreeMap<String, String>,
    /// The processors that it runs on; empty for whichever the kernel gives it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub cpus: BTreeSet<u32>,
}

/// A process, told apart from a later one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its number.
    pub pid: i32,
    /// When it started, in clock ticks since the machine did.
    pub start_ticks: u64,
}

/// The processes of an attempt on this node: `started.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartedRecord {
    /// The format, [`FORMAT`].
    pub format: u32,
    /// The shim.
    pub shim: ProcessId,
    /// The ranks.
    pub ranks: BTreeMap<u32, ProcessId>,
    /// The ranks' cgroup, if they have one.
    pub cgroup: Option<PathBuf>,
}

/// How one rank ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RankEnd {
    /// Its number in the whole job.
    pub rank: u32,
    /// How it ended.
    pub exit: RankExit,
}

/// How all ranks of an attempt ended on this node: `exit.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// The format, [`FORMAT`].
    pub format: u32,
    /// Every rank, in the order in which they ended; empty if they never ran.
    pub ranks: Vec<RankEnd>,
    /// The first that failed of itself, before anything was stopped.
    pub first_failure: Option<RankEnd>,
    /// Whether they were stopped at the end of their time allowance.
    pub time_limit: bool,
    /// Whether they were stopped because the shim was told to, whoever told it.
    #[serde(default)]
    pub stopped: bool,
    /// Why they could not be started, if so.
    pub start_error: Option<String>,
}

impl ExitRecord {
    /// The record of ranks that could not be started.
    #[must_use]
    pub const fn not_started(message: String) -> Self {
        Self {
            format: FORMAT,
            ranks: Vec::new(),
            first_failure: None,
            time_limit: false,
            stopped: false,
            start_error: Some(message),
        }
    }
}
