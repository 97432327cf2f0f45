//! Counters that only grow, for metrics and for tests of how much work a load costs.
//!
//! Shared between the raft thread and its handles by relaxed atomics; nothing is decided by them.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use serde::Serialize;

/// A reading of a member's counters since it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counters {
    /// Durable log commits, one fsync each.
    pub log_commits: u64,
    /// Entries written to the log.
    pub entries_written: u64,
    /// Commands applied to the state machine.
    pub commands_applied: u64,
    /// Snapshots taken here.
    pub snapshots_taken: u64,
    /// Snapshots received from a leader and restored.
    pub snapshots_received: u64,
    /// Snapshots sent to peers.
    pub snapshots_sent: u64,
    /// Peers' messages that were refused: malformed, misaddressed, from a stranger, or of a kind
    /// never sent.
    pub messages_refused: u64,
    /// Peers' messages dropped because the raft thread was behind.
    pub messages_dropped: u64,
}

/// The live counters behind [`Counters`].
#[derive(Debug, Default)]
pub(crate) struct Cells {
    pub(crate) log_commits: Cell,
    pub(crate) entries_written: Cell,
    pub(crate) commands_applied: Cell,
    pub(crate) snapshots_taken: Cell,
    pub(crate) snapshots_received: Cell,
    pub(crate) snapshots_sent: Cell,
    pub(crate) messages_refused: Cell,
    pub(crate) messages_dropped: Cell,
}

/// The cells as they are shared.
pub(crate) type SharedCounters = Arc<Cells>;

impl Cells {
    pub(crate) fn read(&self) -> Counters {
        Counters {
            log_commits: self.log_commits.get(),
            entries_written: self.entries_written.get(),
            commands_applied: self.commands_applied.get(),
            snapshots_taken: self.snapshots_taken.get(),
            snapshots_received: self.snapshots_received.get(),
            snapshots_sent: self.snapshots_sent.get(),
            messages_refused: self.messages_refused.get(),
            messages_dropped: self.messages_dropped.get(),
        }
    }
}

/// One counter.
#[derive(Debug, Default)]
pub(crate) struct Cell(AtomicU64);

impl Cell {
    /// Adds, and returns the new value.
    pub(crate) fn add(&self, n: u64) -> u64 {
        self.0.fetch_add(n, Ordering::Relaxed).saturating_add(n)
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
