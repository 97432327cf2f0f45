//! What a planner expects of jobs: how long each will still run, when it has waited too long, and
//! which of those that run may be stopped.

use std::collections::BTreeSet;

use trainyard_jobs::{JobId, Millis, ProjectName, Timestamp, spec::Speed};

use super::{Ask, Loss, Planner};
use crate::placement::{
    order::{Merit, Settings, Worth, value},
    running::Running,
    time::{Facts, Outlook, Who, known, least, longest, remaining, stretch, times, work},
    victims::{Standing, cost, earned, notice, ready},
    view::Waiting,
};

/// A job that has waited so many times as long as it runs has waited too long, if its queue's
/// patience is at an end as well: who runs for months may wait for weeks.
const SLOWDOWN: u64 = 10;

/// The wait that is too long for a job that will run so much longer.
fn bound(job: &Waiting, settings: &Settings, left: u64) -> u64 {
    let length = job.used.0.saturating_add(left);
    length.saturating_mul(SLOWDOWN).max(settings.patience.0)
}

/// By what a waiting job's kin are found.
pub(super) fn who_waits(job: &Waiting) -> Who<'_> {
    let Waiting { project, principal, alike, .. } = job;
    Who { project, principal, gpus: job.resources.gpus, alike: *alike }
}

/// By what a running job's kin are found.
pub(super) fn who_runs(job: &Running) -> Who<'_> {
    let Running { project, principal, alike, .. } = job;
    Who { project, principal, gpus: job.resources.gpus, alike: *alike }
}

/// Since when a job's wait was too long, and the job's sequence.
pub(in crate::placement) type Turn = (Timestamp, u64);

/// What a group gave to jobs that had waited too long.
#[derive(Debug, Default)]
pub(in crate::placement) struct Favours {
    /// Since when each had, with its place among those of the same time, and its units.
    pub(in crate::placement) given: Vec<(Turn, u64)>,
    /// When the first of them may be stopped again.
    pub(in crate::placement) next: Option<Timestamp>,
}

/// Running jobs of one group that may be stopped.
#[derive(Debug, Default)]
pub(in crate::placement) struct Found<'a> {
    /// The worst first; it may be some more than those that were asked for.
    pub(in crate::placement) standings: Vec<Standing<'a>>,
    /// When that changes by time alone.
    pub(in crate::placement) next: Option<Timestamp>,
    /// All were looked at, and there is nobody like that.
    pub(in crate::placement) in_vain: bool,
}

impl Planner {
    /// The wait that is too long for a job.
    pub(in crate::placement) fn bound(&self, job: &Waiting, settings: &Settings) -> u64 {
        bound(job, settings, self.time_left(job))
    }

    /// What a waiting job's place in its line depends on.
    pub(in crate::placement) fn merit_of(&self, job: &Waiting) -> Merit {
        let Some(settings) = self.settings_of(&job.project) else {
            return Merit { value: 0, stretch: 0, patience: Timestamp(u64::MAX) };
        };
        let facts = self.facts_of(job);
        let (left, gpus) = (remaining(&facts, &self.history), job.resources.gpus);
        let patience = Timestamp(job.since.0.saturating_add(bound(job, settings, left)));
        Merit {
            value: value(settings.policy, self.service_of(job), left, gpus),
            stretch: stretch(&facts, &self.history).saturating_mul(u64::from(gpus)),
            patience: self.latest_start(job, left).map_or(patience, |latest| latest.min(patience)),
        }
    }

    /// When a job has to start to be done in time, if it can be done in time at all.
    fn latest_start(&self, job: &Waiting, left: u64) -> Option<Timestamp> {
        let by = job.finish_by?.0;
        let likely = by.checked_sub(left).filter(|start| *start >= job.since.0)?;
        Some(Timestamp(by.saturating_sub(self.longest(job)).min(likely)))
    }

    /// Run time of so many attempts in which nothing was done: what each but the first lost when
    /// it was resumed.
    pub(super) fn restarting(&self, project: &ProjectName, attempts: u32) -> u64 {
        let cost = self.settings_of(project).map_or(0, |settings| settings.restart_cost.0);
        cost.saturating_mul(u64::from(attempts.saturating_sub(1)))
    }

