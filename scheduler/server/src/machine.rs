//! The state machine as raft drives it: bytes in, bytes out, under one lock that readers share.
//! A command that cannot be read halts the replica: to skip it would be to diverge.

use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::broadcast;
use trainyard_core::{Event, State, codec};
use trainyard_raft::{RestoreError, StateMachine};

use crate::archive::ArchiveStore;

/// The state, shared between the raft thread, which writes, and everybody else.
pub type Shared = Arc<RwLock<State>>;

/// What one command changed, for whoever watches.
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
}

/// Reads the state. A writer that panicked has ended the process already.
pub fn read<T>(state: &Shared, look: impl FnOnce(&State) -> T) -> T {
    look(&state.read().unwrap_or_else(PoisonError::into_inner))
}

impl StateMachine for Machine {
    fn apply(&mut self, index: u64, _term: u64, command: &[u8]) -> Vec<u8> {
        let envelope = match codec::decode_envelope(command) {
            Ok(envelope) => envelope,
            Err(error) => panic!("cannot apply log entry {index}: {error}"),
        };
        let mut events = Vec::new();
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let applied = state.apply(index, envelope, &self.archive, &mut events);
        let records = state.take_archived();
        // Before the lock is released: a job is found in the state or in the archive.
        if let Err(error) = self.archive.append(&records) {
            panic!("cannot archive jobs at log entry {index}: {error}");
        }
        drop(state);
        if !events.is_empty() {
            // Nobody listening is fine.
            let _ = self.events.send(events.into());
        }
        codec::encode(&applied)
    }

    fn snapshot(&self) -> Vec<u8> {
        if let Err(error) = self.archive.sync() {
            panic!("cannot take a snapshot: {error}");
        }
        read(&self.state, codec::snapshot)
    }

    fn check(&self, snapshot: &[u8]) -> Result<(), RestoreError> {
        let head = codec::snapshot_archive(snapshot).map_err(|e| RestoreError(e.to_string()))?;
        self.archive.check(head).map_err(|e| RestoreError(e.to_string()))
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        let state = codec::restore(snapshot).map_err(|e| RestoreError(e.to_string()))?;
        self.archive.check(state.archive()).map_err(|e| RestoreError(e.to_string()))?;
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
        Ok(())
    }
}
