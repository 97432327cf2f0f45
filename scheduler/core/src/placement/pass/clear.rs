//! Reserved nodes are cleared: who runs there and may not, once the reservation begins, is asked
//! to save its state as late as it can be, and is gone by then.

use std::collections::{BTreeMap, BTreeSet};

use trainyard_jobs::{JobId, Millis, StopCause, Timestamp};

use super::Pass;
use crate::placement::{
    running::{Running, Stop},
    victims::notice,
};

impl<'a> Pass<'a> {
    /// Stops those who run where they may not any more, and asks those to save their state whose
    /// time comes. One that is hardly there any more by then is left alone.
    pub(super) fn clear(&mut self) {
        let planner = self.planner;
        if planner.windows().is_empty() {
            return;
        }
        let stopped: BTreeSet<JobId> =
            self.plan.stops.iter().map(|stop| stop.job.clone()).collect();
        for (id, from) in self.have_to_go() {
            let Some(job) = planner.running().get(id).filter(|job| !job.stopping) else { continue };
            if stopped.contains(id) || self.gone.contains(id) {
                continue;
            }
            if from <= self.now {
                self.leave(job, None);
            } else if !job.is_leaving() {
                self.ask_to_leave(job, from);
            }
        }
    }

    /// The running jobs that may not stay where they are, and from when on: as far as one of them
    /// may have to be told now.
    fn have_to_go(&mut self) -> BTreeMap<&'a JobId, Timestamp> {
        let planner = self.planner;
        let settings = planner.used().keys().filter_map(|project| planner.settings_of(project));
        let longest = settings.map(|settings| settings.notice.0).max().unwrap_or(0);
        let mut jobs: BTreeMap<&JobId, Timestamp> = BTreeMap::new();
        for (name, spec) in planner.windows().all() {
            if spec.until <= self.now {
                continue;
            }
            let asked = Timestamp(spec.from.0.saturating_sub(longest));
            for at in [asked, spec.from, spec.until] {
                self.again(at);
            }
            if asked > self.now {
                continue;
            }
            let nodes = planner.windows().members(name).filter_map(|id| planner.nodes().get(id));
            let mut last = None;
            for id in nodes.flat_map(|node| node.owners.values()) {
                // One that has several units of a node is looked at once.
                if last.replace(id) == Some(id) {
                    continue;
                }
                let running = planner.running().get(id);
                if running.is_some_and(|job| !planner.may_stay(job, spec)) {
                    let from = jobs.entry(id).or_insert(spec.from);
                    *from = spec.from.min(*from);
                }
            }
        }
        jobs
    }

    fn ask_to_leave(&mut self, job: &'a Running, from: Timestamp) {
        let Some(settings) = self.planner.settings_of(&job.project) else { return };
        let Some(Millis(notice)) = notice(job, settings) else { return };
        let at = Timestamp(from.0.saturating_sub(notice));
        if at > self.now {
            self.again(at);
        } else if self.planner.latest_end_of(job, self.now) > from {
            self.leave(job, Some(from));
        }
    }

    fn leave(&mut self, job: &'a Running, checkpoint_by: Option<Timestamp>) {
        if !job.is_leaving() {
            self.stopped.insert(job.id.clone());
            if let Some(settings) = self.planner.settings_of(&job.project) {
                let models = self.shares.models_of(job);
                self.shares.going(settings, job.units(), &models);
                self.budgets.stop(settings, job.units());
            }
            let own = self.yard.placement(&job.assignments(), &job.resources);
            self.pending.push(own);
        }
        self.plan.stops.push(Stop {
            job: job.id.clone(),
            version: job.version,
            attempt: job.attempt,
            why: StopCause::Reserved,
            checkpoint_by,
            goes_on: None,
        });
    }
}
