//! A token as replicas know it: what it is good for, and the digest of its secret.

use serde::{Deserialize, Serialize};
use trainyard_jobs::{Digest, Timestamp, TokenId, TokenKind};

/// A token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Its id.
    pub id: TokenId,
    /// What it is good for.
    pub kind: TokenKind,
    /// Digest of its secret.
    pub digest: Digest,
    /// When it was made.
    pub created: Timestamp,
    /// From when on it is good for nothing.
    pub expires: Timestamp,
    /// Who made it.
    pub created_by: String,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Timestamp>,
    /// Who joined with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redeemed: Option<Redeemed>,
}

/// The one use of a join token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redeemed {
    /// Digest of the public key of the machine that joined.
    pub requester: Digest,
    /// When.
    pub at: Timestamp,
}

impl TokenRecord {
    /// Whether it is good at `time`, as far as time and revocation go.
    #[must_use]
    pub fn is_valid(&self, time: Timestamp) -> bool {
        self.revoked.is_none() && time < self.expires
    }
}
