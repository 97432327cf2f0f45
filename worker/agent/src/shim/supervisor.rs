//! The shim's decisions, without clocks or processes: when to warn the ranks, when to
//! terminate and when to kill them, and how the attempt ended. Time is an argument, counted
//! from the start of the ranks.

use std::{collections::BTreeSet, time::Duration};

use trainyard_jobs::RankExit;

use super::plan::{ExitRecord, FORMAT, RankEnd};

/// The exit codes by which a program says that it stopped because it was asked to: that of a
/// temporary failure in sysexits.h, which `yard-train` gives, and that of SIGTERM (128 + 15).
const STOPPED_AS_ASKED: [i32; 2] = [75, 143];
const SIGTERM: i32 = 15;

/// What the shim is to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Ask the ranks to write a checkpoint before this time, and then to stop.
    RequestCheckpoint {
        /// Time left from now.
        within: Duration,
    },
    /// Send SIGTERM to every rank.
    Terminate,
    /// Send SIGKILL to every rank.
    Kill,
}

/// Watches over one attempt's ranks.
#[derive(Debug)]
pub struct Supervisor {
    running: BTreeSet<u32>,
    ended: Vec<RankEnd>,
    first_failure: Option<RankEnd>,
    grace: Duration,
    allowance: Option<Duration>,
    warned: bool,
    /// When the ranks are killed, once they were told to stop.
    kill_at: Option<Duration>,
    killed: bool,
    time_limit: bool,
    /// Whether the shim was told to stop them.
    stopped: bool,
}

impl Supervisor {
    /// Begins to watch over `ranks`, which have just been started.
    pub fn new(
        ranks: impl IntoIterator<Item = u32>,
        grace: Duration,
        allowance: Option<Duration>,
    ) -> Self {
        Self {
            running: ranks.into_iter().collect(),
            ended: Vec::new(),
            first_failure: None,
            grace,
            allowance,
            warned: false,
            kill_at: None,
            killed: false,
            time_limit: false,
            stopped: false,
        }
    }

    /// A rank ended. The first that fails of itself breaks the gang: the others are stopped.
    pub fn exited(&mut self, rank: u32, exit: RankExit, now: Duration) -> Vec<Action> {
        if !self.running.remove(&rank) {
            return Vec::new();
        }
        let end = RankEnd { rank, exit };
        self.ended.push(end);
        if exit.is_success() || self.kill_at.is_some() {
            return Vec::new();
        }
        let as_asked = matches!(exit, RankExit::Code { code } if STOPPED_AS_ASKED.contains(&code));
        if self.warned && as_asked {
            self.time_limit = true;
        } else {
            self.first_failure = Some(end);
        }
        self.terminate(now)
    }

    /// The shim was told to stop the ranks. Asking again changes nothing, and neither does
    /// asking after they failed of themselves or reached their limit.
    pub fn stop(&mut self, now: Duration) -> Vec<Action> {
        if self.looks_terminated() {
            self.first_failure = None;
        }
        self.stopped |= self.first_failure.is_none() && !self.time_limit;
        self.terminate(now)
    }

    /// Whether the first failure is how a rank ends that is told to: who ends a whole machine
    /// or service tells every process, and a rank may end before the shim hears of it.
    pub fn looks_terminated(&self) -> bool {
        self.first_failure.is_some_and(|end| match end.exit {
            RankExit::Signal { signal } => signal == SIGTERM,
            RankExit::Code { code } => STOPPED_AS_ASKED.contains(&code),
            RankExit::Vanished => false,
        })
    }

    fn terminate(&mut self, now: Duration) -> Vec<Action> {
        if self.kill_at.is_some() || self.running.is_empty() {
            return Vec::new();
        }
        self.kill_at = Some(now + self.grace);
        vec![Action::Terminate]
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Duration) -> Vec<Action> {
        if self.running.is_empty() {
            return Vec::new();
        }
        if let Some(kill_at) = self.kill_at {
            if now < kill_at || self.killed {
                return Vec::new();
            }
            self.killed = true;
            return vec![Action::Kill];
        }
        let Some(allowance) = self.allowance else { return Vec::new() };
        if now >= allowance {
            self.time_limit = true;
            return self.terminate(now);
        }
        if !self.warned && now >= warning(allowance) {
            self.warned = true;
            return vec![Action::RequestCheckpoint { within: allowance - now }];
        }
        Vec::new()
    }

    /// When [`Self::tick`] has something to do, if ever.
    pub fn wake(&self) -> Option<Duration> {
        match (self.kill_at, self.allowance) {
            (Some(_), _) if self.killed => None,
            (Some(kill_at), _) => Some(kill_at),
            (None, Some(allowance)) if self.warned => Some(allowance),
            (None, allowance) => allowance.map(warning),
        }
    }

