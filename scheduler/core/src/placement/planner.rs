//! The planner itself: what it was told, and the faces that it shows. What a pass over the queue
//! does stands in `pass`.

mod aim;
mod census;
mod forecast;
mod herd;
mod learn;
mod news;
mod nodes;
mod suppose;
mod usage;
mod windows;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    mem::take,
    sync::Arc,
};

use trainyard_jobs::{
    Backfill, DeviceKind, JobId, Millis, NodeId, ProjectName, QueueSpec, Timestamp, UnitId, Usd,
    queue::ROOT,
};

use self::{census::Census, herd::Herd, news::is_alone};
pub(super) use self::{
    forecast::Favours,
    herd::{Ask, Holder, Loss},
};
use super::{
    explain::Blocker,
    gavel::Gavel,
    order::{Lines, Settings},
    pass::Pass,
    running::{Running, Stop},
    score::{Price, VALUE},
    share::{Amount, Stops},
    time::{History, Measured, Past, Seen},
    view::{Delta, PlanNode, Waiting},
    windows::Windows,
    yard::Yard,
};
use crate::{
    State,
    apply::{ELASTIC_LEVEL, GOES_ON_LEVEL},
    command::StartAttempt,
    state::{Job, Usage},
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
    waiting: HashMap<JobId, Waiting>,
    /// Those that wait, by project: those last that are judged by themselves.
    queued: BTreeMap<ProjectName, BTreeSet<(bool, JobId)>>,
    running: HashMap<JobId, Running>,
    nodes: BTreeMap<NodeId, PlanNode>,
    /// Those that are up by what they say that their units cost.
    prices: BTreeMap<Price, BTreeSet<NodeId>>,
    unusable: BTreeMap<NodeId, BTreeMap<UnitId, String>>,
    queues: BTreeMap<ProjectName, QueueSpec>,
    seen: BTreeMap<JobId, Seen>,
    history: History,
    measured: Measured,
    census: Census,
    /// The time of the last pass.
    clock: Timestamp,
    yard: Yard,
    windows: Windows,
    lines: Lines,
    settings: BTreeMap<ProjectName, Settings>,
    /// The running jobs of each group that may be stopped for others.
    herds: BTreeMap<ProjectName, Herd>,
    /// The running jobs whose units are becoming free.
    leaving: BTreeSet<JobId>,
    /// The running jobs that have fewer ranks than they ask for.
    small: BTreeSet<JobId>,
    /// The running jobs that save their state when they are asked to, and stay.
    movable: BTreeSet<JobId>,
    /// What each project's jobs have.
    used: BTreeMap<ProjectName, Amount>,
    usage: BTreeMap<ProjectName, Usage>,
    /// The stops of each project's jobs for other jobs.
    stops: BTreeMap<ProjectName, Stops>,
    /// What there is.
    capacity: Amount,
    /// What jobs should have on which type, in the groups whose policy asks for that.
    gavel: Gavel,
    /// Whether the cluster's feature level lets elastic jobs run with fewer ranks.
    elastic: bool,
    /// Whether some queue says who may pass jobs that wait.
    keeps_order: bool,
    /// Whether it lets jobs go on at once with units that are kept for them.
    keeps: bool,
    /// The waiting jobs that have units kept for them.
    kept: BTreeSet<JobId>,
}

/// Two planners are alike if they were told the same of what is: not how they came to know it, nor
/// what they learned besides.
impl PartialEq for Planner {
    fn eq(&self, other: &Self) -> bool {
        self.is_told_of_as_many(other)
            && self.waits_as_told(other)
            && self.runs_as_told(other)
            && self.nodes == other.nodes
            && self.unusable == other.unusable
            && self.queues == other.queues
            && self.used == other.used
            && self.usage == other.usage
            && self.stops == other.stops
            && self.capacity == other.capacity
            && self.yard == other.yard
            && self.windows == other.windows
    }
}

impl Eq for Planner {}

/// Where a kind of device is counted.
pub(super) const fn slot(kind: DeviceKind) -> usize {
    match kind {
        DeviceKind::Cpu => 0,
        DeviceKind::Gpu => 1,
    }
}

