//! The replay: a heap of happenings in the order of their time, each carried out as the commands
//! that a cluster's log would carry, and a round of planning after each instant at which one
//! happened.

mod books;
mod desk;
mod happening;
mod jobs;
mod leaving;
mod machines;
mod nodes;
mod progress;
#[cfg(test)]
mod tests;
mod windows;

use trainyard_core::Event;
use trainyard_jobs::{JobId, JobSpec, Millis, ProjectName, QueueSpec};

use crate::{
    Cluster, Failures, Outcome, SimError, TraceJob, Workload,
    report::{Fate, span},
};
use books::Books;
use desk::{Desk, clock};
use happening::{Agenda, Happening};
use jobs::Life;
use machines::Machines;

/// Rounds of planning at one instant before the planner is said never to come to rest.
const ROUNDS: u32 = 1000;

/// What waits when nothing runs and nothing will come is given up after so many rounds.
const FRUITLESS: u32 = 100;

/// How a workload is replayed.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// What every draw follows from.
    pub seed: u64,
    /// Queues with settings of their own; a parent stands before what is below it.
    pub queues: Vec<(ProjectName, QueueSpec)>,
    /// Run time that is lost whenever a job starts again.
    pub restart_cost: Millis,
    /// Gangs may spread over more nodes than they need; what that slows them by is not counted.
    pub spread: bool,
    /// Jobs write a checkpoint this often; without, only when they are asked to.
    pub checkpoint_every: Option<Millis>,
    /// What a job reports of how far it is, is off by this share (a standard deviation).
    pub noise: f64,
    /// Run times are in the specs, as if their owners knew them.
    pub known_durations: bool,
    /// Runs fail by their own doing this often.
    pub failures: Option<Failures>,
    /// How often a job is started again after that; what a spec says by default if left out.
    pub max_restarts: Option<u32>,
    /// The planner is asked at least this often, since time alone can change what it would do.
    pub tick: Millis,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            seed: 0,
            queues: Vec::new(),
            restart_cost: Millis(60_000),
            spread: false,
            checkpoint_every: None,
            noise: 0.0,
            known_durations: false,
            failures: None,
            max_restarts: None,
            tick: Millis(300_000),
        }
    }
}

/// Runs `workload` on `cluster` to its end.
///
/// # Errors
/// When the state machine refuses what happened, or the planner does not come to rest: faults of
/// Trainyard's own.
pub fn replay(
    workload: &Workload,
    cluster: &Cluster,
    setting: &Setting,
) -> Result<Outcome, SimError> {
    let mut replay = Replay::new(workload, cluster, setting)?;
    replay.set_up()?;
    while replay.step()? {}
    Ok(replay.outcome())
}

/// A replay under way.
struct Replay<'a> {
    workload: &'a Workload,
    cluster: &'a Cluster,
    setting: &'a Setting,
    /// Milliseconds since the start of the trace.
    now: u64,
    desk: Desk,
    agenda: Agenda,
    machines: Machines,
    /// What every job's spec is made of.
    template: JobSpec,
    lives: Vec<Life>,
    /// Jobs that are still to be submitted.
    to_come: usize,
    books: Books,
    /// Something happened that the planner may answer to.
    stirred: bool,
    /// The one tick that is due.
    tick_due: bool,
    /// When the planner is asked again for certain.
    look_at: Option<u64>,
    /// Rounds of planning without a change, with nothing running and nothing to come.
    fruitless: u32,
}

impl<'a> Replay<'a> {
    fn new(
        workload: &'a Workload,
        cluster: &'a Cluster,
        setting: &'a Setting,
    ) -> Result<Self, SimError> {
        let mut agenda = Agenda::default();
        for (index, job) in workload.jobs.iter().enumerate() {
            agenda.push(job.submit.0, Happening::Submit { job: index });
        }
        Ok(Self {
            workload,
            cluster,
            setting,
            template: jobs::template()?,
            now: 0,
            desk: Desk::new(setting.seed),
            agenda,
            machines: Machines::of(cluster, setting.seed),
            lives: workload.jobs.iter().map(|_| Life::default()).collect(),
            to_come: workload.jobs.len(),
            books: Books::new(cluster.gpus()),
            stirred: false,
            tick_due: false,
            look_at: None,
            fruitless: 0,
        })
    }

    /// Queues are set and nodes register before the trace begins.
    fn set_up(&mut self) -> Result<(), SimError> {
        for (queue, spec) in &self.setting.queues {
            self.desk.set_queue(queue, spec)?;
        }
        self.register_all()?;
        self.await_windows();
        Ok(())
    }

