//! One pass over the queue: groups in turn, in each the jobs in their order; a gang is placed
//! whole, or lays its hand on units that are becoming free, or has others stopped for it, or
//! waits. What did not fit does not fit later in the same pass, so a line ends at its first misfit.

mod aim;
mod bargain;
mod claim;
mod clear;
mod economize;
mod exchange;
mod expect;
mod grow;
mod merge;
mod migrate;
mod overdue;
mod promise;
mod reclaim;
mod resume;
mod shrink;
mod slip;
mod together;
mod why;

use std::collections::{BTreeMap, BTreeSet};

use trainyard_jobs::{Backfill, JobId, NodeId, ProjectName, StopCause, Timestamp};

use self::{
    bargain::Bargains,
    exchange::Party,
    merge::{Next, Turns},
    promise::Promises,
    reclaim::Losses,
    slip::Misfits,
    why::Why,
};
use super::{
    explain::Blocker,
    fit::{Hints, Request},
    order::{Settings, preempts},
    planner::{Ask, Favours, PATIENCE, Plan, Planner},
    running::Stop,
    share::{Budgets, OwedKey, Shares},
    time::Reservations,
    victims::Standing,
    view::Waiting,
    windows::During,
    yard::{Hire, Placement, Yard},
};
use crate::command::StartAttempt;

/// Nobody ends for the sake of a question.
static NOBODY: BTreeSet<JobId> = BTreeSet::new();

/// What one pass knows.
pub(super) struct Pass<'a> {
    planner: &'a Planner,
    yard: &'a mut Yard,
    now: Timestamp,
    /// The job that is asked about, if only one is.
    asked: Option<&'a JobId>,
    /// How many stops were decided before it was looked at.
    stops_before: usize,
    /// A job that would have ended.
    gone: &'a BTreeSet<JobId>,
    work: u64,
    /// What found no place among what is free: units only go.
    misfits: Misfits<'a>,
    /// What will be free without anybody's doing, and nobody has laid a hand on.
    pending: Vec<Placement>,
    /// Jobs that may be stopped for others of their group, the worst first.
    standings: BTreeMap<&'a ProjectName, (Ask, Vec<Standing<'a>>)>,
    /// What was asked of groups in vain.
    in_vain: Vec<(&'a ProjectName, Ask)>,
    /// Jobs that may be stopped for other groups.
    losses: Losses<'a>,
    /// The groups that may spare what a queue is owed, by guarantee or not, as of a revision of
    /// the shares.
    spares: BTreeMap<OwedKey<'a>, (u64, BTreeSet<&'a ProjectName>)>,
    /// Jobs that this plan stops.
    stopped: BTreeSet<JobId>,
    /// Jobs that go on with what was kept for them.
    resumed: BTreeSet<&'a JobId>,
    /// Gangs for which others were moved, or that were looked at for it.
    moves: usize,
    /// Who waits for cheaper units than are free.
    bargains: Bargains,
    shares: Shares<'a>,
    /// How much may be stopped of whom.
    budgets: Budgets<'a>,
    reserved: Reservations,
    /// What keeps jobs in order, where a queue says more of that.
    promises: Promises<'a>,
    /// When what runs is predicted to end, once somebody asked.
    ends: Option<Vec<(Timestamp, Placement)>>,
    /// The job that is looked at has waited too long.
    overdue: bool,
    /// What groups have given to such jobs, of those that were looked at.
    favours: BTreeMap<&'a ProjectName, Favours>,
    /// What jobs wanted of the types that they should have, in vain: the priority of the last, and
    /// what it had had.
    closed: BTreeMap<Request, (i32, u64)>,
    /// Whether there are units enough for that at all, with so many reservations in the way.
    reach: BTreeMap<(Request, usize), bool>,
    /// Some job was not helped there, and may be elsewhere.
    missed: bool,
    /// What is idle is handed out, and nobody is stopped: whom it would be for has had its turn.
    idle_only: bool,
    /// What was placed and may be placed elsewhere.
    parties: Vec<Party<'a>>,
    plan: Plan,
    why: Option<Why<'a>>,
}

/// What a look at a job came to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    /// It starts, or lays its hand on units that are becoming free.
    Takes,
    /// It waits for something of its own; the next in its line may not have to.
    Waits,
    /// Nothing can be done for it, nor for those behind it.
    Misfit,
}

