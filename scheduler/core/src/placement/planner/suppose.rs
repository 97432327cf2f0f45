//! Questions to the planner that suppose something: answered on its own yard, which is as before
//! afterwards.

use std::collections::{BTreeMap, BTreeSet};

use trainyard_jobs::{JobId, ProjectName, QueueSpec, ReservationName, Timestamp};

use super::{Blockers, Planner};
use crate::placement::{
    explain::Scenario,
    fit::{Hints, Host},
    pass::Pass,
    running::{Running, Stop},
    view::{Delta, Waiting},
    yard::{Hire, Placement, UnitType},
};

/// Nobody ends for the sake of this question.
static NOBODY: BTreeSet<JobId> = BTreeSet::new();

impl Planner {
    /// Why one job waits, if it would not start at `now`.
    pub(in crate::placement) fn reason(&mut self, job: &JobId, now: Timestamp) -> Option<Blockers> {
        self.pass(now, |planner, yard| {
            let mut pass = Pass::new(planner, yard, now).explaining();
            pass.run();
            pass.reason(job)
        })
    }

    /// The start that a waiting job is promised at `now`, if its queue promises any.
    pub(in crate::placement) fn promised_start(
        &mut self,
        job: &JobId,
        now: Timestamp,
    ) -> Option<Timestamp> {
        self.pass(now, |planner, yard| {
            let mut pass = Pass::new(planner, yard, now).asking(job, &NOBODY);
            pass.run();
            pass.promised(job)
        })
    }

    /// How many units of each type there are.
    pub(in crate::placement) fn units_by_type(&self) -> BTreeMap<UnitType, u64> {
        self.yard.units_by_type()
    }

    /// The starts that a pass at `now` promises waiting jobs.
    pub(in crate::placement) fn promised_starts(
        &mut self,
        now: Timestamp,
    ) -> BTreeMap<JobId, Timestamp> {
        self.pass(now, |planner, yard| {
            let mut pass = Pass::new(planner, yard, now);
            pass.run();
            pass.all_promised()
        })
    }

    /// What a job would have if things were as in `scenario`, if it would start. They are, for one
    /// pass as in [`Planner::plan`]; afterwards they are as before.
    pub(in crate::placement) fn would_start(
        &mut self,
        scenario: &Scenario<'_>,
        now: Timestamp,
    ) -> Option<Hire> {
        self.suppose(scenario, (now, now), |pass| pass.hires(scenario.job))
    }

    /// The same at another time, with what is expected of jobs now.
    pub(in crate::placement) fn would_start_at(
        &mut self,
        scenario: &Scenario<'_>,
        (now, at): (Timestamp, Timestamp),
    ) -> Option<Hire> {
        self.suppose(scenario, (now, at), |pass| pass.hires(scenario.job))
    }

    /// The same, or else whom a job would have stopped.
    pub(in crate::placement) fn would_stop(
        &mut self,
        scenario: &Scenario<'_>,
        now: Timestamp,
    ) -> Result<Hire, Vec<Stop>> {
        self.suppose(scenario, (now, now), |pass| {
            pass.hires(scenario.job).ok_or_else(|| pass.stops_for_it())
        })
    }

