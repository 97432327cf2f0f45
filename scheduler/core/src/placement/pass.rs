//! One pass over the queue: groups in turn, in each the jobs in their order; a gang is placed
//! whole, or lays its hand on units that are becoming free, or has others stopped for it, or
//! waits. What did not fit does not fit later in the same pass, so a line ends at its first misfit.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, btree_set},
};

use trainyard_jobs::{JobId, NodeId, ProjectName, StopCause, Timestamp};

use super::{
    explain::{Blocker, blockers, could_fit},
    fit::{Hints, Request},
    order::{Rank, Worth, stops_for},
    planner::{Blockers, PATIENCE, Plan, Planner},
    running::Stop,
    victims::{Standing, choose},
    view::Waiting,
    yard::{Placement, Yard},
};
use crate::command::StartAttempt;

/// What one pass knows.
pub(super) struct Pass<'a> {
    planner: &'a Planner,
    pub(super) yard: &'a mut Yard,
    now: Timestamp,
    /// A job as it would be, in the place of the one of its id.
    changed: Option<&'a Waiting>,
    /// A job that would have ended.
    gone: Option<&'a JobId>,
    work: u64,
    /// Requests that found no place among what is free: units only go.
    misfits: BTreeSet<Request>,
    /// What will be free without anybody's doing, and nobody has laid a hand on.
    pending: Vec<Placement>,
    /// Jobs that may be stopped, by group, the worst first.
    standings: BTreeMap<&'a ProjectName, Vec<Standing>>,
    held_for: Option<JobId>,
    /// Units that each group would have.
    used: BTreeMap<&'a ProjectName, u64>,
    pub(super) plan: Plan,
    /// Why jobs wait, one by one and line by line. Asked for only by those who read them: a plan
    /// is made far more often.
    why: Option<Why<'a>>,
}

/// Why jobs wait.
#[derive(Default)]
struct Why<'a> {
    jobs: BTreeMap<JobId, Blockers>,
    lines: BTreeMap<(&'a ProjectName, Request), Blockers>,
    /// What was found out about a request, and for which job units were held then.
    requests: BTreeMap<Request, (Option<JobId>, Blockers)>,
}

/// What a look at a job came to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    /// It starts.
    Starts,
    /// It waits for something of its own; the next in its line may not have to.
    Waits,
    /// It lays its hand on units that are becoming free.
    Claims,
    /// Nothing can be done for it, nor for those behind it.
    Misfit,
}

/// A group's lines, merged.
struct Merge<'a> {
    heads: BinaryHeap<Reverse<(&'a Rank, usize)>>,
    lines: Vec<(&'a Request, btree_set::Iter<'a, Rank>)>,
}

impl<'a> Merge<'a> {
    fn of(lines: &'a BTreeMap<Request, BTreeSet<Rank>>) -> Self {
        let mut merge = Self { heads: BinaryHeap::new(), lines: Vec::with_capacity(lines.len()) };
        for (at, (request, line)) in lines.iter().enumerate() {
            merge.lines.push((request, line.iter()));
            merge.step(at);
        }
        merge
    }

    /// The next of a line comes forward.
    fn step(&mut self, at: usize) {
        if let Some(rank) = self.lines.get_mut(at).and_then(|(_, line)| line.next()) {
            self.heads.push(Reverse((rank, at)));
        }
    }

    fn next(&mut self) -> Option<(&'a JobId, &'a Request, usize)> {
        let Reverse((rank, at)) = self.heads.pop()?;
        Some((&rank.3, self.lines.get(at)?.0, at))
    }
}

impl<'a> Pass<'a> {
    pub(super) fn new(planner: &'a Planner, yard: &'a mut Yard, now: Timestamp) -> Self {
        let leaving =
            planner.running().values().filter(|job| job.stopping || job.leaves_by.is_some());
        let pending = leaving.map(|job| yard.placement(&job.assignments())).collect();
        Self {
            planner,
            yard,
            now,
            changed: None,
            gone: None,
            work: u64::MAX,
            misfits: BTreeSet::new(),
            pending,
            standings: BTreeMap::new(),
            held_for: None,
            used: planner.used().iter().map(|(group, units)| (group, *units)).collect(),
            plan: Plan { complete: true, ..Plan::default() },
            why: None,
        }
    }

    /// With only so much work.
    pub(super) const fn within(mut self, work: u64) -> Self {
        self.work = work;
        self
    }

    /// With the reasons of all who wait.
    pub(super) fn explaining(mut self) -> Self {
        self.why = Some(Why::default());
        self
    }

    /// As if a job were another, and a running one had ended.
    pub(super) fn supposing(mut self, changed: &'a Waiting, gone: Option<&'a JobId>) -> Self {
        self.changed = Some(changed);
        self.gone = gone;
        if let Some(gone) = gone {
            let place = self.yard.placement(&self.planner.units_of(gone));
            self.yard.give_back(&place);
        }
        self
    }

