//! The state machine as raft drives it: bytes in, bytes out, under one lock that readers share.
//! A command that cannot be read halts the replica: to skip it would be to diverge.

use std::{
    io,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
};

use tokio::sync::broadcast;
use trainyard_core::{Event, State, codec};
use trainyard_jobs::ClusterId;
use trainyard_raft::{Capture, RestoreError, StateMachine};

use crate::archive::{ArchiveError, ArchiveStore};

/// The state, shared between the raft thread, which writes, and everybody else.
pub type Shared = Arc<RwLock<State>>;

/// What the commands of one batch changed, for whoever watches.
pub type Events = Arc<[Event]>;

/// How many batches of events a slow watcher may lag behind before it has to look at everything.
pub const EVENTS_KEPT: usize = 4096;

/// What raft drives.
#[derive(Debug)]
pub struct Machine {
    /// The state that commands are applied to.
    pub state: Shared,
    /// The jobs that left it.
    pub archive: ArchiveStore,
    /// Who is told what they changed.
    pub events: broadcast::Sender<Events>,
    /// Changes that nobody was told of yet.
    news: Vec<Event>,
}

impl Machine {
    /// Applies commands to `state`, keeps the jobs that leave it in `archive`, and tells `events`
    /// what changed.
    #[must_use]
    pub const fn new(
        state: Shared,
        archive: ArchiveStore,
        events: broadcast::Sender<Events>,
    ) -> Self {
        Self { state, archive, events, news: Vec::new() }
    }
}

/// The state machine of a data directory as raft drives it, for tools that write or read one
/// without a daemon.
///
/// # Errors
/// When the archive in the directory cannot be used.
pub fn state_machine(
    cluster: ClusterId,
    dir: &Path,
) -> Result<impl StateMachine + use<>, ArchiveError> {
    let state = Arc::new(RwLock::new(State::new(cluster)));
    Ok(Machine::new(state, ArchiveStore::open(dir)?, broadcast::channel(1).0))
}

/// Reads the state. A writer that panicked has ended the process already.
pub fn read<T>(state: &Shared, look: impl FnOnce(&State) -> T) -> T {
    look(&state.read().unwrap_or_else(PoisonError::into_inner))
}

/// A state on its way into a snapshot.
struct Captured {
    state: State,
    archive: ArchiveStore,
}

impl Capture for Captured {
    fn write(&self, out: &mut dyn io::Write) -> io::Result<()> {
        // What a snapshot relies on is on disk before it.
        self.archive.sync().map_err(io::Error::other)?;
        codec::write_snapshot(&self.state, out)
    }
}

impl StateMachine for Machine {
    fn apply(&mut self, index: u64, _term: u64, command: &[u8]) -> Vec<u8> {
        let envelope = match codec::decode_envelope(command) {
            Ok(envelope) => envelope,
            Err(error) => panic!("cannot apply log entry {index}: {error}"),
        };
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let applied = state.apply(index, envelope, &self.archive, &mut self.news);
        let records = state.take_archived();
        // Before the lock is released: a job is found in the state or in the archive.
        if !records.is_empty()
            && let Err(error) = self.archive.append(&records)
        {
            panic!("cannot archive jobs at log entry {index}: {error}");
        }
        drop(state);
        codec::encode(&applied)
    }

    fn applied(&mut self) {
        if !self.news.is_empty() {
            // Nobody listening is fine.
            let _ = self.events.send(std::mem::take(&mut self.news).into());
        }
    }

    fn snapshot(&self) -> Vec<u8> {
        if let Err(error) = self.archive.sync() {
            panic!("cannot take a snapshot: {error}");
        }
        read(&self.state, codec::snapshot)
    }

    fn capture(&self) -> Box<dyn Capture> {
        let state = read(&self.state, State::frozen);
        Box::new(Captured { state, archive: self.archive.clone() })
    }

    fn check(&self, snapshot: &[u8]) -> Result<(), RestoreError> {
        let head = codec::snapshot_archive(snapshot).map_err(|e| RestoreError(e.to_string()))?;
        self.archive.check(head).map_err(|e| RestoreError(e.to_string()))
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        let state = codec::restore(snapshot).map_err(|e| RestoreError(e.to_string()))?;
        self.archive.check(state.archive()).map_err(|e| RestoreError(e.to_string()))?;
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
        let _ = self.events.send([Event::Restored].into());
        Ok(())
    }
}