    fn suppose<T>(
        &mut self,
        scenario: &Scenario<'_>,
        (now, at): (Timestamp, Timestamp),
        read: impl FnOnce(&mut Pass<'_>) -> T,
    ) -> T {
        let waits = |job: &Waiting| Delta::Waits(Box::new(job.clone()));
        let before = self.waiting.get(&scenario.job.id).filter(|job| *job != scenario.job).cloned();
        if before.is_some() {
            self.update(waits(scenario.job));
        }
        scenario.more.iter().for_each(|node| self.update(Delta::Node(Box::new(node.clone()))));
        self.take_part(scenario.gone, false);
        let charged = self.suppose_charged(scenario.gone, at);
        let deleted = self.suppose_deleted(scenario.without);
        let queues = self.suppose_queues(scenario.queues);
        self.advance(now);
        let found = self.look(|planner, yard| {
            let mut pass = Pass::new(planner, yard, at).asking(&scenario.job.id, scenario.gone);
            pass.run();
            read(&mut pass)
        });
        queues.into_iter().chain(deleted).chain(charged).for_each(|delta| self.update(delta));
        self.take_part(scenario.gone, true);
        scenario.more.iter().for_each(|node| self.update(Delta::NodeGone(node.id.clone())));
        before.iter().for_each(|job| self.update(waits(job)));
        found
    }

    /// Charges projects with what jobs that are gone by then have used, as the state will; what
    /// brings their accounts back, the newest first.
    fn suppose_charged(&mut self, gone: &BTreeSet<JobId>, at: Timestamp) -> Vec<Delta> {
        let mut before = Vec::new();
        for job in gone.iter().filter_map(|id| self.running.get(id)) {
            let Some(settings) = self.settings.get(&job.project) else { continue };
            let service = at.since(job.started).0.saturating_mul(job.units());
            let usage = self.usage.get(&job.project).copied().unwrap_or_default();
            let charged = usage.at(at, settings.half_life);
            let charged = charged.charged(service, Host::of_rank(&job.resources));
            before.push(Delta::Usage(job.project.clone(), usage));
            self.usage.insert(job.project.clone(), charged);
        }
        before.reverse();
        before
    }

    /// Gives queues other settings; what brings theirs back.
    fn suppose_queues(&mut self, queues: &[(ProjectName, QueueSpec)]) -> Vec<Delta> {
        let change = |(name, spec): &(ProjectName, QueueSpec)| {
            let before = self.queues.get(name).cloned();
            self.update(Delta::Queue(name.clone(), Some(Box::new(spec.clone()))));
            Delta::Queue(name.clone(), before.map(Box::new))
        };
        queues.iter().map(change).collect()
    }

    /// Takes a reservation away; what brings it back.
    fn suppose_deleted(&mut self, name: Option<&ReservationName>) -> Option<Delta> {
        let name = name?;
        let spec = self.windows.all().get(name)?.clone();
        self.update(Delta::Reservation(name.clone(), None));
        Some(Delta::Reservation(name.clone(), Some(Box::new(spec))))
    }

    /// What a job would find at `at` if it were the only one that waits: without that it need not
    /// be planned.
    pub(in crate::placement) fn would_fit(
        &mut self,
        scenario: &Scenario<'_>,
        at: Timestamp,
    ) -> Option<Hire> {
        scenario.more.iter().for_each(|node| self.put(node));
        let deleted = self.suppose_deleted(scenario.without);
        let mark = self.yard.mark();
        scenario.gone.iter().for_each(|id| self.suppose_gone(id));
        let fits = self.would_place(scenario.job, at);
        let fits = fits.map(|place| self.yard.hire(&place, &scenario.job.resources.speed));
        self.yard.rewind(mark);
        deleted.into_iter().for_each(|delta| self.update(delta));
        scenario.more.iter().for_each(|node| self.drop_node(&node.id));
        fits
    }

    /// The fewest of these jobs, from the first on, of those that matter, without which another
    /// would find a place if it were the only one that waits. With twice as many each time, then
    /// by bisection.
    pub(in crate::placement) fn fewest(
        &mut self,
        job: &Waiting,
        mut ids: impl Iterator<Item = JobId>,
        matters: impl Fn(&Running) -> bool,
        now: Timestamp,
    ) -> Option<BTreeSet<JobId>> {
        let mark = self.yard.mark();
        let (mut gone, mut few): (Vec<JobId>, usize) = (Vec::new(), 0);
        let mut fits = false;
        while !fits {
            few = gone.len();
            let of_note = ids.by_ref().filter(|id| self.running.get(id).is_some_and(&matters));
            gone.extend(of_note.take(few.max(1)));
            let more = gone.get(few..).unwrap_or_default();
            if more.is_empty() {
                break;
            }
            more.iter().for_each(|id| self.suppose_gone(id));
            fits = self.would_place(job, now).is_some();
        }
        let mut many = gone.len();
        while fits && many > few + 1 {
            let middle = few + (many - few) / 2;
            self.yard.rewind(mark);
            gone.iter().take(middle).for_each(|id| self.suppose_gone(id));
            if self.would_place(job, now).is_some() {
                many = middle;
            } else {
                few = middle;
            }
        }
        self.yard.rewind(mark);
        fits.then(|| gone.into_iter().take(many).collect())
    }

    /// Tries something out in the yard, as a pass does.
    #[cfg(test)]
    pub(in crate::placement) fn try_out<T>(
        &mut self,
        run: impl for<'a> FnOnce(&'a Self, &'a mut crate::placement::yard::Yard) -> T,
    ) -> T {
        self.pass(self.clock, run)
    }

    fn suppose_gone(&mut self, job: &JobId) {
        if let Some(job) = self.running.get(job) {
            let place = self.yard.placement(&job.assignments(), &job.resources);
            self.yard.give_back(&place);
        }
    }

    /// What a job would have on what is cheapest for it, whoever has that now.
    pub(in crate::placement) fn hire_as_asked(&self, job: &Waiting) -> Option<Hire> {
        self.yard.cheapest(&self.request_of(job), &Hints::of(&job.resources))
    }

    fn would_place(&self, job: &Waiting, at: Timestamp) -> Option<Placement> {
        let mut request = self.request_of(job);
        // An elastic job may start with fewer.
        let least = job.resources.min_gpus.filter(|_| self.elastic);
        request.ranks = least.map_or(request.ranks, |least| least.min(request.ranks));
        self.yard.place(&request, &self.hints_of(job, at))
    }
}
