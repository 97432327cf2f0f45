//! Nodes on which jobs keep failing that do well elsewhere. What is known of them follows from the
//! jobs that the state holds and from those that were seen to end: of the leader alone, as hints
//! for its planner. A new one begins with what the state tells.

#[cfg(test)]
mod tests;

use std::{cmp::Reverse, collections::BTreeMap, fmt};

use trainyard_jobs::{EndReason, JobId, Millis, NodeId, RankExit, Timestamp};

use crate::state::{Attempt, Job, State, halved};

/// What an end counts: half of it after each half-life.
const WHOLE: u64 = 1000;

const HALF_LIFE: Millis = Millis(6 * 3_600_000);

/// After so long it counts no more.
const FORGOTTEN: Millis = Millis(86_400_000);

/// Attempts that ran side by side and failed within so long were struck by one thing.
const SAME: Millis = Millis(600_000);

/// An attempt that somebody stopped went well if it ran for so long.
const WELL: Millis = Millis(60_000);

/// A node is doubted from so many failures on, each of another job and at another time.
const INCIDENTS: usize = 3;

/// Jobs of which is known how their attempts ended, and what is known of them all together.
const RECORDS: usize = 10_000;
const ENTRIES: usize = 40_000;

/// How jobs fared on the nodes on which they ran, and which nodes are doubted for it.
#[derive(Debug, Clone, Default)]
pub struct Lemons {
    records: BTreeMap<JobId, Record>,
    /// What the records hold, in nodes.
    entries: usize,
    doubted: BTreeMap<NodeId, Doubt>,
    /// Something was learned since the last judgement.
    news: bool,
}

/// Why a node is doubted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doubt {
    /// The jobs that failed there lately.
    pub failed: usize,
    /// Of so many.
    pub of: usize,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} jobs failed here lately, and few elsewhere", self.failed, self.of)
    }
}

/// How one job fared.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Record {
    /// When its last attempt ended.
    at: Timestamp,
    /// Where it failed, the last time on each node.
    failed: BTreeMap<NodeId, Failure>,
    /// Where it went well.
    well: BTreeMap<NodeId, Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Failure {
    at: Timestamp,
    started: Timestamp,
}

/// How jobs fared on a node, counting what is long ago for less.
#[derive(Debug, Default)]
struct Tally {
    failures: Vec<(Failure, u64)>,
    well: u64,
    jobs: usize,
}

impl Lemons {
    /// What the state tells.
    #[must_use]
    pub fn of(state: &State) -> Self {
        let mut lemons = Self::default();
        lemons.recall(state);
        lemons
    }

    /// Takes in all that the state tells, beside what is known.
    pub fn recall(&mut self, state: &State) {
        let ended = state.newest_ended_jobs(u64::MAX).take(RECORDS);
        ended.chain(state.live_jobs()).for_each(|job| self.learn(job));
    }

    /// Takes in how a job has fared so far.
    pub fn learn(&mut self, job: &Job) {
        let record = Record::of(job);
        if self.records.get(&job.id) == record.as_ref() {
            return;
        }
        self.news = true;
        if let Some(before) = self.records.remove(&job.id) {
            self.entries -= before.len();
        }
        if let Some(record) = record {
            self.entries += record.len();
            self.records.insert(job.id.clone(), record);
        }
    }

    /// Why a node is doubted, if it is.
    #[must_use]
    pub fn doubt(&self, node: &NodeId) -> Option<Doubt> {
        self.doubted.get(node).copied()
    }

    /// Judges all nodes anew; gives those that are doubted now and were not, or the other way
    /// round.
    pub fn judge(&mut self, now: Timestamp) -> Vec<NodeId> {
        if !self.news && self.doubted.is_empty() {
            return Vec::new();
        }
        self.news = false;
        self.forget(now);
        let tallies = self.tallies(now);
        let sums: BTreeMap<_, _> =
            tallies.into_iter().map(|(node, tally)| (node.clone(), tally.sum())).collect();
        let failed: u64 = sums.values().map(|sum| sum.failed).sum();
        let all: u64 = sums.values().map(|sum| sum.failed + sum.well).sum();
        let is_doubted = |node: &NodeId, sum: &Sum| {
            let elsewhere = (failed - sum.failed, all - sum.failed - sum.well);
            sum.is_worse_than(elsewhere, self.doubted.contains_key(node))
        };
        let doubted: BTreeMap<_, _> = sums
            .iter()
            .filter(|(node, sum)| is_doubted(node, sum))
            .map(|(node, sum)| (node.clone(), sum.doubt))
            .collect();
        let before = std::mem::replace(&mut self.doubted, doubted);
        let now = &self.doubted;
        let changed = before.keys().filter(|node| !now.contains_key(*node));
        let changed = changed.chain(now.keys().filter(|node| !before.contains_key(*node)));
        changed.cloned().collect()
    }

