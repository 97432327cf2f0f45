//! Elastic jobs that run with fewer ranks than they ask for grow into what is idle, at a
//! checkpoint, once nobody else waits for it and if the time that they save is worth a restart.

use trainyard_jobs::{StopCause, Timestamp, spec::Speed};

use super::Pass;
use crate::placement::{
    fit::Request,
    running::{Running, Stop},
    victims::{cost, notice, ready},
};

/// A restart has to save so many times what it costs: predictions are not exact.
const MARGIN: u64 = 2;

impl Pass<'_> {
    /// Stops those that gain by going on with more ranks. One at a time: what it leaves may be
    /// enough for another, or not.
    pub(super) fn grow(&mut self) {
        if !self.pending.is_empty() || !self.plan.stops.is_empty() || !self.plan.starts.is_empty() {
            return;
        }
        let planner = self.planner;
        if !planner.elastic() {
            return;
        }
        for job in planner.small() {
            let has = job.units();
            if self.yard.is_full() {
                return;
            }
            let Some(settings) = planner.settings_of(&job.project) else { continue };
            let at = ready(job, settings, self.now);
            if at > self.now {
                self.again(at);
                continue;
            }
            let (more, pace) = self.room(job);
            let left = planner.end_of(job, self.now).since(self.now).0;
            // The new gang may be on a slower type, or on a faster one.
            let rate = |ranks: u64, pace: Speed| u128::from(ranks) * u128::from(pace.milli());
            let then = u128::from(left) * rate(has, job.speed) / rate(more, pace).max(1);
            let saved = left.saturating_sub(u64::try_from(then).unwrap_or(u64::MAX));
            let lost = cost(job, settings, self.now) / has.max(1);
            if more <= has || saved <= lost.saturating_mul(MARGIN) {
                continue;
            }
            if !self.may_all_go([(settings, has)].into_iter()) {
                continue;
            }
            self.plan.stops.push(Stop {
                job: job.id.clone(),
                version: job.version,
                attempt: job.attempt,
                why: StopCause::Resize,
                checkpoint_by: notice(job, settings)
                    .map(|notice| Timestamp(self.now.0.saturating_add(notice.0))),
                goes_on: None,
            });
            return;
        }
    }

    /// The ranks with which a running job would fit if it were placed anew, and how fast it would
    /// run there.
    fn room(&mut self, job: &Running) -> (u64, Speed) {
        let mark = self.yard.mark();
        let own = self.yard.placement(&job.assignments(), &job.resources);
        self.yard.give_back(&own);
        let planner = self.planner;
        let settings = planner.settings_of(&job.project);
        let mut shares = self.shares.clone();
        if let Some(settings) = settings {
            shares.count(settings, &job.resources, job.units(), false);
            let models = shares.models_of(job);
            shares.count_types(settings, &models, false);
        }
        let with = |ranks| Request { ranks, ..planner.request_of_running(job) };
        let hints = planner.hints_of_running(job, self.now);
        let place = |ranks: u32| {
            let within = settings.is_none_or(|s| shares.within(s, &with(ranks), false).is_ok());
            if within { self.yard.place(&with(ranks), &hints) } else { None }
        };
        let fits = |ranks| place(ranks).is_some();
        let mut few = u32::try_from(job.units()).unwrap_or(u32::MAX);
        let mut many = job.resources.gpus;
        if !fits(many) {
            while many.saturating_sub(few) > 1 {
                let middle = few + (many - few) / 2;
                if fits(middle) { few = middle } else { many = middle }
            }
            many = few;
        }
        let pace = place(many).map(|place| self.yard.pace(&place, &job.resources.speed));
        self.yard.rewind(mark);
        (u64::from(many), pace.unwrap_or(Speed::ONE))
    }
}
