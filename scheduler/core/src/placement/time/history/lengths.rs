//! How long the runs of one class took: how many came into each bucket of work, and how many ended
//! in it.

use std::collections::BTreeMap;

use trainyard_jobs::{Timestamp, spec::Speed};

use super::{super::forecast::times, Expected};

/// Runs that have to be known before a finer class is believed.
const ENOUGH: u32 = 8;

/// The same of runs of one spec, which differ less.
const ENOUGH_ALIKE: u32 = 3;

/// Runs that have to be known before what few of them exceed is believed.
const MANY: u32 = 20;

/// What all but so many take is said of a class: a tenth.
const FEW: u128 = 10;

/// Lengths fall into buckets, two to each doubling, from a second on.
pub(super) const BUCKETS: usize = 64;

/// All jobs of a class, in the fixed point in which those are counted that are left of them.
const WHOLE: u128 = 1 << 40;

/// The bucket that a run time falls into.
pub(in crate::placement) fn bucket(ran: u64) -> usize {
    let doublings = (ran / 1000).checked_ilog2().unwrap_or(0);
    let first = usize::try_from(2 * doublings).unwrap_or(BUCKETS);
    (first..BUCKETS - 1).find(|at| ran < end(*at)).unwrap_or(BUCKETS - 1)
}

/// Where a bucket ends, in milliseconds.
pub(super) fn end(bucket: usize) -> u64 {
    let at = u32::try_from(bucket + 1).unwrap_or(u32::MAX);
    let whole = 1000_u64.saturating_mul(1_u64.checked_shl(at / 2).unwrap_or(u64::MAX));
    // Half a doubling is the square root of two.
    if at.is_multiple_of(2) { whole } else { whole.saturating_mul(1414) / 1000 }
}

/// The number's place in steps of the square root of two: finer differences between expectations
/// are noise.
fn coarse(ms: u64) -> u64 {
    end(bucket(ms))
}

/// A job that runs: as fast as this, and as if it had done so since then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pace {
    pub(super) origin: Timestamp,
    pub(super) speed: Speed,
}

impl Pace {
    /// What it has done by then.
    pub(super) fn done(self, now: Timestamp) -> u64 {
        times(now.since(self.origin).0, self.speed.milli(), 1000)
    }
}

/// When those come to their next bucket that are in this one.
pub(super) fn next(pace: Pace, bucket: usize) -> Timestamp {
    // No sooner than it is there.
    let after = u128::from(begin(bucket + 1)) * 1000;
    let after = u64::try_from(after.div_ceil(pace.speed.milli().into())).unwrap_or(u64::MAX);
    Timestamp(pace.origin.0.saturating_add(after))
}

/// The run time at which a bucket begins.
pub(in crate::placement) fn begin(bucket: usize) -> u64 {
    bucket.checked_sub(1).map_or(0, end)
}

/// Runs of one class. There are many classes of few runs: none has more than it needs.
#[derive(Debug, Clone, Default)]
pub(super) struct Lengths {
    /// Jobs whose run time came into each bucket: those that ended in it or later, and those that
    /// have come so far.
    entered: Vec<u32>,
    /// Those of them that ended in it, and well.
    pub(super) ended: Vec<u32>,
    /// All that ended well.
    pub(super) known: u32,
    /// Jobs that have run and not ended.
    pub(super) living: u32,
    /// When the last was learned that ended well.
    pub(super) learned: u64,
    /// Jobs that run, by when they began, or would have if they had run all along.
    pub(super) running: BTreeMap<Pace, Together>,
    /// Those that run are among those that entered their buckets.
    pub(super) follows: bool,
    /// What is expected of a job whose run time is in each bucket, as of the last [`History::sum_up`].
    pub(super) expected: Vec<Option<Expected>>,
}

/// Jobs of a class that began together, and the bucket that they have come to.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Together {
    pub(super) jobs: u32,
    pub(super) bucket: usize,
}

impl Lengths {
    pub(super) const fn is_enough(&self, alike: bool) -> bool {
        self.known >= if alike { ENOUGH_ALIKE } else { ENOUGH }
    }

    /// A job has come from one bucket to another.
    pub(super) fn enter(&mut self, from: usize, to: usize) {
        self.enter_all(from, to, 1);
    }

    pub(super) fn enter_all(&mut self, from: usize, to: usize, jobs: u32) {
        self.entered.resize(self.entered.len().max(to + 1), 0);
        for entered in self.entered.iter_mut().take(to + 1).skip(from) {
            *entered = entered.saturating_add(jobs);
        }
    }

    /// A job that had come to a bucket counts no more.
    pub(super) fn leave(&mut self, at: usize) {
        for entered in self.entered.iter_mut().take(at + 1) {
            *entered = entered.saturating_sub(1);
        }
    }

