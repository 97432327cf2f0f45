//! The store as `raft` reads it.
//!
//! Answers from memory where it can. What cannot be read is noted, and `raft` is told to wait: the
//! driver ends the member before anything more is sent, because a member whose disk cannot be read
//! must not go on. Where `raft` cannot wait it panics, and the note still says why.

use raft::{
    GetEntriesContext, RaftState, Storage,
    eraftpb::{Entry, Snapshot},
};

use super::log::LogStore;

impl Storage for LogStore {
    fn initial_state(&self) -> raft::Result<RaftState> {
        // The members as of the restored snapshot: later changes are applied again as the log is
        // replayed.
        Ok(RaftState::new(self.hard.clone(), self.boot_conf.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low < self.index.first() {
            return Err(raft::Error::Store(raft::StorageError::Compacted));
        }
        if high > self.index.last().saturating_add(1) {
            return Err(raft::Error::Store(raft::StorageError::Unavailable));
        }
        let end = self.index.end_within(low, high, max_size.into().unwrap_or(u64::MAX));
        if let Some(entries) = self.index.cached(low, end) {
            return Ok(entries);
        }
        self.read(low, end).map_err(|problem| {
            self.damage.note(problem);
            raft::Error::Store(raft::StorageError::LogTemporarilyUnavailable)
        })
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index < self.index.boundary().0 {
            return Err(raft::Error::Store(raft::StorageError::Compacted));
        }
        self.index.term(index).ok_or(raft::Error::Store(raft::StorageError::Unavailable))
    }

    // After a leader's snapshot both bounds come from the recorded boundary: taking them from the
    // (then empty) entries would make a restarted member crash in a loop.
    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.index.first())
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.index.last())
    }

    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<Snapshot> {
        let unavailable = || raft::Error::Store(raft::StorageError::SnapshotTemporarilyUnavailable);
        if self.snapshot == 0 || self.snapshot < request_index {
            return Err(unavailable());
        }
        match self.files.load(self.snapshot, self.cluster) {
            // A member that joined after the snapshot would refuse it, since it does not name it:
            // one that does must be taken first. raft asks again at the next heartbeat.
            Ok((frame, _)) if !frame.names(to) => {
                self.snapshot_wanted.set(true);
                Err(unavailable())
            }
            Ok((frame, encoded)) => Ok(frame.into_raft(encoded)),
            Err(problem) => {
                self.damage.note(problem);
                Err(unavailable())
            }
        }
    }
}
