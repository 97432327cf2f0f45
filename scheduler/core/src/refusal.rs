//! Why a command changed nothing.

use serde::{Deserialize, Serialize};
use trainyard_jobs::{AttemptRef, JobId, NodeId, ReservationName, TokenId};

/// Why a command changed nothing. Refusing is deterministic: every replica refuses alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// The key was used with another request.
    #[error(
        "the idempotency key was already used for another request: use a new key for a new request"
    )]
    KeyConflict,
    /// The key is older than the memory of keys.
    #[error("the idempotency key is more than 24 hours old: use a new one")]
    KeyExpired,
    /// The id is taken.
    #[error("the id {0} is taken: draw another")]
    IdTaken(String),
    /// No such job.
    #[error("there is no job {0}")]
    NoJob(JobId),
    /// No such node.
    #[error("there is no node {0}")]
    NoNode(NodeId),
    /// Another node has the name.
    #[error(
        "the name `{name}` belongs to node {holder}, which is up: give this worker another name, or stop the other"
    )]
    NameTaken {
        /// The name.
        name: String,
        /// The node that has it.
        holder: NodeId,
    },
    /// Something changed since the planner looked.
    #[error("{0} changed since the plan was made")]
    Stale(String),
    /// The attempt is not the job's current one.
    #[error("attempt {0} does not own its job any more")]
    Superseded(AttemptRef),
    /// The job is in another phase.
    #[error("job {job} is {phase}")]
    WrongPhase {
        /// The job.
        job: JobId,
        /// Its phase.
        phase: String,
    },
    /// The checkpoint is needed.
    #[error("checkpoint {0} is in use")]
    Pinned(u64),
    /// No such token.
    #[error("there is no token {0}: `yard token list` lists them")]
    NoToken(TokenId),
    /// The token does not let anybody join. Why is not told to somebody who has not proved that
    /// the token is theirs.
    #[error("the join token is not valid: make a new one with `yard token create`")]
    BadToken,
    /// The token was used by another machine.
    #[error(
        "join token {0} was used before, and is good once: make a new one with `yard token create`"
    )]
    TokenUsed(TokenId),
    /// There are too many tokens.
    #[error("there are {0} tokens, which is the most: revoke some and let others expire")]
    TooManyTokens(usize),
    /// No such scheduler.
    #[error("there is no member {0}: `yard cluster members` lists them")]
    NoMember(u64),
    /// The schedulers cannot be changed so.
    #[error("{0}")]
    Members(String),
    /// The node does not hold the attempt for anybody's word.
    #[error("the cluster knows attempt {0}: `yard cancel` stops its job")]
    Known(AttemptRef),
    /// The queue cannot be set so.
    #[error("{0}")]
    Queue(String),
    /// Nodes cannot be reserved so.
    #[error("{0}")]
    Reservation(String),
    /// The name is taken.
    #[error("there is a reservation {0}: delete it first, or take another name")]
    ReservationTaken(ReservationName),
    /// No such reservation.
    #[error("there is no reservation {0}: `yard reservation list` lists them")]
    NoReservation(ReservationName),
    /// The node is reserved, and not for the job.
    #[error("node {node} is reserved for {purpose} ({name})")]
    Reserved {
        /// The node's name.
        node: String,
        /// What for.
        purpose: String,
        /// The reservation.
        name: ReservationName,
    },
    /// The command contradicts itself.
    #[error("malformed: {0}")]
    Malformed(String),
}
