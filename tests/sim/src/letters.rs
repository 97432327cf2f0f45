//! What travels between places, and who is where.

use std::{collections::BTreeSet, fmt};

use trainyard_jobs::{AttemptRef, IdempotencyKey, JobId, QueueSpec};
use trainyard_proto::v1;

/// Where a process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    Scheduler(u64),
    Worker(usize),
    Client(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheduler(id) => write!(f, "s{id}"),
            Self::Worker(n) => write!(f, "w{n}"),
            Self::Client(n) => write!(f, "c{n}"),
        }
    }
}

/// One thing under way.
#[derive(Debug, Clone)]
pub enum Letter {
    /// Between schedulers.
    Raft { bytes: Vec<u8>, snapshot: bool },
    /// A request; the caller waits for the answer of this number.
    Call { call: u64, request: Request },
    /// Its answer.
    Answer { call: u64, answer: Result<Answer, tonic::Status> },
    /// On a worker's stream, up; numbered, since a stream with a gap is broken.
    Up { stream: u64, number: u64, body: Up },
    /// On a worker's stream, down.
    Down { stream: u64, number: u64, body: Down },
}

#[derive(Debug, Clone)]
pub enum Request {
    Hello { stream: u64, hello: v1::Hello },
    Started(v1::StartedReport),
    Ended(v1::EndedReport),
    Checkpoint(v1::CheckpointReport),
    Submit { key: IdempotencyKey, spec: Vec<u8> },
    Cancel { key: IdempotencyKey, job: JobId },
    SetQueue { key: IdempotencyKey, spec: QueueSpec },
    Get { job: JobId },
}

#[derive(Debug, Clone)]
pub enum Answer {
    Done,
    Submitted {
        job: JobId,
        existed: bool,
        index: u64,
    },
    /// As of this index; nothing if it is not known.
    Job {
        index: u64,
        phase: Option<trainyard_jobs::JobPhase>,
    },
}

#[derive(Debug, Clone)]
pub enum Up {
    Beat(v1::Heartbeat),
    /// Of those asked for, these are held.
    Roll(BTreeSet<AttemptRef>),
}

#[derive(Debug, Clone)]
pub enum Down {
    RollCall(BTreeSet<AttemptRef>),
    Welcome,
    Desired(v1::DesiredSet),
    /// Answers a ping of the transport.
    Pong,
    Close(tonic::Status),
}
