//! An elastic job that gives some of its units to another, and goes on with the others as a smaller
//! attempt: it loses a restart, and not its turn as well.

use trainyard_jobs::{StopCause, Timestamp};

use super::Pass;
use crate::{
    placement::{running::Stop, victims::Standing, view::Waiting, yard::Placement},
    state::GoesOn,
};

impl<'a> Pass<'a> {
    /// Stops a running job so that it goes on with `kept`. Only the rest is anybody's.
    pub(super) fn shrink(&mut self, victim: &Standing<'a>, kept: &Placement, for_job: &Waiting) {
        let gives = victim.place(self.yard).without(kept);
        let models = self.shares.models(&self.yard.assignments(&gives));
        self.shares.going(victim.settings, gives.ranks().into(), &models);
        self.pending.push(gives);
        self.goes_on(victim, kept, StopCause::Shrink, Some(for_job));
    }

    /// Stops a running job that goes on with units that are kept for it.
    pub(super) fn goes_on(
        &mut self,
        victim: &Standing<'a>,
        kept: &Placement,
        why: StopCause,
        for_job: Option<&Waiting>,
    ) {
        self.stopped.insert(victim.job.clone());
        self.budgets.stop(victim.settings, victim.running.units());
        let units = self.yard.assignments(kept).into_iter().map(|part| (part.node, part.units));
        let goes_on = GoesOn { units: units.collect(), for_job: for_job.map(|job| job.id.clone()) };
        self.plan.stops.push(Stop {
            job: victim.job.clone(),
            version: victim.version,
            attempt: victim.attempt,
            why,
            checkpoint_by: victim
                .notice
                .map(|notice| Timestamp(self.now.0.saturating_add(notice.0))),
            goes_on: Some(goes_on),
        });
    }
}
