//! Tokens as people and machines carry them: `yard_api_<id>_<secret>` speaks for somebody with a
//! role, `yard_join_<id>_<secret>_<sha256 of the CA certificate>` lets one machine join, and
//! tells it whom to trust. The scheduler keeps the digest of the secret alone, so the text of a
//! token exists only where it was made. Neither `Debug` nor an error ever shows a secret.

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Digest, ProjectName, Role, TokenId, ids::ALPHABET};

/// The longest text that can be a token, in bytes: more is refused unread.
pub const MAX_TOKEN: usize = 160;

/// The longest name of a bearer, in bytes.
pub const MAX_BEARER: usize = 64;

/// 256 bits in base 32.
const SECRET_CHARS: usize = 52;

const API: &str = "yard_api_";
const JOIN: &str = "yard_join_";

/// Text that is no token. What it was is not said, because it may be most of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToken {
    /// Longer than any token.
    #[error("the text is longer than a token: expected `yard_api_…` or `yard_join_…` alone")]
    TooLong,
    /// Neither kind.
    #[error("the text is not a token: expected `yard_api_…` or `yard_join_…`")]
    Kind,
    /// The beginning is right.
    #[error("the token is damaged: copy all of it, as it was printed when it was made")]
    Damaged,
}

/// The part of a token that proves something: 256 random bits.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Makes one of random bytes.
    #[must_use]
    pub fn from_random(random: [u8; 32]) -> Self {
        let mut text = String::with_capacity(SECRET_CHARS);
        let (mut held, mut bits) = (0u32, 0u32);
        for byte in random {
            held = held << 8 | u32::from(byte);
            bits += 8;
            while bits >= 5 {
                bits -= 5;
                text.push(digit(held >> bits));
                held &= (1 << bits) - 1;
            }
        }
        text.push(digit(held << (5 - bits)));
        Self(text)
    }

    /// What is kept of it. So many random bits need no slow hash.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }

    fn read(text: &str) -> Option<Self> {
        let valid = text.len() == SECRET_CHARS && text.bytes().all(|b| ALPHABET.contains(&b));
        valid.then(|| Self(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

fn digit(value: u32) -> char {
    let index = usize::try_from(value & 31).unwrap_or_default();
    ALPHABET.get(index).copied().map_or('0', char::from)
}

/// A token with its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// Speaks for somebody.
    Api {
        /// Which token.
        id: TokenId,
        /// What proves it.
        secret: Secret,
    },
    /// Lets one machine join.
    Join {
        /// Which token.
        id: TokenId,
        /// What proves it.
        secret: Secret,
        /// The digest of the certificate authority's certificate: whom the machine may trust
        /// before it knows anybody.
        ca: Digest,
    },
}

impl Token {
    /// Which token it is.
    #[must_use]
    pub const fn id(&self) -> &TokenId {
        match self {
            Self::Api { id, .. } | Self::Join { id, .. } => id,
        }
    }

    /// What proves it.
    #[must_use]
    pub const fn secret(&self) -> &Secret {
        match self {
            Self::Api { secret, .. } | Self::Join { secret, .. } => secret,
        }
    }

    /// The whole text, secret and all: for whoever is to carry it, never for a log.
    #[must_use]
    pub fn expose(&self) -> String {
        match self {
            Self::Api { id, secret } => format!("{API}{id}_{}", secret.0),
            Self::Join { id, secret, ca } => format!("{JOIN}{id}_{}_{}", secret.0, ca.hex()),
        }
    }
}

impl FromStr for Token {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        if text.len() > MAX_TOKEN {
            return Err(InvalidToken::TooLong);
        }
        let damaged = InvalidToken::Damaged;
        if let Some(rest) = text.strip_prefix(API) {
            let (id, secret) = rest.split_once('_').ok_or(damaged)?;
            let id = id.parse().map_err(|_| damaged)?;
            return Ok(Self::Api { id, secret: Secret::read(secret).ok_or(damaged)? });
        }
        let rest = text.strip_prefix(JOIN).ok_or(InvalidToken::Kind)?;
        let (id, rest) = rest.split_once('_').ok_or(damaged)?;
        let (secret, ca) = rest.split_once('_').ok_or(damaged)?;
        Ok(Self::Join {
            id: id.parse().map_err(|_| damaged)?,
            secret: Secret::read(secret).ok_or(damaged)?,
            ca: Digest::from_hex(ca).ok_or(damaged)?,
        })
    }
}

/// As what a machine may join.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JoinRole {
    /// A worker's agent.
    Worker,
    /// A member of the replicated scheduler.
    Scheduler,
}

impl JoinRole {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Scheduler => "scheduler",
        }
    }
}

impl fmt::Display for JoinRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The projects that somebody sees and acts on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Projects {
    /// Every one, now and later.
    All,
    /// These; others do not exist for the bearer.
    Only(BTreeSet<ProjectName>),
}

impl Projects {
    /// Whether `project` is one of them.
    #[must_use]
    pub fn contain(&self, project: &ProjectName) -> bool {
        match self {
            Self::All => true,
            Self::Only(projects) => projects.contains(project),
        }
    }
}

/// Whether `text` may name a person or a program in the audit trail.
#[must_use]
pub fn is_bearer_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '@' | '+');
    !text.is_empty() && text.len() <= MAX_BEARER && text.chars().all(allowed)
}

/// What a token is good for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenKind {
    /// It speaks for somebody, until it expires or is revoked.
    Api {
        /// What the bearer may do.
        role: Role,
        /// Where.
        projects: Projects,
        /// Who the bearer is, in the audit trail; may be empty.
        name: String,
    },
    /// It lets one machine join, once.
    Join {
        /// As what.
        role: JoinRole,
    },
}

#[cfg(test)]
mod tests;
