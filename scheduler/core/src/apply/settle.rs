//! What follows once nothing more will be heard of an attempt: its job ends, finishes, or waits
//! for its next attempt.

use std::ops::Bound;

use trainyard_jobs::{
    AttemptPhase, EndReason, JobId, JobPhase, Millis, ProjectName, RankExit, Timestamp,
};
use trainyard_probe::reached;

use crate::{
    command::PLACES_LEVEL,
    event::Event,
    placement::Host,
    state::{Attempt, Job, PlacementState, State},
};

/// Attempts whose record a job keeps; older ones that have ended are dropped.
const KEPT_ATTEMPTS: usize = 32;

/// The longest wait between two attempts that fail by the job's own doing.
const LONGEST_BACKOFF: Millis = Millis(300_000);

/// The feature level from which use is counted.
const ORDER_LEVEL: u16 = 3;

/// What a settled attempt means to its job.
enum Next {
    Finish,
    End(JobPhase, EndReason),
    Requeue { own_failure: bool, reason: EndReason },
}

impl State {
    /// Ends the job's current attempt if every node of it is settled, and decides what comes
    /// next.
    pub(super) fn settle(&mut self, id: &JobId, events: &mut Vec<Event>) {
        let time = self.time;
        let Some(job) = self.jobs.get_mut(id) else { return };
        let Some(attempt) = job.attempts.last_mut() else { return };
        let settled = attempt.placements.iter().all(|p| p.state.is_settled());
        if attempt.phase == AttemptPhase::Ended || !settled {
            return;
        }
        attempt.phase = AttemptPhase::Ended;
        attempt.ended = Some(time);
        let ran = time.since(attempt.started);
        let reason = final_reason(attempt);
        attempt.end = Some(reason.clone());
        let ranks = attempt.world_size();
        let service = ran.0.saturating_mul(u64::from(ranks));
        let project = job.spec.project.clone();
        if self.feature_level >= ORDER_LEVEL && ranks != job.spec.resources.gpus {
            // Before this one all had the whole size, or it was counted already.
            job.attained = Some(job.attained());
        }
        job.attained = job.attained.map(|before| before.saturating_add(service));
        job.used = Millis(job.used.0.saturating_add(ran.0));
        job.version += 1;
        job.parts.clear();
        let each = Host::of_rank(&job.spec.resources);
        let next = next(job, reason);
        self.charge(&project, service, each, events);
        match next {
            Next::Finish => {
                reached("core: all ranks ended well");
                self.finish(id, events);
            }
            Next::End(phase, reason) => {
                reached("core: a stopped job ends");
                self.end_job(id, phase, reason, events);
            }
            Next::Requeue { own_failure, reason } => {
                reached(if own_failure {
                    "core: a failed job waits again"
                } else {
                    "core: a job waits again for want of a node"
                });
                self.requeue(id, own_failure, reason, events);
            }
        }
    }

    /// Counts what an attempt used against its project: unit-milliseconds, and so much beside each
    /// unit.
    fn charge(&mut self, project: &ProjectName, service: u64, each: Host, events: &mut Vec<Event>) {
        if self.feature_level < ORDER_LEVEL {
            return;
        }
        let (time, half_life) = (self.time, self.half_life(project));
        let usage = self.usage.entry(project.clone()).or_default();
        // At an older level every member counts units alone.
        let each = if self.feature_level >= PLACES_LEVEL { each } else { Host::default() };
        *usage = usage.at(time, half_life).charged(service, each);
        // One that nothing is left of goes each time, so that projects of long ago do not add up.
        let after = (Bound::Excluded(project), Bound::Unbounded);
        let next = self.usage.range::<ProjectName, _>(after).next();
        if let Some(name) =
            next.or_else(|| self.usage.first_key_value()).map(|(name, _)| name.clone())
            && self
                .usage
                .get(&name)
                .is_some_and(|old| old.at(time, self.half_life(&name)).is_nothing())
        {
            self.usage.remove(&name);
        }
        events.push(Event::Usage(project.clone()));
    }

