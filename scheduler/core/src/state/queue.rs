//! Queues as replicas know them: the settings that somebody gave, the version of them, and what
//! each project used lately.

use serde::{Deserialize, Serialize};
use trainyard_jobs::{Millis, QueueSpec, Timestamp};

use super::member::is_zero;
use crate::placement::Host;

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
    /// Processor-milliseconds that its jobs asked for beside their units, decayed alike. Counted
    /// from feature level 6 on.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cpu_ms: u64,
    /// Mebibyte-milliseconds of memory, alike.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub memory_ms: u64,
}

impl Usage {
    /// What is left of it at a later time: half for each half-life, and in a straight line between
    /// two of them. Integers alone, so that replicas agree.
    #[must_use]
    pub fn at(self, time: Timestamp, half_life: Millis) -> Self {
        let span = time.since(self.at);
        let left = |sum: u64| halved(sum, span, half_life);
        Self {
            unit_ms: left(self.unit_ms),
            at: self.at.max(time),
            cpu_ms: left(self.cpu_ms),
            memory_ms: left(self.memory_ms),
        }
    }

    /// With what was used since.
    #[must_use]
    pub const fn and(self, unit_ms: u64, cpu_ms: u64, memory_ms: u64) -> Self {
        Self {
            unit_ms: self.unit_ms.saturating_add(unit_ms),
            at: self.at,
            cpu_ms: self.cpu_ms.saturating_add(cpu_ms),
            memory_ms: self.memory_ms.saturating_add(memory_ms),
        }
    }

    /// With so many unit-milliseconds more, and what ranks have beside each unit.
    #[must_use]
    pub fn charged(self, service: u64, each: Host) -> Self {
        let cpus = service.saturating_mul(each.cpu_milli / 1000);
        let memory = service.saturating_mul(each.memory.0.div_ceil(1 << 20));
        self.and(service, cpus, memory)
    }

    /// Whether nothing is left of it.
    #[must_use]
    pub const fn is_nothing(&self) -> bool {
        self.unit_ms == 0 && self.cpu_ms == 0 && self.memory_ms == 0
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
    use crate::codec;

    #[test]
    fn use_halves_with_each_half_life() {
        let at = Timestamp(100);
        let used = Usage { unit_ms: 1 << 20, at, cpu_ms: 1 << 12, memory_ms: 1 << 10 };
        let left = |ms: u64| used.at(Timestamp(100 + ms), Millis(1000)).unit_ms;
        assert_eq!((left(0), left(1000), left(3000)), (1 << 20, 1 << 19, 1 << 17));
        assert_eq!(left(500), (1 << 20) - (1 << 18), "in a straight line between");
        let later = used.at(Timestamp(2100), Millis(1000));
        assert_eq!((later.cpu_ms, later.memory_ms), (1 << 10, 1 << 8), "all of it alike");
        assert_eq!(left(1_000_000), 0);
        assert!(used.at(Timestamp(1_000_100), Millis(1000)).is_nothing());
        assert_eq!(used.at(Timestamp(0), Millis(0)), used, "never back");
        let most = Usage { unit_ms: u64::MAX, ..Usage::default() };
        assert!(most.at(Timestamp(999), Millis(1000)).unit_ms > u64::MAX / 2);
        assert_eq!(most.and(1, 0, 0).unit_ms, u64::MAX, "no more than can be counted");
    }

    #[test]
    fn what_an_older_version_counted_is_read_and_written_as_it_was() {
        #[derive(Serialize, Deserialize, PartialEq, Debug)]
        struct Older {
            unit_ms: u64,
            at: Timestamp,
        }
        let older = codec::encode(&Older { unit_ms: 7, at: Timestamp(8) });
        let read: Usage = codec::decode("use", &older).unwrap();
        assert_eq!(read, Usage { unit_ms: 7, at: Timestamp(8), ..Usage::default() });
        assert_eq!(codec::encode(&read), older, "replicas of both versions have the same hash");
    }
}
