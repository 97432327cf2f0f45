//! What becomes of the jobs: submitted, started, at work. How far a run has come is arithmetic on
//! its start; what is resumed from is what the state's catalogue says.

use trainyard_core::{
    Command,
    state::{Attempt, Placement},
};
use trainyard_jobs::{
    AttemptRef, DeviceKind, EndReason, JobId, JobPhase, JobSpec, Millis, NodeId, WHOLE_GPU,
    spec::Format,
};

use super::{Happening, Replay, desk::clock};
use crate::{
    SimError, TraceJob,
    num::{float, whole},
    report::Fate,
};

/// What becomes of one job of the trace.
#[derive(Debug, Default)]
pub(super) struct Life {
    pub(super) waits: bool,
    pub(super) first_start: Option<u64>,
    pub(super) ended: Option<u64>,
    pub(super) succeeded: bool,
    pub(super) runs: u32,
    /// What each rank asks for, in thousandths of a GPU.
    pub(super) part: u16,
    pub(super) preemptions: u32,
    pub(super) evictions: u32,
    pub(super) losses: u32,
    pub(super) failures: u32,
    /// Thousandths of a GPU times milliseconds during which it held them.
    pub(super) held: u128,
    /// The same of work that was done and lost again.
    pub(super) lost: u128,
    /// The part of that which reservations of others cost.
    pub(super) lost_to_others: u128,
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
    pub(super) seats: Vec<Seat>,
    pub(super) started: u64,
    /// Work done before, in milliseconds of the job's nominal run time.
    pub(super) from: u64,
    /// Time until the work goes on.
    pub(super) overhead: u64,
    /// Nominal milliseconds of work a millisecond.
    pub(super) speed: f64,
}

/// What an attempt has of one node.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) node: NodeId,
    pub(super) ranks: u32,
    /// Thousandths of its GPUs.
    pub(super) milli: u64,
}

impl Run {
    /// Thousandths of GPUs that it has.
    pub(super) fn milli(&self) -> u64 {
        self.seats.iter().map(|seat| seat.milli).sum()
    }

    /// When its work begins.
    pub(super) const fn begins(&self) -> u64 {
        self.started.saturating_add(self.overhead)
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
    /// The account of a job that has no future. No GPU does its work faster than `fastest`.
    pub(super) fn fate(self, job: &TraceJob, fastest: f64) -> Fate {
        let ended = self.ended.filter(|_| self.succeeded);
        let alive = float(self.ended.unwrap_or_default().saturating_sub(job.submit.0));
        let crowd = self.crowd_at_end.saturating_sub(self.crowd_at_submit);
        let crowd = float(u64::try_from(crowd).unwrap_or(0));
        Fate {
            id: job.id.clone(),
            project: job.project.as_str().to_owned(),
            gpus: job.gpus,
            gpu_milli: self.part,
            submit_ms: job.submit.0,
            duration_ms: job.duration.0,
            least_ms: whole((float(job.duration.0) / fastest).floor()),
            started_ms: self.first_start,
            ended_ms: ended,
            failed: self.ended.is_some() && !self.succeeded,
            runs: self.runs,
            preemptions: self.preemptions,
            evictions: self.evictions,
            losses: self.losses,
            failures: self.failures,
            held_gpu_ms: self.held / u128::from(WHOLE_GPU),
            lost_gpu_ms: self.lost / u128::from(WHOLE_GPU),
            lost_to_others_gpu_ms: self.lost_to_others / u128::from(WHOLE_GPU),
            cost_usd: self.cost,
            crowd: if alive > 0.0 { crowd / alive } else { 1.0 },
        }
    }
}

impl Replay<'_> {
    pub(super) fn submit(&mut self, index: usize) -> Result<(), SimError> {
        let Some(job) = self.workload.jobs.get(index) else { return Ok(()) };
        let spec = self.spec(job);
        let part = spec.resources.part_milli();
        self.desk.submit(self.now, index, spec, &job.user)?;
        self.to_come = self.to_come.saturating_sub(1);
        let crowd = self.books.arrives();
        if let Some(life) = self.lives.get_mut(index) {
            life.crowd_at_submit = crowd;
            life.part = part;
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
        spec.resources.speed = self.machines.speeds_of(&job.name);
        spec.resources.gpu_fraction = self.machines.part_for(job);
        spec.resources.cpus_per_rank = job.cpus_per_rank;
        spec.resources.memory_per_rank = job.memory_per_rank;
        spec.resources.compact = !self.setting.spread && !spec.resources.on_parts();
        if let Some(most) = self.setting.max_restarts {
            spec.limits.max_restarts = most;
        }
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
        for seat in &run.seats {
            let (node, attempt) = (seat.node.clone(), attempt.clone());
            self.desk.apply(self.now, "a report", Command::ReportStarted { node, attempt })?;
        }
        for seat in &run.seats {
            let free = self.machines.take(&seat.node, seat.milli);
            self.books.free_on_shared(free);
        }
        self.books.takes(run.milli());
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
        self.await_failure(index);
        Ok(())
    }

    fn new_run(&self, index: usize, attempt: &AttemptRef) -> Option<Run> {
        let job = self.desk.state().job(&attempt.job)?;
        let placed: &Attempt = job.current().filter(|a| a.is(attempt))?;
        let seats: Vec<Seat> = placed.placements.iter().map(|p| self.seat(p)).collect();
        let from = placed.resume.and_then(|id| job.checkpoint(id)).map_or(0, |c| c.step);
        let life = self.lives.get(index)?;
        let wanted = self.workload.jobs.get(index)?;
        let ranks: u32 = seats.iter().map(|seat| seat.ranks).sum();
        // The slowest node sets the pace of a gang.
        let pace = |seat: &Seat| self.machines.group(&seat.node).map(|g| g.pace(&wanted.name));
        let pace = seats.iter().filter_map(pace).fold(f64::INFINITY, f64::min);
        Some(Run {
            attempt: attempt.clone(),
            started: self.now,
            from,
            overhead: if life.runs > 0 { self.setting.restart_cost.0 } else { 0 },
            speed: pace * f64::from(ranks) / f64::from(wanted.gpus.max(1)),
            seats,
        })
    }

    fn seat(&self, placed: &Placement) -> Seat {
        let node = self.desk.state().node(&placed.node);
        let device = |unit| node.and_then(|node| node.inventory.devices.get(unit));
        let milli = placed.units.iter().filter_map(device).map(|d| u64::from(d.part.milli()));
        Seat {
            node: placed.node.clone(),
            ranks: u32::try_from(placed.units.len()).unwrap_or(u32::MAX),
            milli: milli.sum(),
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
            self.agenda.push(self.now.saturating_add(after), Happening::Due);
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
