//! The thread that feeds a [`Driver`]: waits for inputs, takes all that have come, flushes once,
//! publishes the status.
//!
//! `raft` panics on broken invariants, which ends the whole process, with a line that says why. A
//! member that cannot write or read must not vote: its thread ends, and whoever holds the handle is
//! told.

use std::{
    panic::{self, AssertUnwindSafe, resume_unwind},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use crate::{
    driver::{Driver, Input, Part},
    error::{ChangeError, Fatal, ProposeError, ReadError},
    intake::Gathered,
    machine::Transport,
    status::Status,
};

/// Inputs taken before a flush: enough to share an fsync, few enough that heartbeats do not wait
/// for long.
const BATCH: usize = 4_096;

/// What comes through the channel.
#[derive(Debug)]
pub(crate) enum Work {
    Input(Input),
    /// Proposals wait.
    Proposals,
    Shutdown,
}

/// Why the thread woke.
enum Wake {
    Inputs,
    Shutdown,
    /// Every handle is gone.
    Deserted,
}

/// The driver with its edges, on its thread.
pub(crate) struct Runner<T> {
    pub(crate) driver: Driver,
    pub(crate) transport: T,
    pub(crate) work: Receiver<Work>,
    pub(crate) gathered: Gathered,
    pub(crate) status: watch::Sender<Status>,
    pub(crate) tick: Duration,
    /// The part that was told last.
    pub(crate) part: Part,
    /// How long a leader that shuts down waits for a successor.
    pub(crate) farewell_ticks: u32,
}

impl<T: Transport> Runner<T> {
    /// Runs until shutdown. A fatal error is handed to `end`, whose receivers must then end the
    /// process; a panic ends it here, unless it is about a disk that cannot be read.
    pub(crate) fn run_or_die(self, end: &watch::Sender<Option<Arc<Fatal>>>) {
        let id = self.driver.status().id;
        let damage = self.driver.damage();
        let fail = |fatal: Fatal| {
            tracing::error!(id, error = %fatal, "the raft driver cannot go on");
            end.send_replace(Some(Arc::new(fatal)));
        };
        // By its end the driver is gone, and with it the hold on the directory.
        match panic::catch_unwind(AssertUnwindSafe(|| self.run())) {
            Ok(Ok(())) => {}
            Ok(Err(fatal)) => fail(fatal),
            Err(payload) => {
                if let Some(problem) = damage.take() {
                    return fail(problem.into());
                }
                let text = payload.downcast_ref::<String>().map(String::as_str);
                let text = text
                    .or_else(|| payload.downcast_ref::<&str>().copied())
                    .unwrap_or("no message");
                tracing::error!(id, panic = text, "the raft thread panicked; the process aborts");
                std::process::abort();
            }
        }
    }

    fn run(mut self) -> Result<(), Fatal> {
        let mut due = Instant::now() + self.tick;
        let mut farewell = None;
        let mut writer: Option<JoinHandle<_>> = None;
        self.driver.snapshots_elsewhere();
        loop {
            let wake = self.take_inputs(due);
            let now = Instant::now();
            let ticks = now >= due;
            if ticks {
                // One tick however late: a process that was suspended must not run for election
                // before it has read what came meanwhile.
                self.driver.step(Input::Tick);
                let next = due + self.tick;
                due = if next > now { next } else { now + self.tick };
                farewell = farewell.map(|ticks: u32| ticks.saturating_sub(1));
            }
            match wake {
                Wake::Shutdown if farewell.is_none() => {
                    self.driver.step(Input::Transfer(None));
                    farewell = Some(self.farewell_ticks);
                }
                // No answer to a handover could come in any more.
                Wake::Deserted => farewell = Some(0),
                Wake::Inputs | Wake::Shutdown => {}
            }
            if let Some(written) = writer.take_if(|writer| writer.is_finished()) {
                self.driver.snapshot_taken(written.join().unwrap_or_else(|p| resume_unwind(p)));
            }
            for proposal in self.gathered.take(self.driver.all_decided()) {
                self.driver.step(proposal);
            }
            self.driver.flush(&mut self.transport)?;
            if let Some(snapshot) = self.driver.fetch_snapshot() {
                let thread = thread::Builder::new().name("snapshot".to_owned());
                writer = Some(thread.spawn(move || snapshot.run()).map_err(Fatal::Thread)?);
            }
            self.publish(ticks);
            // A leader hands over first, so that the others need no election timeout; nobody to
            // hand over to, or no answer in time, and it just goes.
            let alone = self.driver.leading().is_none() || self.driver.successor().is_none();
            if farewell.is_some_and(|ticks| ticks == 0 || alone) {
                break;
            }
        }
        // Another life must not find it writing.
        let unrecorded = writer.map(JoinHandle::join);
        drop(unrecorded);
        self.driver.close();
        self.gathered
            .close()
            .into_iter()
            .map(Work::Input)
            .chain(self.work.try_iter())
            .for_each(refuse);
        Ok(())
    }

    /// Waits for the first input until `due`, or until proposals may go on, then takes all that
    /// wait.
    fn take_inputs(&mut self, due: Instant) -> Wake {
        let now = Instant::now();
        let gathered = self.gathered.due(self.driver.all_decided());
        let due = gathered.map_or(due, |gathered| due.min(gathered));
        let mut next = match self.work.recv_timeout(due.saturating_duration_since(now)) {
            Ok(work) => Some(work),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return Wake::Deserted,
        };
        let mut wake = Wake::Inputs;
        let mut left = BATCH;
        while let Some(work) = next {
            match work {
                Work::Input(input) => self.driver.step(input),
                Work::Proposals => self.gathered.begin(),
                Work::Shutdown => wake = Wake::Shutdown,
            }
            left = left.saturating_sub(1);
            next = if left == 0 { None } else { self.work.try_recv().ok() };
        }
        wake
    }

    /// Tells the status: at once if another part is played, else with the next tick, since indices
    /// move with every command and each telling wakes all who watch.
    fn publish(&mut self, ticks: bool) {
        let part = self.driver.part();
        if !ticks && self.part == part {
            return;
        }
        self.part = part;
        let status = self.driver.status();
        self.status.send_if_modified(|published| {
            if *published == status {
                return false;
            }
            if (published.role, published.leader) != (status.role, status.leader) {
                tracing::info!(
                    id = status.id, term = status.term, role = ?status.role, leader = ?status.leader, "leadership changed"
                );
            }
            *published = status;
            true
        });
    }
}

/// Answers what still waited in the channel; nothing of it was proposed.
fn refuse(work: Work) {
    match work {
        Work::Input(Input::Propose(_, reply)) => reply.send(Err(ProposeError::Stopped)),
        Work::Input(Input::Read(reply)) => reply.send(Err(ReadError::Stopped)),
        Work::Input(Input::ChangeMembers(_, reply)) => {
            reply.send(Err(ChangeError::Propose(ProposeError::Stopped)))
        }
        Work::Input(_) | Work::Proposals | Work::Shutdown => {}
    }
}
