//! The planner itself: what it was told, and the faces that it shows. What a pass over the queue
//! does stands in `pass`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use trainyard_jobs::{JobId, Millis, NodeId, ProjectName, QueueSpec, Timestamp, UnitId};

use super::{
    explain::{Blocker, Scenario},
    fit::{Hints, Request},
    order::{Lines, Settings, Worth, bucket_end, value},
    pass::Pass,
    running::{Progress, Running, Stop},
    time::{Facts, History, Past, Seen, remaining},
    victims::{Standing, cost, notice, ready},
    view::{Delta, PlanNode, Waiting},
    yard::Yard,
};
use crate::{
    State,
    command::{Assignment, StartAttempt},
};

/// From this wait on, a job that does not fit when its turn comes keeps later ones off the nodes
/// that it needs: small jobs cannot starve a large one.
pub const PATIENCE: Millis = Millis(600_000);

/// Ended jobs from which a new planner learns how long jobs take.
const REMEMBERED: usize = 10_000;

/// Work that one plan may do, in jobs looked at and places tried. Not time: equal input gives an
/// equal plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkBudget(pub u64);

impl WorkBudget {
    /// Enough for every job.
    pub const UNLIMITED: Self = Self(u64::MAX);
}

/// What to do now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Gangs to start, best first.
    pub starts: Vec<StartAttempt>,
    /// Attempts to stop, so that others can start once their units are free.
    pub stops: Vec<Stop>,
    /// Every job that could be helped was looked at within the budget.
    pub complete: bool,
    /// When time alone may change the plan: to be asked again then, if nothing happens before.
    pub again: Option<Timestamp>,
}

/// What keeps a job from starting; shared by all jobs that the same keeps.
pub type Blockers = Arc<[Blocker]>;

/// What waits, what runs and what is free, kept up to date by [`Planner::update`].
#[derive(Debug, Clone, Default)]
pub struct Planner {
    waiting: BTreeMap<JobId, Waiting>,
    running: BTreeMap<JobId, Running>,
    nodes: BTreeMap<NodeId, PlanNode>,
    unusable: BTreeMap<NodeId, BTreeMap<UnitId, String>>,
    queues: BTreeMap<ProjectName, QueueSpec>,
    seen: BTreeMap<JobId, Seen>,
    history: History,
    yard: Yard,
    lines: Lines,
    settings: BTreeMap<ProjectName, Settings>,
    /// The running jobs of each group, and the units that they have.
    groups: BTreeMap<ProjectName, BTreeSet<JobId>>,
    used: BTreeMap<ProjectName, u64>,
}

/// Two planners are alike if they were told the same of what is: not how they came to know it.
impl PartialEq for Planner {
    fn eq(&self, other: &Self) -> bool {
        self.waiting == other.waiting
            && self.running == other.running
            && self.nodes == other.nodes
            && self.unusable == other.unusable
            && self.queues == other.queues
            && self.used == other.used
            && self.yard == other.yard
    }
}

impl Eq for Planner {}

impl Planner {
    /// A planner that knows all of `state`.
    #[must_use]
    pub fn of(state: &State) -> Self {
        let mut planner = Self::default();
        for job in state.newest_ended_jobs(u64::MAX).take(REMEMBERED) {
            if let Some(past) = Past::of(job) {
                planner.history.learn(&past);
            }
        }
        for name in state.queues().keys() {
            planner.update(Delta::of_queue(state, name));
        }
        for job in state.live_jobs() {
            planner.update(Delta::of_job(state, &job.id));
        }
        for id in state.nodes().keys() {
            planner.update(Delta::of_node(state, id));
        }
        planner
    }

