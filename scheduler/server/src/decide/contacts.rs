//! Which workers are heard, and what they say of themselves and of their jobs. Of the leader alone,
//! in memory alone. Whoever plans asks for what changed since it asked last.

mod changes;
mod figures;
mod live;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use trainyard_core::{
    State,
    placement::{Condition, Lemons, Progress, Reading, Stragglers},
    state::{Attempt, Job},
};
use trainyard_jobs::{AttemptRef, JobId, NodeId, SessionId, Timestamp, UnitId};
use trainyard_proto::v1;

use self::changes::Changes;
pub use self::live::Live;

/// How often is looked for what time alone has changed.
const LOOK: Duration = Duration::from_secs(10);

/// A moment by the leader's two clocks: one that only runs on, and the one by which the state's
/// times are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moment {
    /// By the monotonic clock.
    pub running: Duration,
    /// By the wall clock.
    pub wall: Timestamp,
}

/// What a worker says in a heartbeat.
#[derive(Debug, Clone, Default)]
pub struct Word {
    /// Its figures.
    pub sample: Option<v1::NodeSample>,
    /// What runs there although the state does not know it.
    pub held: Vec<v1::HeldAttempt>,
    /// How far its attempts say that they are.
    pub progress: Vec<(AttemptRef, v1::Progress)>,
}

/// Who has a unit, as the state knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// The attempt.
    pub attempt: AttemptRef,
    /// When that was started.
    pub since: Timestamp,
    /// Its ranks are on several nodes.
    pub gang: bool,
}

/// Who has which of a node's units.
pub type Tenants = BTreeMap<UnitId, Tenant>;

/// Up to where somebody knows what workers said: before everything, to begin with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    term: Option<u64>,
    nodes: u64,
    jobs: u64,
}

/// What workers said that somebody does not know yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct News {
    /// The nodes of which something else is known.
    pub nodes: BTreeSet<NodeId>,
    /// The jobs that say something else of how far they are.
    pub jobs: BTreeSet<JobId>,
    /// What was known before is of a term that is over, and holds no more.
    pub anew: bool,
}

/// All workers that the leader hears.
#[derive(Debug, Clone, Default)]
pub struct Contacts {
    live: BTreeMap<NodeId, Live>,
    /// The nodes that say something of each job.
    tellers: BTreeMap<JobId, BTreeSet<NodeId>>,
    nodes: Changes<NodeId>,
    jobs: Changes<JobId>,
    /// Nodes whose figures say that a unit is better left alone: they have to stay fresh.
    strained: BTreeSet<NodeId>,
    lemons: Lemons,
    stragglers: Stragglers,
    looked: Option<Duration>,
    /// Counts the times that everything was forgotten.
    term: u64,
}

impl Contacts {
    /// Forgets everything: a new term begins.
    pub fn clear(&mut self) {
        *self = Self { term: self.term + 1, ..Self::default() };
    }

    /// A worker has connected, and holds what the state does not know.
    pub fn connected(
        &mut self,
        node: &NodeId,
        session: SessionId,
        held: Vec<v1::HeldAttempt>,
        now: Duration,
    ) {
        let fresh = || Live::fresh(session, now);
        let entry = self.live.entry(node.clone()).or_insert_with(fresh);
        if entry.session == session {
            entry.seen = now;
            entry.held = held;
        } else {
            let before = std::mem::replace(entry, Live { held, ..fresh() });
            self.told(node, &before.progress, &BTreeMap::new());
        }
        self.nodes.mark(node);
    }

    /// A worker has reported; `tenants` has its units then. What another life of it says is
    /// ignored. Says whether the planner has to look again at once.
    pub fn heard(
        &mut self,
        node: &NodeId,
        session: SessionId,
        word: Word,
        tenants: &Tenants,
        now: Moment,
    ) -> bool {
        // Absent when a new term cleared everything after the worker had greeted.
        let fresh = || Live::fresh(session, now.running);
        let entry = self.live.entry(node.clone()).or_insert_with(fresh);
        if entry.session != session {
            return false;
        }
        entry.seen = now.running;
        let before = entry.unusable();
        entry.held = word.held;
        if let Some(sample) = word.sample {
            for (attempt, percent) in figures::gangs(&sample, tenants) {
                self.stragglers.busy(attempt, node, percent);
            }
            entry.take_sample(sample, tenants, now.wall);
        }
        let others = before != entry.unusable();
        let strained = entry.is_strained();
        let progress: BTreeMap<_, _> = word.progress.into_iter().collect();
        let before = std::mem::replace(&mut entry.progress, progress.clone());
        let was =
            if strained { !self.strained.insert(node.clone()) } else { self.strained.remove(node) };
        // Also what goes on is news: of a unit that changed hands it says something else.
        if others || strained || was {
            self.nodes.mark(node);
        }
        self.told(node, &before, &progress);
        self.measure(&before, &progress, now.wall);
        others
    }

    /// Notes how far attempts have come since they said it the last time.
    fn measure(
        &mut self,
        before: &BTreeMap<AttemptRef, v1::Progress>,
        now: &BTreeMap<AttemptRef, v1::Progress>,
        at: Timestamp,
    ) {
        let others = now.iter().filter(|(attempt, said)| before.get(attempt) != Some(said));
        for (attempt, said) in others {
            if let Some(said) = figures::progress(said) {
                self.stragglers.steps(attempt, Progress { at: said.at.min(at), ..said });
            }
        }
    }

    /// A job has ended an attempt, or goes on otherwise.
    pub fn learn(&mut self, job: &Job) {
        self.lemons.learn(job);
    }

