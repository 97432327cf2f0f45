//! What every process has around it: the time, the draw, the network, the store, and those who
//! watch.

use std::collections::BTreeMap;

use trainyard_raft::sim::{Faults, Network, Rng};

use crate::{
    checks::Checks,
    depot::Depot,
    facts::Fact,
    letters::{Letter, Place},
    trace::Trace,
};

/// Milliseconds of the simulation.
pub type Ms = u64;

/// The Unix time at which every simulation begins.
const BEGIN: u64 = 1_800_000_000_000;

/// What is due at some time.
#[derive(Debug)]
pub enum Due {
    /// A letter arrives.
    Letter { from: Place, to: Place, letter: Letter },
    /// A scheduler of this life has something to do.
    Scheduler { id: u64, life: u64 },
    /// Workers' machines and clients look around.
    Look,
    /// The next fault.
    Fault,
    /// Something is put right.
    Repair(crate::faults::Repair),
    /// A scheduler that stood still goes on.
    Thaw(u64),
}

/// Everything outside of the processes.
pub struct Around {
    pub now: Ms,
    pub rng: Rng,
    pub net: Network<Place>,
    pub depot: Depot,
    pub checks: Checks,
    pub trace: Trace,
    queue: BTreeMap<(Ms, u64), Due>,
    last: u64,
}

/// The network in peace.
pub const CALM: Faults = Faults { loss: 0, doubled: 0, delay: 3, late: 0, very: 0 };

impl Around {
    pub fn new(seed: u64, print: bool) -> Self {
        Self {
            now: 0,
            rng: Rng(seed),
            net: Network::new(CALM),
            depot: Depot::new(),
            checks: Checks::new(),
            trace: Trace::new(print),
            queue: BTreeMap::new(),
            last: 0,
        }
    }

    /// A number never given before in this run.
    pub fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Unix time in milliseconds by a clock that is right.
    pub const fn unix(&self) -> u64 {
        BEGIN + self.now
    }

    pub fn at(&mut self, time: Ms, due: Due) {
        let number = self.number();
        self.queue.insert((time.max(self.now), number), due);
    }

    /// What is due next; time moves there.
    pub fn next(&mut self) -> Option<Due> {
        let ((time, _), due) = self.queue.pop_first()?;
        self.now = time;
        Some(due)
    }

    /// Sends a letter into the network.
    pub fn send(&mut self, from: Place, to: Place, letter: Letter) {
        // A stream and an answer come once: they travel over a connection.
        let once = matches!(letter, Letter::Up { .. } | Letter::Down { .. })
            || matches!(letter, Letter::Answer { .. } | Letter::Raft { snapshot: true, .. });
        if !self.net.reaches(from, to) {
            return;
        }
        for delay in self.net.arrivals(&mut self.rng, !once) {
            let at = self.now + delay;
            self.at(at, Due::Letter { from, to, letter: letter.clone() });
        }
    }

    /// Sends on a connection: what is lost is sent again, later, so only a cut loses it.
    pub fn send_surely(&mut self, from: Place, to: Place, letter: Letter, not_before: Ms) -> Ms {
        let delay = match self.net.arrivals(&mut self.rng, false).first() {
            Some(delay) => *delay,
            None => 200 + self.rng.below(200),
        };
        let at = (self.now + delay).max(not_before);
        self.at(at, Due::Letter { from, to, letter });
        at
    }

    /// Tells those who watch.
    pub fn tell(&mut self, fact: Fact<'_>) {
        self.checks.see(self.now, fact);
    }
}

/// Notes a happening in the trace of what is around.
#[macro_export]
macro_rules! note {
    ($around:expr, $($what:tt)*) => {{
        let now = $around.now;
        $around.trace.note(now, format_args!($($what)*));
    }};
}