    /// What is long ago goes, and the oldest if there is too much.
    fn forget(&mut self, now: Timestamp) {
        self.records.retain(|_, record| now.since(record.at) <= FORGOTTEN);
        self.entries = self.records.values().map(Record::len).sum();
        if self.records.len() <= RECORDS && self.entries <= ENTRIES {
            return;
        }
        let mut by_age: Vec<_> = self.records.iter().map(|(id, r)| (r.at, id.clone())).collect();
        by_age.sort_unstable_by_key(|(at, id)| Reverse((*at, id.clone())));
        while (self.records.len() > RECORDS || self.entries > ENTRIES)
            && let Some((_, oldest)) = by_age.pop()
        {
            self.entries -= self.records.remove(&oldest).map_or(0, |record| record.len());
        }
    }

    fn tallies(&self, now: Timestamp) -> BTreeMap<&NodeId, Tally> {
        let mut tallies: BTreeMap<&NodeId, Tally> = BTreeMap::new();
        for record in self.records.values() {
            // A job that fails wherever it runs says little of each of the nodes.
            let each = WHOLE / u64::try_from(record.failed.len().max(1)).unwrap_or(WHOLE);
            for (node, failure) in &record.failed {
                let left = halved(each, now.since(failure.at), HALF_LIFE);
                let tally = tallies.entry(node).or_default();
                tally.failures.push((*failure, left));
                tally.jobs += 1;
            }
            for (node, at) in &record.well {
                let tally = tallies.entry(node).or_default();
                tally.well += halved(WHOLE, now.since(*at), HALF_LIFE);
                tally.jobs += usize::from(!record.failed.contains_key(node));
            }
        }
        tallies
    }
}

/// Two are alike if they know the same: not when they judged.
impl PartialEq for Lemons {
    fn eq(&self, other: &Self) -> bool {
        self.records == other.records
    }
}

impl Eq for Lemons {}

impl Record {
    fn of(job: &Job) -> Option<Self> {
        let (mut failed, mut well) = (BTreeMap::new(), BTreeMap::new());
        let mut last = None;
        for attempt in &job.attempts {
            let Some(at) = attempt.ended else { continue };
            last = Some(at);
            let started = attempt.started;
            for node in failed_on(attempt) {
                failed.insert(node.clone(), Failure { at, started });
            }
            if went_well(attempt, at) {
                well.extend(attempt.placements.iter().map(|p| (p.node.clone(), at)));
            }
        }
        let nothing = failed.is_empty() && well.is_empty();
        last.filter(|_| !nothing).map(|at| Self { at, failed, well })
    }

    fn len(&self) -> usize {
        self.failed.len() + self.well.len()
    }
}

/// Where an attempt failed by what happened there: also where its ranks were gone when the node came
/// back, or could not be started, if it is known where that was.
fn failed_on(attempt: &Attempt) -> impl Iterator<Item = &NodeId> {
    let alone = attempt.placements.len() == 1;
    let unstarted = alone && matches!(attempt.end, Some(EndReason::StartFailed { .. }));
    let vanished = attempt.placements.iter().filter(move |placement| {
        unstarted || placement.exits.values().any(|exit| *exit == RankExit::Vanished)
    });
    attempt.failed_on().chain(vanished.map(|placement| &placement.node))
}

fn went_well(attempt: &Attempt, ended: Timestamp) -> bool {
    match attempt.end {
        Some(EndReason::Completed | EndReason::TimeLimit) => true,
        Some(EndReason::Preempted { .. } | EndReason::Cancelled) => {
            ended.since(attempt.started) >= WELL
        }
        _ => false,
    }
}

/// What a tally comes to.
#[derive(Debug)]
struct Sum {
    incidents: usize,
    failed: u64,
    well: u64,
    doubt: Doubt,
}

impl Tally {
    /// What struck several jobs at once counts once, as much as the most that it counts for any.
    fn sum(mut self) -> Sum {
        self.failures.sort_unstable();
        let doubt = Doubt { failed: self.failures.len(), of: self.jobs };
        let (mut incidents, mut failed) = (0, 0);
        let mut current: Option<(Timestamp, u64)> = None;
        for (failure, weight) in self.failures {
            match &mut current {
                Some((first, most))
                    if failure.started <= *first && failure.at.since(*first) <= SAME =>
                {
                    failed += weight.saturating_sub(*most);
                    *most = weight.max(*most);
                }
                _ => {
                    current = Some((failure.at, weight));
                    incidents += 1;
                    failed += weight;
                }
            }
        }
        Sum { incidents, failed, well: self.well, doubt }
    }
}

impl Sum {
    /// Whether jobs fail here by far more often than on all other nodes together. One that is
    /// doubted has to be much better than one that is not, so that plans do not waver.
    fn is_worse_than(&self, (failed, all): (u64, u64), doubted: bool) -> bool {
        let (enough, times) = if doubted { (WHOLE, 2) } else { (2 * WHOLE, 4) };
        let here = self.failed + self.well;
        let often = self.failed * 5 >= here;
        // Where little ran elsewhere there is nothing to compare with.
        let comparable = all >= 3 * WHOLE;
        let struck = doubted || self.incidents >= INCIDENTS;
        let worse =
            self.failed.saturating_mul(all) >= failed.saturating_mul(here).saturating_mul(times);
        struck && self.failed >= enough && often && comparable && worse
    }
}
