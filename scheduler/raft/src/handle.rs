//! [`start`] and [`RaftHandle`]: the driver as the rest of a daemon sees it.
//!
//! A handle never blocks but in [`RaftHandle::shutdown`]; requests that cannot be queued are
//! refused as *busy*, and peers' messages that cannot be queued are dropped, which raft is made
//! for.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
};

use tokio::sync::{oneshot, watch};

use crate::{
    config::Config,
    counters::{Counters, SharedCounters},
    driver::{Applied, Driver, Input, MemberChange, Reply, SnapshotFile},
    error::{ChangeError, Fatal, OpenError, ProposeError, ReadError},
    intake::{Gathered, Intake, Refused},
    machine::{StateMachine, Transport},
    runner::{Runner, Work},
    status::Status,
    storage::open_disk,
};

/// Opens the data directory and starts the member on a thread of its own.
///
/// Blocks while the log is replayed, so call it off an async runtime's threads if the log may be
/// long.
///
/// # Errors
/// [`OpenError`] says whose the directory is, or what is wrong with it.
pub fn start(
    config: Config,
    machine: impl StateMachine,
    transport: impl Transport,
) -> Result<RaftHandle, OpenError> {
    config.validate()?;
    let counters = SharedCounters::default();
    let disk = open_disk(&config.dir)?;
    let driver = Driver::open_on(&config, disk, Box::new(machine), Arc::clone(&counters))?;
    let (work, inbox) = sync_channel(config.queue);
    let intake = Intake::new(config.queue);
    let (publisher, status) = watch::channel(driver.status());
    let farewell_ticks = config.election_ticks.saturating_mul(2);
    let runner = Runner {
        part: driver.part(),
        driver,
        transport,
        work: inbox,
        gathered: Gathered::new(Arc::clone(&intake)),
        status: publisher,
        tick: config.tick,
        farewell_ticks,
    };
    let (end, failed) = watch::channel(None);
    let thread = thread::Builder::new()
        .name(format!("raft-{}", config.id))
        .spawn(move || runner.run_or_die(&end))
        .map_err(OpenError::Thread)?;
    let thread = Arc::new(Mutex::new(Some(thread)));
    Ok(RaftHandle { work, intake, status, failed, counters, thread })
}

