//! How much one caller may ask for: a rate with a burst, and how many calls of a kind may be open
//! at once. People and machines are counted by name, whoever has no name by address. In memory
//! alone, on each scheduler for itself.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::table::Kind;

/// Callers remembered at once. Beyond that the rested ones are forgotten, and if there are none
/// strangers share one place.
const REMEMBERED: usize = 10_000;

/// A rate and its burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pace {
    /// Cost units that come back each second.
    pub per_second: u32,
    /// The most that can be saved up.
    pub burst: u32,
}

/// Token buckets by name.
#[derive(Debug, Clone)]
pub(crate) struct Buckets {
    pace: Pace,
    known: Arc<Mutex<Known>>,
}

#[derive(Debug)]
struct Known {
    buckets: HashMap<String, Bucket>,
    /// When the rested ones were forgotten last: it takes a look at all of them.
    swept: Instant,
}

/// The time between two such looks.
const SWEEP: Duration = Duration::from_secs(1);

/// What is left, in thousandths of a cost unit, so that short spans count too.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: u64,
    at: Instant,
}

impl Buckets {
    pub(crate) fn new(pace: Pace) -> Self {
        let known = Known { buckets: HashMap::new(), swept: Instant::now() };
        Self { pace, known: Arc::new(Mutex::new(known)) }
    }

    /// Takes `cost` from a bucket, or says after how long it could be taken.
    pub(crate) fn take(&self, name: &str, cost: u32) -> Result<(), Duration> {
        self.take_at(name, cost, Instant::now())
    }

    fn take_at(&self, name: &str, cost: u32, now: Instant) -> Result<(), Duration> {
        let full = 1000 * u64::from(self.pace.burst);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Known { buckets, swept } = &mut *known;
        let crowded = buckets.len() >= REMEMBERED && !buckets.contains_key(name);
        if crowded && now.saturating_duration_since(*swept) >= SWEEP {
            *swept = now;
            buckets.retain(|_, bucket| self.filled(*bucket, now) < full);
        }
        let name = if buckets.len() < REMEMBERED || buckets.contains_key(name) { name } else { "" };
        let bucket = buckets.entry(name.to_owned()).or_insert(Bucket { left: full, at: now });
        let left = self.filled(*bucket, now);
        // What costs more than a full bucket empties it.
        let cost = (1000 * u64::from(cost)).min(full);
        *bucket = Bucket { left: left.saturating_sub(cost), at: now };
        if left >= cost {
            return Ok(());
        }
        bucket.left = left;
        let wait = (cost - left).div_ceil(u64::from(self.pace.per_second.max(1)));
        Err(Duration::from_millis(wait))
    }

    fn filled(&self, bucket: Bucket, now: Instant) -> u64 {
        let ms = now.saturating_duration_since(bucket.at).as_millis();
        let ms = u64::try_from(ms).unwrap_or(u64::MAX);
        let came = ms.saturating_mul(u64::from(self.pace.per_second));
        bucket.left.saturating_add(came).min(1000 * u64::from(self.pace.burst))
    }
}

/// What is configured of limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// What one caller may ask for. Most calls cost 1, listings and plans more.
    pub caller: Pace,
    /// What may be asked without a name from one address, before it is refused unheard.
    pub stranger: Pace,
    /// Calls that one caller may have open at once.
    pub calls: u32,
    /// Streams that one caller may listen to at once.
    pub watches: u32,
    /// Bundles that one caller may send at once.
    pub uploads: u32,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            caller: Pace { per_second: 2000, burst: 4000 },
            stranger: Pace { per_second: 10, burst: 50 },
            calls: 1024,
            watches: 128,
            uploads: 4,
        }
    }
}

/// Everything that is counted.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    config: LimitsConfig,
    pub(crate) callers: Buckets,
    pub(crate) strangers: Buckets,
    open: Arc<Mutex<HashMap<(String, Kind), u32>>>,
}

impl Limits {
    pub(crate) fn new(config: LimitsConfig) -> Self {
        Self {
            config,
            callers: Buckets::new(config.caller),
            strangers: Buckets::new(config.stranger),
            open: Arc::default(),
        }
    }

    /// Counts an open call until the answer is dropped; or says how many there are already.
    pub(crate) fn open(&self, caller: &str, kind: Kind) -> Result<Open, u32> {
        let most = match kind {
            Kind::Call => self.config.calls,
            Kind::Watch => self.config.watches,
            Kind::Upload => self.config.uploads,
            Kind::Machine => u32::MAX,
        };
        let key = (caller.to_owned(), kind);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(key.clone()).or_insert(0);
        if *count >= most {
            return Err(*count);
        }
        *count += 1;
        Ok(Open { key, of: Arc::clone(&self.open) })
    }
}

/// An open call.
#[derive(Debug)]
pub(crate) struct Open {
    key: (String, Kind),
    of: Arc<Mutex<HashMap<(String, Kind), u32>>>,
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut open = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let buckets = Buckets::new(Pace { per_second: 10, burst: 3 });
        let mut now = Instant::now();
        for _ in 0..3 {
            assert_eq!(buckets.take_at("ada", 1, now), Ok(()));
        }
        assert_eq!(buckets.take_at("ada", 1, now), Err(Duration::from_millis(100)));
        assert_eq!(buckets.take_at("bob", 1, now), Ok(()), "each has their own");
        now += Duration::from_millis(100);
        assert_eq!(buckets.take_at("ada", 1, now), Ok(()));
        assert!(buckets.take_at("ada", 1, now).is_err());
        now += Duration::from_secs(3600);
        assert_eq!(buckets.take_at("ada", 100, now), Ok(()), "what costs more than all takes all");
        assert!(buckets.take_at("ada", 1, now).is_err());
    }

    #[test]
    fn a_crowd_of_strangers_takes_bounded_memory_and_still_finds_limits() {
        let buckets = Buckets::new(Pace { per_second: 1, burst: 2 });
        let now = Instant::now();
        for n in 0..3 * REMEMBERED {
            let _ = buckets.take_at(&n.to_string(), 1, now);
        }
        assert!(buckets.known.lock().unwrap().buckets.len() <= REMEMBERED + 1);
        assert!(buckets.take_at("one more", 1, now).is_err(), "the crowd shares one place");
        let later = now + Duration::from_secs(10);
        assert_eq!(buckets.take_at("one more", 1, later), Ok(()), "who has rested is forgotten");
        assert_eq!(buckets.known.lock().unwrap().buckets.len(), 1);
    }

    #[test]
    fn what_is_open_is_counted_until_it_is_dropped() {
        let limits = Limits::new(LimitsConfig { uploads: 2, ..LimitsConfig::default() });
        let first = limits.open("ada", Kind::Upload).unwrap();
        let _second = limits.open("ada", Kind::Upload).unwrap();
        assert_eq!(limits.open("ada", Kind::Upload).err(), Some(2));
        assert!(limits.open("bob", Kind::Upload).is_ok());
        assert!(limits.open("ada", Kind::Call).is_ok());
        drop(first);
        assert!(limits.open("ada", Kind::Upload).is_ok());
        assert_eq!(limits.open.lock().unwrap().len(), 1, "nothing is kept of those who left");
    }
}
