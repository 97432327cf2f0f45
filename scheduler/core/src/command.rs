//! What the log carries. Everything random was drawn before a command was proposed; the time is
//! the leader's clock. A meaning never changes: a new one is a new command, behind a feature
//! level.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use trainyard_jobs::{
    AttemptNo, AttemptRef, CheckpointId, CheckpointPart, Digest, FileEntry, IdempotencyKey,
    Inventory, JobId, JobSpec, JoinRole, Millis, NodeId, OverMemory, ProjectName, QueueSpec,
    RankExit, ReservationName, ReservationSpec, SessionId, StopCause, Timestamp, TokenId,
    TokenKind, UnitId,
};

use crate::{placement::Stop, state::GoesOn};

/// The highest feature level that this code can apply, and the one that a new cluster starts with.
pub const FEATURE_LEVEL: u16 = 6;

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// The feature level that the command needs. A replica that cannot apply it halts.
    pub level: u16,
    /// The leader's clock. The state's time is the maximum of those seen.
    pub time: Timestamp,
    /// What to do.
    pub command: Command,
}

/// A change of the replicated state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Queue a job.
    Submit(Box<Submit>),
    /// End a job at somebody's wish.
    Cancel {
        /// Names this mutation.
        mutation: Mutation,
        /// The job.
        job: JobId,
    },
    /// A worker's agent has connected, for the first time or after a change.
    RegisterNode {
        /// The node.
        node: NodeId,
        /// This life of its agent.
        session: SessionId,
        /// What it offers.
        inventory: Inventory,
        /// The attempts whose directories it holds.
        running: BTreeSet<AttemptRef>,
        /// What it was asked about and does not hold. Nothing else ends by this: its greeting may
        /// be older than what the log knows. Absent from a member or for an agent that does not
        /// ask or answer: then all that is not in `running` is gone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        gone: Option<BTreeSet<AttemptRef>>,
    },
    /// Call a node lost, if it still has this session.
    MarkLost {
        /// The node.
        node: NodeId,
        /// The session that fell silent.
        session: SessionId,
    },
    /// Start a whole gang, if everything that it touches is as the planner saw it.
    StartAttempt(Box<StartAttempt>),
    /// A node's ranks are running.
    ReportStarted {
        /// The node.
        node: NodeId,
        /// The attempt.
        attempt: AttemptRef,
    },
    /// A node's ranks have exited, or could not be started.
    ReportEnded(Box<EndedReport>),
    /// A node's part of a checkpoint is stored.
    ReportCheckpoint {
        /// The node.
        node: NodeId,
        /// The part.
        part: CheckpointPart,
    },
    /// The artifacts of a finishing job verify: end it, and register its model.
    Complete {
        /// The job.
        job: JobId,
        /// The attempt that ended well.
        attempt: AttemptNo,
    },
    /// The artifacts of a finishing job do not verify.
    RejectArtifacts {
        /// The job.
        job: JobId,
        /// The attempt that reported them.
        attempt: AttemptNo,
        /// What is wrong with them.
        message: String,
    },
    /// Never resume from this checkpoint again: its bytes are about to be deleted.
    RetireCheckpoint {
        /// The job.
        job: JobId,
        /// The checkpoint.
        checkpoint: CheckpointId,
    },
    /// The bytes of a retired checkpoint are gone.
    ForgetCheckpoint {
        /// The job.
        job: JobId,
        /// The checkpoint.
        checkpoint: CheckpointId,
    },
    /// Every member can apply this level: switch its meanings on.
    RaiseFeatureLevel {
        /// The level.
        to: u16,
    },
    /// Make a token. Its secret stays with whoever asked for it.
    CreateToken(Box<CreateToken>),
    /// End a token before its time.
    RevokeToken {
        /// Names this mutation.
        mutation: Mutation,
        /// The token.
        token: TokenId,
    },
    /// A machine joins with a token, which is used up by it.
    RedeemToken {
        /// The token.
        token: TokenId,
        /// Digest of the secret that the machine showed.
        digest: Digest,
        /// Digest of the machine's public key: the same one may ask again, and is answered the
        /// same.
        requester: Digest,
    },
    /// Put on record the schedulers that the configuration names.
    SetMembers {
        /// Their addresses by id.
        members: BTreeMap<u64, String>,
    },
    /// Give out the id of a new scheduler.
    AddMember {
        /// Where it listens.
        address: String,
        /// The member whose place it takes.
        replaces: Option<u64>,
    },
    /// A scheduler is to be removed.
    LeaveMember {
        /// Which.
        id: u64,
    },
    /// A scheduler has been removed.
    ForgetMember {
        /// Which.
        id: u64,
    },
    /// Somebody decided to stop an attempt that a node holds and the state does not know.
    ReleaseAttempt {
        /// The node.
        node: NodeId,
        /// The attempt.
        attempt: AttemptRef,
    },
    /// Move ended jobs to the archive.
    Archive {
        /// The jobs, in the order in which they are to lie there.
        jobs: Vec<JobId>,
    },
    /// Stop an attempt so that its job waits again, if it is as the planner saw it.
    Preempt(Box<Preempt>),
    /// Set a queue's settings, or take them back.
    SetQueue(Box<SetQueue>),
    /// Reserve nodes.
    CreateReservation(Box<CreateReservation>),
    /// End a reservation before its time.
    DeleteReservation {
        /// Names this mutation.
        mutation: Mutation,
        /// The reservation.
        name: ReservationName,
    },
}