    /// Takes in a change.
    pub fn update(&mut self, delta: Delta) {
        match delta {
            Delta::Waits(job) => {
                self.forget(&job.id);
                self.line_up(&job);
                self.waiting.insert(job.id.clone(), *job);
            }
            Delta::Runs(job) => {
                self.forget(&job.id);
                self.count(&job);
                self.running.insert(job.id.clone(), *job);
            }
            Delta::Gone(job) => {
                self.forget(&job);
                self.seen.remove(&job);
            }
            Delta::Ended(job, past) => {
                let ran = self.running.contains_key(&job);
                self.forget(&job);
                self.seen.remove(&job);
                if ran && self.history.learn(&past) {
                    self.line_up_anew(|job| job.estimate.is_none());
                }
            }
            Delta::Progress(job, progress) => self.take_in(&job, progress),
            Delta::Queue(name, spec) => {
                match spec {
                    Some(spec) => self.queues.insert(name, *spec),
                    None => self.queues.remove(&name),
                };
                self.regroup();
            }
            Delta::Node(node) => {
                self.yard.set(&node, self.unusable.get(&node.id));
                self.nodes.insert(node.id.clone(), *node);
            }
            Delta::NodeGone(node) => {
                self.nodes.remove(&node);
                self.unusable.remove(&node);
                self.yard.remove(&node);
            }
            Delta::Unusable(node, units) => self.set_unusable(node, units),
            Delta::Condition(node, condition) => {
                if self.yard.note(&node, condition)
                    && let Some(known) = self.nodes.get(&node)
                {
                    self.yard.set(known, self.unusable.get(&node));
                }
            }
        }
    }

    fn set_unusable(&mut self, node: NodeId, units: BTreeMap<UnitId, String>) {
        let known = self.unusable.get(&node);
        if known.map_or(units.is_empty(), |known| *known == units) {
            return;
        }
        if let Some(node) = self.nodes.get(&node) {
            self.yard.set(node, Some(&units));
        }
        if units.is_empty() {
            self.unusable.remove(&node);
        } else {
            self.unusable.insert(node, units);
        }
    }

    fn take_in(&mut self, id: &JobId, progress: Progress) {
        let ran = match (self.running.get(id), self.waiting.get(id)) {
            (Some(job), _) => job.used.0.saturating_add(progress.at.since(job.started).0),
            (None, Some(job)) => job.used.0,
            (None, None) => return,
        };
        let seen = Seen { done: progress.done, total: progress.total, ran };
        self.seen.insert(id.clone(), seen);
        if let Some(job) = self.waiting.get(id).cloned() {
            self.line_up(&job);
        }
    }

    /// Puts a waiting job where it belongs.
    fn line_up(&mut self, job: &Waiting) {
        self.settle(&job.project);
        let settings = self.settings(&job.project);
        let value = self.value_of(job);
        let rank = (std::cmp::Reverse(job.priority), value, job.sequence, job.id.clone());
        let patience = Timestamp(job.since.0.saturating_add(settings.patience.0));
        let group = settings.group.clone();
        self.lines.insert(group, Request::from(&job.resources), rank, patience);
    }

    /// Puts those waiting jobs where they belong now that are concerned.
    fn line_up_anew(&mut self, concerns: impl Fn(&Waiting) -> bool) {
        let concerned: Vec<JobId> =
            self.waiting.values().filter(|job| concerns(job)).map(|job| job.id.clone()).collect();
        for id in concerned {
            if let Some(job) = self.waiting.remove(&id) {
                self.line_up(&job);
                self.waiting.insert(id, job);
            }
        }
    }

    /// Settings changed: everybody's group may be another.
    fn regroup(&mut self) {
        self.settings.clear();
        self.groups.clear();
        self.used.clear();
        self.line_up_anew(|_| true);
        for (_, job) in std::mem::take(&mut self.running) {
            self.count(&job);
            self.running.insert(job.id.clone(), job);
        }
    }

    /// Knows what a project's settings come to.
    fn settle(&mut self, project: &ProjectName) {
        if !self.settings.contains_key(project) {
            let settings = Settings::of(&self.queues, project);
            self.settings.insert(project.clone(), settings);
        }
    }

    fn count(&mut self, job: &Running) {
        self.settle(&job.project);
        let group = self.settings(&job.project).group.clone();
        *self.used.entry(group.clone()).or_default() += job.units();
        self.groups.entry(group).or_default().insert(job.id.clone());
    }

