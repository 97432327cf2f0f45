//! The planner itself: jobs in order of priority, then age; each gang placed whole or passed
//! over; a job that was passed over for too long holds the nodes that it needs.

use std::{collections::BTreeMap, sync::Arc};

use trainyard_jobs::{JobId, Millis, NodeId, ProjectName, QueueSpec, Timestamp, UnitId};

use super::{
    explain::{Blocker, blockers, could_fit},
    fit::{Hints, Request},
    running::{Progress, Running, Stop},
    view::{Delta, PlanNode, Waiting},
    yard::Yard,
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
    yard: Yard,
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
                self.yard.set(&node, self.unusable.get(&node.id));
                self.nodes.insert(node.id.clone(), *node);
            }
            Delta::NodeGone(node) => {
                self.nodes.remove(&node);
                self.unusable.remove(&node);
                self.yard.remove(&node);
            }
            Delta::Unusable(node, units) => {
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

    /// Decides what to start at `now`. Ends early once no unit is free. The planner is as before
    /// when it is done: what it decides comes back to it as changes of the state.
    #[must_use]
    pub fn plan(&mut self, now: Timestamp, budget: WorkBudget) -> Plan {
        let cost = u64::try_from(self.nodes.len()).unwrap_or(u64::MAX).max(1);
        let mut work = budget.0;
        self.pass(now, None, |pass, planner| {
            for job in planner.queue.values() {
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
            pass.plan.starts = on_top_of_each_other(std::mem::take(&mut pass.plan.starts));
            std::mem::take(&mut pass.plan)
        })
    }

    /// Why each job that would not start at `now` waits. The same pass as [`Planner::plan`]
    /// over the whole queue, so that a reason is never another than the planner's own. Jobs that wait
    /// for the same share it.
    #[must_use]
    pub fn reasons(&mut self, now: Timestamp) -> BTreeMap<JobId, Blockers> {
        self.pass(now, Some(BTreeMap::new()), |pass, planner| {
            for job in planner.queue.values() {
                pass.consider(job);
            }
            pass.reasons.take().unwrap_or_default()
        })
    }

    /// Whether `changed`, in the place of the job of its id, would start at `now` if `gone` had
    /// ended. No copy of the queue or of the nodes is made.
    pub(super) fn would_start(
        &mut self,
        changed: &Waiting,
        gone: Option<&JobId>,
        now: Timestamp,
    ) -> bool {
        self.pass(now, None, |pass, planner| {
            if let Some(gone) = gone {
                let gang = planner.units_of(gone);
                let placement = pass.yard.placement(&gang);
                pass.yard.give_back(&placement);
            }
            for job in planner.queue.values() {
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
        })
    }

    /// What a job holds.
    fn units_of(&self, job: &JobId) -> Vec<Assignment> {
        let held = |node: &PlanNode| {
            let owned = node.owners.iter().filter(|(_, owner)| *owner == job);
            let units = owned.map(|(unit, _)| unit.clone()).collect();
            Assignment { node: node.id.clone(), node_version: node.version, units }
        };
        self.nodes.values().map(held).filter(|held| !held.units.is_empty()).collect()
    }

    /// Goes through the queue in some way; afterwards the yard is as it was before.
    fn pass<T>(
        &mut self,
        now: Timestamp,
        reasons: Option<BTreeMap<JobId, Blockers>>,
        run: impl for<'a> FnOnce(&mut Pass<'a>, &'a Self) -> T,
    ) -> T {
        let mut yard = std::mem::take(&mut self.yard);
        let mark = yard.mark();
        let result = run(&mut Pass::new(self, &mut yard, now, reasons), self);
        yard.rewind(mark);
        self.yard = yard;
        result
    }
}

/// One pass over the queue.
struct Pass<'a> {
    planner: &'a Planner,
    now: Timestamp,
    yard: &'a mut Yard,
    /// What did not fit will not fit later in the same pass: units only go.
    misfits: Vec<Misfit>,
    held_for: Option<JobId>,
    plan: Plan,
    /// Asked for only by those who read them: a plan is made far more often.
    reasons: Option<BTreeMap<JobId, Blockers>>,
}

/// A request that did not fit, with what was found out about it.
struct Misfit {
    request: Request,
    could_fit: Option<bool>,
    /// Why it did not, and for which job units were held then.
    why: Option<(Option<JobId>, Blockers)>,
}

impl<'a> Pass<'a> {
    const fn new(
        planner: &'a Planner,
        yard: &'a mut Yard,
        now: Timestamp,
        reasons: Option<BTreeMap<JobId, Blockers>>,
    ) -> Self {
        Self {
            planner,
            now,
            yard,
            misfits: Vec::new(),
            held_for: None,
            plan: Plan { starts: Vec::new(), stops: Vec::new(), complete: true, again: None },
            reasons,
        }
    }

    /// Starts a job or says why not.
    fn consider(&mut self, job: &Waiting) {
        if job.not_before > self.now {
            return self.waits(job, |now, _| [Blocker::backoff(job.not_before, now)].into());
        }
        let request = Request::from(&job.resources);
        let known = self.misfits.iter().position(|misfit| misfit.request == request);
        let hints = Hints::default();
        let place = if known.is_some() { None } else { self.yard.place(&request, &hints) };
        let Some(place) = place else { return self.does_not_fit(job, request, known) };
        let turn = job.sequence.wrapping_add(u64::from(job.attempts));
        let Some(master_port) = self.yard.take_port(&place, turn) else {
            return self.waits(job, |_, _| [Blocker::no_port()].into());
        };
        self.yard.take(&place);
        self.plan.starts.push(StartAttempt {
            job: job.id.clone(),
            job_version: job.version,
            placements: self.yard.assignments(&place),
            master_port,
            resume: job.resume,
        });
    }

    /// A job that more units than exist would not help is not waited for. What is found out about
    /// a request serves all that ask for the same: a long queue asks for few different things.
    fn does_not_fit(&mut self, job: &Waiting, request: Request, known: Option<usize>) {
        let (planner, held_for) = (self.planner, self.held_for.clone());
        let at = known.unwrap_or(self.misfits.len());
        if known.is_none() {
            self.misfits.push(Misfit { request, could_fit: None, why: None });
        }
        let Some(misfit) = self.misfits.get_mut(at) else { return };
        if let Some(reasons) = &mut self.reasons {
            let known = misfit.why.take().filter(|(held, _)| *held == held_for);
            let (_, why) = misfit.why.insert(known.unwrap_or_else(|| {
                let mut why = blockers(planner, &job.resources);
                why.extend(held_for.as_ref().map(Blocker::held));
                (held_for.clone(), why.into())
            }));
            reasons.insert(job.id.clone(), Blockers::clone(why));
        }
        if self.now.since(job.submitted) >= PATIENCE && held_for.is_none() {
            let could = || could_fit(planner, &job.resources);
            if *misfit.could_fit.get_or_insert_with(could) {
                self.yard.hold(&misfit.request);
                self.held_for = Some(job.id.clone());
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
