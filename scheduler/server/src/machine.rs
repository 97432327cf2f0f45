//! The state machine as raft drives it: bytes in, bytes out, under one lock that readers share.
//! A command that cannot be read halts the replica: to skip it would be to diverge.

use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::broadcast;
use trainyard_core::{Event, State, codec};
use trainyard_raft::{RestoreError, StateMachine};

/// The state, shared between the raft thread, which writes, and everybody else.
pub(crate) type Shared = Arc<RwLock<State>>;

/// What the commands of one batch changed, for whoever watches.
pub(crate) type Events = Arc<[Event]>;

/// How many batches of events a slow watcher may lag behind before it has to look at everything.
pub(crate) const EVENTS_KEPT: usize = 4096;

pub(crate) struct Machine {
    state: Shared,
    events: broadcast::Sender<Events>,
    /// Changes that nobody was told of yet.
    news: Vec<Event>,
}

impl Machine {
    pub(crate) const fn new(state: Shared, events: broadcast::Sender<Events>) -> Self {
        Self { state, events, news: Vec::new() }
    }
}

/// Reads the state. A writer that panicked has ended the process already.
pub(crate) fn read<T>(state: &Shared, look: impl FnOnce(&State) -> T) -> T {
    look(&state.read().unwrap_or_else(PoisonError::into_inner))
}

impl StateMachine for Machine {
    fn apply(&mut self, index: u64, _term: u64, command: &[u8]) -> Vec<u8> {
        let envelope = match codec::decode_envelope(command) {
            Ok(envelope) => envelope,
            Err(error) => panic!("cannot apply log entry {index}: {error}"),
        };
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let applied = state.apply(index, envelope, &mut self.news);
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
        read(&self.state, codec::snapshot)
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        let state = codec::restore(snapshot).map_err(|e| RestoreError(e.to_string()))?;
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
        Ok(())
    }
}