    /// From now on those that run are counted as they come from bucket to bucket. Says when they
    /// come to their next, if they were not counted before.
    pub(super) fn follow(&mut self, now: Timestamp) -> Vec<(Timestamp, Pace)> {
        let mut agenda = Vec::new();
        if !std::mem::replace(&mut self.follows, true) {
            for (pace, together) in std::mem::take(&mut self.running) {
                let bucket = bucket(pace.done(now));
                self.enter_all(0, bucket, together.jobs);
                self.running.insert(pace, Together { bucket, ..together });
                agenda.push((next(pace, bucket), pace));
            }
        }
        agenda
    }

    /// What is expected of a job whose run time is in each bucket.
    ///
    /// Seen from the beginning, so many are left at the begin of each bucket, and so much time was
    /// spent on them until then. Between two buckets the time for each that ends is the slope from
    /// one point to the other, so the best plan from a bucket is its tangent to what comes later.
    pub(super) fn expect(&self, alike: bool) -> Vec<Option<Expected>> {
        if !self.is_enough(alike) {
            return Vec::new();
        }
        let (mut left, mut spent) = (WHOLE, 0);
        let mut points = vec![(left, spent)];
        for at in 0..BUCKETS {
            let Some(part) = self.part_that_ends(at, left) else { break };
            // Those that end in a bucket do so in its middle.
            spent += (left - part / 2) * u128::from(end(at) - begin(at));
            left -= part;
            points.push((left, spent));
        }
        // The lower hull of what comes later, from right to left.
        let mut expected = vec![None; points.len()];
        let mut hull: Vec<(usize, (u128, u128))> = Vec::new();
        for (at, point) in points.iter().enumerate().rev() {
            while let [.., (_, second), (_, first)] = hull.as_slice()
                && slope(*point, *first) >= slope(*first, *second)
            {
                hull.pop();
            }
            let best = hull.last().and_then(|(next, to)| Some((next, slope(*point, *to).ok()?)));
            if let (Some((next, cost)), Some(expected)) = (best, expected.get_mut(at)) {
                let left = coarse(u64::try_from(cost).unwrap_or(u64::MAX));
                let late = self.late(&points, at);
                *expected = Some(Expected { left, stretch: begin(*next) - begin(at), late });
            }
            hull.push((at, *point));
        }
        expected
    }

    /// What all but a few of those need no longer than that have come into a bucket, if so much is
    /// known.
    fn late(&self, points: &[(u128, u128)], at: usize) -> Option<u64> {
        let (left, _) = points.get(at).filter(|_| self.known >= MANY)?;
        // There are always fewer left at a later point.
        let first = points.partition_point(|(later, _)| *later > left / FEW);
        (first < points.len()).then(|| begin(first) - begin(at))
    }

    /// What part of those `left` that come into a bucket ends in it; nothing if nobody has come so
    /// far.
    fn part_that_ends(&self, at: usize, left: u128) -> Option<u128> {
        let (time, ended, inside) = self.seen_in(at)?;
        let (time, ended) = match at.checked_sub(1).and_then(|before| self.seen_in(before)) {
            // Of those that have come furthest too little was seen: they go on as they did.
            Some((more, others, _)) if inside > 0 && self.seen_in(at + 1).is_none() => {
                (time + more, ended + others)
            }
            _ => (time, ended),
        };
        let width = u128::from(end(at) - begin(at));
        // As many as end at this rate, by the middle of the bucket on average.
        let part = left * 2 * ended * width / (2 * time + ended * width).max(1);
        Some(part.min(left))
    }

    /// Of those that came into a bucket: the milliseconds that they were seen to run in it, how
    /// many ended in it, and how many are in it now and have seen half of it.
    fn seen_in(&self, at: usize) -> Option<(u128, u128, u128)> {
        let entered = self.entered.get(at).filter(|entered| **entered > 0)?;
        let ended = self.ended.get(at).copied().unwrap_or_default();
        let further = self.entered.get(at + 1).copied().unwrap_or_default();
        let inside = entered.saturating_sub(ended).saturating_sub(further);
        let width = u128::from(end(at) - begin(at));
        let halves = u128::from(ended) + u128::from(inside);
        let time = u128::from(further) * width + halves * width / 2;
        Some((time, u128::from(ended), u128::from(inside)))
    }
}

/// The milliseconds for each that ends between two points; an error, more than any, when none does.
fn slope(from: (u128, u128), to: (u128, u128)) -> Result<u128, ()> {
    (to.1 - from.1).checked_div(from.0 - to.0).ok_or(())
}