    /// Goes through the queue.
    pub(super) fn run(&mut self) {
        self.stop_those_due();
        let planner = self.planner;
        let overdue: Vec<&'a JobId> = planner.lines().overdue(self.now).collect();
        let mut seen: BTreeSet<&'a JobId> = BTreeSet::new();
        for id in overdue {
            let Some(job) = self.job(id) else { continue };
            if !self.afford() {
                return;
            }
            seen.insert(id);
            self.consider(job, &Request::from(&job.resources));
        }
        let groups = planner.lines().groups();
        let mut merges: BTreeMap<&'a ProjectName, Merge<'a>> =
            groups.iter().map(|(group, lines)| (group, Merge::of(lines))).collect();
        while let Some(group) = self.turn(&merges) {
            let Some(merge) = merges.get_mut(group) else { return };
            let Some((id, request, at)) = merge.next() else {
                merges.remove(group);
                continue;
            };
            let Some(job) = self.job(id).filter(|_| !seen.contains(id)) else {
                merge.step(at);
                continue;
            };
            if !self.afford() {
                return;
            }
            let own = self.changed.filter(|changed| changed.id == *id);
            let request = own.map_or_else(|| request.clone(), |own| Request::from(&own.resources));
            let look = self.consider(job, &request);
            // Who stands in for another says nothing of those behind that one.
            if look != Look::Misfit || own.is_some() {
                merge.step(at);
            }
        }
    }

