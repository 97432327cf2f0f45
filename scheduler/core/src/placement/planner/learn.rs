//! What a planner learns of the jobs that run: how far they are, how fast they are on the types
//! that they have, how far off was what they said.

use std::mem::take;

use trainyard_jobs::{JobId, ProjectName, spec::Speeds};

use super::{
    Planner,
    forecast::{who_runs, who_waits},
};
use crate::placement::{
    running::{Progress, Running},
    time::{Alike, Past, Seen},
    view::{Delta, Waiting},
};

/// A run counts as one on a type if it was there for all but so small a part of it.
const ELSEWHERE: u64 = 20;

impl Planner {
    /// A job says how far it is.
    pub(super) fn take_in(&mut self, id: &JobId, progress: Progress) {
        let (ran, speed) = match (self.running.get(id), self.waiting.get(id)) {
            // Of an attempt before it, late: its time is not this one's.
            (Some(job), _) if progress.at < job.started => return,
            (Some(job), _) => {
                let ran = job.used.0.saturating_add(progress.at.since(job.started).0);
                (ran.saturating_sub(self.restarting(&job.project, job.attempt.0)), job.speed)
            }
            (None, Some(job)) => {
                let lost = self.restarting(&job.project, job.attempts);
                (job.used.0.saturating_sub(lost), job.resources.least_speed())
            }
            (None, None) => return,
        };
        let before = self.seen.get(id).copied();
        let seen = Seen::of(progress, ran, speed, before.as_ref());
        self.seen.insert(id.clone(), seen);
        if let Some(job) = self.waiting.remove(id) {
            self.line_up(&job);
            self.waiting.insert(id.clone(), job);
        }
        if let Some(job) = self.running.get(id).filter(|job| !job.is_leaving()).cloned() {
            self.herd(&job);
        }
        self.clock_pace(id, before, progress);
    }

    /// Learns how fast a job is where it runs, from what it said before in the same attempt.
    fn clock_pace(&mut self, id: &JobId, before: Option<Seen>, now: Progress) {
        let Some((before, job)) = before.zip(self.running.get(id)) else { return };
        let Some(model) = job.on_one_type().filter(|_| before.at >= job.started) else { return };
        let (steps, ms) = (now.done.saturating_sub(before.done), now.at.since(before.at).0);
        // With fewer ranks it is slower everywhere.
        if steps == 0 || ms == 0 || job.units() != u64::from(job.resources.gpus) {
            return;
        }
        if self.measured.steps(job.alike, model, (steps, ms)) {
            let (alike, project) = (job.alike, job.project.clone());
            self.measure_anew(alike, &project);
        }
    }

    /// Counts a run that has ended well among those from which is learned how long jobs take, and
    /// how fast they are on what.
    pub(super) fn learn(&mut self, past: &Past) {
        let longest = past.ran_on.iter().max_by_key(|(_, ran)| **ran);
        let alone = longest.filter(|(_, ran)| past.ran.0 - past.ran.0 / ELSEWHERE <= ran.0);
        let changed = alone
            .is_some_and(|(model, ran)| ran.0 > 0 && self.measured.run(past.alike, model, ran.0));
        match self.measured.speeds(past.alike, &past.speeds) {
            Some(speeds) => self.history.learn(&Past { speeds, ..past.clone() }),
            None => self.history.learn(past),
        }
        if changed {
            self.measure_anew(past.alike, &past.project);
        }
    }

    /// The jobs of a spec run faster or slower than was thought.
    fn measure_anew(&mut self, alike: Alike, project: &ProjectName) {
        let queued = self.queued.get(project).into_iter().flatten();
        let waiting = queued.filter_map(|(_, id)| self.waiting.get(id));
        let waiting: Vec<Waiting> = waiting.filter(|job| job.alike == alike).cloned().collect();
        let running = self.running.values().filter(|job| job.alike == alike);
        let mut running: Vec<Running> = running.cloned().collect();
        running.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        waiting.into_iter().for_each(|job| self.update(Delta::Waits(Box::new(job))));
        running.into_iter().for_each(|job| self.update(Delta::Runs(Box::new(job))));
    }

