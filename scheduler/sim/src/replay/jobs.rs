//! What becomes of the jobs: submitted, started, at work, ended. How far a run has come is
//! arithmetic on its start; what is resumed from is what the state's catalogue says.

use std::collections::BTreeMap;

use trainyard_core::{Command, command::EndedReport, state::Attempt};
use trainyard_jobs::{
    AttemptRef, DeviceKind, EndReason, JobId, JobPhase, JobSpec, Millis, NodeId, RankExit,
    spec::Format,
};

use super::{Happening, Replay, desk::clock};
use crate::{
    SimError, TraceJob,
    num::{float, whole},
    report::Fate,
};

/// How ranks exit that are told to.
const SIGTERM: i32 = 143;

/// What becomes of one job of the trace.
#[derive(Debug, Default)]
pub(super) struct Life {
    pub(super) waits: bool,
    pub(super) first_start: Option<u64>,
    pub(super) ended: Option<u64>,
    pub(super) succeeded: bool,
    pub(super) runs: u32,
    pub(super) preemptions: u32,
    pub(super) losses: u32,
    /// GPU-milliseconds during which it held units.
    pub(super) held: u128,
    /// GPU-milliseconds of work that were done and lost again.
    pub(super) lost: u128,
    /// US dollars for what it held.
    pub(super) cost: f64,
    /// Jobs that were there at the same time, as a mean over its life, is worked out of these.
    pub(super) crowd_at_submit: u128,
    pub(super) crowd_at_end: u128,
    pub(super) run: Option<Run>,
}

/// An attempt at work.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) attempt: AttemptRef,
    /// Nodes and ranks on each.
    pub(super) nodes: Vec<(NodeId, u32)>,
    pub(super) started: u64,
    /// Work done before, in milliseconds of the job's nominal run time.
    pub(super) from: u64,
    /// Time until the work goes on.
    pub(super) overhead: u64,
    /// Nominal milliseconds of work a millisecond.
    pub(super) speed: f64,
    /// US dollars a millisecond.
    pub(super) price: f64,
}

impl Run {
    pub(super) fn gpus(&self) -> u32 {
        self.nodes.iter().map(|(_, ranks)| ranks).sum()
    }

    /// Work done by `now`, in nominal milliseconds.
    pub(super) fn done(&self, now: u64) -> u64 {
        let worked = now.saturating_sub(self.started).saturating_sub(self.overhead);
        self.from.saturating_add(whole((float(worked) * self.speed).floor()))
    }

    /// When the work will be done.
    pub(super) fn ends(&self, duration: u64) -> u64 {
        let left = float(duration.saturating_sub(self.from)) / self.speed;
        self.started.saturating_add(self.overhead).saturating_add(whole(left.ceil()))
    }
}

impl Life {
    /// The account of a job that has no future.
    pub(super) fn fate(self, job: &TraceJob) -> Fate {
        let ended = self.ended.filter(|_| self.succeeded);
        let alive = float(self.ended.unwrap_or_default().saturating_sub(job.submit.0));
        let crowd = self.crowd_at_end.saturating_sub(self.crowd_at_submit);
        let crowd = float(u64::try_from(crowd).unwrap_or(0));
        Fate {
            id: job.id.clone(),
            project: job.project.as_str().to_owned(),
            gpus: job.gpus,
            submit_ms: job.submit.0,
            duration_ms: job.duration.0,
            started_ms: self.first_start,
            ended_ms: ended,
            failed: self.ended.is_some() && !self.succeeded,
            runs: self.runs,
            preemptions: self.preemptions,
            losses: self.losses,
            held_gpu_ms: self.held,
            lost_gpu_ms: self.lost,
            cost_usd: self.cost,
            crowd: if alive > 0.0 { crowd / alive } else { 1.0 },
        }
    }
}

