//! The wire: code generated from `proto/*.proto`, and conversions between messages and the
//! domain types of `trainyard-jobs`. No logic: a conversion checks shape, nothing else.

pub mod convert;

/// Generated from `proto/trainyard/v1/*.proto`.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::as_conversions,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    reason = "generated code"
)]
pub mod v1 {
    tonic::include_proto!("trainyard.v1");
}

/// The path of every RPC that the `.proto` files declare.
pub const RPCS: &[&str] = include!(concat!(env!("OUT_DIR"), "/rpcs.rs"));

/// The largest message that a peer may send, in bytes: a job spec or a desired set, never a
/// bundle or a snapshot, which travel in chunks.
pub const MAX_MESSAGE_BYTES: usize = 8 << 20;

/// The size of a chunk of a bundle, a model file or a snapshot, in bytes.
pub const CHUNK_BYTES: usize = 256 << 10;

/// The metadata key by which a scheduler that does not lead names the one that does.
pub const LEADER_METADATA: &str = "yard-leader";
