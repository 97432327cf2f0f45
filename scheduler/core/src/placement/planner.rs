//! The planner itself: jobs in order of priority, then age; each gang placed whole or passed
//! over; a job that was passed over for too long holds the nodes that it needs.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use trainyard_jobs::{
    JobId, Millis, NodeId, ProjectName, QueueSpec, Timestamp, UnitId, spec::Resources,
};

use super::{
    explain::{Blocker, blockers, could_fit},
    fit::{Spot, Yard, fit},
    running::{Progress, Running, Stop},
    view::{Delta, PlanNode, Waiting},
};
use crate::{
    State,
    command::{Assignment, StartAttempt},
};

/// From this wait on, a job that does not fit keeps later ones off the nodes that it needs:
/// small jobs cannot starve a large one.
pub const PATIENCE: Millis = Millis(600_000);

/// Work that one plan may do, in jobs looked at times nodes. Not time: equal input gives an
/// equal plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkBudget(pub u64);

impl WorkBudget {
    /// Enough for every job.
    pub const UNLIMITED: Self = Self(u64::MAX);
}

/// What to start now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Gangs to start, best first.
    pub starts: Vec<StartAttempt>,
    /// Attempts to stop, so that others can start once their units are free.
    pub stops: Vec<Stop>,
    /// Every job was looked at within the budget.
    pub complete: bool,
    /// When time alone may change the plan: to be asked again then, if nothing happens before.
    pub again: Option<Timestamp>,
}

/// What keeps a job from starting; shared by all jobs that the same keeps.
pub type Blockers = Arc<[Blocker]>;

/// Orders the queue: priority, then age.
type Rank = (std::cmp::Reverse<i32>, u64, JobId);

/// What waits and what is free, kept up to date by [`Planner::update`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Planner {
    queue: BTreeMap<Rank, Waiting>,
    running: BTreeMap<JobId, Running>,
    progress: BTreeMap<JobId, Progress>,
    queues: BTreeMap<ProjectName, QueueSpec>,
    ranks: BTreeMap<JobId, Rank>,
    nodes: BTreeMap<NodeId, PlanNode>,
    unusable: BTreeMap<NodeId, BTreeMap<UnitId, String>>,
}

impl Planner {
    /// A planner that knows all of `state`.
    #[must_use]
    pub fn of(state: &State) -> Self {
        let mut planner = Self::default();
        for job in state.live_jobs() {
            planner.update(Delta::of_job(state, &job.id));
        }
        for id in state.nodes().keys() {
            planner.update(Delta::of_node(state, id));
        }
        for name in state.queues().keys() {
            planner.update(Delta::of_queue(state, name));
        }
        planner
    }

    /// Takes in a change.
    pub fn update(&mut self, delta: Delta) {
        match delta {
            Delta::Waits(job) => {
                self.forget(&job.id);
                let rank = (std::cmp::Reverse(job.priority), job.sequence, job.id.clone());
                self.ranks.insert(job.id.clone(), rank.clone());
                self.queue.insert(rank, *job);
            }
            Delta::Runs(job) => {
                self.forget(&job.id);
                self.running.insert(job.id.clone(), *job);
            }
            Delta::Gone(job) => {
                self.forget(&job);
                self.progress.remove(&job);
            }
            Delta::Progress(job, progress) => {
                if self.running.contains_key(&job) || self.ranks.contains_key(&job) {
                    self.progress.insert(job, progress);
                }
            }
            Delta::Queue(name, spec) => {
                match spec {
                    Some(spec) => self.queues.insert(name, *spec),
                    None => self.queues.remove(&name),
                };
            }
            Delta::Node(node) => {
                self.nodes.insert(node.id.clone(), *node);
            }
            Delta::NodeGone(node) => {
                self.nodes.remove(&node);
                self.unusable.remove(&node);
            }
            Delta::Unusable(node, units) if units.is_empty() => {
                self.unusable.remove(&node);
            }
            Delta::Unusable(node, units) => {
                self.unusable.insert(node, units);
            }
        }
    }