    /// All ranks ended well. With a model to register, the leader verifies the artifacts first.
    fn finish(&mut self, id: &JobId, events: &mut Vec<Event>) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        if job.spec.register.is_none() {
            self.end_job(id, JobPhase::Succeeded, EndReason::Completed, events);
            return;
        }
        job.phase = JobPhase::Finishing;
        events.push(Event::Job { job: id.clone(), phase: JobPhase::Finishing });
    }

    pub(super) fn requeue(
        &mut self,
        id: &JobId,
        own_failure: bool,
        reason: EndReason,
        events: &mut Vec<Event>,
    ) {
        let time = self.time;
        let Some(job) = self.jobs.get_mut(id) else { return };
        if own_failure {
            if job.restarts >= job.spec.limits.max_restarts {
                reached("core: a job has failed too often");
                self.end_job(id, JobPhase::Failed, reason, events);
                return;
            }
            job.not_before = Timestamp(time.0.saturating_add(backoff(job.restarts).0));
            job.restarts += 1;
        } else if matches!(reason, EndReason::Preempted { .. }) {
            reached("core: a job that was stopped for another waits again");
            job.not_before = time;
        } else {
            // Not the job's doing, but ranks that vanish again and again must not spin either.
            job.not_before = Timestamp(time.0.saturating_add(backoff(losses_in_a_row(job)).0));
        }
        if job.attempts.len() > KEPT_ATTEMPTS {
            let drop = job.attempts.len() - KEPT_ATTEMPTS;
            job.attempts.drain(..drop);
        }
        job.outcome = None;
        job.phase = JobPhase::Queued;
        job.version += 1;
        events.push(Event::Job { job: id.clone(), phase: JobPhase::Queued });
    }

    /// A final phase, once and for all.
    pub(super) fn end_job(
        &mut self,
        id: &JobId,
        phase: JobPhase,
        reason: EndReason,
        events: &mut Vec<Event>,
    ) {
        let time = self.time;
        let Some(job) = self.jobs.get_mut(id) else { return };
        if job.phase.is_final() {
            return;
        }
        job.phase = phase;
        job.version += 1;
        job.ended = Some(time);
        job.end = Some(reason);
        job.parts.clear();
        events.push(Event::Job { job: id.clone(), phase });
    }
}

/// A lost node is named before the ranks elsewhere that failed for want of it.
fn final_reason(attempt: &Attempt) -> EndReason {
    let vanished = |exit: &RankExit| *exit == RankExit::Vanished;
    let lost = attempt
        .placements
        .iter()
        .find(|p| p.state == PlacementState::Lost || p.exits.values().any(vanished));
    match (&attempt.end, lost) {
        (Some(EndReason::Cancelled), _) => EndReason::Cancelled,
        (_, Some(p)) => EndReason::NodeLost { node: p.node_name.clone() },
        (Some(reason), None) => reason.clone(),
        (None, None) => EndReason::Completed,
    }
}

fn next(job: &Job, reason: EndReason) -> Next {
    if reason == EndReason::Completed {
        return if job.cancel_requested {
            Next::End(JobPhase::Cancelled, EndReason::Cancelled)
        } else {
            Next::Finish
        };
    }
    if job.cancel_requested {
        return Next::End(JobPhase::Cancelled, EndReason::Cancelled);
    }
    let used_up = job.allowance() == Some(Millis(0));
    match reason {
        EndReason::TimeLimit => Next::End(JobPhase::Failed, reason),
        _ if used_up => Next::End(JobPhase::Failed, EndReason::TimeLimit),
        EndReason::NodeLost { .. } | EndReason::Preempted { .. } => {
            Next::Requeue { own_failure: false, reason }
        }
        _ => Next::Requeue { own_failure: true, reason },
    }
}

/// How many attempts before the last one ended with a lost node as well.
fn losses_in_a_row(job: &Job) -> u32 {
    let lost = |a: &&Attempt| matches!(a.end, Some(EndReason::NodeLost { .. }));
    let count = job.attempts.iter().rev().skip(1).take_while(lost).count();
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Nothing before the first restart, then a second, two, four…
fn backoff(restarts: u32) -> Millis {
    let wait = restarts.checked_sub(1).map_or(0, |n| 1000u64.saturating_mul(1 << n.min(20)));
    Millis(wait.min(LONGEST_BACKOFF.0))
}
