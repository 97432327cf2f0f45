//! What a unit's telemetry says of it, and when it says nothing: figures are hints, never more.

use trainyard_jobs::{Millis, Timestamp};

/// From this temperature on a GPU slows itself down.
const HOT: u32 = 85;

/// Figures older than this say nothing of now.
const STALE: Millis = Millis(60_000);

/// What a worker said of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// When it was heard, by the leader's clock.
    pub at: Timestamp,
    /// Degrees Celsius.
    pub celsius: Option<u32>,
}

impl Reading {
    /// Whether the unit is better left alone at `now`. `held_since` is when the attempt that has it
    /// was started: what was heard before that says nothing of it, and what is old, or from a
    /// clock that runs ahead, says nothing at all.
    #[must_use]
    pub fn is_strained(&self, now: Timestamp, held_since: Option<Timestamp>) -> bool {
        let current = self.at <= now && now.since(self.at) <= STALE;
        let own = held_since.is_none_or(|since| self.at >= since);
        current && own && self.celsius.is_some_and(|celsius| celsius >= HOT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_fresh_figures_of_the_same_attempt_count() {
        let at = |at| Reading { at: Timestamp(at), celsius: Some(90) };
        let now = Timestamp(1_000_000);
        assert!(at(990_000).is_strained(now, None));
        assert!(at(990_000).is_strained(now, Some(Timestamp(980_000))));
        assert!(!at(990_000).is_strained(now, Some(Timestamp(995_000))), "older than its job");
        assert!(!at(900_000).is_strained(now, None), "stale");
        assert!(!at(1_100_000).is_strained(now, None), "a clock ahead of ours");
        assert!(!Reading { at: now, celsius: Some(60) }.is_strained(now, None));
        assert!(!Reading { at: now, celsius: None }.is_strained(now, None));
    }
}
