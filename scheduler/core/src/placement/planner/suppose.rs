//! Questions to the planner that suppose something: answered on its own yard, which is as before
//! afterwards.

use std::collections::BTreeSet;

use trainyard_jobs::{JobId, ReservationName, Timestamp};

use super::{Blockers, Planner};
use crate::placement::{
    explain::Scenario,
    pass::Pass,
    running::Running,
    view::{Delta, Waiting},
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

    /// Whether a job would start at `now` if things were as in `scenario`. They are, for one pass
    /// as in [`Planner::plan`]; afterwards they are as before.
    pub(in crate::placement) fn would_start(
        &mut self,
        scenario: &Scenario<'_>,
        now: Timestamp,
    ) -> bool {
        let waits = |job: &Waiting| Delta::Waits(Box::new(job.clone()));
        let before = self.waiting.get(&scenario.job.id).filter(|job| *job != scenario.job).cloned();
        if before.is_some() {
            self.update(waits(scenario.job));
        }
        scenario.more.iter().for_each(|node| self.update(Delta::Node(Box::new(node.clone()))));
        self.take_part(scenario.gone, false);
        let deleted = self.suppose_deleted(scenario.without);
        let starts = self.pass(now, |planner, yard| {
            let mut pass = Pass::new(planner, yard, now).asking(&scenario.job.id, scenario.gone);
            pass.run();
            pass.starts(&scenario.job.id)
        });
        deleted.into_iter().for_each(|delta| self.update(delta));
        self.take_part(scenario.gone, true);
        scenario.more.iter().for_each(|node| self.update(Delta::NodeGone(node.id.clone())));
        before.iter().for_each(|job| self.update(waits(job)));
        starts
    }

    /// Takes a reservation away; what brings it back.
    fn suppose_deleted(&mut self, name: Option<&ReservationName>) -> Option<Delta> {
        let name = name?;
        let spec = self.windows.all().get(name)?.clone();
        self.update(Delta::Reservation(name.clone(), None));
        Some(Delta::Reservation(name.clone(), Some(Box::new(spec))))
    }

    /// Whether a job would find a place at `at` if it were the only one that waits: without that
    /// it need not be planned.
    pub(in crate::placement) fn would_fit(
        &mut self,
        scenario: &Scenario<'_>,
        at: Timestamp,
    ) -> bool {
        scenario.more.iter().for_each(|node| self.put(node));
        let deleted = self.suppose_deleted(scenario.without);
        let mark = self.yard.mark();
        scenario.gone.iter().for_each(|id| self.suppose_gone(id));
        let fits = self.would_place(scenario.job, at);
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
            fits = self.would_place(job, now);
        }
        let mut many = gone.len();
        while fits && many > few + 1 {
            let middle = few + (many - few) / 2;
            self.yard.rewind(mark);
            gone.iter().take(middle).for_each(|id| self.suppose_gone(id));
            if self.would_place(job, now) {
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

    fn would_place(&self, job: &Waiting, at: Timestamp) -> bool {
        self.yard.place(&self.request_of(job), &self.hints_of(job, at)).is_some()
    }
}
