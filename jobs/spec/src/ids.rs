//! Identifiers. An id is never reused, not after a restore either, so ids are random and are
//! drawn before a command is proposed; the state machine refuses a collision.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::text::serde_as_text;

/// Crockford's base 32 in lower case: no `i`, `l`, `o`, `u`, so an id can be read aloud.
pub(crate) const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const ID_CHARS: usize = 12;

/// A text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an id: expected {ID_CHARS} characters of 0-9 and a-z without i, l, o, u")]
pub struct InvalidId(String);

macro_rules! short_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; ID_CHARS]);

        impl $name {
            /// Makes an id of 60 random bits, taken from the low end of `random`.
            #[must_use]
            pub fn from_random(random: u64) -> Self {
                Self(encode(random))
            }

            /// The id's text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                // Only characters of the alphabet come in, so this is always text.
                std::str::from_utf8(&self.0).unwrap_or_default()
            }

            /// The lowest id that starts with `prefix`, if any id does: where a search among
            /// ordered ids begins.
            #[must_use]
            pub fn lowest_with_prefix(prefix: &str) -> Option<Self> {
                if !prefix.bytes().all(|b| ALPHABET.contains(&b)) {
                    return None;
                }
                let mut id = [b'0'; ID_CHARS];
                id.get_mut(..prefix.len())?.copy_from_slice(prefix.as_bytes());
                Some(Self(id))
            }

            /// The first eight characters, enough to name it in a table.
            #[must_use]
            pub fn short(&self) -> &str {
                self.as_str().get(..8).unwrap_or_default()
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let id: Option<[u8; ID_CHARS]> = text.as_bytes().try_into().ok();
                let id = id.filter(|id| id.iter().all(|b| ALPHABET.contains(b)));
                id.map(Self).ok_or_else(|| InvalidId(text.to_owned()))
            }
        }

        serde_as_text!($name, |id| id.as_str());

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

short_id! {
    /// A job.
    JobId
}
short_id! {
    /// A worker node, drawn once when its data directory is made.
    NodeId
}
short_id! {
    /// A token: the part of its text that is no secret.
    TokenId
}

fn encode(random: u64) -> [u8; ID_CHARS] {
    let digit = |i: usize| {
        let index = usize::try_from((random >> (5 * (ID_CHARS - 1 - i))) & 31).unwrap_or_default();
        ALPHABET.get(index).copied().unwrap_or(b'0')
    };
    std::array::from_fn(digit)
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

uuid_id! {
    /// A cluster: data directories and sessions of another cluster are refused.
    ClusterId
}
uuid_id! {
    /// One life of a worker's agent. A node is called lost by node *and* session, so that a
    /// node that came back in between is left alone.
    SessionId
}
uuid_id! {
    /// Names a mutation, so that an answer that was lost can be asked for again. `UUIDv7`.
    IdempotencyKey
}

/// Counts a job's attempts from 1. Every start of a job is a new attempt.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct AttemptNo(pub u32);

impl fmt::Display for AttemptNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Counts restarts of an attempt's ranks in place from 1; minted by the log.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Generation(pub u32);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What owns ranks, checkpoints and reports. Anything that carries an older one than the
/// job's current attempt is refused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptRef {
    /// The job.
    pub job: JobId,
    /// Its attempt.
    pub attempt: AttemptNo,
    /// The restart in place within the attempt.
    pub generation: Generation,
}

impl fmt::Display for AttemptRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.job, self.attempt, self.generation)
    }
}

/// A point in the cluster's history. Orders desired sets: a recovered cluster has a higher
/// epoch, within an epoch the log index decides.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Revision {
    /// Recovery epoch: raised when a cluster is restored or recovered without quorum.
    pub epoch: u64,
    /// Raft log index.
    pub index: u64,
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.epoch, self.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_sixty_bits_and_reads_back() {
        let id = JobId::from_random(u64::MAX);
        assert_eq!(id.as_str(), "zzzzzzzzzzzz");
        assert_eq!(id.as_str().parse::<JobId>(), Ok(id));
        assert_eq!(JobId::from_random(33).as_str(), "000000000011");
    }

    #[test]
    fn a_prefix_begins_at_its_lowest_id() {
        let lowest = |prefix| JobId::lowest_with_prefix(prefix).map(|id| id.to_string());
        assert_eq!(lowest("7k").as_deref(), Some("7k0000000000"));
        assert_eq!(lowest("").as_deref(), Some("000000000000"));
        assert_eq!(lowest("7k00000000000"), None, "longer than an id");
        assert_eq!(lowest("il"), None);
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in ["", "abc", "ooooooooooooo", "00000000000u", "00000000000A"] {
            assert!(text.parse::<JobId>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_higher_recovery_epoch_wins_over_any_index() {
        assert!(Revision { epoch: 2, index: 1 } > Revision { epoch: 1, index: 900 });
    }
}