/// A running member. Clones share it; it stops with [`shutdown`](Self::shutdown), or when the last
/// clone is dropped.
#[derive(Clone)]
pub struct RaftHandle {
    work: SyncSender<Work>,
    intake: Arc<Intake>,
    status: watch::Receiver<Status>,
    failed: watch::Receiver<Option<Arc<Fatal>>>,
    counters: SharedCounters,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl RaftHandle {
    /// Proposes a command and waits until it is committed and applied on this member. Dropping the
    /// future does not take the command back.
    ///
    /// # Errors
    /// All but [`ProposeError::Unknown`] mean that nothing was proposed.
    pub async fn propose(&self, command: Vec<u8>) -> Result<Applied, ProposeError> {
        let (reply, answer) = channel();
        let wake = || self.send(Work::Proposals);
        self.intake.add(Input::Propose(command, reply), wake).map_err(|full| match full {
            Refused::Full => ProposeError::Busy,
            Refused::Stopped => ProposeError::Stopped,
        })?;
        answer.await.unwrap_or(Err(ProposeError::Unknown))
    }

    /// Waits until this member's state holds everything that was acknowledged anywhere before the
    /// call, and gives the index that it has applied. Readers share rounds, so many cost little
    /// more than one.
    ///
    /// # Errors
    /// [`ReadError::NotLeader`] on followers: ask the leader.
    pub async fn read_index(&self) -> Result<u64, ReadError> {
        let (reply, answer) = channel();
        self.queue(Input::Read(reply)).map_err(|full| match full {
            Refused::Full => ReadError::Busy,
            Refused::Stopped => ReadError::Stopped,
        })?;
        answer.await.unwrap_or(Err(ReadError::Stopped))
    }

    /// Changes the members, as one step even if there are several changes. Done when the change is
    /// applied here.
    ///
    /// # Errors
    /// [`ChangeError`] says which change makes no sense, or what to wait for.
    pub async fn change_members(&self, changes: Vec<MemberChange>) -> Result<Applied, ChangeError> {
        let (reply, answer) = channel();
        self.queue(Input::ChangeMembers(changes, reply)).map_err(|full| match full {
            Refused::Full => ProposeError::Busy,
            Refused::Stopped => ProposeError::Stopped,
        })?;
        answer.await.unwrap_or(Err(ChangeError::Propose(ProposeError::Unknown)))
    }

    /// Hands in a message that a peer sent. What is damaged, misaddressed or from a stranger is
    /// counted and dropped.
    pub fn receive(&self, message: Vec<u8>) {
        if self.queue(Input::Message(message)).is_err() {
            self.counters.messages_dropped.add(1);
        }
    }

    /// Counts a message that was refused before it came here.
    pub fn count_refused(&self) {
        self.counters.messages_refused.add(1);
    }

    /// Tells that a message to `peer` was lost, so that it is probed instead of flooded.
    pub fn report_unreachable(&self, peer: u64) {
        // When the queue is full the next heartbeat finds out.
        let _ = self.queue(Input::Unreachable(peer));
    }

    /// Tells whether the snapshot sent to `peer` arrived.
    pub fn report_snapshot(&self, peer: u64, arrived: bool) {
        // When the queue is full the driver's own time limit ends the wait.
        let _ = self.queue(Input::SnapshotSent(peer, arrived));
    }

    /// Hands the leadership to `to`, or to the member that can take over soonest. Does nothing on a
    /// follower.
    pub fn transfer_leadership(&self, to: Option<u64>) {
        // A request that cannot be queued is repeated by whoever watches the status.
        let _ = self.queue(Input::Transfer(to));
    }

    /// The member's own view, updated every tick, and at once when it plays another part.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Takes a snapshot of the present state, if the newest one is older, and says where it lies.
    ///
    /// # Errors
    /// When the member stops, or has no state yet.
    pub async fn snapshot(&self) -> Result<SnapshotFile, ProposeError> {
        let (reply, answer) = channel();
        self.queue(Input::Snapshot(reply)).map_err(|full| match full {
            Refused::Full => ProposeError::Busy,
            Refused::Stopped => ProposeError::Stopped,
        })?;
        answer.await.unwrap_or(Err(ProposeError::Stopped))
    }

    /// Waits until the member has failed and says why; never returns while it runs, or when it was
    /// shut down. It has stopped voting by then, and its directory is free.
    pub async fn failed(&self) -> Arc<Fatal> {
        let mut failed = self.failed.clone();
        match failed.wait_for(Option::is_some).await.map(|why| why.clone()) {
            Ok(Some(fatal)) => fatal,
            _ => std::future::pending().await,
        }
    }

    /// The member's counters since it started.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters.read()
    }

    /// Stops the member and waits for its thread: a leader first hands over, for two election
    /// periods at most. Blocks, so call it off an async runtime's threads. Later calls return at
    /// once.
    pub fn shutdown(&self) {
        // Blocks only while the queue is full. An error means that the thread is gone already.
        let _ = self.work.send(Work::Shutdown);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // The thread catches its own panics, so there is nothing to pass on.
            let _ = thread.join();
        }
    }

    fn queue(&self, input: Input) -> Result<(), Refused> {
        self.send(Work::Input(input))
    }

    fn send(&self, work: Work) -> Result<(), Refused> {
        self.work.try_send(work).map_err(|error| match error {
            TrySendError::Full(_) => Refused::Full,
            TrySendError::Disconnected(_) => Refused::Stopped,
        })
    }
}

impl fmt::Debug for RaftHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RaftHandle").field("status", &*self.status.borrow()).finish_non_exhaustive()
    }
}

type Answer<T, E> = oneshot::Receiver<Result<T, E>>;

fn channel<T: Send + 'static, E: Send + 'static>() -> (Reply<T, E>, Answer<T, E>) {
    let (sender, receiver) = oneshot::channel();
    // A receiver that is gone has stopped waiting.
    let reply = Reply::new(move |result| drop(sender.send(result)));
    (reply, receiver)
}