    fn forget(&mut self, id: &JobId) {
        self.waiting.remove(id);
        self.lines.remove(id);
        let Some(job) = self.running.remove(id) else { return };
        let group = self.settings(&job.project).group.clone();
        if let Some(jobs) = self.groups.get_mut(&group) {
            jobs.remove(id);
            if jobs.is_empty() {
                self.groups.remove(&group);
            }
        }
        if let Some(used) = self.used.get_mut(&group) {
            *used = used.saturating_sub(job.units());
            if *used == 0 {
                self.used.remove(&group);
            }
        }
    }

    /// The nodes that are up.
    pub(super) const fn nodes(&self) -> &BTreeMap<NodeId, PlanNode> {
        &self.nodes
    }

    /// The jobs that hold units.
    pub(super) const fn running(&self) -> &BTreeMap<JobId, Running> {
        &self.running
    }

    /// The jobs that wait, in lines.
    pub(super) const fn lines(&self) -> &Lines {
        &self.lines
    }

    /// Units that each group has.
    pub(super) const fn used(&self) -> &BTreeMap<ProjectName, u64> {
        &self.used
    }

    pub(super) fn unusable(&self, node: &NodeId) -> Option<&BTreeMap<UnitId, String>> {
        self.unusable.get(node)
    }

    /// A job that waits.
    pub(super) fn job(&self, id: &JobId) -> Option<&Waiting> {
        self.waiting.get(id)
    }

    /// The job as it waits, and its place in its group's queue from 1.
    pub(super) fn waiting(&self, job: &JobId) -> Option<(&Waiting, usize)> {
        Some((self.waiting.get(job)?, self.lines.position(job)?))
    }

    /// What a project's settings come to.
    pub(super) fn settings(&self, project: &ProjectName) -> Settings {
        let known = self.settings.get(project).cloned();
        known.unwrap_or_else(|| Settings::of(&self.queues, project))
    }

    /// The group in which a project's jobs are ordered.
    pub(super) fn group(&self, project: &ProjectName) -> Option<&ProjectName> {
        self.settings.get(project).map(|settings| &settings.group)
    }

    /// What its policy makes of a waiting job.
    pub(super) fn value_of(&self, job: &Waiting) -> u64 {
        let facts = Facts {
            project: &job.project,
            principal: &job.principal,
            gpus: job.resources.gpus,
            ran: job.used.0,
            estimate: job.estimate,
            time_left: job.time_left,
            seen: self.seen.get(&job.id).copied(),
        };
        let policy = self.settings(&job.project).policy;
        value(policy, job.attained, remaining(&facts, &self.history), job.resources.gpus)
    }

    /// The running jobs of a group that may be stopped at `now`, the worst first, and when that
    /// changes by time alone.
    pub(super) fn standings(
        &self,
        group: &ProjectName,
        gone: Option<&JobId>,
        now: Timestamp,
        yard: &Yard,
    ) -> (Vec<Standing>, Option<Timestamp>) {
        let (mut found, mut next) = (Vec::new(), None::<Timestamp>);
        let mut then = |at: Timestamp| next = Some(next.map_or(at, |before| before.min(at)));
        let jobs = self.groups.get(group).into_iter().flatten();
        for job in jobs.filter_map(|id| self.running.get(id)) {
            if job.stopping || job.leaves_by.is_some() || gone == Some(&job.id) {
                continue;
            }
            let Some(settings) = self.settings.get(&job.project) else { continue };
            let ready = ready(job, settings, now);
            if ready > now {
                then(ready);
                continue;
            }
            let ran = now.since(job.started).0;
            let attained = job.attained.saturating_add(ran.saturating_mul(job.units()));
            let whole = bucket_end(attained).saturating_sub(attained).div_ceil(job.units().max(1));
            then(Timestamp(now.0.saturating_add(whole)));
            found.push(Standing {
                job: job.id.clone(),
                version: job.version,
                attempt: job.attempt,
                worth: Worth {
                    priority: job.priority,
                    value: self.value_running(job, settings, attained, ran),
                    attained,
                },
                cost: cost(job, settings, now),
                place: yard.placement(&job.assignments()),
                notice: notice(job, settings),
                sequence: job.sequence,
            });
        }
        found.sort_by(|a, b| {
            let key = |s: &Standing| (s.worth.priority, std::cmp::Reverse(s.worth.value), s.cost);
            key(a).cmp(&key(b)).then(b.sequence.cmp(&a.sequence))
        });
        (found, next)
    }