impl<'a> Pass<'a> {
    pub(super) fn new(planner: &'a Planner, yard: &'a mut Yard, now: Timestamp) -> Self {
        let pending = resume::pending(planner, yard);
        Self {
            planner,
            yard,
            now,
            asked: None,
            stops_before: 0,
            gone: &NOBODY,
            work: u64::MAX,
            misfits: Misfits::default(),
            pending,
            standings: BTreeMap::new(),
            in_vain: Vec::new(),
            losses: Losses::default(),
            spares: BTreeMap::new(),
            stopped: BTreeSet::new(),
            resumed: BTreeSet::new(),
            moves: 0,
            bargains: Bargains::default(),
            shares: Shares::of(planner, now),
            budgets: Budgets::of(planner, now),
            reserved: Reservations::default(),
            promises: Promises::default(),
            ends: None,
            overdue: false,
            favours: BTreeMap::new(),
            closed: BTreeMap::new(),
            reach: BTreeMap::new(),
            missed: false,
            idle_only: false,
            parties: Vec::new(),
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

    /// For one job, as if running ones had ended.
    pub(super) fn asking(mut self, job: &'a JobId, gone: &'a BTreeSet<JobId>) -> Self {
        self.asked = Some(job);
        self.gone = gone;
        for job in gone.iter().filter_map(|id| self.planner.running().get(id)) {
            let place = self.yard.placement(&job.assignments(), &job.resources);
            self.yard.give_back(&place);
            if let Some(settings) = self.planner.settings_of(&job.project) {
                self.shares.count(settings, &job.resources, job.units(), false);
                let models = self.shares.models_of(job);
                self.shares.count_types(settings, &models, false);
            }
        }
        self
    }

    /// Goes through the queue.
    pub(super) fn run(&mut self) {
        self.stop_those_due();
        self.clear();
        self.resume();
        let planner = self.planner;
        let Some((mut seen, mut all_fit)) = self.run_overdue() else { return };
        let turns = Turns::of(planner, &self.shares);
        let Some(fit) = self.go_round(turns, &mut seen, true) else { return };
        all_fit &= fit;
        if self.missed {
            self.idle_only = true;
            let turns = Turns::among(planner, &self.shares, |group| planner.has_targets(group));
            let Some(fit) = self.go_round(turns, &mut seen, false) else { return };
            all_fit &= fit;
        }
        if all_fit {
            self.grow();
            self.economize();
        }
    }

    /// One round of turns. Says whether all could be helped; nothing if the pass is over.
    fn go_round(
        &mut self,
        mut turns: Turns<'a>,
        seen: &mut BTreeSet<&'a JobId>,
        aimed: bool,
    ) -> Option<bool> {
        // Who is helped in the first round is passed over in the second, if there is to be one.
        let rounds = self.planner.has_aims();
        let mut all_fit = true;
        while let Some(next) = turns.next() {
            let Some(job) = self.planner.job(next.job).filter(|_| !seen.contains(next.job)) else {
                turns.go_past(next, &self.shares);
                continue;
            };
            if !self.afford() {
                return None;
            }
            self.looks_at(next.job);
            let hits = if aimed && rounds { self.aim(job, next.request) } else { None };
            let look = match hits {
                Some(false) => Look::Waits,
                Some(true) => Look::Takes,
                None => self.consider(job, next.request),
            };
            // What comes after the one that is asked about is not the question.
            if self.asked == Some(next.job) && hits != Some(false) {
                return None;
            }
            if rounds && look == Look::Takes {
                seen.insert(next.job);
            }
            all_fit &= look == Look::Takes || hits == Some(false);
            self.go_on(&mut turns, next, look);
        }
        Some(all_fit)
    }

    fn go_on(&self, turns: &mut Turns<'a>, next: Next<'a>, look: Look) {
        if look == Look::Misfit {
            turns.end_line(next, &self.shares);
        } else {
            turns.go_past(next, &self.shares);
        }
        if look == Look::Takes {
            turns.changed(next.group, &self.shares);
        }
    }

    fn afford(&mut self) -> bool {
        match self.work.checked_sub(1) {
            Some(left) => self.work = left,
            None => self.plan.complete = false,
        }
        self.plan.complete
    }

    /// Starts a job, sees to it that it can be started, or says why not.
    fn consider(&mut self, job: &'a Waiting, asked: &Request) -> Look {
        if job.not_before > self.now {
            self.again(job.not_before);
            let now = self.now;
            self.waits(job, |_| [Blocker::backoff(job.not_before, now)].into());
            return Look::Waits;
        }
        let Some(settings) = self.planner.settings_of(&job.project) else { return Look::Waits };
        let narrowed = match self.shares.within(settings, asked, false) {
            Ok(narrowed) => narrowed,
            Err(_) => return self.over_quota(job, settings, asked),
        };
        let request = narrowed.as_ref().unwrap_or(asked);
        let hints = Hints { avoid: Some(&job.failed_on), ..self.planner.hints_of(job, self.now) };
        let known = self.misfits.has(request, &hints);
        let place = if known { None } else { self.yard.place(request, &hints) };
        let place = place.or_else(|| self.backfill(job, request, &hints));
        let (place, kept) = self.in_order(job, settings, (request, &hints), place);
        let place = place.or_else(|| self.shrunk(job, settings, request, &hints));
        let Some(place) = place else {
            if let Some(why) = kept {
                return self.makes_way(job, settings, (asked, request), &hints, why);
            }
            self.misfits.note(request, &hints);
            let behind = self.idle_only
                || self.misfits.is_behind(&settings.group, asked)
                || self.promises.is_behind(&settings.group);
            let helped = !behind
                && (self.claim(job, settings, request, &hints)
                    || self.make_way(job, settings, request, &hints));
            if helped {
                self.waits(job, |_| [Blocker::stopping()].into());
                return Look::Takes;
            }
            let may = self.does_not_fit(job, settings, (asked, request), &hints)
                || self.may_follow(settings, (asked, request), &hints);
            return if may { Look::Waits } else { Look::Misfit };
        };
        if let Some(why) = self.rather_waits(job, settings, (request, &hints), &place) {
            self.waits(job, |_| [why].into());
            return Look::Waits;
        }
        let turn = job.sequence.wrapping_add(u64::from(job.attempts));
        let Some(master_port) = self.yard.take_port(&place, turn) else {
            self.waits(job, |_| [Blocker::no_port()].into());
            return Look::Waits;
        };
        self.may_exchange(job, settings, request, &place);
        self.start(job, settings, &place, master_port);
        Look::Takes
    }

    fn start(&mut self, job: &Waiting, settings: &'a Settings, place: &Placement, port: u16) {
        self.reserved.used(self.yard, place);
        self.yard.take(place);
        self.handed_out(job, place);
        let placements = self.yard.assignments(place);
        let ranks: usize = placements.iter().map(|assignment| assignment.units.len()).sum();
        let ranks = u64::try_from(ranks).unwrap_or(u64::MAX);
        self.shares.count(settings, &job.resources, ranks, true);
        let models = self.shares.models(&placements);
        self.shares.count_types(settings, &models, true);
        self.plan.starts.push(StartAttempt {
            job: job.id.clone(),
            job_version: job.version,
            placements,
            master_port: port,
            resume: job.resume,
        });
    }

    /// A queue has as much as it may. Jobs of it that are being stopped make room, or are stopped
    /// now if they go after this one.
    fn over_quota(&mut self, job: &'a Waiting, settings: &'a Settings, asked: &Request) -> Look {
        let over = match self.shares.within(settings, asked, true) {
            Err(over) => over,
            Ok(left) => {
                self.waits(job, |_| [Blocker::stopping()].into());
                let left = left.as_ref().and_then(|left| left.types.first());
                self.counts(job, settings, left.map(String::as_str));
                return Look::Takes;
            }
        };
        if !self.idle_only && self.make_room(job, settings, &over) {
            self.waits(job, |_| [Blocker::stopping()].into());
            self.counts(job, settings, over.gpu_type);
            return Look::Takes;
        }
        let blocker = Blocker::quota(&over);
        if settings.group == job.project {
            self.all_wait(job, settings, asked, [blocker].into());
            return Look::Misfit;
        }
        // Those behind it may be of another queue.
        self.waits(job, |_| [blocker].into());
        Look::Waits
    }

    /// Counts what a job will have for which units become free: all of one type, if it is known.
    fn counts(&mut self, job: &Waiting, settings: &Settings, gpu_type: Option<&str>) {
        let ranks = u64::from(job.resources.gpus);
        self.shares.count(settings, &job.resources, ranks, true);
        self.shares.count_type(settings, gpu_type, ranks);
    }

    /// A place for as many ranks as there is room for, of a job that may do with fewer.
    fn shrunk(
        &self,
        job: &Waiting,
        settings: &'a Settings,
        request: &Request,
        hints: &Hints<'a>,
    ) -> Option<Placement> {
        let least = job.resources.min_gpus.filter(|least| *least < request.ranks)?;
        if !self.planner.elastic() {
            return None;
        }
        let with = |ranks| Request { ranks, ..request.clone() };
        // With fewer ranks it runs for longer, with the fewest for longest.
        let slower = |during: During<'a>| during.longer(request.ranks, least);
        let hints = &Hints { during: hints.during.map(slower), ..*hints };
        let lasts = self.planner.longest(job).saturating_mul(request.ranks.div_ceil(least).into());
        let place = |ranks| {
            let place = self.yard.place(&with(ranks), hints);
            place.filter(|place| self.keeps_order(settings, place, lasts))
        };
        let mut found = place(least)?;
        // What fits, fits with fewer too: the most by bisection.
        let (mut fits, mut too_many) = (least, request.ranks);
        while too_many - fits > 1 {
            let middle = fits + (too_many - fits) / 2;
            match place(middle) {
                Some(place) => (fits, found) = (middle, place),
                None => too_many = middle,
            }
        }
        Some(found)
    }

    /// A place on what is reserved for another, for a job that is gone before that one comes.
    fn backfill(
        &mut self,
        job: &Waiting,
        request: &Request,
        hints: &Hints<'_>,
    ) -> Option<Placement> {
        if self.reserved.is_empty() {
            return None;
        }
        let most = self.planner.longest(job);
        let until = Timestamp(self.now.0.saturating_add(most));
        self.work = self.work.saturating_sub(1);
        self.reserved.backfill(self.yard, request, hints, until)
    }

    /// Knows those of a group's running jobs that may be stopped now, of those that are asked for.
    /// It may be some more.
    fn stand(&mut self, group: &'a ProjectName, ask: Ask, part: u64) {
        if !self.standings.get(group).is_some_and(|(asked, _)| asked.covers(&ask)) {
            let found = self.planner.standings(group, (&ask, part), self.gone, self.now);
            if let Some(next) = found.next {
                self.again(next);
            }
            if found.in_vain {
                self.in_vain.push((group, ask));
            }
            self.standings.insert(group, (ask, found.standings));
        }
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
        for job in planner.leaving().filter(|job| !job.stopping) {
            let Some(by) = job.leaves_by else { continue };
            if by > self.now {
                self.again(by);
                continue;
            }
            self.plan.stops.push(Stop {
                job: job.id.clone(),
                version: job.version,
                attempt: job.attempt,
                why: job.leaves_for.unwrap_or(StopCause::Policy),
                checkpoint_by: None,
                goes_on: None,
            });
        }
    }

    /// From some wait on, a job keeps the units that it will need for itself, but for jobs that
    /// are gone by then (EASY backfill; Lifka 1995), unless its queue has it otherwise. One that
    /// more units than exist would not help is not waited for. Says whether those behind it in its
    /// line are to be looked at too.
    fn does_not_fit(
        &mut self,
        job: &'a Waiting,
        settings: &'a Settings,
        (asked, request): (&Request, &Request),
        hints: &Hints<'_>,
    ) -> bool {
        self.does_not_fit_because(job, settings, asked, hints);
        if settings.backfill != Backfill::Easy && self.keeps_place(job, settings, request, hints) {
            return true;
        }
        // Where it may have others stopped, those that go ahead of it do not delay it.
        let is_promised = settings.backfill == Backfill::Conservative;
        if is_promised || !self.reserved.may_take(job) || preempts(settings.policy) {
            return false;
        }
        let patient = Timestamp(job.submitted.0.saturating_add(PATIENCE.0));
        if patient > self.now {
            self.again(patient);
        } else if let Some((at, place)) = self.first_fit(request, hints) {
            self.reserved.keep(self.yard, &job.id, (at, &place));
        }
        false
    }

    /// It is the job's turn.
    fn looks_at(&mut self, job: &JobId) {
        if self.asked == Some(job) {
            self.stops_before = self.plan.stops.len();
        }
    }

    /// Whether the pass would start a job.
    fn starts(&self, job: &JobId) -> bool {
        self.plan.starts.iter().any(|start| start.job == *job)
    }

    /// What a job would have that the pass would start, if it would.
    pub(super) fn hires(&self, job: &Waiting) -> Option<Hire> {
        let start = self.plan.starts.iter().find(|start| start.job == job.id)?;
        let place = self.yard.placement(&start.placements, &job.resources);
        Some(self.yard.hire(&place, &job.resources.speed))
    }

    /// Whom the pass would stop for the job that is asked about.
    pub(super) fn stops_for_it(&mut self) -> Vec<Stop> {
        self.plan.stops.split_off(self.stops_before.min(self.plan.stops.len()))
    }

    /// The start that the pass promises a job.
    pub(super) fn promised(&self, job: &JobId) -> Option<Timestamp> {
        self.promises.of(job)
    }

    /// The starts that it promises.
    pub(super) fn all_promised(&self) -> BTreeMap<JobId, Timestamp> {
        self.promises.all().map(|(job, at)| (job.clone(), at)).collect()
    }

    /// What was asked of groups in vain.
    pub(super) fn in_vain(&mut self) -> Vec<(ProjectName, Ask)> {
        let asked = std::mem::take(&mut self.in_vain).into_iter();
        asked.map(|(group, ask)| (group.clone(), ask)).collect()
    }

    /// What the pass decided.
    pub(super) fn decided(&mut self) -> Plan {
        if let Some(next) = self.planner.lines().next_overdue(self.now) {
            self.again(next);
        }
        self.exchange();
        let mut plan = std::mem::take(&mut self.plan);
        on_top_of_each_other(&mut plan.starts);
        plan
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