    fn facts_of<'a>(&self, job: &'a Waiting) -> Facts<'a> {
        let lost = self.restarting(&job.project, job.attempts);
        Facts {
            who: who_waits(job),
            ran: job.used.0.saturating_sub(lost),
            work: self.done_by(job),
            estimate: job.estimate,
            time_left: job.time_left,
            seen: self.seen.get(&job.id).copied(),
            speed: job.resources.least_speed(),
        }
    }

    pub(super) fn facts_of_running<'a>(&self, job: &'a Running, now: Timestamp) -> Facts<'a> {
        let ran = now.since(job.started).0;
        let lost = self.restarting(&job.project, job.attempt.0);
        let (before, done) = (job.used.0.saturating_sub(lost), self.done_before(job));
        let whole = job.used.0.saturating_add(ran).saturating_sub(lost);
        let more = times(whole.saturating_sub(before), job.speed.milli(), 1000);
        Facts {
            who: who_runs(job),
            ran: whole,
            work: done.saturating_add(more),
            estimate: job.estimate,
            time_left: job.time_left.map(|left| Millis(left.0.saturating_sub(ran))),
            seen: self.seen.get(&job.id).copied(),
            speed: job.speed,
        }
    }

    /// What a waiting job has done: the milliseconds that take at speed 1.
    pub(super) fn done_by(&self, job: &Waiting) -> u64 {
        let lost = self.restarting(&job.project, job.attempts);
        work(&job.ran_on, job.used, &job.resources.speed).saturating_sub(lost)
    }

    /// What a running job had done before its attempt.
    pub(super) fn done_before(&self, job: &Running) -> u64 {
        let lost = self.restarting(&job.project, job.attempt.0);
        work(&job.ran_on, job.used, &job.resources.speed).saturating_sub(lost)
    }

    /// The milliseconds that a waiting job is predicted to run.
    pub(in crate::placement) fn time_left(&self, job: &Waiting) -> u64 {
        remaining(&self.facts_of(job), &self.history)
    }

    /// The milliseconds that a waiting job is predicted to run with its whole gang at a speed,
    /// whatever its limit is, if anything is known of that.
    pub(in crate::placement) fn known_left(&self, job: &Waiting, speed: Speed) -> Option<u64> {
        known(&Facts { speed, ..self.facts_of(job) }, &self.history)
    }

    /// What a waiting job is predicted to have still to do: the milliseconds that take at speed 1.
    pub(in crate::placement) fn work_left(&self, job: &Waiting) -> u64 {
        times(self.time_left(job), job.resources.least_speed().milli(), 1000)
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

    /// What is known of how long a running job will run.
    pub(super) fn outlook_of(&mut self, job: &Running) -> Outlook {
        let kin = self.history.kin(&who_runs(job));
        Outlook::of(&self.facts_of_running(job, job.started), kin)
    }

    /// The running jobs of a group that may be stopped at `now`, of those that are asked for. So
    /// many units of its jobs as are `part` go on because those had waited too long.
    pub(in crate::placement) fn standings<'a>(
        &'a self,
        group: &ProjectName,
        (ask, part): (&Ask, u64),
        gone: &BTreeSet<JobId>,
        now: Timestamp,
    ) -> Found<'a> {
        let Some(herd) = self.herds.get(group) else { return Found::default() };
        if let Some(next) = herd.nobody(ask, now) {
            debug_assert!(!herd.has(ask, now, &self.history), "somebody was left out");
            return Found { next, ..Found::default() };
        }
        let (mut found, mut earned, mut in_vain) = (Vec::new(), Vec::new(), true);
        let mut later = None::<Timestamp>;
        let next = herd.search(ask, now, &self.history, |id| {
            in_vain = false;
            let Some(job) = self.running.get(id).filter(|_| !gone.contains(id)) else { return };
            match self.standing(job, now) {
                Ok(Some(standing)) => match self.earned(job, now) {
                    Some(turn) => earned.push((turn, standing)),
                    None => found.push(standing),
                },
                Ok(None) => {}
                Err(ready) => later = Some(later.map_or(ready, |before| before.min(ready))),
            }
        });
        let most = if earned.is_empty() { None } else { self.favoured(group, part, now) };
        for ((since, until), standing) in earned {
            if most.is_some_and(|most| (since, standing.sequence) <= most) {
                later = Some(later.map_or(until, |before| before.min(until)));
            } else {
                found.push(standing);
            }
        }
        found.sort_by(|a, b| {
            let key =
                |s: &Standing<'_>| (s.worth.priority, std::cmp::Reverse(s.worth.value), s.cost);
            key(a).cmp(&key(b)).then(b.sequence.cmp(&a.sequence))
        });
        Found { standings: found, next: next.into_iter().chain(later).min(), in_vain }
    }

    /// What a group has given to jobs that had waited too long, and may not be stopped for it yet.
    pub(in crate::placement) fn favours(&self, group: &ProjectName, now: Timestamp) -> Favours {
        let Some(herd) = self.herds.get(group) else { return Favours::default() };
        let mut favours = Favours::default();
        for job in herd.special().filter_map(|id| self.running.get(id)) {
            if let Some((since, until)) = self.earned(job, now) {
                favours.given.push(((since, job.sequence), job.units()));
                favours.next = Some(favours.next.map_or(until, |next| next.min(until)));
            }
        }
        favours
    }

    /// The last of the running jobs that go on for having waited too long: those whose wait got too
    /// long first, as far as they have no more than `part` of their group's units.
    fn favoured(&self, group: &ProjectName, part: u64, now: Timestamp) -> Option<Turn> {
        let mut given = self.favours(group, now).given;
        given.sort_unstable();
        let mut units = 0u64;
        let within = given.iter().take_while(|(_, more)| {
            let first = units == 0;
            units = units.saturating_add(*more);
            first || units <= part
        });
        within.last().map(|(turn, _)| *turn)
    }

    /// Since when the wait of a running job was too long, if it was, and until when it goes on for
    /// it.
    pub(in crate::placement) fn earned(
        &self,
        job: &Running,
        now: Timestamp,
    ) -> Option<(Timestamp, Timestamp)> {
        let settings = self.settings.get(&job.project)?;
        // The bound is no less than the patience: most are told apart without a prediction.
        let may = earned(job, settings.patience.0).is_some_and(|(_, until)| until > now);
        let bound = may.then(|| self.bound_of_running(job, settings, now))?;
        earned(job, bound).filter(|(_, until)| *until > now)
    }

    /// The wait that was too long for a running job, by what is known of its length now.
    fn bound_of_running(&self, job: &Running, settings: &Settings, now: Timestamp) -> u64 {
        let left = remaining(&self.facts_of_running(job, now), &self.history);
        let length = job.used.0.saturating_add(now.since(job.started).0).saturating_add(left);
        length.saturating_mul(SLOWDOWN).max(settings.patience.0)
    }

    /// What the stops of a group's running jobs lose, and when there is one more of them by time
    /// alone. Some of them may have rights beyond that.
    pub(in crate::placement) fn losses(
        &self,
        group: &ProjectName,
        now: Timestamp,
    ) -> (Vec<Loss<'_>>, Option<Timestamp>) {
        self.herds.get(group).map(|herd| herd.losses(now)).unwrap_or_default()
    }

    /// How a running job stands, or when it may be stopped if not now, whatever it has earned.
    pub(in crate::placement) fn standing<'a>(
        &'a self,
        job: &'a Running,
        now: Timestamp,
    ) -> Result<Option<Standing<'a>>, Timestamp> {
        let Some(settings) = self.settings.get(&job.project) else { return Ok(None) };
        let ran = now.since(job.started).0;
        let facts = self.facts_of_running(job, now);
        let ready = ready(job, settings, now);
        if ready > now {
            return Err(ready);
        }
        let (before, rate) = self.service_of_running(job, settings);
        let attained = before.saturating_add(ran.saturating_mul(rate) / 1000);
        Ok(Some(Standing {
            job: job.id.clone(),
            version: job.version,
            attempt: job.attempt,
            worth: Worth {
                priority: job.priority,
                value: value(
                    settings.policy,
                    attained,
                    least(&facts, &self.history),
                    job.resources.gpus,
                ),
                attained,
                // Nobody is stopped for one that runs already.
                stretch: 0,
            },
            cost: cost(job, settings, now),
            notice: notice(job, settings),
            sequence: job.sequence,
            running: job,
            settings,
        }))
    }
}