    /// Whether every rank has ended.
    pub fn is_done(&self) -> bool {
        self.running.is_empty()
    }

    /// How it ended.
    pub fn record(&self) -> ExitRecord {
        ExitRecord {
            format: FORMAT,
            ranks: self.ended.clone(),
            first_failure: self.first_failure,
            time_limit: self.time_limit,
            stopped: self.stopped,
            start_error: None,
        }
    }
}

/// When a checkpoint is asked for: a tenth of the allowance before its end, at most 30 s.
fn warning(allowance: Duration) -> Duration {
    allowance - (allowance / 10).min(Duration::from_secs(30))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: RankExit = RankExit::Code { code: 0 };
    const TERMINATED: RankExit = RankExit::Signal { signal: 15 };

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_first_failure_ends_the_others_and_is_the_only_one() {
        let mut ranks = Supervisor::new(0..3, s(10), None);
        assert_eq!(ranks.exited(2, OK, s(1)), []);
        assert_eq!(ranks.exited(1, RankExit::Code { code: 3 }, s(2)), [Action::Terminate]);
        assert_eq!(ranks.wake(), Some(s(12)));
        assert_eq!(ranks.exited(0, TERMINATED, s(3)), []);
        assert!(ranks.is_done());
        let record = ranks.record();
        let order: Vec<u32> = record.ranks.iter().map(|end| end.rank).collect();
        assert_eq!(order, [2, 1, 0]);
        assert_eq!(record.first_failure.map(|end| end.rank), Some(1));
        assert!(!record.time_limit);
    }

    #[test]
    fn the_grace_ends_with_one_kill_and_a_stop_is_no_failure() {
        let mut ranks = Supervisor::new(0..1, s(5), Some(s(100)));
        assert_eq!(ranks.stop(s(1)), [Action::Terminate]);
        assert_eq!(ranks.stop(s(2)), []);
        assert_eq!(ranks.tick(s(5)), []);
        assert_eq!(ranks.tick(s(6)), [Action::Kill]);
        assert_eq!(ranks.tick(s(200)), []);
        assert_eq!(ranks.wake(), None);
        ranks.exited(0, RankExit::Signal { signal: 9 }, s(201));
        assert_eq!(ranks.record().first_failure, None);
        assert!(ranks.record().stopped && !ranks.record().time_limit);
    }

    #[test]
    fn a_stop_is_on_record_unless_the_ranks_had_failed_of_themselves() {
        let ended = |exit, limit| {
            let mut ranks = Supervisor::new(0..2, s(5), Some(s(100)));
            ranks.tick(if limit { s(100) } else { s(1) });
            ranks.exited(0, exit, s(101));
            ranks.stop(s(102));
            ranks.exited(1, TERMINATED, s(103));
            ranks.record()
        };
        for by_term in [TERMINATED, RankExit::Code { code: 143 }, OK] {
            let record = ended(by_term, false);
            assert!(record.stopped, "{record:?}");
            assert_eq!(record.first_failure, None);
        }
        let failed = ended(RankExit::Code { code: 3 }, false);
        assert!(!failed.stopped && failed.first_failure.is_some());
        let limited = ended(TERMINATED, true);
        assert!(!limited.stopped && limited.time_limit);
        let mut alone = Supervisor::new(0..1, s(5), None);
        alone.exited(0, TERMINATED, s(1));
        assert!(!alone.record().stopped && alone.looks_terminated());
    }

    #[test]
    fn the_allowance_asks_for_a_checkpoint_and_then_stops() {
        let mut ranks = Supervisor::new(0..1, s(5), Some(s(100)));
        assert_eq!(ranks.wake(), Some(s(90)));
        assert_eq!(ranks.tick(s(91)), [Action::RequestCheckpoint { within: s(9) }]);
        assert_eq!(ranks.wake(), Some(s(100)));
        assert_eq!(ranks.tick(s(100)), [Action::Terminate]);
        ranks.exited(0, TERMINATED, s(101));
        assert!(ranks.record().time_limit);
        assert_eq!(warning(s(1000)), s(970));
    }

    #[test]
    fn a_rank_that_stops_early_as_asked_has_reached_its_limit() {
        for code in STOPPED_AS_ASKED {
            let exit = RankExit::Code { code };
            let mut ranks = Supervisor::new(0..1, s(5), Some(s(100)));
            ranks.tick(s(95));
            ranks.exited(0, exit, s(96));
            assert!(ranks.record().time_limit);
            assert_eq!(ranks.record().first_failure, None);
            let mut unasked = Supervisor::new(0..1, s(5), Some(s(100)));
            unasked.exited(0, exit, s(50));
            assert!(unasked.record().first_failure.is_some());
        }
    }
}
