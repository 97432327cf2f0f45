//! What those who watch are told. Facts of the world (ranks that run, machines that die) stand
//! beside what replicas did, so that a checker can hold the one against the other.

use trainyard_core::{Command, Event, Refusal, Reply, State};
use trainyard_jobs::{
    AttemptRef, Digest, IdempotencyKey, JobId, JobPhase, NodeId, RankExit, SessionId, UnitId,
};

use crate::around::Ms;

#[derive(Debug, Clone, Copy)]
pub enum Fact<'a> {
    /// A member applied an entry.
    Applied { member: u64, index: u64, term: u64, command: &'a [u8], hash: Option<Digest> },
    /// An entry was applied for the first time anywhere: the reference moved on.
    Committed {
        command: &'a Command,
        outcome: &'a Result<Reply, Refusal>,
        events: &'a [Event],
        state: &'a State,
    },
    /// What a member knows of the members, as of an applied index.
    Members { member: u64, applied: u64, voters: &'a [u64], learners: &'a [u64] },
    /// A member began to lead, having applied an entry of its own term.
    Leads { term: u64 },
    /// A member leads a term, whatever it has applied.
    Elected { member: u64, term: u64 },
    /// The leader of a term read something that a worker's agent sent.
    Heard { term: u64, node: &'a NodeId, session: SessionId },
    /// The leader of a term is about to call a node lost.
    CallsLost { term: u64, node: &'a NodeId, session: SessionId, grace: Ms },
    /// A member that holds its disk could not start, or died of something that is not the disk.
    Broken { member: u64, why: &'a str },
    /// A shim started an attempt's ranks on a node.
    Launched { node: &'a NodeId, attempt: &'a AttemptRef },
    /// A rank runs.
    RankStarted { node: &'a NodeId, unit: &'a UnitId, attempt: &'a AttemptRef, rank: u32 },
    /// A rank is gone.
    RankEnded { node: &'a NodeId, unit: &'a UnitId, attempt: &'a AttemptRef, how: Gone },
    /// An agent orders an attempt that runs to stop.
    Stops { node: &'a NodeId, attempt: &'a AttemptRef },
    /// Something of the world that ends an attempt on a node through no fault of the control plane.
    Blow { attempt: &'a AttemptRef, what: Blow },
    /// From now on a member's wall clock may be wrong.
    ClockSkewed,
    /// A client was told that its job is taken, by the entry of this index or one before it.
    Acknowledged { key: IdempotencyKey, job: &'a JobId, index: u64 },
    /// A client asks to cancel.
    CancelAsked { job: &'a JobId },
    /// A client was told that its cancellation is taken.
    CancelTaken { job: &'a JobId },
    /// A client asks what became of a job.
    ReadBegan { read: u64, job: &'a JobId },
    /// It was told, as of this index.
    ReadDone { read: u64, job: &'a JobId, index: u64, phase: Option<JobPhase> },
}

/// Why a rank is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    /// Of itself, with this exit.
    Own(RankExit),
    /// The others of its gang were not there.
    Lonely(RankExit),
    /// It was told to.
    Told(RankExit),
    /// Its machine or its shim died.
    Torn,
}

/// What ends attempts besides the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    /// The machine lost its power.
    Power,
    /// The shim died.
    Shim,
    /// The agent could not write what it had to.
    Disk,
    /// The store could not be reached, or what it gave was damaged.
    Store,
    /// The artifacts were damaged.
    Artifacts,
    /// The time allowance is used up.
    Allowance,
}
