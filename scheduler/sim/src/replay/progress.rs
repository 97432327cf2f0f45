//! What running jobs say: how far they are, as a trainer that counts its steps would, with the
//! errors that were asked for; and checkpoints, which alone are resumed from.

use std::collections::BTreeSet;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use trainyard_core::{Command, placement::Progress};
use trainyard_jobs::{AttemptRef, Bytes, CheckpointPart, Digest, FileEntry, JobId, NodeId};

use super::{Happening, Replay, desk::clock};
use crate::{
    SimError,
    num::{count, float, whole},
};

/// The first report of a run comes so long after its work began; each later one when the run is
/// twice as old. More often would tell the planner little that it cannot carry on by itself.
const FIRST_REPORT: u64 = 30_000;

/// Reported numbers are off by no more than these factors, however large the noise.
const BOUNDS: (f64, f64) = (0.25, 4.0);

impl Replay<'_> {
    /// When a run will say next how far it is.
    pub(super) fn await_report(&mut self, index: usize) {
        let Some(life) = self.lives.get(index) else { return };
        let Some(run) = &life.run else { return };
        let began = run.started.saturating_add(run.overhead);
        let age = self.now.saturating_sub(began);
        let next = if age < FIRST_REPORT { FIRST_REPORT } else { age.saturating_mul(2) };
        let report = Happening::Report { job: index, run: life.runs };
        self.agenda.push(began.saturating_add(next), report);
    }

    /// A run says how far it is.
    pub(super) fn report(&mut self, index: usize, run: u32) {
        let Some(life) = self.lives.get(index).filter(|life| life.runs == run) else { return };
        let Some(current) = &life.run else { return };
        let Some(job) = self.workload.jobs.get(index) else { return };
        let done = current.done(self.now);
        let progress = Progress {
            done: off(
                done,
                self.error(index, 1 + u64::from(run) * 64 + age_class(self.now - current.started)),
            ),
            total: Some(off(job.duration.0, self.error(index, 0))),
            at: clock(self.now),
        };
        let id = current.attempt.job.clone();
        let first = self.now.saturating_sub(current.started + current.overhead) < 2 * FIRST_REPORT;
        self.desk.report(id, progress);
        self.stirred |= first;
        self.await_report(index);
    }

    /// The factor by which a number of a job is off: the same for equal seeds, whatever the policy.
    fn error(&self, index: usize, which: u64) -> f64 {
        if self.setting.noise == 0.0 {
            return 1.0;
        }
        let mut rng = ChaCha8Rng::seed_from_u64(self.setting.seed);
        rng.set_stream(count(index));
        rng.set_word_pos(u128::from(which) * 16);
        let drawn: f64 = rng.sample(StandardNormal);
        drawn.mul_add(self.setting.noise, 1.0).clamp(BOUNDS.0, BOUNDS.1)
    }

    /// Saves a job's state, if it was asked to leave. The state machine stops it then.
    pub(super) fn leave_if_asked(&mut self, id: &JobId) -> Result<(), SimError> {
        let Some(index) = self.index_of(id) else { return Ok(()) };
        let asked = self.desk.state().job(id).and_then(|job| job.current());
        if asked.is_none_or(|attempt| attempt.leaving.is_none()) {
            return Ok(());
        }
        let Some(run) = self.lives.get(index).and_then(|life| life.run.as_ref()) else {
            return Ok(());
        };
        let (attempt, done) = (run.attempt.clone(), run.done(self.now));
        self.save(&attempt, done)
    }

    /// When a run will next write a checkpoint of its own accord.
    pub(super) fn await_checkpoint(&mut self, index: usize) {
        let Some(every) = self.setting.checkpoint_every.filter(|every| every.0 > 0) else { return };
        let Some(life) = self.lives.get(index) else { return };
        let Some(run) = &life.run else { return };
        let next = self.now.max(run.started.saturating_add(run.overhead)).saturating_add(every.0);
        // One that would fall after the end is none.
        if self.workload.jobs.get(index).is_some_and(|job| run.ends(job.duration.0) > next) {
            self.agenda.push(next, Happening::Checkpoint { job: index, run: life.runs });
        }
    }

    /// A run writes a checkpoint of its own accord.
    pub(super) fn checkpoint(&mut self, index: usize, run: u32) -> Result<(), SimError> {
        let Some(life) = self.lives.get(index).filter(|life| life.runs == run) else {
            return Ok(());
        };
        let Some(current) = &life.run else { return Ok(()) };
        let (attempt, done) = (current.attempt.clone(), current.done(self.now));
        self.save(&attempt, done)?;
        self.await_checkpoint(index);
        Ok(())
    }

    /// Every run that has ranks on a node saves its state.
    pub(super) fn save_all_on(&mut self, node: &NodeId) -> Result<(), SimError> {
        let owners = self.desk.state().node(node).map(|node| &node.owners);
        let attempts: BTreeSet<AttemptRef> =
            owners.into_iter().flat_map(|owners| owners.values().cloned()).collect();
        for attempt in attempts {
            let life = self.index_of(&attempt.job).and_then(|index| self.lives.get(index));
            let run = life.and_then(|life| life.run.as_ref());
            if let Some(done) = run.map(|run| run.done(self.now)) {
                self.save(&attempt, done)?;
            }
        }
        Ok(())
    }

    /// A checkpoint of `done` milliseconds of work enters the catalogue.
    fn save(&mut self, attempt: &AttemptRef, done: u64) -> Result<(), SimError> {
        let run = self.index_of(&attempt.job).and_then(|index| self.lives.get(index)?.run.as_ref());
        let Some(seat) = run.and_then(|run| run.seats.first()) else { return Ok(()) };
        let node = seat.node.clone();
        let part = CheckpointPart {
            attempt: attempt.clone(),
            step: done,
            part: 0,
            parts: 1,
            manifest: FileEntry {
                path: "manifest.json".into(),
                key: format!("{attempt}/{done}/{}", self.now),
                size: Bytes(0),
                digest: Digest::from_bytes([0; 32]),
            },
            size: Bytes(0),
        };
        let command = Command::ReportCheckpoint { node, part };
        self.desk.apply(self.now, "a checkpoint", command)?;
        self.take_in()
    }

    /// Checkpoints beyond those that a job keeps are deleted, as a leader's retention does.
    pub(super) fn drop_old_checkpoints(&mut self, id: &JobId) -> Result<(), SimError> {
        let Some(job) = self.desk.state().job(id) else { return Ok(()) };
        let old: Vec<_> = job.surplus().map(|checkpoint| checkpoint.id).collect();
        for checkpoint in old {
            let job = id.clone();
            let retire = Command::RetireCheckpoint { job: job.clone(), checkpoint };
            self.desk.apply(self.now, "the retiring of a checkpoint", retire)?;
            let forget = Command::ForgetCheckpoint { job, checkpoint };
            self.desk.apply(self.now, "the end of a checkpoint", forget)?;
        }
        Ok(())
    }
}

/// Reports of one run are numbered by how old it was.
fn age_class(age: u64) -> u64 {
    u64::from(64 - age.leading_zeros()).min(63)
}

fn off(value: u64, factor: f64) -> u64 {
    whole(float(value) * factor)
}
