//! The words of the field, shared by every room: ids, units, the job spec, inventories, the
//! lifecycle of jobs and attempts, checkpoint manifests, model versions.
//!
//! This crate is pure: it does no IO, reads no clock and draws no randomness. Whoever makes an
//! id passes the random bits in.

pub mod checkpoint;
pub mod digest;
pub mod ids;
pub mod inventory;
pub mod lifecycle;
pub mod model;
pub mod name;
pub mod queue;
pub mod reservation;
pub mod role;
pub mod spec;
mod text;
pub mod token;
pub mod units;

pub use checkpoint::{CheckpointId, CheckpointPart, FileEntry, Manifest};
pub use digest::Digest;
pub use ids::{
    AttemptNo, AttemptRef, ClusterId, Generation, IdempotencyKey, JobId, NodeId, Revision,
    SessionId, TokenId,
};
pub use inventory::{
    Device, DeviceKind, GpuPart, InvalidParts, Inventory, MAX_SHARES, UnitId, WHOLE_GPU,
    check_parts,
};
pub use lifecycle::{AttemptPhase, EndReason, JobPhase, OverMemory, RankExit, StopCause};
pub use model::{Lineage, ModelVersion};
pub use name::{JobName, ModelName, NodeName, ProjectName, ReservationName};
pub use queue::{Backfill, Policy, QueueSpec, Quota};
pub use reservation::{NodeSelection, Purpose, ReservationSpec};
pub use role::Role;
pub use spec::JobSpec;
pub use token::{JoinRole, Projects, Secret, Token, TokenKind};
pub use units::{BitRate, Bytes, Millis, Timestamp, Usd};
