//! Units that are kept for a job that is stopped and goes on at once: nobody else gets them while
//! it saves its state and leaves, and it starts on them ahead of the queue. Who keeps what stands
//! in the job's own record, so that another leader keeps the promise too.

use trainyard_jobs::{Millis, Timestamp};

use super::Pass;
use crate::placement::{
    fit::{Hints, Request},
    planner::Planner,
    running::assignments,
    view::Waiting,
    yard::{Placement, Yard},
};

/// A job that could not go on for so long waits as others do.
const KEPT: Millis = Millis(600_000);

/// What will be free without anybody's doing. What those keep that leave is taken.
pub(super) fn pending(planner: &Planner, yard: &mut Yard) -> Vec<Placement> {
    let mut pending = Vec::new();
    for job in planner.leaving() {
        let own = yard.placement(&job.assignments(), &job.resources);
        let Some(goes_on) = &job.goes_on else {
            pending.push(own);
            continue;
        };
        let kept = yard.placement(&assignments(&goes_on.units), &job.resources);
        yard.take_free(&kept);
        pending.push(own.without(&kept));
    }
    pending
}

impl<'a> Pass<'a> {
    /// Starts those that go on with what was kept for them. If that is not free any more, because a
    /// node was lost or reserved, they wait as others do.
    pub(super) fn resume(&mut self) {
        let planner = self.planner;
        for id in planner.kept() {
            let Some(job) = planner.job(id) else { continue };
            if self.goes_on_now(job).is_some() {
                self.resumed.insert(id);
            }
        }
    }

    fn goes_on_now(&mut self, job: &'a Waiting) -> Option<()> {
        let planner = self.planner;
        let kept = job.goes_on.as_ref()?;
        let until = Timestamp(job.since.0.saturating_add(KEPT.0));
        if job.not_before > self.now || until <= self.now || !self.afford() {
            return None;
        }
        let settings = planner.settings_of(&job.project)?;
        let request = Request { ranks: kept.ranks(), ..planner.request_of(job) };
        let hints = planner.hints_of(job, self.now);
        let slower = |during: super::During<'a>| during.longer(job.resources.gpus, kept.ranks());
        let hints = Hints { during: hints.during.map(slower), ..hints };
        // A limit by type would have to be looked at unit by unit: it may have been lowered.
        if !matches!(self.shares.within(settings, &request, false), Ok(None)) {
            return None;
        }
        let place = self.yard.placement(&assignments(&kept.units), &job.resources);
        if !self.yard.admits(&place, &request, &hints) {
            return None;
        }
        let turn = job.sequence.wrapping_add(u64::from(job.attempts));
        let port = self.yard.take_port(&place, turn)?;
        self.start(job, settings, &place, port);
        Some(())
    }
}