    /// Goes on to the next instant at which something happens. Says whether there was one.
    fn step(&mut self) -> Result<bool, SimError> {
        let Some(at) = self.agenda.next_time() else { return Ok(false) };
        if self.to_come == 0 && self.books.present() == 0 {
            return Ok(false);
        }
        // What never can start would wait for ever: that is no waiting to be counted.
        if !self.is_over() {
            self.books.advance(self.now, at);
        } else if self.books.waiting() == 0 {
            return Ok(false);
        }
        self.now = at;
        while self.agenda.next_time() == Some(at) {
            if let Some(happening) = self.agenda.pop() {
                self.happen(happening)?;
            }
        }
        if std::mem::take(&mut self.stirred) {
            self.plan()?;
            self.desk.archive(self.now)?;
        }
        self.schedule_tick();
        Ok(true)
    }

    fn happen(&mut self, happening: Happening) -> Result<(), SimError> {
        match happening {
            Happening::End { job, run } => self.end(job, run),
            Happening::Fail { job, run } => self.fail(job, run),
            Happening::Up { node } => self.come_up(node),
            // Without work nodes may fail as they like.
            Happening::Down { .. } if self.is_over() => Ok(()),
            Happening::Down { node, told } => self.go_down(node, told),
            Happening::Price { group } => self.reprice(group),
            Happening::Reserve { window } => self.reserve(window),
            Happening::Due => {
                self.stirred = true;
                Ok(())
            }
            Happening::Checkpoint { job, run } => self.checkpoint(job, run),
            Happening::Report { job, run } => {
                self.report(job, run);
                Ok(())
            }
            Happening::Submit { job } => self.submit(job),
            Happening::Look => {
                self.look_at = None;
                self.stirred = true;
                Ok(())
            }
            Happening::Tick => {
                self.tick_due = false;
                self.stirred = true;
                Ok(())
            }
        }
    }

    /// Asks the planner until it has nothing more to say at this instant.
    fn plan(&mut self) -> Result<(), SimError> {
        for _ in 0..ROUNDS {
            let plan = self.desk.plan(self.now);
            if let Some(again) = plan.again {
                self.look(again.since(clock(0)).0);
            }
            let mut applied = false;
            for stop in plan.stops {
                applied |= self.desk.stop(self.now, stop)?;
            }
            for start in plan.starts {
                applied |= self.desk.start(self.now, start)?;
            }
            self.take_in()?;
            if !applied {
                self.fruitless = if self.is_over() { self.fruitless + 1 } else { 0 };
                return Ok(());
            }
        }
        Err(SimError::Restless { at_s: self.now / 1000, rounds: ROUNDS })
    }

    /// Carries out what follows from the commands that were just applied.
    fn take_in(&mut self) -> Result<(), SimError> {
        while let Some(event) = self.desk.next_event() {
            match event {
                Event::AttemptStarted(attempt) => self.begin(&attempt)?,
                Event::AttemptEnding { attempt, reason } => self.stopped(&attempt, &reason)?,
                Event::Checkpoint { job, .. } => self.drop_old_checkpoints(&job)?,
                Event::Job { job, .. } => {
                    self.note_phase(&job);
                    self.leave_if_asked(&job)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Nothing runs, nothing will come, and nothing that happens would start what waits.
    fn is_over(&self) -> bool {
        self.agenda.is_empty() && self.books.used() == 0
    }

    /// The planner is asked again at `at`, unless it is before.
    fn look(&mut self, at: u64) {
        let hopeless = self.fruitless > FRUITLESS;
        if at > self.now && !hopeless && self.look_at.is_none_or(|before| at < before) {
            self.look_at = Some(at);
            self.agenda.push(at, Happening::Look);
        }
    }

    /// One tick ahead, as long as there is something that it could change.
    fn schedule_tick(&mut self) {
        let waiting = self.books.waiting() > 0 && self.setting.tick.0 > 0;
        if !self.tick_due && waiting && !self.is_over() {
            self.tick_due = true;
            self.agenda.push(self.now.saturating_add(self.setting.tick.0), Happening::Tick);
        }
    }

    fn index_of(&self, id: &JobId) -> Option<usize> {
        self.desk.index_of(id)
    }

    fn outcome(self) -> Outcome {
        let fastest = |job: &TraceJob| {
            let paces = self.cluster.nodes.iter().map(|group| group.pace(&job.name));
            paces.fold(f64::MIN_POSITIVE, f64::max)
        };
        let fates = self.workload.jobs.iter().zip(self.lives);
        let fates: Vec<Fate> = fates.map(|(job, life)| life.fate(job, fastest(job))).collect();
        let (first, last) = span(&fates);
        Outcome {
            usage: self.books.close(),
            gpus: self.cluster.gpus(),
            pace: self.cluster.pace(),
            tariff: self.cluster.tariff(),
            reserved_gpu_ms: self.cluster.reserved_gpu_ms(first, last),
            fates,
        }
    }
}