    fn forget(&mut self, job: &JobId) {
        self.running.remove(job);
        if let Some(rank) = self.ranks.remove(job) {
            self.queue.remove(&rank);
        }
    }

    /// The nodes that are up.
    pub(super) const fn nodes(&self) -> &BTreeMap<NodeId, PlanNode> {
        &self.nodes
    }

    pub(super) fn unusable(&self, node: &NodeId) -> Option<&BTreeMap<UnitId, String>> {
        self.unusable.get(node)
    }

    /// The job as it waits, and its place in the queue from 1.
    pub(super) fn waiting(&self, job: &JobId) -> Option<(&Waiting, usize)> {
        let rank = self.ranks.get(job)?;
        Some((self.queue.get(rank)?, self.queue.range(..rank).count() + 1))
    }

    /// Decides what to start at `now`. Ends early once no unit is free.
    #[must_use]
    pub fn plan(&self, now: Timestamp, budget: WorkBudget) -> Plan {
        let cost = u64::try_from(self.nodes.len()).unwrap_or(u64::MAX).max(1);
        let mut work = budget.0;
        let mut pass = Pass::new(self, now, None);
        for job in self.queue.values() {
            if pass.yard.is_full() {
                break;
            }
            if work < cost {
                pass.plan.complete = false;
                break;
            }
            work -= cost;
            pass.consider(job);
        }
        pass.plan.starts = on_top_of_each_other(pass.plan.starts);
        pass.plan
    }

    /// Why each job that would not start at `now` waits. The same pass as [`Planner::plan`]
    /// over the whole queue, so that a reason is never another than the planner's own. Jobs that wait
    /// for the same share it.
    #[must_use]
    pub fn reasons(&self, now: Timestamp) -> BTreeMap<JobId, Blockers> {
        let mut pass = Pass::new(self, now, Some(BTreeMap::new()));
        for job in self.queue.values() {
            pass.consider(job);
        }
        pass.reasons.unwrap_or_default()
    }

    /// Whether `changed`, in the place of the job of its id, would start at `now` on the nodes of
    /// `yard`. No copy of the queue is made.
    pub(super) fn would_start(&self, changed: &Waiting, yard: &Self, now: Timestamp) -> bool {
        let mut pass = Pass::new(yard, now, None);
        for job in self.queue.values() {
            if pass.yard.is_full() {
                return false;
            }
            if job.id == changed.id {
                let before = pass.plan.starts.len();
                pass.consider(changed);
                return pass.plan.starts.len() > before;
            }
            pass.consider(job);
        }
        false
    }

    /// The same nodes without the units that `holder` owns, and an empty queue.
    pub(super) fn without(&self, holder: &JobId) -> Self {
        let mut nodes = self.nodes.clone();
        for node in nodes.values_mut() {
            node.owners.retain(|_, owner| owner != holder);
        }
        Self { nodes, unusable: self.unusable.clone(), ..Self::default() }
    }

    fn start(
        &self,
        job: &Waiting,
        gang: Vec<(&NodeId, Vec<UnitId>)>,
        master_port: u16,
    ) -> StartAttempt {
        let assign = |(id, units): (&NodeId, Vec<UnitId>)| Assignment {
            node: id.clone(),
            node_version: self.nodes.get(id).map_or(0, |node| node.version),
            units,
        };
        StartAttempt {
            job: job.id.clone(),
            job_version: job.version,
            placements: gang.into_iter().map(assign).collect(),
            master_port,
            resume: job.resume,
        }
    }

    fn yard(&self) -> Yard<'_> {
        let spots = self.nodes.values().map(|node| {
            let out = self.unusable.get(&node.id);
            let is_free = |unit: &UnitId| {
                !node.owners.contains_key(unit) && !out.is_some_and(|out| out.contains_key(unit))
            };
            let devices = node.devices.iter();
            let mut free: Vec<_> = devices.filter(|(unit, _)| is_free(unit)).collect();
            free.sort_by_key(|(unit, device)| (device.index, *unit));
            (&node.id, Spot { node, free, ports_taken: BTreeSet::new(), held: false })
        });
        Yard { nodes: spots.collect() }
    }
}