    fn value_running(&self, job: &Running, settings: &Settings, attained: u64, ran: u64) -> u64 {
        let facts = Facts {
            project: &job.project,
            principal: &job.principal,
            gpus: job.resources.gpus,
            ran: job.used.0.saturating_add(ran),
            estimate: job.estimate,
            time_left: job.time_left.map(|left| Millis(left.0.saturating_sub(ran))),
            seen: self.seen.get(&job.id).copied(),
        };
        value(settings.policy, attained, remaining(&facts, &self.history), job.resources.gpus)
    }

    /// Decides what to start and to stop at `now`. The planner is as before when it is done: what
    /// it decides comes back to it as changes of the state.
    #[must_use]
    pub fn plan(&mut self, now: Timestamp, budget: WorkBudget) -> Plan {
        self.pass(|planner, yard| {
            let mut pass = Pass::new(planner, yard, now).within(budget.0);
            pass.run();
            pass.decided()
        })
    }

    /// Why each job that would not start at `now` waits. The same pass as [`Planner::plan`], so
    /// that a reason is never another than the planner's own. Jobs that wait for the same share it.
    #[must_use]
    pub fn reasons(&mut self, now: Timestamp) -> BTreeMap<JobId, Blockers> {
        self.pass(|planner, yard| {
            let mut pass = Pass::new(planner, yard, now).explaining();
            pass.run();
            pass.reasons()
        })
    }

    /// Whether a job would start at `now` if things were as in `scenario`. The same pass as
    /// [`Planner::plan`], on the same yard, which is as before afterwards: a copy in effect.
    pub(super) fn would_start(&mut self, scenario: &Scenario<'_>, now: Timestamp) -> bool {
        for node in scenario.more {
            self.yard.set(node, None);
        }
        let starts = self.pass(|planner, yard| {
            for job in scenario.gone.iter().skip(1).filter_map(|id| planner.running.get(id)) {
                let place = yard.placement(&job.assignments());
                yard.give_back(&place);
            }
            let mut pass = Pass::new(planner, yard, now);
            pass = pass.supposing(scenario.job, scenario.gone.first());
            pass.run();
            pass.starts(&scenario.job.id)
        });
        for node in scenario.more {
            self.yard.remove(&node.id);
        }
        starts
    }

    /// Whether a job would find a place if it were the only one that waits: without that it need
    /// not be planned.
    pub(super) fn would_fit(&mut self, scenario: &Scenario<'_>) -> bool {
        let request = Request::from(&scenario.job.resources);
        for node in scenario.more {
            self.yard.set(node, None);
        }
        let fits = self.pass(|planner, yard| {
            for job in scenario.gone.iter().filter_map(|id| planner.running.get(id)) {
                let place = yard.placement(&job.assignments());
                yard.give_back(&place);
            }
            yard.place(&request, &Hints::default()).is_some()
        });
        for node in scenario.more {
            self.yard.remove(&node.id);
        }
        fits
    }

    pub(super) const fn yard(&self) -> &Yard {
        &self.yard
    }

    /// What a job holds.
    pub(super) fn units_of(&self, job: &JobId) -> Vec<Assignment> {
        let held = |node: &PlanNode| {
            let owned = node.owners.iter().filter(|(_, owner)| *owner == job);
            let units = owned.map(|(unit, _)| unit.clone()).collect();
            Assignment { node: node.id.clone(), node_version: node.version, units }
        };
        self.nodes.values().map(held).filter(|held| !held.units.is_empty()).collect()
    }

    /// Goes through the queue in some way; afterwards the yard is as it was before.
    fn pass<T>(&mut self, run: impl FnOnce(&Self, &mut Yard) -> T) -> T {
        let mut yard = std::mem::take(&mut self.yard);
        yard.expect(self.lines.mix());
        let mark = yard.mark();
        let result = run(self, &mut yard);
        yard.rewind(mark);
        self.yard = yard;
        result
    }
}