fn differ_in_quotas_alone(before: Option<&QueueSpec>, after: Option<&QueueSpec>) -> bool {
    let alike = |before: &QueueSpec, after: &QueueSpec| {
        QueueSpec { quotas: after.quotas.clone(), ..before.clone() } == *after
    };
    before.zip(after).is_some_and(|(before, after)| alike(before, after))
}

impl Planner {
    /// A planner that knows all of `state`.
    #[must_use]
    pub fn of(state: &State) -> Self {
        let elastic = state.feature_level() >= ELASTIC_LEVEL;
        let keeps = state.feature_level() >= GOES_ON_LEVEL;
        let mut planner = Self { elastic, keeps, ..Self::default() };
        let ended: Vec<&Job> = state.newest_ended_jobs(u64::MAX).take(REMEMBERED).collect();
        for past in ended.into_iter().rev().filter_map(Past::of) {
            planner.learn(&past);
        }
        // Nobody waits yet who would have to be told.
        planner.history.sum_up();
        for name in state.queues().keys() {
            planner.update(Delta::of_queue(state, name));
        }
        for name in state.usage().keys() {
            planner.update(Delta::of_usage(state, name));
        }
        for name in state.reservations().keys() {
            planner.update(Delta::of_reservation(state, name));
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
            Delta::Waits(mut job) => {
                self.measure(&mut job);
                self.forget(&job.id);
                self.count_stops(&job.project, &job.id, &job.stops, true);
                self.join(&job);
                self.count_waiting(&job);
                let queued = (is_alone(&job), job.id.clone());
                match self.queued.get_mut(&job.project) {
                    Some(others) => drop(others.insert(queued)),
                    None => drop(self.queued.insert(job.project.clone(), [queued].into())),
                }
                if job.goes_on.is_some() {
                    self.kept.insert(job.id.clone());
                }
                self.waiting.insert(job.id.clone(), *job);
            }
            Delta::Runs(mut job) => {
                self.measure_running(&mut job);
                self.forget(&job.id);
                self.count_stops(&job.project, &job.id, &job.stops, true);
                self.count(&job);
                self.count_running(&job);
                self.running.insert(job.id.clone(), *job);
            }
            Delta::Gone(job) => {
                self.forget(&job);
                self.census.forget(&job, &mut self.history);
                self.seen.remove(&job);
            }
            Delta::Ended(job, past) => {
                let ran = self.running.contains_key(&job);
                if ran {
                    self.judge(&job, &past);
                }
                self.forget(&job);
                self.census.forget(&job, &mut self.history);
                self.seen.remove(&job);
                if ran {
                    self.learn(&past);
                }
            }
            Delta::Progress(job, progress) => self.take_in(&job, progress),
            Delta::Queue(name, spec) => {
                let before = match spec.clone() {
                    Some(spec) => self.queues.insert(name, *spec),
                    None => self.queues.remove(&name),
                };
                // Quotas are read in each pass: nobody stands elsewhere for them.
                if !differ_in_quotas_alone(before.as_ref(), spec.as_deref()) {
                    self.regroup();
                }
            }
            Delta::Usage(name, usage) if usage.is_nothing() => {
                self.usage.remove(&name);
            }
            Delta::Usage(name, usage) => {
                self.usage.insert(name, usage);
            }
            Delta::Reservation(name, spec) => self.reserve(&name, spec.map(|spec| *spec)),
            Delta::Node(node) => self.set_node(*node),
            Delta::NodeGone(node) => self.remove_node(&node),
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

    /// It is `now`: jobs have run for longer, and what is expected of others follows from that.
    fn advance(&mut self, now: Timestamp) {
        let before = std::mem::replace(&mut self.clock, now);
        self.history.advance(now);
        if now < before {
            self.count_all();
        }
        self.aim();
        for news in self.history.sum_up() {
            self.tell_herds(&news);
            self.tell_cohorts(&news);
            self.tell_others(&news);
        }
        self.herds.values_mut().for_each(|herd| herd.advance(now, &self.history));
        #[cfg(test)]
        self.check_lines();
    }

    /// A job waits that did not.
    fn join(&mut self, job: &Waiting) {
        self.settle(&job.project);
        self.takes_part(&job.project, &job.resources, true);
        self.line_up(job);
    }

    /// Settings changed: everybody's group may be another.
    fn regroup(&mut self) {
        self.settings.clear();
        self.keeps_order = false;
        self.gavel.clear();
        self.herds.clear();
        self.used.clear();
        self.leaving.clear();
        self.small.clear();
        self.movable.clear();
        let waiting = take(&mut self.waiting);
        waiting.values().for_each(|job| self.join(job));
        self.waiting = waiting;
        for (_, job) in take(&mut self.running) {
            self.count(&job);
            self.running.insert(job.id.clone(), job);
        }
        self.count_all();
    }

    /// Knows what a project's settings come to.
    fn settle(&mut self, project: &ProjectName) {
        if self.settings.contains_key(project) {
            return;
        }
        let settings = Settings::of(&self.queues, project);
        if settings.group != *project {
            let group = settings.group.clone();
            let of_group = Settings::of(&self.queues, &group);
            self.settings.insert(group, of_group);
        }
        self.keeps_order |= settings.backfill != Backfill::Easy;
        self.settings.insert(project.clone(), settings);
    }

    fn count(&mut self, job: &Running) {
        self.settle(&job.project);
        self.takes_part(&job.project, &job.resources, true);
        let used = self.used.entry(job.project.clone()).or_default();
        used.count(Amount::of(&job.resources, job.units()), true);
        if job.is_leaving() {
            self.leaving.insert(job.id.clone());
            return;
        }
        if job.units() < u64::from(job.resources.gpus) {
            self.small.insert(job.id.clone());
        }
        if job.on_request {
            self.movable.insert(job.id.clone());
        }
        self.herd(job);
    }

    /// Puts a running job among those of its group, with what is known of it now.
    fn herd(&mut self, job: &Running) {
        let outlook = self.outlook_of(job);
        let lost = self.restarting(&job.project, job.attempt.0);
        let Some(settings) = self.settings.get(&job.project) else { return };
        let service = self.service_of_running(job, settings);
        let herd = match self.herds.get_mut(&settings.group) {
            Some(herd) => herd,
            None => self.herds.entry(settings.group.clone()).or_default(),
        };
        herd.insert(job, settings, lost, outlook, service);
    }

    fn forget(&mut self, id: &JobId) {
        if let Some(job) = self.waiting.remove(id) {
            self.count_stops(&job.project, id, &job.stops, false);
            self.takes_part(&job.project, &job.resources, false);
            self.lines.remove(id);
            self.kept.remove(id);
            if let Some(queued) = self.queued.get_mut(&job.project) {
                queued.remove(&(is_alone(&job), job.id));
                if queued.is_empty() {
                    self.queued.remove(&job.project);
                }
            }
        }
        let Some(job) = self.running.remove(id) else { return };
        self.count_stops(&job.project, id, &job.stops, false);
        self.takes_part(&job.project, &job.resources, false);
        self.leaving.remove(id);
        self.small.remove(id);
        self.movable.remove(id);
        if let Some(settings) = self.settings.get(&job.project)
            && let Some(herd) = self.herds.get_mut(&settings.group)
        {
            herd.remove(id);
            if herd.is_empty() {
                self.herds.remove(&settings.group);
            }
        }
        if let Some(used) = self.used.get_mut(&job.project) {
            used.count(Amount::of(&job.resources, job.units()), false);
            if *used == Amount::default() {
                self.used.remove(&job.project);
            }
        }
    }

    /// What an hour of a unit is worth to the cluster.
    fn value(&self) -> Usd {
        let root = self.queues.iter().find(|(name, _)| name.as_str() == ROOT);
        let value = root.and_then(|(_, spec)| spec.value_per_hour);
        value.map_or(Usd(VALUE), |value| value.0)
    }

    /// The nodes that are up.
    pub(super) const fn nodes(&self) -> &BTreeMap<NodeId, PlanNode> {
        &self.nodes
    }

    /// The jobs that hold units, in no order.
    pub(super) const fn running(&self) -> &HashMap<JobId, Running> {
        &self.running
    }

    /// The running jobs whose units are becoming free.
    pub(super) fn leaving(&self) -> impl Iterator<Item = &Running> {
        self.leaving.iter().filter_map(|id| self.running.get(id))
    }

    /// The running jobs that have fewer ranks than they ask for, and stay.
    pub(super) fn small(&self) -> impl Iterator<Item = &Running> {
        self.small.iter().filter_map(|id| self.running.get(id))
    }

    /// The running jobs that save their state when they are asked to, and stay.
    pub(super) const fn movable(&self) -> &BTreeSet<JobId> {
        &self.movable
    }

    /// The waiting jobs that have units kept for them.
    pub(super) const fn kept(&self) -> &BTreeSet<JobId> {
        &self.kept
    }

    /// Whether jobs may go on at once with units that are kept for them.
    pub(super) const fn keeps(&self) -> bool {
        self.keeps
    }

    /// The jobs that wait, in lines.
    pub(super) const fn lines(&self) -> &Lines {
        &self.lines
    }

    /// What each project's jobs have.
    pub(super) const fn used(&self) -> &BTreeMap<ProjectName, Amount> {
        &self.used
    }

    /// What there is.
    pub(super) const fn capacity(&self) -> Amount {
        self.capacity
    }

    /// Whether elastic jobs may run with fewer ranks than they ask for.
    pub(super) const fn elastic(&self) -> bool {
        self.elastic
    }

    /// Whether some queue asks for another backfill than the default.
    pub(super) const fn keeps_order(&self) -> bool {
        self.keeps_order
    }

    /// Queues that have settings of their own.
    pub(super) const fn queues(&self) -> &BTreeMap<ProjectName, QueueSpec> {
        &self.queues
    }

    /// What every project that was ever heard of comes to, and every group.
    pub(super) const fn all_settings(&self) -> &BTreeMap<ProjectName, Settings> {
        &self.settings
    }

    /// The groups with running jobs that may be stopped for others.
    pub(super) fn groups(&self) -> impl Iterator<Item = &ProjectName> {
        self.herds.keys()
    }

    /// The running jobs that nobody stops.
    pub(super) fn holders(&self, now: Timestamp) -> impl Iterator<Item = Holder<'_>> {
        self.herds.values().flat_map(move |herd| herd.ends(now, &self.history))
    }

    /// The highest priority of the jobs that a project's jobs are ordered with.
    pub(super) fn highest_priority(&self, project: &ProjectName) -> Option<i32> {
        let group = &self.settings_of(project)?.group;
        self.lines.highest(group).max(self.herds.get(group).and_then(Herd::highest))
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

    /// What a project that has jobs comes to.
    pub(super) fn settings_of(&self, project: &ProjectName) -> Option<&Settings> {
        self.settings.get(project)
    }

    /// Decides what to start and to stop at `now`. The planner is as before when it is done: what
    /// it decides comes back to it as changes of the state.
    #[must_use]
    pub fn plan(&mut self, now: Timestamp, budget: WorkBudget) -> Plan {
        let (plan, in_vain) = self.pass(now, |planner, yard| {
            let mut pass = Pass::new(planner, yard, now).within(budget.0);
            pass.run();
            (pass.decided(), pass.in_vain())
        });
        for (group, ask) in in_vain {
            if let Some(herd) = self.herds.get_mut(&group) {
                herd.remember(ask);
            }
        }
        plan
    }

    /// Why each job that would not start at `now` waits. The same pass as [`Planner::plan`], so
    /// that a reason is never another than the planner's own. Jobs that wait for the same share it.
    #[must_use]
    pub fn reasons(&mut self, now: Timestamp) -> BTreeMap<JobId, Blockers> {
        self.pass(now, |planner, yard| {
            let mut pass = Pass::new(planner, yard, now).explaining();
            pass.run();
            pass.reasons()
        })
    }

    /// Goes through the queue in some way; afterwards the yard is as it was before.
    fn pass<T>(
        &mut self,
        now: Timestamp,
        run: impl for<'a> FnOnce(&'a Self, &'a mut Yard) -> T,
    ) -> T {
        self.advance(now);
        self.look(run)
    }

    /// The same with what was expected of jobs when that was asked last.
    fn look<T>(&mut self, run: impl for<'a> FnOnce(&'a Self, &'a mut Yard) -> T) -> T {
        let mut yard = take(&mut self.yard);
        yard.expect(self.lines.mix());
        yard.set_value(self.value());
        let mark = yard.mark();
        let result = run(self, &mut yard);
        yard.rewind(mark);
        self.yard = yard;
        result
    }
}
