//! What the planner sees of jobs that hold units, and what it says should be stopped.

use std::collections::{BTreeMap, BTreeSet};

use trainyard_jobs::{
    AttemptNo, AttemptPhase, EndReason, JobId, Millis, NodeId, ProjectName, StopCause, Timestamp,
    UnitId,
    spec::{Resources, Speed, Speeds},
};

use super::time::Alike;
use crate::{
    command::Assignment,
    state::{Attempt, GoesOn, Job},
};

/// A job that holds units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// The job.
    pub id: JobId,
    /// Its version, for the precondition.
    pub version: u64,
    /// The attempt that owns it.
    pub attempt: AttemptNo,
    /// Node by node in group-rank order: the units that its ranks have.
    pub placements: Vec<(NodeId, Vec<UnitId>)>,
    /// When the attempt was started.
    pub started: Timestamp,
    /// It is being stopped: its units will be free without anybody's doing.
    pub stopping: bool,
    /// It was asked to save its state and is to be stopped then: at this time at the latest.
    pub leaves_by: Option<Timestamp>,
    /// What it is to be stopped for then.
    pub leaves_for: Option<StopCause>,
    /// What it goes on with once it is gone.
    pub goes_on: Option<GoesOn>,
    /// What it asks for, with the speeds that the planner goes by.
    pub resources: Resources,
    /// The speeds that its spec says, where others were measured.
    pub said: Option<Box<Speeds>>,
    /// The types of its GPUs, in lower case, as far as they are known.
    pub gpu_types: BTreeSet<String>,
    /// The one that sets its pace.
    pub gpu_type: Option<String>,
    /// How fast it runs on what it has.
    pub speed: Speed,
    /// The queue that it counts against.
    pub project: ProjectName,
    /// Who submitted it.
    pub principal: String,
    /// What it runs.
    pub alike: Alike,
    /// The higher goes first.
    pub priority: i32,
    /// The log index of its submission.
    pub sequence: u64,
    /// When it was submitted.
    pub submitted: Timestamp,
    /// Run time of the attempts before this one by the type of GPU, as far as it is known.
    pub ran_on: BTreeMap<String, Millis>,
    /// Unit-milliseconds of the attempts before this one.
    pub attained: u64,
    /// Run time of the attempts before this one.
    pub used: Millis,
    /// When its newest checkpoint was catalogued. What was done since is lost when it is stopped.
    pub checkpointed: Option<Timestamp>,
    /// Its program saves its state when it is asked to.
    pub on_request: bool,
    /// Run time that is left to it by its limit, from the start of the attempt on.
    pub time_left: Option<Millis>,
    /// How long whoever wrote the spec expects it to run.
    pub estimate: Option<Millis>,
    /// When it should be done.
    pub finish_by: Option<Timestamp>,
    /// The time between its checkpoints.
    pub checkpoint_every: Millis,
    /// When its attempts were stopped for other jobs, oldest first.
    pub disrupted: Vec<Timestamp>,
    /// The same with the units that each had, the one too that is on its way out.
    pub stops: Vec<Disruption>,
}

/// A stop for other jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Disruption {
    /// When the units were free; nothing while they are not.
    pub at: Option<Timestamp>,
    /// How many they were.
    pub units: u32,
}

/// What a job says of how far it is. Never replicated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Steps done, over all attempts.
    pub done: u64,
    /// Steps in all, if it knows.
    pub total: Option<u64>,
    /// When it said so.
    pub at: Timestamp,
}

/// An attempt to stop, so that its job waits again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// The job.
    pub job: JobId,
    /// Its version that the planner saw.
    pub version: u64,
    /// The attempt.
    pub attempt: AttemptNo,
    /// What it is stopped for.
    pub why: StopCause,
    /// It is asked to save its state first, and stopped once it has, at this time at the latest;
    /// stopped at once when absent.
    pub checkpoint_by: Option<Timestamp>,
    /// What the job goes on with at once, if it does not wait for its turn again.
    pub goes_on: Option<GoesOn>,
}

impl Running {
    /// The ranks of its gang.
    #[must_use]
    pub fn units(&self) -> u64 {
        let units: usize = self.placements.iter().map(|(_, units)| units.len()).sum();
        u64::try_from(units).unwrap_or(u64::MAX)
    }

