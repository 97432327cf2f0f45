//! What an applied command changed: enough for whoever watches to look again.

use trainyard_jobs::{
    AttemptRef, CheckpointId, EndReason, JobId, JobPhase, ModelName, NodeId, ProjectName,
    ReservationName,
};

/// A change of the replicated state. Events are derived from commands and never stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A job came into a phase.
    Job {
        /// The job.
        job: JobId,
        /// Its phase now.
        phase: JobPhase,
    },
    /// An attempt was started.
    AttemptStarted(AttemptRef),
    /// A node confirmed that it runs its ranks of an attempt.
    RanksStarted {
        /// The attempt.
        attempt: AttemptRef,
        /// The node.
        node: NodeId,
    },
    /// An attempt is being stopped, or has ended.
    AttemptEnding {
        /// The attempt.
        attempt: AttemptRef,
        /// Why.
        reason: EndReason,
    },
    /// A node, or what it runs, changed.
    Node(NodeId),
    /// A checkpoint was catalogued.
    Checkpoint {
        /// The job.
        job: JobId,
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// Its step.
        step: u64,
    },
    /// A checkpoint was retired or forgotten.
    CheckpointGone {
        /// The job.
        job: JobId,
        /// The checkpoint.
        checkpoint: CheckpointId,
    },
    /// A queue's settings changed.
    Queue(ProjectName),
    /// What a project used was counted.
    Usage(ProjectName),
    /// A reservation was made, deleted, or is over.
    Reservation(ReservationName),
    /// The schedulers changed.
    Members,
    /// A model version was registered.
    Model {
        /// The model.
        model: ModelName,
        /// The version.
        version: u32,
    },
    /// Another member's snapshot replaced the state: anything may have changed.
    Restored,
}

impl Event {
    /// The job that it is about, if it is about one.
    #[must_use]
    pub const fn job(&self) -> Option<&JobId> {
        match self {
            Self::Job { job, .. }
            | Self::Checkpoint { job, .. }
            | Self::CheckpointGone { job, .. } => Some(job),
            Self::AttemptStarted(attempt)
            | Self::RanksStarted { attempt, .. }
            | Self::AttemptEnding { attempt, .. } => Some(&attempt.job),
            Self::Node(_)
            | Self::Queue(_)
            | Self::Usage(_)
            | Self::Reservation(_)
            | Self::Members
            | Self::Model { .. }
            | Self::Restored => None,
        }
    }
}
