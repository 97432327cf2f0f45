//! The schedulers themselves as they know each other: who there is, where each listens, and who
//! is to come or to go. Who votes is raft's own record; this says what the leader works towards.

use serde::{Deserialize, Serialize};
use trainyard_jobs::Timestamp;

/// A scheduler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Where it listens, `host:port`.
    pub address: String,
    /// When it was added.
    pub added: Timestamp,
    /// The member whose place it takes once it has caught up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<u64>,
    /// It is to be removed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaving: bool,
}

/// Serde's way to leave out what was not there before.
pub(crate) const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The same for a narrower number.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
pub(crate) const fn is_zero_u32(number: &u32) -> bool {
    *number == 0
}
