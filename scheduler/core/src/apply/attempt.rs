//! Starting a gang, and what its nodes report of it.

use std::collections::{BTreeMap, BTreeSet};

use trainyard_jobs::{
    AttemptNo, AttemptPhase, AttemptRef, DeviceKind, EndReason, Generation, JobPhase, NodeId,
    RankExit,
};
use trainyard_probe::{planted, reached};

use super::Applied;
use crate::{
    command::{EndedReport, PARTS_LEVEL, Reply, StartAttempt},
    event::Event,
    refusal::Refusal,
    state::{Attempt, Job, NodeState, Outcome, Placement, PlacementState, State},
};

/// Generations that one epoch may give out.
const GENERATIONS: u32 = 1 << 16;

/// The feature level from which an attempt's types of GPUs are kept.
const TYPES_LEVEL: u16 = 4;

/// The feature level from which a job that is stopped may go on at once, with units that are kept
/// for it.
pub(crate) const GOES_ON_LEVEL: u16 = 5;

/// The feature level from which elastic jobs start with fewer ranks than they ask for.
pub(crate) const ELASTIC_LEVEL: u16 = 3;

impl State {
    /// Starts all ranks of a gang or none: every precondition is checked before anything is
    /// changed.
    pub(super) fn start_attempt(
        &mut self,
        start: StartAttempt,
        events: &mut Vec<Event>,
    ) -> Applied {
        let job = self.check_job(&start)?;
        self.check_limits(job, &start)?;
        let placements = self.check_placements(&start)?;
        self.check_reserved(job, &start)?;
        let gpu_types = self.gpu_types(&start);
        let revision = self.revision();
        let time = self.time;
        let master = start.placements.first().and_then(|p| self.nodes.get(&p.node));
        let master_addr = master.map(|n| n.inventory.address.clone()).unwrap_or_default();
        let job = self.jobs.get_mut(&start.job).ok_or_else(|| Refusal::NoJob(start.job.clone()))?;
        let number = AttemptNo(job.current().map_or(0, |a| a.number.0) + 1);
        let generation = first_generation(revision.epoch);
        job.attempts.push(Attempt {
            number,
            generation,
            phase: AttemptPhase::Active,
            started_at: revision,
            started: time,
            ended: None,
            placements,
            master_addr,
            master_port: start.master_port,
            resume: start.resume,
            end: None,
            leaving: None,
            kept: None,
            gpu_types,
        });
        job.phase = JobPhase::Running;
        job.version += 1;
        job.parts.clear();
        let attempt = AttemptRef { job: start.job.clone(), attempt: number, generation };
        for assignment in start.placements {
            if let Some(node) = self.nodes.get_mut(&assignment.node) {
                node.owners.extend(assignment.units.into_iter().map(|u| (u, attempt.clone())));
                node.version += 1;
            }
            events.push(Event::Node(assignment.node));
        }
        events.push(Event::Job { job: start.job, phase: JobPhase::Running });
        events.push(Event::AttemptStarted(attempt.clone()));
        Ok(Reply::Started(attempt))
    }

    fn check_job(&self, start: &StartAttempt) -> Result<&Job, Refusal> {
        let job = self.job(&start.job).ok_or_else(|| Refusal::NoJob(start.job.clone()))?;
        if job.phase != JobPhase::Queued || job.version != start.job_version {
            return Err(Refusal::Stale(format!("job {}", job.id)));
        }
        if job.newest_checkpoint().map(|c| c.id) != start.resume {
            return Err(Refusal::Stale(format!("the newest checkpoint of job {}", job.id)));
        }
        reached("core: a start of what is still so");
        let ranks: usize = start.placements.iter().map(|p| p.units.len()).sum();
        let asked = &job.spec.resources;
        // An elastic job may run with fewer, from the level on that all members know that.
        let elastic = asked.min_gpus.filter(|_| self.feature_level >= ELASTIC_LEVEL);
        let whole = elastic.unwrap_or(asked.gpus)..=asked.gpus;
        if !u32::try_from(ranks).is_ok_and(|ranks| whole.contains(&ranks)) {
            return Err(Refusal::Malformed("the gang is not whole".into()));
        }
        Ok(job)
    }

    fn check_placements(&self, start: &StartAttempt) -> Result<Vec<Placement>, Refusal> {
        let mut first_rank = 0;
        let mut seen = BTreeSet::new();
        let mut placements = Vec::with_capacity(start.placements.len());
        for assignment in &start.placements {
            let id = &assignment.node;
            let node = self.node(id).ok_or_else(|| Refusal::NoNode(id.clone()))?;
            let stale = node.state != NodeState::Up || node.version != assignment.node_version;
            if stale && planted("partial gang") {
                continue;
            }
            if stale {
                return Err(Refusal::Stale(format!("node {id}")));
            }
            for unit in &assignment.units {
                let known = node.inventory.devices.contains_key(unit);
                if self.feature_level >= PARTS_LEVEL && node.is_split_otherwise(unit) {
                    let what =
                        format!("unit {unit} of node {id}, of which somebody has another part");
                    return Err(Refusal::Stale(what));
                }
                if !known || node.owners.contains_key(unit) || !seen.insert((id, unit)) {
                    return Err(Refusal::Malformed(format!(
                        "unit {unit} of node {id} is not free"
                    )));
                }
            }
            placements.push(Placement {
                node: id.clone(),
                node_name: node.inventory.name.to_string(),
                first_rank,
                units: assignment.units.clone(),
                state: PlacementState::Assigned,
                exits: BTreeMap::new(),
            });
            first_rank += u32::try_from(assignment.units.len()).unwrap_or(u32::MAX);
        }
        Ok(placements)
    }