/// One pass over the queue.
struct Pass<'a> {
    planner: &'a Planner,
    now: Timestamp,
    yard: Yard<'a>,
    /// What did not fit will not fit later in the same pass: units only go.
    misfits: Vec<Misfit<'a>>,
    held_for: Option<&'a JobId>,
    plan: Plan,
    /// Asked for only by those who read them: a plan is made far more often.
    reasons: Option<BTreeMap<JobId, Blockers>>,
}

/// A request that did not fit, with what was found out about it.
struct Misfit<'a> {
    request: &'a Resources,
    could_fit: Option<bool>,
    /// Why it did not, and for which job units were held then.
    why: Option<(Option<&'a JobId>, Blockers)>,
}

impl<'a> Pass<'a> {
    fn new(
        planner: &'a Planner,
        now: Timestamp,
        reasons: Option<BTreeMap<JobId, Blockers>>,
    ) -> Self {
        Self {
            planner,
            now,
            yard: planner.yard(),
            misfits: Vec::new(),
            held_for: None,
            plan: Plan { complete: true, ..Plan::default() },
            reasons,
        }
    }

    /// Starts a job or says why not.
    fn consider(&mut self, job: &'a Waiting) {
        if job.not_before > self.now {
            return self.waits(job, |now, _| [Blocker::backoff(job.not_before, now)].into());
        }
        let known = self.misfits.iter().position(|misfit| *misfit.request == job.resources);
        let gang = if known.is_some() { None } else { fit(&job.resources, &self.yard) };
        let Some(gang) = gang else { return self.does_not_fit(job, known) };
        let first = gang.first().map(|(node, _)| *node);
        let turn = job.sequence.wrapping_add(u64::from(job.attempts));
        let Some(port) = first.and_then(|node| self.yard.take_port(node, turn)) else {
            return self.waits(job, |_, _| [Blocker::no_port()].into());
        };
        self.yard.take(&gang);
        self.plan.starts.push(self.planner.start(job, gang, port));
    }

    /// A job that more units than exist would not help is not waited for. What is found out about
    /// a request serves all that ask for the same: a long queue asks for few different things.
    fn does_not_fit(&mut self, job: &'a Waiting, known: Option<usize>) {
        let (planner, held_for) = (self.planner, self.held_for);
        let at = known.unwrap_or(self.misfits.len());
        if known.is_none() {
            self.misfits.push(Misfit { request: &job.resources, could_fit: None, why: None });
        }
        let Some(misfit) = self.misfits.get_mut(at) else { return };
        if let Some(reasons) = &mut self.reasons {
            let known = misfit.why.take().filter(|(held, _)| *held == held_for);
            let (_, why) = misfit.why.insert(known.unwrap_or_else(|| {
                let mut why = blockers(planner, &job.resources);
                why.extend(held_for.map(Blocker::held));
                (held_for, why.into())
            }));
            reasons.insert(job.id.clone(), Blockers::clone(why));
        }
        if self.now.since(job.submitted) >= PATIENCE && held_for.is_none() {
            let could = || could_fit(planner, &job.resources);
            if *misfit.could_fit.get_or_insert_with(could) {
                self.yard.hold(&job.resources);
                self.held_for = Some(&job.id);
            }
        }
    }

    fn waits(&mut self, job: &Waiting, why: impl FnOnce(Timestamp, &Planner) -> Blockers) {
        if let Some(reasons) = &mut self.reasons {
            reasons.insert(job.id.clone(), why(self.now, self.planner));
        }
    }
}

/// A start raises its nodes' versions, so that a second start on the same node in the same
/// plan must name the version that the first one leaves.
fn on_top_of_each_other(mut starts: Vec<StartAttempt>) -> Vec<StartAttempt> {
    let mut raised: BTreeMap<NodeId, u64> = BTreeMap::new();
    for start in &mut starts {
        for assignment in &mut start.placements {
            let more = raised.entry(assignment.node.clone()).or_default();
            assignment.node_version += *more;
            *more += 1;
        }
    }
    starts
}
