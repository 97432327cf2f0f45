//! What a unit's telemetry says of it, and when it says nothing: figures are hints, never more.

mod lemons;
mod stragglers;
#[cfg(test)]
mod tests;

use std::fmt;

use trainyard_jobs::{Millis, Timestamp};

pub use self::{
    lemons::{Doubt, Lemons},
    stragglers::{Slowness, Stragglers},
};

/// From this temperature on a GPU slows itself down.
const HOT: u32 = 85;

/// Figures older than this say nothing of now.
const STALE: Millis = Millis(60_000);

/// From this utilisation on somebody works on a unit, in per cent.
const BUSY: u32 = 25;

/// Up to this one nobody does: what lies between changes nothing.
const IDLE: u32 = 10;

/// A unit is in use by a stranger once all figures have said so for so long. What one of our own
/// left behind is over by then.
const BEGINS: Millis = Millis(10_000);

/// And is not any more once all figures have said that for so long.
const ENDS: Millis = Millis(30_000);

/// What a worker said of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// When it was heard, by the leader's clock.
    pub at: Timestamp,
    /// Degrees Celsius.
    pub celsius: Option<u32>,
    /// The utilisation, in per cent, by somebody who is none of ours.
    pub strangers: Option<u32>,
}

/// Why a unit is better left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strain {
    /// It is so many degrees hot.
    Hot(u32),
    /// Somebody else uses it, by so many per cent.
    Strangers(u32),
}

impl fmt::Display for Strain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hot(celsius) => write!(f, "it is {celsius} °C hot"),
            Self::Strangers(percent) => {
                write!(f, "no job here has it, and it is {percent} % busy")
            }
        }
    }
}

impl Reading {
    /// Whether what was heard then still says something: what is old, or from a clock that runs
    /// ahead, does not.
    #[must_use]
    pub fn is_fresh(at: Timestamp, now: Timestamp) -> bool {
        at <= now && now.since(at) <= STALE
    }

    /// Why the unit is better left alone at `now`, if it is. `held_since` is when the attempt that
    /// has it was started: what was heard before that says nothing of it, and that it is busy says
    /// nothing as long as it has one.
    #[must_use]
    pub fn strain(&self, now: Timestamp, held_since: Option<Timestamp>) -> Option<Strain> {
        let own = held_since.is_none_or(|since| self.at >= since);
        if !own || !Self::is_fresh(self.at, now) {
            return None;
        }
        let hot = self.celsius.filter(|celsius| *celsius >= HOT).map(Strain::Hot);
        let strangers = self.strangers.filter(|_| held_since.is_none()).map(Strain::Strangers);
        hot.or(strangers)
    }
}

/// Whether somebody else uses a unit that no job of ours has, by its utilisation: not every process
/// can be seen. Believed only of what lasts, so that a plan does not waver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StrangersUse {
    busy: bool,
    percent: u32,
    /// Since when all figures have said the contrary.
    doubted_since: Option<Timestamp>,
    /// When it was told of last.
    told: Timestamp,
}

impl StrangersUse {
    /// Takes in the utilisation of a unit that no job of ours has.
    pub fn note(&mut self, percent: u32, at: Timestamp) {
        if !Reading::is_fresh(self.told, at) {
            // Of a while of which nothing is known nothing follows.
            *self = Self::default();
        }
        (self.told, self.percent) = (at, percent);
        let contrary = if self.busy { percent <= IDLE } else { percent >= BUSY };
        if !contrary {
            self.doubted_since = None;
            return;
        }
        let since = *self.doubted_since.get_or_insert(at);
        let lasts = if self.busy { ENDS } else { BEGINS };
        if at.since(since) >= lasts {
            self.busy = !self.busy;
            self.doubted_since = None;
        }
    }

    /// By how many per cent somebody else uses it, if somebody does.
    #[must_use]
    pub fn percent(&self) -> Option<u32> {
        self.busy.then_some(self.percent)
    }
}