    /// The GPUs of a gang by type. What a node offers may be another thing one day.
    fn gpu_types(&self, start: &StartAttempt) -> BTreeMap<String, u32> {
        let mut types = BTreeMap::new();
        if self.feature_level < TYPES_LEVEL {
            return types;
        }
        for assignment in &start.placements {
            let Some(node) = self.node(&assignment.node) else { continue };
            let devices = assignment.units.iter().filter_map(|u| node.inventory.devices.get(u));
            for device in devices.filter(|device| device.kind == DeviceKind::Gpu) {
                *types.entry(device.model.clone()).or_default() += 1;
            }
        }
        types
    }

    pub(super) fn report_started(
        &mut self,
        node: &NodeId,
        attempt: &AttemptRef,
        events: &mut Vec<Event>,
    ) -> Applied {
        let job = self.jobs.get_mut(&attempt.job);
        let job = job.ok_or_else(|| Refusal::NoJob(attempt.job.clone()))?;
        if !job.is_current(attempt) {
            return Err(Refusal::Superseded(attempt.clone()));
        }
        let placement = job.current_mut().and_then(|a| a.placement_mut(node));
        let placement = placement.ok_or_else(|| Refusal::Superseded(attempt.clone()))?;
        if placement.state == PlacementState::Assigned {
            reached("core: the first word of a start");
            placement.state = PlacementState::Started;
            job.version += 1;
            events.push(Event::RanksStarted { attempt: attempt.clone(), node: node.clone() });
        }
        Ok(Reply::Done)
    }

    /// Any attempt's exit frees its units; only the current attempt's means something to its
    /// job.
    pub(super) fn report_ended(&mut self, report: EndedReport, events: &mut Vec<Event>) -> Applied {
        let attempt = report.attempt.clone();
        if self.released(&report.node, &attempt, events) {
            return Ok(Reply::Done);
        }
        let job = self.job(&attempt.job).ok_or_else(|| Refusal::NoJob(attempt.job.clone()))?;
        let current = job.is_current(&attempt);
        let reason = end_reason(&report);
        let news = self.confirm_exit(&report.node, &attempt, report.exits, events);
        if current && news {
            match reason {
                Some(reason) => self.fail_if_current(&attempt, &reason, events),
                None => self.keep_outcome(&attempt, report.artifacts, report.metrics),
            }
            self.settle(&attempt.job, events);
        }
        Ok(Reply::Done)
    }

    /// Rank 0's node alone has artifacts and metrics.
    fn keep_outcome(
        &mut self,
        attempt: &AttemptRef,
        artifacts: Vec<trainyard_jobs::FileEntry>,
        metrics: BTreeMap<String, String>,
    ) {
        if let Some(job) = self.jobs.get_mut(&attempt.job)
            && !(artifacts.is_empty() && metrics.is_empty())
        {
            job.outcome = Some(Outcome { artifacts, metrics });
        }
    }

    /// Records that a node's ranks are gone, and frees what they held. Says whether that is
    /// news. A lost node's late word frees its units too, but settles nothing any more.
    pub(super) fn confirm_exit(
        &mut self,
        node: &NodeId,
        attempt: &AttemptRef,
        exits: BTreeMap<u32, RankExit>,
        events: &mut Vec<Event>,
    ) -> bool {
        let mut news = false;
        if let Some(placement) = self.attempt_mut(attempt).and_then(|a| a.placement_mut(node)) {
            news = !placement.state.is_settled();
            if placement.state != PlacementState::Exited {
                placement.exits = exits;
            }
            if news {
                reached("core: an exit is confirmed");
                placement.state = PlacementState::Exited;
            }
        }
        if let Some(node) = self.nodes.get_mut(node)
            && node.release(attempt)
        {
            events.push(Event::Node(node.id.clone()));
        }
        news
    }

    /// Stops the gang of a failed attempt, if it still owns its job.
    pub(super) fn fail_if_current(
        &mut self,
        attempt: &AttemptRef,
        reason: &EndReason,
        events: &mut Vec<Event>,
    ) {
        if self.job(&attempt.job).is_some_and(|job| job.is_current(attempt)) {
            self.stop_current(&attempt.job, reason, events);
        }
    }
}

/// The generation of a first start. A history that a recovery cut off may have given out the next
/// attempt's number, so each epoch has generations of its own.
fn first_generation(epoch: u64) -> Generation {
    let epochs = u32::try_from(epoch.saturating_sub(1)).unwrap_or(u32::MAX);
    Generation(epochs.saturating_mul(GENERATIONS).saturating_add(1))
}

/// Why the ranks of this report ended, unless all of them ended well.
fn end_reason(report: &EndedReport) -> Option<EndReason> {
    if let Some(message) = &report.start_error {
        reached("core: ranks that could not be started");
        return Some(EndReason::StartFailed { message: message.clone() });
    }
    if report.time_limit {
        reached("core: ranks at the end of their time");
        return Some(EndReason::TimeLimit);
    }
    if let Some(over) = report.over_memory {
        reached("core: ranks with more memory than their share");
        return Some(EndReason::OverMemory(over));
    }
    let failed = |rank: &u32| report.exits.get(rank).is_some_and(|exit| !exit.is_success());
    let first = report.first_failure.filter(failed);
    let rank = first.or_else(|| report.exits.keys().copied().find(failed))?;
    let exit = report.exits.get(&rank).copied()?;
    Some(EndReason::RankFailed { rank, exit })
}
