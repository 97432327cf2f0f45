//! Queues and what their order leads to: settings, and attempts that are stopped for other jobs.

use std::collections::BTreeSet;

use trainyard_jobs::{
    AttemptPhase, EndReason, JobId, JobPhase, ProjectName, QueueSpec, queue::ROOT,
};
use trainyard_probe::reached;

use super::{Applied, GOES_ON_LEVEL};
use crate::{
    archive::Archive,
    command::{Preempt, Reply, SetQueue},
    event::Event,
    refusal::Refusal,
    state::{GoesOn, Job, Leaving, Queue, State},
};

/// The most queues with settings of their own, so that the state stays small.
const MOST: usize = 10_000;

/// The deepest tree of queues.
const DEEPEST: usize = 16;

impl State {
    pub(super) fn set_queue(
        &mut self,
        set: SetQueue,
        archive: &dyn Archive,
        events: &mut Vec<Event>,
    ) -> Applied {
        if let Some(reply) = self.known_key(&set.mutation, archive)? {
            return Ok(reply);
        }
        let version = self.queues.get(&set.queue).map_or(0, |queue| queue.version);
        if set.version.is_some_and(|seen| seen != version) {
            return Err(Refusal::Stale(format!("queue {}", set.queue.as_str())));
        }
        match set.spec {
            None => {
                self.check_childless(&set.queue)?;
                self.queues.remove(&set.queue);
            }
            Some(spec) => {
                self.check_queue(&set.queue, &spec)?;
                let queue = Queue { spec, version: self.index };
                self.queues.insert(set.queue.clone(), queue);
            }
        }
        self.remember(&set.mutation, Reply::Done);
        events.push(Event::Queue(set.queue));
        Ok(Reply::Done)
    }

    fn check_childless(&self, name: &ProjectName) -> Result<(), Refusal> {
        let below = |(_, queue): &(_, &Queue)| queue.spec.parent.as_ref() == Some(name);
        match self.queues.iter().find(below) {
            Some((child, _)) => Err(Refusal::Queue(format!(
                "queue {} has queue {} below it: move that one first",
                name.as_str(),
                child.as_str()
            ))),
            None => Ok(()),
        }
    }

    fn check_queue(&self, name: &ProjectName, spec: &QueueSpec) -> Result<(), Refusal> {
        if let Some(problem) = spec.problem(name) {
            return Err(Refusal::Queue(problem));
        }
        if !self.queues.contains_key(name) && self.queues.len() >= MOST {
            let message = format!("there are {MOST} queues with settings: remove some first");
            return Err(Refusal::Queue(message));
        }
        let mut above = spec.parent.as_ref();
        for _ in 0..DEEPEST {
            let Some(parent) = above.filter(|parent| parent.as_str() != ROOT) else {
                return Ok(());
            };
            if parent == name {
                let message = format!("queue {} would be below itself", name.as_str());
                return Err(Refusal::Queue(message));
            }
            let Some(queue) = self.queues.get(parent) else {
                return Err(Refusal::Queue(format!(
                    "there is no queue {} to be below: set that one first",
                    parent.as_str()
                )));
            };
            above = queue.spec.parent.as_ref();
        }
        Err(Refusal::Queue(format!("the tree of queues would be deeper than {DEEPEST}")))
    }

    /// Stops the attempt that the planner saw, or asks it to save its state first. Its units stay
    /// its own until its ranks are known to be gone.
    pub(super) fn preempt(&mut self, preempt: Preempt, events: &mut Vec<Event>) -> Applied {
        let (time, id) = (self.time, preempt.job.clone());
        let job = self.jobs.get(&id).ok_or_else(|| Refusal::NoJob(id.clone()))?;
        let attempt = job.current().filter(|a| a.number == preempt.attempt);
        let active = attempt.is_some_and(|a| a.phase == AttemptPhase::Active);
        if job.version != preempt.job_version || job.phase != JobPhase::Running || !active {
            return Err(Refusal::Stale(format!("job {id}")));
        }
        let kept = self.kept(&preempt)?;
        let later = preempt.checkpoint_by.filter(|by| *by > time);
        let Some(by) = later else {
            reached("core: an attempt is stopped for another");
            self.keep(&id, kept);
            self.stop_current(&id, &EndReason::Preempted { cause: preempt.cause }, events);
            return Ok(Reply::Done);
        };
        let job = self.jobs.get_mut(&id).ok_or_else(|| Refusal::NoJob(id.clone()))?;
        let Some(attempt) = job.current_mut().filter(|attempt| attempt.leaving.is_none()) else {
            return Err(Refusal::Stale(format!("job {id}")));
        };
        reached("core: an attempt is asked to save its state and leave");
        attempt.leaving = Some(Leaving { cause: preempt.cause, by, asked: time });
        attempt.kept = kept;
        let nodes: Vec<_> = attempt.placements.iter().map(|p| p.node.clone()).collect();
        job.version += 1;
        events.push(Event::Job { job: id, phase: JobPhase::Running });
        events.extend(nodes.into_iter().map(Event::Node));
        Ok(Reply::Done)
    }

    /// What a job is to go on with: as many units as it may run with, and none twice. Whether they
    /// are free is seen when it starts.
    fn kept(&self, preempt: &Preempt) -> Result<Option<GoesOn>, Refusal> {
        let known = self.feature_level >= GOES_ON_LEVEL;
        let Some(kept) = preempt.goes_on.as_ref().filter(|_| known) else { return Ok(None) };
        let asked = self.job(&preempt.job).map(|job| &job.spec.resources);
        let whole = asked.map(|asked| asked.min_gpus.unwrap_or(asked.gpus)..=asked.gpus);
        let all = kept.units.iter().flat_map(|(node, units)| units.iter().map(move |u| (node, u)));
        let different: BTreeSet<_> = all.collect();
        if whole.is_none_or(|whole| !whole.contains(&kept.ranks()))
            || u32::try_from(different.len()) != Ok(kept.ranks())
        {
            return Err(Refusal::Malformed("the gang that goes on is not whole".into()));
        }
        Ok(Some(kept.clone()))
    }

    /// Notes what a job goes on with. One that is stopped because its notice is over keeps what it
    /// was promised.
    fn keep(&mut self, id: &JobId, kept: Option<GoesOn>) {
        if let Some(kept) = kept
            && let Some(attempt) = self.jobs.get_mut(id).and_then(Job::current_mut)
        {
            attempt.kept = Some(kept);
        }
    }
}