impl Replay<'_> {
    pub(super) fn submit(&mut self, index: usize) -> Result<(), SimError> {
        let Some(job) = self.workload.jobs.get(index) else { return Ok(()) };
        let spec = self.spec(job);
        self.desk.submit(self.now, index, spec, &job.user)?;
        let crowd = self.books.arrives();
        if let Some(life) = self.lives.get_mut(index) {
            life.crowd_at_submit = crowd;
        }
        self.stirred = true;
        self.take_in()
    }

    fn spec(&self, job: &TraceJob) -> JobSpec {
        let mut spec = self.template.clone();
        spec.name = job.name.clone();
        spec.project = job.project.clone();
        spec.priority = job.priority;
        spec.resources.gpus = job.gpus;
        spec.resources.min_gpus = job.min_gpus;
        spec.resources.device = DeviceKind::Gpu;
        spec.resources.compact = !self.setting.spread;
        if self.setting.known_durations {
            spec.schedule.est_duration = Some(job.duration.max(Millis(1)));
        }
        let known = |kind: &&String| self.machines.has_type(kind);
        spec.resources.gpu_type = job.gpu_type.iter().filter(known).cloned().collect();
        spec
    }

    /// A gang was started: its ranks report at once, and its work will end unless it is stopped.
    pub(super) fn begin(&mut self, attempt: &AttemptRef) -> Result<(), SimError> {
        let Some(index) = self.index_of(&attempt.job) else { return Ok(()) };
        let Some(run) = self.new_run(index, attempt) else { return Ok(()) };
        for (node, _) in &run.nodes {
            let (node, attempt) = (node.clone(), attempt.clone());
            self.desk.apply(self.now, "a report", Command::ReportStarted { node, attempt })?;
        }
        for (node, ranks) in &run.nodes {
            let free = self.machines.take(node, *ranks);
            self.books.free_on_shared(free);
        }
        self.books.takes(u64::from(run.gpus()));
        let (Some(job), Some(life)) = (self.workload.jobs.get(index), self.lives.get_mut(index))
        else {
            return Ok(());
        };
        life.runs += 1;
        life.first_start.get_or_insert(self.now);
        let at = run.ends(job.duration.0);
        self.agenda.push(at, Happening::End { job: index, run: life.runs });
        life.run = Some(run);
        self.await_report(index);
        self.await_checkpoint(index);
        Ok(())
    }

    fn new_run(&self, index: usize, attempt: &AttemptRef) -> Option<Run> {
        let job = self.desk.state().job(&attempt.job)?;
        let placed: &Attempt = job.current().filter(|a| a.is(attempt))?;
        let nodes: Vec<(NodeId, u32)> = placed
            .placements
            .iter()
            .map(|p| (p.node.clone(), u32::try_from(p.units.len()).unwrap_or(u32::MAX)))
            .collect();
        let from = placed.resume.and_then(|id| job.checkpoint(id)).map_or(0, |c| c.step);
        let life = self.lives.get(index)?;
        let wanted = self.workload.jobs.get(index)?.gpus;
        let ranks: u32 = nodes.iter().map(|(_, ranks)| ranks).sum();
        // The slowest node sets the pace of a gang.
        let speeds =
            nodes.iter().map(|(node, _)| self.machines.group(node).map_or(1.0, |g| g.speed));
        let pace = speeds.fold(f64::INFINITY, f64::min);
        let price = nodes.iter().map(|(node, ranks)| {
            let per_gpu = self.machines.group(node).map_or(0.0, |g| g.price / f64::from(g.gpus));
            per_gpu * f64::from(*ranks) / 3_600_000.0
        });
        Some(Run {
            attempt: attempt.clone(),
            started: self.now,
            from,
            overhead: if life.runs > 0 { self.setting.restart_cost.0 } else { 0 },
            speed: pace * f64::from(ranks) / f64::from(wanted.max(1)),
            price: price.sum(),
            nodes,
        })
    }

    /// A run's work is done.
    pub(super) fn end(&mut self, index: usize, run: u32) -> Result<(), SimError> {
        let Some(life) = self.lives.get(index) else { return Ok(()) };
        let Some(current) = life.run.as_ref().filter(|_| life.runs == run) else { return Ok(()) };
        let attempt = current.attempt.clone();
        self.stirred = true;
        self.leave(index, &attempt, 0)
    }

    /// The state stops an attempt: its ranks exit.
    pub(super) fn stopped(
        &mut self,
        attempt: &AttemptRef,
        reason: &EndReason,
    ) -> Result<(), SimError> {
        let Some(index) = self.index_of(&attempt.job) else { return Ok(()) };
        let saved = self.desk.state().job(&attempt.job).and_then(|job| job.newest_checkpoint());
        let saved = saved.map_or(0, |checkpoint| checkpoint.step);
        let now = self.now;
        let Some(life) = self.lives.get_mut(index) else { return Ok(()) };
        let Some(run) = life.run.as_ref().filter(|run| run.attempt == *attempt) else {
            return Ok(());
        };
        let wanted = self.workload.jobs.get(index).map_or(0, |job| job.gpus);
        life.lost += u128::from(run.done(now).saturating_sub(saved)) * u128::from(wanted);
        match reason {
            EndReason::Preempted { .. } => life.preemptions += 1,
            EndReason::NodeLost { .. } => life.losses += 1,
            _ => {}
        }
        self.stirred = true;
        self.leave(index, attempt, SIGTERM)
    }

    /// The ranks of a run exit, and its units are free.
    pub(super) fn leave(
        &mut self,
        index: usize,
        attempt: &AttemptRef,
        code: i32,
    ) -> Result<(), SimError> {
        let Some(run) = self.lives.get_mut(index).and_then(|life| life.run.take()) else {
            return Ok(());
        };
        self.settle_accounts(index, &run);
        let mut first = 0;
        for (node, ranks) in &run.nodes {
            let exits = (first..first + ranks).map(|rank| (rank, RankExit::Code { code }));
            let report = EndedReport {
                node: node.clone(),
                attempt: attempt.clone(),
                exits: exits.collect(),
                first_failure: None,
                start_error: None,
                time_limit: false,
                over_memory: None,
                artifacts: Vec::new(),
                metrics: BTreeMap::new(),
            };
            first += ranks;
            // Of a node that is down nobody hears anything.
            if !self.machines.is_up(node) {
                continue;
            }
            let command = Command::ReportEnded(Box::new(report));
            self.desk.apply(self.now, "an end", command)?;
        }
        self.take_in()
    }

    /// What a run held is written down, and counted as free.
    fn settle_accounts(&mut self, index: usize, run: &Run) {
        let held = self.now.saturating_sub(run.started);
        for (node, ranks) in &run.nodes {
            let free = self.machines.give_back(node, *ranks);
            self.books.free_on_shared(free);
        }
        self.books.gives_back(u64::from(run.gpus()));
        if let Some(life) = self.lives.get_mut(index) {
            life.held += u128::from(held) * u128::from(run.gpus());
            life.cost += float(held) * run.price;
        }
    }

    /// A job came into a phase: keeps count of who waits and who is there.
    pub(super) fn note_phase(&mut self, id: &JobId) {
        let Some(index) = self.index_of(id) else { return };
        let Some(job) = self.desk.state().job(id) else { return };
        let (phase, not_before, end) = (job.phase, job.not_before, job.end.clone());
        let waits = phase == JobPhase::Queued;
        if waits && not_before > clock(self.now) {
            let after = not_before.since(clock(self.now)).0;
            self.look(self.now.saturating_add(after));
        }
        let Some(life) = self.lives.get_mut(index) else { return };
        if waits != life.waits {
            life.waits = waits;
            self.books.waits(waits);
        }
        if phase.is_final() && life.ended.is_none() {
            life.ended = Some(self.now);
            life.succeeded = end == Some(EndReason::Completed);
            life.crowd_at_end = self.books.departs();
        }
    }
}

/// The spec that every job of a trace is made of.
pub(super) fn template() -> Result<JobSpec, SimError> {
    let text = "name = \"job\"\n[run]\ncommand = [\"train\"]\n\
                [checkpoint]\nkeep = 1\non_request = true\n";
    JobSpec::read("the template", text, Format::Toml).map_err(|error| SimError::Refused {
        what: "the template of all specs",
        refusal: error.to_string(),
    })
}
