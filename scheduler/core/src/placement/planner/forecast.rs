//! What a planner expects of jobs: how long each will still run, when it has waited too long, and
//! which of those that run may be stopped.

use std::collections::BTreeSet;

use trainyard_jobs::{JobId, Millis, Policy, ProjectName, Timestamp};

use super::Planner;
use crate::placement::{
    order::{Settings, Worth, bucket_end, value},
    running::Running,
    time::{Facts, longest, remaining},
    victims::{Standing, cost, notice, ready},
    view::Waiting,
};

/// A job that has waited so many times as long as it runs has waited too long, if its queue's
/// patience is at an end as well: who runs for months may wait for weeks.
const SLOWDOWN: u64 = 10;

impl Planner {
    /// The wait that is too long for a job.
    pub(in crate::placement) fn bound(&self, job: &Waiting, settings: &Settings) -> u64 {
        let length = job.used.0.saturating_add(self.time_left(job));
        length.saturating_mul(SLOWDOWN).max(settings.patience.0)
    }

    /// When a job has to start to be done in time, if it can be done in time at all.
    pub(in crate::placement) fn latest_start(&self, job: &Waiting) -> Option<Timestamp> {
        let by = job.finish_by?.0;
        let likely = by.checked_sub(self.time_left(job)).filter(|start| *start >= job.since.0)?;
        Some(Timestamp(by.saturating_sub(self.longest(job)).min(likely)))
    }

    /// What its policy makes of a waiting job.
    pub(in crate::placement) fn value_of(&self, job: &Waiting) -> u64 {
        let policy = self.settings_of(&job.project).map_or_else(Policy::default, |s| s.policy);
        value(policy, job.attained, self.time_left(job), job.resources.gpus)
    }

    /// Run time of so many attempts in which nothing was done: what each but the first lost when
    /// it was resumed.
    pub(super) fn restarting(&self, project: &ProjectName, attempts: u32) -> u64 {
        let cost = self.settings_of(project).map_or(0, |settings| settings.restart_cost.0);
        cost.saturating_mul(u64::from(attempts.saturating_sub(1)))
    }

    fn facts_of<'a>(&self, job: &'a Waiting) -> Facts<'a> {
        Facts {
            project: &job.project,
            principal: &job.principal,
            gpus: job.resources.gpus,
            ran: job.used.0.saturating_sub(self.restarting(&job.project, job.attempts)),
            estimate: job.estimate,
            time_left: job.time_left,
            seen: self.seen.get(&job.id).copied(),
        }
    }

    fn facts_of_running<'a>(&self, job: &'a Running, now: Timestamp) -> Facts<'a> {
        let ran = now.since(job.started).0;
        Facts {
            project: &job.project,
            principal: &job.principal,
            gpus: job.resources.gpus,
            ran: job
                .used
                .0
                .saturating_add(ran)
                .saturating_sub(self.restarting(&job.project, job.attempt.0)),
            estimate: job.estimate,
            time_left: job.time_left.map(|left| Millis(left.0.saturating_sub(ran))),
            seen: self.seen.get(&job.id).copied(),
        }
    }

    /// The milliseconds that a waiting job is predicted to run.
    pub(in crate::placement) fn time_left(&self, job: &Waiting) -> u64 {
        remaining(&self.facts_of(job), &self.history)
    }

    /// The milliseconds that a waiting job will hardly run longer than.
    pub(in crate::placement) fn longest(&self, job: &Waiting) -> u64 {
        longest(&self.facts_of(job), &self.history)
    }

    /// When a running job is predicted to end.
    pub(in crate::placement) fn end_of(&self, job: &Running, now: Timestamp) -> Timestamp {
        let left = remaining(&self.facts_of_running(job, now), &self.history);
        Timestamp(now.0.saturating_add(left))
    }

    /// The running jobs of a group that may be stopped at `now`, the worst first, and when that
    /// changes by time alone.
    pub(in crate::placement) fn standings<'a>(
        &'a self,
        group: &ProjectName,
        gone: &BTreeSet<JobId>,
        now: Timestamp,
    ) -> (Vec<Standing<'a>>, Option<Timestamp>) {
        let (mut found, mut next) = (Vec::new(), None::<Timestamp>);
        let mut then = |at: Timestamp| next = Some(next.map_or(at, |before| before.min(at)));
        for (rested, id) in self.groups.get(group).into_iter().flatten() {
            let Some(job) = self.running.get(id) else { continue };
            if job.stopping || job.leaves_by.is_some() || gone.contains(&job.id) {
                continue;
            }
            let Some(settings) = self.settings.get(&job.project) else { continue };
            if *rested > now {
                then(*rested);
                break;
            }
            let ran = now.since(job.started).0;
            let left = remaining(&self.facts_of_running(job, now), &self.history);
            let length = job.used.0.saturating_add(ran).saturating_add(left);
            let bound = length.saturating_mul(SLOWDOWN).max(settings.patience.0);
            let ready = ready(job, settings, bound, now);
            if ready > now {
                then(ready);
                continue;
            }
            let attained = job.attained.saturating_add(ran.saturating_mul(job.units()));
            let whole = bucket_end(attained).saturating_sub(attained).div_ceil(job.units().max(1));
            then(Timestamp(now.0.saturating_add(whole)));
            found.push(Standing {
                job: job.id.clone(),
                version: job.version,
                attempt: job.attempt,
                worth: Worth {
                    priority: job.priority,
                    value: value(settings.policy, attained, left, job.resources.gpus),
                    attained,
                },
                cost: cost(job, settings, now),
                notice: notice(job, settings),
                sequence: job.sequence,
                running: job,
                settings,
            });
        }
        found.sort_by(|a, b| {
            let key =
                |s: &Standing<'_>| (s.worth.priority, std::cmp::Reverse(s.worth.value), s.cost);
            key(a).cmp(&key(b)).then(b.sequence.cmp(&a.sequence))
        });
        (found, next)
    }
}
