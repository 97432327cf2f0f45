//! Queues as replicas know them: the settings that somebody gave, the version of them, and what
//! each project used lately.

use serde::{Deserialize, Serialize};
use trainyard_jobs::{Millis, QueueSpec, Timestamp};

/// A queue that has settings of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// What was set.
    pub spec: QueueSpec,
    /// The log index that set it, for preconditions.
    pub version: u64,
}

/// The half-life of use where a queue does not say another.
pub const HALF_LIFE: Millis = Millis(86_400_000);

/// What a project used, counting what was used long ago for less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Unit-milliseconds, decayed up to `at`.
    pub unit_ms: u64,
    /// Up to when.
    pub at: Timestamp,
}

impl Usage {
    /// What is left of it at a later time: half for each half-life, and in a straight line between
    /// two of them. Integers alone, so that replicas agree.
    #[must_use]
    pub fn at(self, time: Timestamp, half_life: Millis) -> Self {
        let unit_ms = halved(self.unit_ms, time.since(self.at), half_life);
        Self { unit_ms, at: self.at.max(time) }
    }
}

/// What is left of an amount after a span: half for each half-life, and in a straight line between
/// two of them.
pub(crate) fn halved(amount: u64, span: Millis, half_life: Millis) -> u64 {
    let (span, half) = (span.0, half_life.0.max(1));
    let halvings = u32::try_from(span / half).unwrap_or(u32::MAX);
    let whole = amount.checked_shr(halvings).unwrap_or(0);
    let part = u128::from(whole) * u128::from(span % half) / (2 * u128::from(half));
    whole.saturating_sub(u64::try_from(part).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn use_halves_with_each_half_life() {
        let used = Usage { unit_ms: 1 << 20, at: Timestamp(100) };
        let left = |ms: u64| used.at(Timestamp(100 + ms), Millis(1000)).unit_ms;
        assert_eq!((left(0), left(1000), left(3000)), (1 << 20, 1 << 19, 1 << 17));
        assert_eq!(left(500), (1 << 20) - (1 << 18), "in a straight line between");
        assert_eq!(left(1_000_000), 0);
        assert_eq!(used.at(Timestamp(0), Millis(0)), used, "never back");
        let most = Usage { unit_ms: u64::MAX, at: Timestamp(0) };
        assert!(most.at(Timestamp(999), Millis(1000)).unit_ms > u64::MAX / 2);
    }
}