    /// Takes in what the state tells of how jobs fared on its nodes.
    pub fn recall(&mut self, state: &State) {
        self.lemons.recall(state);
    }

    /// Notes which jobs a node says something else of than before.
    fn told(
        &mut self,
        node: &NodeId,
        before: &BTreeMap<AttemptRef, v1::Progress>,
        now: &BTreeMap<AttemptRef, v1::Progress>,
    ) {
        for (attempt, progress) in now {
            if before.get(attempt) != Some(progress) {
                self.tellers.entry(attempt.job.clone()).or_default().insert(node.clone());
                self.jobs.mark(&attempt.job);
            }
        }
        for attempt in before.keys().filter(|attempt| !now.contains_key(*attempt)) {
            let job = &attempt.job;
            if now.keys().any(|other| other.job == *job) {
                continue;
            }
            let Some(tellers) = self.tellers.get_mut(job) else { continue };
            tellers.remove(node);
            if tellers.is_empty() {
                self.tellers.remove(job);
                self.jobs.forget(job);
            }
        }
    }

    /// Looks now and then at how all nodes do beside each other, and for what time alone has
    /// changed: figures grow old. To be called as often as one likes.
    pub fn look(&mut self, state: &State, now: Moment) {
        if self.looked.is_some_and(|at| now.running.saturating_sub(at) < LOOK) {
            return;
        }
        self.looked = Some(now.running);
        let Self { live, strained, nodes, lemons, stragglers, .. } = self;
        let judged = lemons.judge(now.wall).into_iter();
        judged.chain(stragglers.judge(state, now.wall)).for_each(|node| nodes.mark(&node));
        strained.retain(|node| {
            let fresh =
                live.get(node).is_some_and(|live| Reading::is_fresh(live.sampled, now.wall));
            if !fresh {
                nodes.mark(node);
            }
            fresh
        });
    }

    /// What workers said since `place`, which is now.
    #[must_use]
    pub fn since(&self, place: &mut Place) -> News {
        let known = place.term == Some(self.term);
        let from = if known { *place } else { Place::default() };
        let anew = place.term.is_some() && !known;
        let (nodes, jobs) = (self.nodes.place(), self.jobs.place());
        *place = Place { term: Some(self.term), nodes, jobs };
        News {
            nodes: self.nodes.since(from.nodes).cloned().collect(),
            jobs: self.jobs.since(from.jobs).cloned().collect(),
            anew,
        }
    }

    /// What is known of one worker.
    #[must_use]
    pub fn get(&self, node: &NodeId) -> Option<&Live> {
        self.live.get(node)
    }

    /// Units of a node that cannot be handed out now, with the reason.
    #[must_use]
    pub fn unusable(&self, node: &NodeId) -> BTreeMap<UnitId, String> {
        self.live.get(node).map(Live::unusable).unwrap_or_default()
    }

    /// What is known of a node beside what it offers, as far as it is fresh and of those who have
    /// its units.
    #[must_use]
    pub fn condition(&self, node: &NodeId, tenants: &Tenants, now: Timestamp) -> Condition {
        let strained = self.live.get(node).map(|live| live.strained(tenants, now));
        let doubted = self.lemons.doubt(node).is_some() || self.stragglers.slowness(node).is_some();
        let strained = strained.unwrap_or_default().into_keys().collect();
        Condition { strained, doubted, ..Condition::default() }
    }

    /// Why a node, or which of its units, is used last, in words.
    #[must_use]
    pub fn remarks(&self, node: &NodeId, tenants: &Tenants, now: Timestamp) -> Vec<String> {
        let doubt = self.lemons.doubt(node).map(|doubt| doubt.to_string());
        let slow = self.stragglers.slowness(node).map(|slow| slow.to_string());
        let strained = self.live.get(node).map(|live| live.strained(tenants, now));
        let strained = strained.unwrap_or_default().into_iter();
        let units = strained.map(|(unit, strain)| format!("{unit}: {strain}"));
        doubt.into_iter().chain(slow).chain(units).collect()
    }

    /// How far an attempt says that it is. Of several nodes the one that saw the most has the word.
    #[must_use]
    pub fn progress_of(&self, attempt: &AttemptRef) -> Option<Progress> {
        let said = self.tellers(&attempt.job).filter_map(|live| live.progress.get(attempt));
        said.filter_map(figures::progress).max_by_key(|progress| (progress.done, progress.at))
    }

    /// The newest figures of a job's runs: those of the node that saw the most, which is rank
    /// 0's.
    #[must_use]
    pub fn progress(&self, job: &JobId) -> Option<v1::Progress> {
        let of_job = self.tellers(job).flat_map(|l| &l.progress).filter(|(a, _)| a.job == *job);
        let newest = of_job.max_by_key(|(a, p)| (a.attempt, p.metrics.len(), p.unix_ms));
        newest.map(|(_, p)| p.clone())
    }

    fn tellers(&self, job: &JobId) -> impl Iterator<Item = &Live> {
        self.tellers.get(job).into_iter().flatten().filter_map(|node| self.live.get(node))
    }
}

/// Who has which of a node's units, as the state knows it.
#[must_use]
pub fn tenants(state: &State, node: &NodeId) -> Tenants {
    let owners = state.node(node).into_iter().flat_map(|node| &node.owners);
    let tenant = |(unit, attempt): (&UnitId, &AttemptRef)| {
        let known = |a: &&Attempt| a.is(attempt);
        let known = state.job(&attempt.job)?.attempts.iter().rev().find(known)?;
        let (since, gang) = (known.started, known.placements.len() > 1);
        Some((unit.clone(), Tenant { attempt: attempt.clone(), since, gang }))
    };
    owners.filter_map(tenant).collect()
}