    /// The type of its GPUs, if they are known and all alike.
    pub(super) fn on_one_type(&self) -> Option<&str> {
        let mut types = self.gpu_types.iter();
        types.next().filter(|_| types.next().is_none()).map(String::as_str)
    }

    /// Finds out anew how fast it is on what it has.
    pub(super) fn set_pace(&mut self) {
        let (types, speeds) = (&self.gpu_types, &self.resources.speed);
        self.gpu_type = types.iter().min_by_key(|model| speeds.on(model)).cloned();
        self.speed = speeds.of_gang(types.iter().map(String::as_str));
    }

    /// Whether its units are becoming free.
    #[must_use]
    pub const fn is_leaving(&self) -> bool {
        self.stopping || self.leaves_by.is_some()
    }

    /// What it has, in the terms of a command.
    pub(super) fn assignments(&self) -> Vec<Assignment> {
        assignments(&self.placements)
    }

    /// The units that others may count on once it is gone.
    pub(super) fn gives(&self) -> u64 {
        let keeps = self.goes_on.as_ref().map_or(0, |kept| u64::from(kept.ranks()));
        self.units().saturating_sub(keeps)
    }

    /// How a job that holds units is seen, if it holds any.
    #[must_use]
    pub fn of(job: &Job) -> Option<Self> {
        let attempt = job.current().filter(|a| a.phase != AttemptPhase::Ended)?;
        let stopping = attempt.phase == AttemptPhase::Stopping;
        let placements = attempt.placements.iter().map(|p| (p.node.clone(), p.units.clone()));
        Some(Self {
            id: job.id.clone(),
            // Nobody stops it again, and versions that nobody names need not be followed.
            version: if stopping { 0 } else { job.version },
            attempt: attempt.number,
            placements: placements.collect(),
            started: attempt.started,
            stopping,
            leaves_by: attempt.leaving.as_ref().map(|leaving| leaving.by),
            leaves_for: attempt.leaving.as_ref().map(|leaving| leaving.cause),
            goes_on: attempt.goes_on().cloned(),
            resources: job.spec.resources.clone(),
            said: None,
            gpu_types: attempt.gpu_types.keys().map(|model| model.to_ascii_lowercase()).collect(),
            gpu_type: attempt.slowest(&job.spec.resources).map(str::to_ascii_lowercase),
            speed: attempt.speed(&job.spec.resources),
            project: job.spec.project.clone(),
            principal: job.principal.clone(),
            alike: Alike::of(&job.spec, &job.principal),
            priority: job.spec.priority,
            sequence: job.sequence,
            submitted: job.submitted,
            ran_on: job.ran_on(),
            attained: job.attained(),
            used: job.used,
            checkpointed: job.newest_checkpoint().map(|c| c.created),
            on_request: job.spec.saves_on_request(),
            time_left: job.allowance(),
            estimate: job.spec.schedule.est_duration,
            finish_by: job.spec.finish_by(),
            checkpoint_every: job.spec.checkpoint.every,
            disrupted: disruptions(job),
            stops: stops(job),
        })
    }
}

/// Units of nodes in the terms of a command.
pub(super) fn assignments(units: &[(NodeId, Vec<UnitId>)]) -> Vec<Assignment> {
    let part = |(node, units): &(NodeId, Vec<UnitId>)| Assignment {
        node: node.clone(),
        node_version: 0,
        units: units.clone(),
    };
    units.iter().map(part).collect()
}

/// When the job's attempts were stopped for other jobs.
pub(super) fn disruptions(job: &Job) -> Vec<Timestamp> {
    let stopped = job
        .attempts
        .iter()
        .filter(|attempt| matches!(attempt.end, Some(EndReason::Preempted { .. })));
    stopped.filter_map(|attempt| attempt.ended).collect()
}

/// The stops of a job for others, those too that are not over yet.
pub(super) fn stops(job: &Job) -> Vec<Disruption> {
    let preempted = |attempt: &Attempt| matches!(attempt.end, Some(EndReason::Preempted { .. }));
    let stopped = |attempt: &&Attempt| preempted(attempt) || attempt.leaving.is_some();
    let over = |attempt: &Attempt| attempt.ended.is_none() || preempted(attempt);
    let stops = job.attempts.iter().filter(stopped).filter(|attempt| over(attempt));
    stops.map(|attempt| Disruption { at: attempt.ended, units: attempt.world_size() }).collect()
}
