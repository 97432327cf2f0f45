//! Nodes on which jobs are slower than elsewhere: by the steps that the same job made on other
//! nodes, and by how busy its ranks are beside those of their gang on other nodes, which wait for
//! the slowest. Of the leader alone, as hints for its planner.

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt};

use trainyard_jobs::{AttemptRef, JobId, Millis, NodeId, Timestamp};

use crate::{
    placement::running::Progress,
    state::{Attempt, Job, State},
};

/// At first an attempt compiles, fills caches and reads its checkpoint.
const WARM: Millis = Millis(60_000);

/// A pace is measured over so long at least.
const MEASURED: Millis = Millis(120_000);

/// How busy ranks are is known from so many figures on, one a heartbeat; older ones count for less.
const FIGURES: u64 = 60;
const MOST_FIGURES: u64 = 600;

/// A gang works whose ranks are so busy, in per cent.
const WORKS: u64 = 50;

/// So many jobs have to say so.
const JOBS: usize = 2;

/// A node is slow from so much on, in thousandths of what is usual, or from so many times as much
/// as what jobs differ on one node; it is not any more when it comes so near to that.
const MARGIN: u64 = 150;
const NOISE: u64 = 3;
const BACK: u64 = 50;

/// What was measured so long ago says nothing any more.
const FORGOTTEN: Millis = Millis(86_400_000);

/// Jobs that are remembered of a node, and attempts of a job.
const WORDS: usize = 16;
const ATTEMPTS: usize = 8;

/// What was measured of jobs, and which nodes are slow.
#[derive(Debug, Clone, Default)]
pub struct Stragglers {
    runs: BTreeMap<JobId, BTreeMap<AttemptRef, Run>>,
    gangs: BTreeMap<JobId, (AttemptRef, BTreeMap<NodeId, Use>)>,
    /// What each job says of a node: how fast it was there, in thousandths of elsewhere, and when.
    words: BTreeMap<NodeId, BTreeMap<JobId, (u64, Timestamp)>>,
    slow: BTreeMap<NodeId, Slowness>,
}

/// How slow a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slowness {
    /// What jobs reach here of what they reach elsewhere, in thousandths.
    pub milli: u64,
    /// So many jobs say so.
    pub jobs: usize,
}

impl fmt::Display for Slowness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (percent, jobs) = (self.milli / 10, self.jobs);
        write!(f, "{jobs} jobs reached {percent} % here of their pace elsewhere")
    }
}

/// The progress of one attempt.
#[derive(Debug, Clone, Copy)]
struct Run {
    begun: Timestamp,
    total: Option<u64>,
    first: (Timestamp, u64),
    last: (Timestamp, u64),
}

/// How busy the ranks of an attempt are on one node.
#[derive(Debug, Clone, Copy, Default)]
struct Use {
    percent: u64,
    figures: u64,
}

impl Stragglers {
    /// An attempt says how far it is.
    pub fn steps(&mut self, attempt: &AttemptRef, said: Progress) {
        let runs = self.runs.entry(attempt.job.clone()).or_default();
        match runs.get_mut(attempt) {
            Some(run) => run.take(said),
            None => drop(runs.insert(attempt.clone(), Run::new(said))),
        }
        if runs.len() > ATTEMPTS {
            runs.pop_first();
        }
    }

    /// The ranks of a gang on one of its nodes are so busy, in per cent on average.
    pub fn busy(&mut self, attempt: &AttemptRef, node: &NodeId, percent: u32) {
        let begin = || (attempt.clone(), BTreeMap::new());
        let gang = self.gangs.entry(attempt.job.clone()).or_insert_with(begin);
        if gang.0 != *attempt {
            *gang = begin();
        }
        let uses = &mut gang.1;
        match uses.get_mut(node) {
            Some(of_node) => of_node.take(percent),
            None => {
                let mut first = Use::default();
                first.take(percent);
                uses.insert(node.clone(), first);
            }
        }
    }

    /// How slow a node is, if it is.
    #[must_use]
    pub fn slowness(&self, node: &NodeId) -> Option<Slowness> {
        self.slow.get(node).copied()
    }

    /// Judges all nodes anew; gives those that are slow now and were not, or the other way round.
    pub fn judge(&mut self, state: &State, now: Timestamp) -> Vec<NodeId> {
        self.forget(state, now);
        self.compare_uses(now);
        self.compare_paces(state);
        let slow = self.slow_ones();
        let before = std::mem::replace(&mut self.slow, slow);
        let now = &self.slow;
        let changed = before.keys().filter(|node| !now.contains_key(*node));
        let changed = changed.chain(now.keys().filter(|node| !before.contains_key(*node)));
        changed.cloned().collect()
    }

    fn forget(&mut self, state: &State, now: Timestamp) {
        let live = |id: &JobId| state.job(id).is_some_and(|job| !job.phase.is_final());
        self.runs.retain(|id, _| live(id));
        let runs = |(attempt, _): &(AttemptRef, _)| {
            state.job(&attempt.job).is_some_and(|job| job.is_current(attempt))
        };
        self.gangs.retain(|id, gang| live(id) && runs(gang));
        self.words.retain(|node, words| {
            words.retain(|_, (_, at)| now.since(*at) <= FORGOTTEN);
            !words.is_empty() && state.node(node).is_some()
        });
    }