    /// The job as it waits, or as it would.
    fn job(&self, id: &JobId) -> Option<&'a Waiting> {
        self.changed.filter(|job| job.id == *id).or_else(|| self.planner.job(id))
    }

    /// The group whose turn it is: the one that has least.
    fn turn(&self, merges: &BTreeMap<&'a ProjectName, Merge<'a>>) -> Option<&'a ProjectName> {
        let open = merges.keys().copied();
        open.min_by_key(|group| (self.used.get(*group).copied().unwrap_or_default(), *group))
    }

    fn afford(&mut self) -> bool {
        match self.work.checked_sub(1) {
            Some(left) => self.work = left,
            None => self.plan.complete = false,
        }
        self.plan.complete
    }

    /// Starts a job, sees to it that it can be started, or says why not.
    fn consider(&mut self, job: &'a Waiting, request: &Request) -> Look {
        if job.not_before > self.now {
            self.again(job.not_before);
            let now = self.now;
            self.waits(job, |_| [Blocker::backoff(job.not_before, now)].into());
            return Look::Waits;
        }
        let hints = Hints { avoid: Some(&job.failed_on), ..Hints::default() };
        let known = self.misfits.contains(request);
        let place = if known { None } else { self.yard.place(request, &hints) };
        let Some(place) = place else {
            self.misfits.insert(request.clone());
            if self.claim(job, request, &hints) {
                self.waits(job, |_| [Blocker::stopping()].into());
                return Look::Claims;
            }
            self.does_not_fit(job, request);
            return Look::Misfit;
        };
        let turn = job.sequence.wrapping_add(u64::from(job.attempts));
        let Some(master_port) = self.yard.take_port(&place, turn) else {
            self.waits(job, |_| [Blocker::no_port()].into());
            return Look::Waits;
        };
        self.yard.take(&place);
        self.counts(job);
        self.plan.starts.push(StartAttempt {
            job: job.id.clone(),
            job_version: job.version,
            placements: self.yard.assignments(&place),
            master_port,
            resume: job.resume,
        });
        Look::Starts
    }

    fn counts(&mut self, job: &Waiting) {
        if let Some(group) = self.planner.group(&job.project) {
            *self.used.entry(group).or_default() += u64::from(job.resources.gpus);
        }
    }

    /// Lays a hand on units that are becoming free, and has jobs stopped if those are not enough
    /// and it is worth it.
    fn claim(&mut self, job: &Waiting, request: &Request, hints: &Hints<'_>) -> bool {
        let planner = self.planner;
        let Some(group) = planner.group(&job.project) else { return false };
        let settings = planner.settings(&job.project);
        let value = planner.value_of(job);
        let worth = Worth { priority: job.priority, value, attained: job.attained };
        self.stand(group);
        let Some(standings) = self.standings.get_mut(group) else { return false };
        let may = |standing: &Standing| {
            stops_for(settings.policy, &worth, &standing.worth, standing.cost)
        };
        let candidates: Vec<&Standing> = standings.iter().filter(|s| may(s)).collect();
        if candidates.is_empty() && self.pending.is_empty() {
            return false;
        }
        let (found, tried) = choose(self.yard, &self.pending, &candidates, request, hints);
        self.work = self.work.saturating_sub(tried);
        let Some((place, victims)) = found else { return false };
        let victims: Vec<Standing> =
            victims.into_iter().filter_map(|at| candidates.get(at)).map(|s| (*s).clone()).collect();
        standings.retain(|standing| victims.iter().all(|victim| victim.job != standing.job));
        self.yard.take_free(&place);
        self.pending.extend(victims.iter().map(|victim| victim.place.clone()));
        for pending in &mut self.pending {
            *pending = pending.without(&place);
        }
        self.pending.retain(|pending| !pending.is_empty());
        let stop = |victim: Standing| Stop {
            job: victim.job,
            version: victim.version,
            attempt: victim.attempt,
            why: StopCause::Policy,
            checkpoint_by: victim
                .notice
                .map(|notice| Timestamp(self.now.0.saturating_add(notice.0))),
        };
        self.plan.stops.extend(victims.into_iter().map(stop));
        self.counts(job);
        true
    }

    /// Looks at the group's running jobs, once: those that may be stopped now, the worst first.
    fn stand(&mut self, group: &'a ProjectName) {
        if self.standings.contains_key(group) {
            return;
        }
        let (found, next) = self.planner.standings(group, self.gone, self.now, self.yard);
        if let Some(next) = next {
            self.again(next);
        }
        self.standings.insert(group, found);
    }

    /// Time alone changes something then.
    fn again(&mut self, at: Timestamp) {
        if at > self.now {
            self.plan.again = Some(self.plan.again.map_or(at, |before| before.min(at)));
        }
    }

    /// Who was asked to save its state and has not by now is stopped without.
    fn stop_those_due(&mut self) {
        let planner = self.planner;
        let leaving = planner.running().values().filter(|job| !job.stopping);
        for job in leaving {
            let Some(by) = job.leaves_by else { continue };
            if by > self.now {
                self.again(by);
                continue;
            }
            self.plan.stops.push(Stop {
                job: job.id.clone(),
                version: job.version,
                attempt: job.attempt,
                why: StopCause::Policy,
                checkpoint_by: None,
            });
        }
    }

    /// A job that more units than exist would not help is not waited for. What is found out about
    /// a request serves all that ask for the same: a long queue asks for few different things.
    fn does_not_fit(&mut self, job: &'a Waiting, request: &Request) {
        let (planner, held_for) = (self.planner, self.held_for.clone());
        if let Some(why) = &mut self.why {
            let known = why.requests.remove(request).filter(|(held, _)| *held == held_for);
            let (_, found) =
                why.requests.entry(request.clone()).or_insert(known.unwrap_or_else(|| {
                    let mut found = blockers(planner, self.yard, &job.resources);
                    found.extend(held_for.as_ref().map(Blocker::held));
                    (held_for.clone(), found.into())
                }));
            if let Some(group) = planner.group(&job.project) {
                why.lines.insert((group, request.clone()), Blockers::clone(found));
            }
            why.jobs.insert(job.id.clone(), Blockers::clone(found));
        }
        if held_for.is_some() {
            return;
        }
        let patient = Timestamp(job.submitted.0.saturating_add(PATIENCE.0));
        if patient > self.now {
            self.again(patient);
        } else if could_fit(self.yard, request) {
            self.yard.hold(request);
            self.held_for = Some(job.id.clone());
        }
    }

    fn waits(&mut self, job: &Waiting, why: impl FnOnce(&Planner) -> Blockers) {
        if let Some(known) = &mut self.why {
            known.jobs.insert(job.id.clone(), why(self.planner));
        }
    }

    /// Whether the pass would start a job.
    pub(super) fn starts(&self, job: &JobId) -> bool {
        self.plan.starts.iter().any(|start| start.job == *job)
    }

    /// What the pass decided.
    pub(super) fn decided(&mut self) -> Plan {
        if let Some(next) = self.planner.lines().next_overdue(self.now) {
            self.again(next);
        }
        let mut plan = std::mem::take(&mut self.plan);
        on_top_of_each_other(&mut plan.starts);
        plan
    }

    /// Why each job waits that would not start.
    pub(super) fn reasons(&mut self) -> BTreeMap<JobId, Blockers> {
        let why = self.why.take().unwrap_or_default();
        let mut all = why.jobs;
        for (group, lines) in self.planner.lines().groups() {
            for (request, line) in lines {
                let Some(shared) = why.lines.get(&(group, request.clone())) else { continue };
                for (.., id) in line {
                    let starts = || self.plan.starts.iter().any(|start| start.job == *id);
                    if !all.contains_key(id) && !starts() {
                        all.insert(id.clone(), Blockers::clone(shared));
                    }
                }
            }
        }
        all
    }
}

/// A start raises its nodes' versions, so that a second start on the same node in the same
/// plan must name the version that the first one leaves.
fn on_top_of_each_other(starts: &mut [StartAttempt]) {
    let mut raised: BTreeMap<NodeId, u64> = BTreeMap::new();
    for assignment in starts.iter_mut().flat_map(|start| &mut start.placements) {
        let more = raised.entry(assignment.node.clone()).or_default();
        assignment.node_version += *more;
        *more += 1;
    }
}
