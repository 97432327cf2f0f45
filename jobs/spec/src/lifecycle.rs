//! The lifecycle of jobs and attempts: the states, which of them are final, and how an
//! attempt can end.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Bytes;

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobPhase {
    /// Waits for devices.
    Queued,
    /// An attempt owns it.
    Running,
    /// Its ranks ended well; artifacts are being verified and registered.
    Finishing,
    /// Its last attempt is being stopped before it ends or is queued again.
    Stopping,
    /// Ended well. Final.
    Succeeded,
    /// Ended with an error that no restart may cure. Final.
    Failed,
    /// Ended at somebody's wish. Final.
    Cancelled,
}

impl JobPhase {
    /// A final phase never changes.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }

    /// The word that tables and JSON use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Finishing => "finishing",
            Self::Stopping => "stopping",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for JobPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Where an attempt stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AttemptPhase {
    /// In the desired sets of its nodes.
    Active,
    /// Gone from the desired sets; the exit of its ranks is not confirmed everywhere.
    Stopping,
    /// Every node confirmed the exit of its ranks, or is lost.
    Ended,
}

/// Why an attempt ended, or is being stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EndReason {
    /// All ranks exited with 0.
    Completed,
    /// A rank exited with something else.
    RankFailed {
        /// The first rank that failed.
        rank: u32,
        /// How it exited.
        exit: RankExit,
    },
    /// The ranks could not be started.
    StartFailed {
        /// What went wrong, as the agent says it.
        message: String,
    },
    /// A node of the attempt was called lost, or came back without its ranks.
    NodeLost {
        /// The node's name.
        node: String,
    },
    /// The files that the run left do not verify, or there are none.
    BadArtifacts {
        /// What is wrong with them.
        message: String,
    },
    /// Somebody cancelled the job.
    Cancelled,
    /// The job's time allowance is used up.
    TimeLimit,
    /// A rank had more of a GPU's memory than belongs to its share of it.
    OverMemory(OverMemory),
    /// The scheduler stopped it for something else; the job waits again.
    Preempted {
        /// For what.
        cause: StopCause,
    },
}

/// How much too much a rank had of the memory of a GPU that it shares with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverMemory {
    /// The rank.
    pub rank: u32,
    /// What its processes had.
    pub used: Bytes,
    /// What belongs to its share.
    pub share: Bytes,
}

/// Why the scheduler stops an attempt whose job is to go on later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopCause {
    /// A job that goes first by the queue's policy needs its units.
    Policy,
    /// A queue takes back what it is guaranteed.
    Reclaim,
    /// Its units are more than its queue may use.
    Quota,
    /// It goes on elsewhere, where it is better placed.
    Migration,
    /// It goes on with more or fewer ranks.
    Resize,
    /// Its units are reserved, or their node is taken out of service.
    Reserved,
    /// It gives some of its units to a job that goes first, and goes on with the others.
    Shrink,
}

impl StopCause {
    /// The word that tables and JSON use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Reclaim => "reclaim",
            Self::Quota => "quota",
            Self::Migration => "migration",
            Self::Resize => "resize",
            Self::Reserved => "reserved",
            Self::Shrink => "shrink",
        }
    }
}

/// How one rank's process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum RankExit {
    /// It exited with this code.
    Code {
        /// 0 to 255.
        code: i32,
    },
    /// A signal ended it.
    Signal {
        /// The signal's number.
        signal: i32,
    },
    /// Nobody saw it end: its node or its shim died with it.
    Vanished,
}

impl RankExit {
    /// Whether the rank ended well.
    #[must_use]
    pub const fn is_success(self) -> bool {
        matches!(self, Self::Code { code: 0 })
    }
}

impl fmt::Display for RankExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code { code } => write!(f, "exit code {code}"),
            Self::Signal { signal } => write!(f, "signal {signal}"),
            Self::Vanished => f.write_str("vanished with its node"),
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Completed => f.write_str("completed"),
            Self::RankFailed { rank, exit } => write!(f, "rank {rank} failed: {exit}"),
            Self::StartFailed { message } => write!(f, "could not start: {message}"),
            Self::NodeLost { node } => write!(f, "node {node} was lost"),
            Self::BadArtifacts { message } => write!(f, "artifacts not registered: {message}"),
            Self::Cancelled => f.write_str("cancelled"),
            Self::TimeLimit => f.write_str("time limit reached"),
            Self::OverMemory(OverMemory { rank, used, share }) => {
                write!(f, "rank {rank} had {used} of GPU memory, above its share of {share}")
            }
            Self::Preempted { cause } => f.write_str(match cause {
                StopCause::Policy => "preempted by a job that goes first",
                StopCause::Reclaim => "preempted by a queue that takes its guarantee back",
                StopCause::Quota => "preempted, its queue is over its limit",
                StopCause::Migration => "moved to better units",
                StopCause::Resize => "resized",
                StopCause::Reserved => "its units are reserved",
                StopCause::Shrink => "gave some of its units to a job that goes first",
            }),
        }
    }
}