    /// A waiting job with the speeds that were measured, if any were.
    pub(super) fn measure(&self, job: &mut Waiting) {
        self.measure_speeds(job.alike, &mut job.resources.speed, &mut job.said);
    }

    /// The same of a running job.
    pub(super) fn measure_running(&self, job: &mut Running) {
        self.measure_speeds(job.alike, &mut job.resources.speed, &mut job.said);
        job.set_pace();
    }

    fn measure_speeds(&self, alike: Alike, speeds: &mut Speeds, said: &mut Option<Box<Speeds>>) {
        let known = said.as_deref().unwrap_or(speeds);
        match self.measured.speeds(alike, known) {
            Some(measured) => {
                let own = std::mem::replace(speeds, measured);
                said.get_or_insert_with(|| Box::new(own));
            }
            None => {
                if let Some(own) = said.take() {
                    *speeds = *own;
                }
            }
        }
    }

    pub(super) fn is_told_of_as_many(&self, other: &Self) -> bool {
        self.waiting.len() == other.waiting.len() && self.running.len() == other.running.len()
    }

    /// Whether both were told the same of the jobs that wait, whatever was measured.
    pub(super) fn waits_as_told(&self, other: &Self) -> bool {
        let told = |job: &Waiting| {
            let mut told = job.clone();
            Self::default().measure(&mut told);
            told
        };
        let is_same = |(id, job): (&JobId, &Waiting)| {
            other.waiting.get(id).is_some_and(|known| *known == *job || told(known) == told(job))
        };
        self.waiting.iter().all(is_same)
    }

    /// The same of those that run.
    pub(super) fn runs_as_told(&self, other: &Self) -> bool {
        let told = |job: &Running| {
            let mut told = job.clone();
            Self::default().measure_running(&mut told);
            told
        };
        let is_same = |(id, job): (&JobId, &Running)| {
            other.running.get(id).is_some_and(|known| *known == *job || told(known) == told(job))
        };
        self.running.iter().all(is_same)
    }

    /// Learns how far off was what a job said that has ended, as far as it said anything half-way.
    pub(super) fn judge(&mut self, id: &JobId, past: &Past) {
        let half = self.seen.get(id).and_then(|seen| seen.half);
        let Some(((done, left), job)) = half.zip(self.running.get(id)) else { return };
        let lost = self.restarting(&job.project, job.attempt.0);
        let work = past.work().saturating_sub(lost);
        self.history.judge(left, work.saturating_sub(done));
    }

    /// Counts a waiting job among those that have run for some time, if it has.
    pub(super) fn count_waiting(&mut self, job: &Waiting) {
        if job.used.0 == 0 {
            return self.census.forget(&job.id, &mut self.history);
        }
        let (kin, work) = (self.history.kin(&who_waits(job)), self.done_by(job));
        self.census.count(&job.id, kin, work, None, &mut self.history);
    }

    /// The same of a running job.
    pub(super) fn count_running(&mut self, job: &Running) {
        let (kin, work) = (self.history.kin(&who_runs(job)), self.done_before(job));
        let since = Some((job.started, job.speed));
        self.census.count(&job.id, kin, work, since, &mut self.history);
    }

    /// Counts anew how long those have run that have not ended.
    pub(super) fn count_all(&mut self) {
        let (waiting, running) = (take(&mut self.waiting), take(&mut self.running));
        for job in waiting.keys().chain(running.keys()) {
            self.census.forget(job, &mut self.history);
        }
        waiting.values().for_each(|job| self.count_waiting(job));
        running.values().for_each(|job| self.count_running(job));
        (self.waiting, self.running) = (waiting, running);
    }
}