    /// Where the ranks of a gang are less busy than those for which the others wait.
    fn compare_uses(&mut self, now: Timestamp) {
        let Self { gangs, words, .. } = self;
        for (job, (_, uses)) in gangs {
            if uses.len() < 2 || uses.values().any(|of_node| of_node.figures < FIGURES) {
                continue;
            }
            for (node, own) in &*uses {
                let others = uses.iter().filter(|(other, _)| *other != node);
                let usual = median(others.map(|(_, of_node)| of_node.mean()));
                if let Some(usual) = usual.filter(|usual| *usual >= WORKS * 1000) {
                    say(words, node, job, own.mean() * 1000 / usual, now);
                }
            }
        }
    }

    /// Where attempts of a job made fewer steps a second than those of the same size on other nodes.
    fn compare_paces(&mut self, state: &State) {
        let Self { runs, words, .. } = self;
        for (id, runs) in runs.iter().filter(|(_, runs)| runs.len() > 1) {
            let Some(job) = state.job(id) else { continue };
            let measured: Vec<_> =
                runs.iter().filter_map(|(attempt, run)| measured(job, attempt, run)).collect();
            for (attempt, pace, at) in &measured {
                for placement in &attempt.placements {
                    let node = &placement.node;
                    let elsewhere = measured.iter().filter(|(other, _, _)| {
                        other.world_size() == attempt.world_size()
                            && other.gpu_types == attempt.gpu_types
                            && other.placement(node).is_none()
                    });
                    let usual = median(elsewhere.map(|(_, pace, _)| *pace));
                    if let Some(usual) = usual.filter(|usual| *usual > 0) {
                        say(words, node, id, pace.saturating_mul(1000) / usual, *at);
                    }
                }
            }
        }
    }

    fn slow_ones(&self) -> BTreeMap<NodeId, Slowness> {
        let known = self.words.iter().filter(|(_, words)| words.len() >= JOBS);
        let known: Vec<_> = known
            .filter_map(|(node, words)| Some((node, words, median(words.values().map(|w| w.0))?)))
            .collect();
        // By how much jobs differ on one node, which has nothing to do with the node.
        let apart = known
            .iter()
            .flat_map(|(_, words, usual)| words.values().map(|(milli, _)| milli.abs_diff(*usual)));
        let noise = median(apart).unwrap_or_default();
        let margin = MARGIN.max(noise.saturating_mul(NOISE));
        let is_slow = |(node, _, milli): &(&NodeId, _, u64)| {
            let back = if self.slow.contains_key(*node) { BACK } else { 0 };
            milli.saturating_add(margin) < 1000 + back
        };
        let slow = known.into_iter().filter(is_slow);
        slow.map(|(node, words, milli)| (node.clone(), Slowness { milli, jobs: words.len() }))
            .collect()
    }
}

/// The attempt with its pace and when it was measured, if it was.
fn measured<'a>(
    job: &'a Job,
    attempt: &AttemptRef,
    run: &Run,
) -> Option<(&'a Attempt, u64, Timestamp)> {
    let known = job.attempts.iter().find(|known| known.is(attempt))?;
    Some((known, run.pace()?, run.last.0))
}

/// Notes what a job says of a node; of many jobs those are kept that said something last.
fn say(
    words: &mut BTreeMap<NodeId, BTreeMap<JobId, (u64, Timestamp)>>,
    node: &NodeId,
    job: &JobId,
    milli: u64,
    at: Timestamp,
) {
    let of_node = words.entry(node.clone()).or_default();
    of_node.insert(job.clone(), (milli, at));
    if of_node.len() > WORDS {
        let oldest = of_node.iter().min_by_key(|(job, (_, at))| (*at, *job));
        if let Some(oldest) = oldest.map(|(job, _)| job.clone()) {
            of_node.remove(&oldest);
        }
    }
}

/// The middle one, of two the higher.
fn median(values: impl Iterator<Item = u64>) -> Option<u64> {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

impl Run {
    const fn new(said: Progress) -> Self {
        let now = (said.at, said.done);
        Self { begun: said.at, total: said.total, first: now, last: now }
    }

    fn take(&mut self, said: Progress) {
        let (at, done) = self.last;
        if said.at < at || said.done < done || said.total != self.total {
            // It went back, or counts something else: what it did before is not to be compared.
            *self = Self::new(said);
            return;
        }
        self.last = (said.at, said.done);
        if said.at.since(self.begun) <= WARM {
            self.first = self.last;
        }
    }

    /// What it does in 1000 s.
    fn pace(&self) -> Option<u64> {
        let span = self.last.0.since(self.first.0);
        let done = u128::from(self.last.1 - self.first.1);
        let pace = done * 1_000_000 / u128::from(span.0.max(1));
        let pace = u64::try_from(pace).unwrap_or(u64::MAX);
        (span >= MEASURED && pace > 0).then_some(pace)
    }
}

impl Use {
    fn take(&mut self, percent: u32) {
        if self.figures >= MOST_FIGURES {
            (self.percent, self.figures) = (self.percent / 2, self.figures / 2);
        }
        self.percent += u64::from(percent);
        self.figures += 1;
    }

    /// In thousandths of a per cent.
    const fn mean(&self) -> u64 {
        self.percent * 1000 / if self.figures == 0 { 1 } else { self.figures }
    }
}