impl Command {
    /// The feature level that a replica needs to apply the command. A cluster whose state is at a
    /// lower one must not be given it: a member of an older version would halt.
    #[must_use]
    pub fn level(&self) -> u16 {
        match self {
            // An older member takes parts of GPUs for whole ones.
            Self::RegisterNode { inventory, .. } if has_more(inventory) => PLACES_LEVEL,
            Self::RegisterNode { inventory, .. } if has_parts(inventory) => PARTS_LEVEL,
            Self::ReportEnded(report) if report.over_memory.is_some() => PARTS_LEVEL,
            Self::Submit(submit) if submit.spec.needs_level_6() => PLACES_LEVEL,
            Self::Submit(submit) if submit.spec.needs_level_5() => 5,
            Self::CreateReservation(_) | Self::DeleteReservation { .. } => 4,
            // An older member refuses the keys that it does not know.
            Self::Submit(submit) if submit.spec.needs_level_4() => 4,
            Self::SetQueue(set) if set.spec.as_ref().is_some_and(QueueSpec::needs_level_6) => {
                PLACES_LEVEL
            }
            Self::SetQueue(set) if set.spec.as_ref().is_some_and(QueueSpec::needs_level_5) => 5,
            Self::SetQueue(set) if set.spec.as_ref().is_some_and(QueueSpec::needs_level_4) => 4,
            Self::Preempt(p) if p.goes_on.is_some() || p.cause == StopCause::Shrink => 5,
            Self::Preempt(_) | Self::SetQueue(_) => 3,
            Self::Submit(submit) if submit.spec.needs_level_3() => 3,
            Self::RaiseFeatureLevel { .. }
            | Self::CreateToken(_)
            | Self::RevokeToken { .. }
            | Self::RedeemToken { .. }
            | Self::SetMembers { .. }
            | Self::AddMember { .. }
            | Self::LeaveMember { .. }
            | Self::ForgetMember { .. }
            | Self::ReleaseAttempt { .. }
            | Self::Archive { .. } => 2,
            _ => 1,
        }
    }
}

/// The feature level from which nodes offer parts of GPUs.
pub const PARTS_LEVEL: u16 = 5;

/// The feature level from which queues and nodes say what the newest placing goes by.
pub const PLACES_LEVEL: u16 = 6;

fn has_parts(inventory: &Inventory) -> bool {
    inventory.devices.values().any(|device| !device.part.is_whole())
}

/// Whether it has what a member of an older version would drop.
const fn has_more(inventory: &Inventory) -> bool {
    !inventory.disk.is_zero() || !inventory.network.is_zero()
}

/// Who asks for a mutation, and under which key, so that asking twice does it once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mutation {
    /// The key.
    pub key: IdempotencyKey,
    /// Digest of the request: the same key with another body is a conflict.
    pub request: Digest,
    /// Who asks.
    pub principal: String,
}

