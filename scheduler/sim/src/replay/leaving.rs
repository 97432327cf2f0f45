//! How runs end: their work is done, the state stops them, or they fail by their own doing. What was
//! not saved is lost.

use std::{collections::BTreeMap, ops::Range};

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rand_distr::Exp1;
use trainyard_core::{Command, command::EndedReport};
use trainyard_jobs::{AttemptRef, EndReason, NodeId, RankExit, StopCause};

use super::{
    Happening, Replay,
    jobs::{Life, Run},
};
use crate::{
    Failures, SimError,
    num::{count, float, whole},
};

/// How ranks exit that are told to.
const SIGTERM: i32 = 143;

/// How ranks exit that fail.
const FAILED: i32 = 1;

/// Failures are drawn from streams of their own, so that they change nothing else that is drawn.
const FAILURES: u64 = 1 << 40;

impl Replay<'_> {
    /// A run's work is done.
    pub(super) fn end(&mut self, index: usize, run: u32) -> Result<(), SimError> {
        let Some(attempt) = self.run_of(index, run).map(|run| run.attempt.clone()) else {
            return Ok(());
        };
        self.stirred = true;
        self.leave(index, &attempt, 0)
    }

    /// When a run will fail by the job's own doing, if it will: the same for equal seeds, whatever
    /// the policy.
    pub(super) fn await_failure(&mut self, index: usize) {
        let Some(failures) = self.setting.failures else { return };
        let (Some(job), Some(life)) = (self.workload.jobs.get(index), self.lives.get(index)) else {
            return;
        };
        let Some(run) = &life.run else { return };
        let mut rng = ChaCha8Rng::seed_from_u64(self.setting.seed);
        rng.set_stream(FAILURES + count(index));
        rng.set_word_pos(u128::from(life.runs) * 16);
        let lasts = run.ends(job.duration.0).saturating_sub(run.begins());
        let after = match failures {
            Failures::Share(share) => {
                let (drawn, part): (f64, f64) = (rng.random(), rng.random());
                (drawn < share).then(|| whole((float(lasts) * part).floor()))
            }
            Failures::Every(mean) => {
                let drawn: f64 = rng.sample(Exp1);
                Some(whole(drawn * float(mean.0)))
            }
        };
        if let Some(after) = after.filter(|after| *after < lasts) {
            let fail = Happening::Fail { job: index, run: life.runs };
            self.agenda.push(run.begins().saturating_add(after), fail);
        }
    }

    /// A run's ranks fail.
    pub(super) fn fail(&mut self, index: usize, run: u32) -> Result<(), SimError> {
        let Some(attempt) = self.run_of(index, run).map(|run| run.attempt.clone()) else {
            return Ok(());
        };
        let lost = self.unsaved(index, &attempt);
        if let Some(life) = self.lives.get_mut(index) {
            life.failures += 1;
            life.lost += lost;
        }
        self.stirred = true;
        self.leave(index, &attempt, FAILED)
    }

    /// The state stops an attempt: its ranks exit.
    pub(super) fn stopped(
        &mut self,
        attempt: &AttemptRef,
        reason: &EndReason,
    ) -> Result<(), SimError> {
        let Some(index) = self.index_of(&attempt.job) else { return Ok(()) };
        let at_work = |life: &Life| life.run.as_ref().is_some_and(|run| run.attempt == *attempt);
        if !self.lives.get(index).is_some_and(at_work) {
            return Ok(());
        }
        let lost = self.unsaved(index, attempt);
        let Some(life) = self.lives.get_mut(index) else { return Ok(()) };
        life.lost += lost;
        match reason {
            EndReason::Preempted { cause: StopCause::Reserved } => {
                life.evictions += 1;
                life.lost_to_others += lost;
            }
            EndReason::Preempted { .. } => life.preemptions += 1,
            EndReason::NodeLost { .. } => life.losses += 1,
            _ => {}
        }
        self.stirred = true;
        self.leave(index, attempt, SIGTERM)
    }

    /// The run of this number, if it is at work.
    fn run_of(&self, index: usize, number: u32) -> Option<&Run> {
        self.lives.get(index).filter(|life| life.runs == number)?.run.as_ref()
    }

    /// Work of a run that no checkpoint holds, in thousandths of a GPU times milliseconds.
    fn unsaved(&self, index: usize, attempt: &AttemptRef) -> u128 {
        let saved = self.desk.state().job(&attempt.job).and_then(|job| job.newest_checkpoint());
        let saved = saved.map_or(0, |checkpoint| checkpoint.step);
        let (Some(job), Some(life)) = (self.workload.jobs.get(index), self.lives.get(index)) else {
            return 0;
        };
        let done = life.run.as_ref().map_or(0, |run| run.done(self.now));
        let wanted = u128::from(job.gpus) * u128::from(life.part);
        u128::from(done.saturating_sub(saved)) * wanted
    }

    /// The ranks of a run exit, and its units are free.
    fn leave(&mut self, index: usize, attempt: &AttemptRef, code: i32) -> Result<(), SimError> {
        let Some(run) = self.lives.get_mut(index).and_then(|life| life.run.take()) else {
            return Ok(());
        };
        self.settle_accounts(index, &run);
        let mut first = 0;
        for seat in &run.seats {
            let ranks = first..first + seat.ranks;
            first = ranks.end;
            // Of a node that is down nobody hears anything.
            if self.machines.is_up(&seat.node) {
                let report = ended(seat.node.clone(), attempt.clone(), ranks, code);
                self.desk.apply(self.now, "an end", report)?;
            }
        }
        self.take_in()
    }

    /// What a run held is written down, and counted as free.
    fn settle_accounts(&mut self, index: usize, run: &Run) {
        let held = self.now.saturating_sub(run.started);
        let mut cost = 0.0;
        for seat in &run.seats {
            let free = self.machines.give_back(&seat.node, seat.milli);
            self.books.free_on_shared(free);
            cost += self.machines.usd(&seat.node, seat.milli, run.started, self.now);
        }
        self.books.gives_back(run.milli());
        if let Some(life) = self.lives.get_mut(index) {
            life.held += u128::from(held) * u128::from(run.milli());
            life.cost += cost;
        }
    }
}

/// What a node says of ranks that exited with a code.
fn ended(node: NodeId, attempt: AttemptRef, ranks: Range<u32>, code: i32) -> Command {
    Command::ReportEnded(Box::new(EndedReport {
        node,
        attempt,
        exits: ranks.map(|rank| (rank, RankExit::Code { code })).collect(),
        first_failure: None,
        start_error: None,
        time_limit: false,
        over_memory: None,
        artifacts: Vec::new(),
        metrics: BTreeMap::new(),
    }))
}
