//! Questions to the planner that suppose something: answered on its own yard, which is as before
//! afterwards.

use trainyard_jobs::{JobId, Timestamp};

use super::{Blockers, Planner};
use crate::placement::{
    explain::Scenario,
    fit::{Hints, Request},
    pass::Pass,
};

impl Planner {
    /// Why one job waits, if it would not start at `now`.
    pub(in crate::placement) fn reason(&mut self, job: &JobId, now: Timestamp) -> Option<Blockers> {
        self.pass(now, |planner, yard| {
            let mut pass = Pass::new(planner, yard, now).explaining();
            pass.run();
            pass.reason(job)
        })
    }

    /// Whether a job would start at `now` if things were as in `scenario`. The same pass as
    /// [`Planner::plan`], on the same yard, which is as before afterwards: a copy in effect.
    pub(in crate::placement) fn would_start(
        &mut self,
        scenario: &Scenario<'_>,
        now: Timestamp,
    ) -> bool {
        for node in scenario.more {
            self.yard.set(node, None);
        }
        let starts = self.pass(now, |planner, yard| {
            let mut pass = Pass::new(planner, yard, now).supposing(scenario.job, scenario.gone);
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
    pub(in crate::placement) fn would_fit(&mut self, scenario: &Scenario<'_>) -> bool {
        let request = Request::from(&scenario.job.resources);
        for node in scenario.more {
            self.yard.set(node, None);
        }
        let mark = self.yard.mark();
        for job in scenario.gone.iter().filter_map(|id| self.running.get(id)) {
            let place = self.yard.placement(&job.assignments());
            self.yard.give_back(&place);
        }
        let fits = self.yard.place(&request, &Hints::default()).is_some();
        self.yard.rewind(mark);
        for node in scenario.more {
            self.yard.remove(&node.id);
        }
        fits
    }
}