/// Queue a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submit {
    /// Names this mutation.
    pub mutation: Mutation,
    /// The job's id, drawn by the leader.
    pub job: JobId,
    /// What to run.
    pub spec: JobSpec,
    /// The work directory, if one was sent.
    pub bundle: Option<Digest>,
    /// The git commit of the work directory, if it was one.
    pub commit: Option<String>,
}

/// Make a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateToken {
    /// Names this mutation.
    pub mutation: Mutation,
    /// The token's id, drawn by the leader.
    pub token: TokenId,
    /// What it is good for.
    pub kind: TokenKind,
    /// Digest of its secret.
    pub digest: Digest,
    /// How long it is good.
    pub ttl: Millis,
}

/// Start a whole gang.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartAttempt {
    /// The job.
    pub job: JobId,
    /// The job's version that the planner saw.
    pub job_version: u64,
    /// Node by node in group-rank order: the units that its ranks get.
    pub placements: Vec<Assignment>,
    /// Where rank 0 listens.
    pub master_port: u16,
    /// The checkpoint to resume from: the newest that the planner saw.
    pub resume: Option<CheckpointId>,
}

/// Stop an attempt so that its job waits again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preempt {
    /// The job.
    pub job: JobId,
    /// The job's version that the planner saw.
    pub job_version: u64,
    /// The attempt.
    pub attempt: AttemptNo,
    /// What it is stopped for.
    pub cause: StopCause,
    /// The job is asked to save its state first, and is stopped once it has, at this time at the
    /// latest; at once when absent.
    pub checkpoint_by: Option<Timestamp>,
    /// What the job goes on with at once, if it does not wait for its turn again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goes_on: Option<GoesOn>,
}

impl From<Stop> for Preempt {
    fn from(stop: Stop) -> Self {
        Self {
            job: stop.job,
            job_version: stop.version,
            attempt: stop.attempt,
            cause: stop.why,
            checkpoint_by: stop.checkpoint_by,
            goes_on: stop.goes_on,
        }
    }
}

/// Set a queue's settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetQueue {
    /// Names this mutation.
    pub mutation: Mutation,
    /// The queue.
    pub queue: ProjectName,
    /// All of its settings; none to go back to the defaults.
    pub spec: Option<QueueSpec>,
    /// The queue's version that these settings were made from, to refuse what would undo another's
    /// change; any when absent.
    pub version: Option<u64>,
}

/// Reserve nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateReservation {
    /// Names this mutation.
    pub mutation: Mutation,
    /// The reservation's name.
    pub name: ReservationName,
    /// Which nodes, when and what for.
    pub spec: ReservationSpec,
}

/// One node's share of a gang.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// The node.
    pub node: NodeId,
    /// The node's version that the planner saw.
    pub node_version: u64,
    /// One unit a rank, in rank order.
    pub units: Vec<UnitId>,
}

/// What a node says of its ranks' end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedReport {
    /// The node.
    pub node: NodeId,
    /// The attempt.
    pub attempt: AttemptRef,
    /// How each rank exited; empty when none was started.
    pub exits: BTreeMap<u32, RankExit>,
    /// The rank that failed first, if one did.
    pub first_failure: Option<u32>,
    /// Why the ranks could not be started, if so.
    pub start_error: Option<String>,
    /// The agent stopped them at the end of their time allowance.
    pub time_limit: bool,
    /// The agent stopped them because one had more of a GPU's memory than its share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over_memory: Option<OverMemory>,
    /// Uploaded files; rank 0's node alone has any.
    pub artifacts: Vec<FileEntry>,
    /// Final metrics as decimal text; rank 0's node alone has any.
    pub metrics: BTreeMap<String, String>,
}

/// The answer to an applied command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// Done, now or before.
    Done,
    /// The job that the submission made, now or when its key was first used.
    Submitted {
        /// The job.
        job: JobId,
        /// The key had been used before.
        existed: bool,
    },
    /// The attempt that was started.
    Started(AttemptRef),
    /// The token that was made, now or when the key was first used.
    TokenCreated(TokenId),
    /// The machine may join.
    TokenRedeemed(JoinRole),
    /// The scheduler's id.
    Member(u64),
    /// The jobs of the command that could be archived were.
    Archived {
        /// How many.
        jobs: u64,
    },
}
