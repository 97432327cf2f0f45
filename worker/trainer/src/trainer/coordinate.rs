//! When to checkpoint. Rank 0 looks at its clock and at the control folder, and tells the others at
//! a step boundary that all know; with each word it also says after how many steps the next one
//! comes, so that this costs a few broadcasts a second whatever the length of a step. Weights never
//! depend on what is decided here.

use std::time::{Duration, Instant};

use super::Settings;
use crate::Error;
use crate::control::{Requests, Then};
use crate::runtime::Runtime;

/// How often the ranks talk about it.
const RHYTHM: Duration = Duration::from_millis(250);
/// However fast steps are, no more of them than this between two words.
const MOST_STEPS: u64 = 256;

/// What all ranks do after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// The next step.
    GoOn,
    /// A checkpoint because it is time; may be skipped when the spool is full.
    Periodic,
    /// A checkpoint that was asked for.
    Requested,
    /// A checkpoint that was asked for, then the end.
    CheckpointAndStop,
}

impl Decision {
    fn code(self) -> i64 {
        match self {
            Self::GoOn => 0,
            Self::Periodic => 1,
            Self::Requested => 2,
            Self::CheckpointAndStop => 3,
        }
    }

    fn from_code(code: i64) -> Self {
        match code {
            1 => Self::Periodic,
            2 => Self::Requested,
            3 => Self::CheckpointAndStop,
            _ => Self::GoOn,
        }
    }
}

/// One rank's end of the conversation.
#[derive(Debug)]
pub(super) struct Coordinator<'a> {
    runtime: &'a Runtime,
    every: Option<Duration>,
    requests: Option<Requests>,
    last_checkpoint: Instant,
    last_word: (Instant, u64),
    next_word: u64,
}

impl<'a> Coordinator<'a> {
    /// Starts the clock at `step`. Nothing is periodic where there is no spool to write to.
    pub(super) fn new(runtime: &'a Runtime, settings: &Settings, step: u64) -> Self {
        let paths = &runtime.env().paths;
        let now = Instant::now();
        Self {
            runtime,
            every: paths
                .checkpoints
                .is_some()
                .then(|| paths.checkpoint_every.unwrap_or(settings.checkpoint_every)),
            requests: paths.control.as_deref().map(Requests::in_folder),
            last_checkpoint: now,
            last_word: (now, step),
            next_word: step + 1,
        }
    }

    /// The decision after `step`, the same on every rank.
    pub(super) fn after_step(&mut self, step: u64) -> Result<Decision, Error> {
        if step < self.next_word {
            return Ok(Decision::GoOn);
        }
        let mine =
            if self.runtime.is_first() { [self.decide().code(), self.pause(step)] } else { [0, 1] };
        let [code, pause] = match self.runtime.group() {
            Some(group) => group.agree(mine)?,
            None => mine,
        };
        self.next_word = step + u64::try_from(pause).unwrap_or(1).max(1);
        Ok(Decision::from_code(code))
    }

    fn decide(&mut self) -> Decision {
        let decision = match self.requests.as_mut().and_then(Requests::poll) {
            Some(request) if request.then == Then::Stop => Decision::CheckpointAndStop,
            Some(_) => Decision::Requested,
            None if self.every.is_some_and(|every| self.last_checkpoint.elapsed() >= every) => {
                Decision::Periodic
            }
            None => Decision::GoOn,
        };
        if decision != Decision::GoOn {
            self.last_checkpoint = Instant::now();
        }
        decision
    }

    /// How many steps make up the rhythm, by the pace since the last word.
    fn pause(&mut self, step: u64) -> i64 {
        let (since, from) = self.last_word;
        self.last_word = (Instant::now(), step);
        let steps = u32::try_from(step.saturating_sub(from)).unwrap_or(u32::MAX).max(1);
        let a_step = (since.elapsed() / steps).max(Duration::from_micros(1));
        let pause = u64::try_from(RHYTHM.as_nanos() / a_step.as_nanos().max(1)).unwrap_or(1);
        i64::try_from(pause.clamp(1, MOST_STEPS)).unwrap_or(1)
    }
}
