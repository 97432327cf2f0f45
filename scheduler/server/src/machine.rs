//! The state machine as raft drives it: bytes in, bytes out, under one lock that readers share.
//! A command that cannot be read halts the replica: to skip it would be to diverge.

use std::sync::{
    Arc, PoisonError, RwLock,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::broadcast;
use trainyard_core::{Event, State, codec};
use trainyard_raft::{RestoreError, StateMachine};

use crate::book::Book;

/// The state, shared between the raft thread, which writes, and everybody else.
pub(crate) type Shared = Arc<RwLock<State>>;

/// What one command changed, for whoever watches.
pub(crate) type Events = Arc<[Event]>;

/// How many batches of events a slow watcher may lag behind before it has to look at everything.
pub(crate) const EVENTS_KEPT: usize = 4096;

pub(crate) struct Machine {
    pub(crate) state: Shared,
    pub(crate) events: broadcast::Sender<Events>,
    pub(crate) book: Book,
    /// The state's epoch, for greetings; 0 while there is no state.
    pub(crate) epoch: Arc<AtomicU64>,
}

impl Machine {
    /// Tells those who speak to other schedulers what the state says of them.
    fn tell(&self, members: bool) {
        let (revision, addresses) =
            read(&self.state, |state| (state.revision(), members.then(|| state.addresses())));
        if let Some(addresses) = addresses {
            self.book.record(addresses);
        }
        let epoch = if revision.index == 0 { 0 } else { revision.epoch };
        self.epoch.store(epoch, Ordering::Relaxed);
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
        let mut events = Vec::new();
        let applied = self.state.write().unwrap_or_else(PoisonError::into_inner).apply(
            index,
            envelope,
            &mut events,
        );
        self.tell(events.contains(&Event::Members));
        if !events.is_empty() {
            // Nobody listening is fine.
            let _ = self.events.send(events.into());
        }
        codec::encode(&applied)
    }

    fn snapshot(&self) -> Vec<u8> {
        read(&self.state, codec::snapshot)
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        let state = codec::restore(snapshot).map_err(|e| RestoreError(e.to_string()))?;
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
        self.tell(true);
        Ok(())
    }
}
