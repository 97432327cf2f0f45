//! Committed entries and snapshots on their way into and out of the state machine.
//!
//! Each index is applied once in a life, in order; anything else is fatal.

use bytes::Bytes;
use raft::eraftpb::{Entry, EntryType};

use trainyard_probe::{planted, reached};

use super::{
    core::{Driver, SnapshotFile},
    proposals::Applied,
    reply::Answer,
    taking::Taking,
};
use crate::{
    error::{Fatal, ProposeError},
    machine::Transport,
    storage::{SnapshotFrame, count},
};

/// A state this small is written as often as `snapshot_every` says, whatever the log brought.
const CHEAP_SNAPSHOT_BYTES: u64 = 4 << 20;

/// And a larger one not before the log brought this much, which a start replays in seconds.
const WORTH_A_SNAPSHOT: u64 = 256 << 20;

/// Whether one more snapshot is worth its cost: the last one has so many bytes, and the log brought
/// so many since.
fn is_worth(last: u64, log: u64) -> bool {
    last <= CHEAP_SNAPSHOT_BYTES || log >= last.saturating_mul(2).max(WORTH_A_SNAPSHOT)
}

impl Driver {
    pub(super) fn apply(
        &mut self,
        entries: Vec<Entry>,
        out: &mut dyn Transport,
    ) -> Result<(), Fatal> {
        if entries.is_empty() {
            return Ok(());
        }
        // A member that applied a change of members must find it committed when it starts again, or
        // it could wait for votes of members that are gone. For all else the commit index may ride
        // in the next write.
        if entries.iter().any(|entry| entry.get_entry_type() != EntryType::EntryNormal) {
            reached("raft: a change of members is applied");
            self.node.mut_store().flush_commit()?;
        }
        let mut answers = Vec::new();
        for entry in entries {
            let expected = self.applied.0.saturating_add(1);
            if planted("apply before commit") && entry.index < expected {
                continue;
            }
            if entry.index != expected {
                return Err(Fatal::OutOfOrder { expected, found: entry.index });
            }
            let mut response = Vec::new();
            if entry.get_entry_type() != EntryType::EntryNormal {
                self.apply_change(&entry)?;
            } else if !(entry.data.is_empty() && entry.context.is_empty()) {
                // An entry without data and context is what a new leader appends to commit in its
                // own term.
                response = self.machine.apply(entry.index, entry.term, &entry.data);
                self.counters.commands_applied.add(1);
            }
            self.applied = (entry.index, entry.term);
            let (index, term) = self.applied;
            let bytes = count(entry.data.len()).saturating_add(count(entry.context.len()));
            self.applied_bytes = self.applied_bytes.saturating_add(bytes);
            let waiter = self.proposals.take(&entry.context);
            answers
                .extend(waiter.map(|reply| Answer::new(reply, Applied { index, term, response })));
        }
        self.machine.applied();
        if !answers.is_empty() {
            out.answer(answers);
        }
        Ok(())
    }

    /// Replaces the state by a leader's snapshot, which is durable already.
    pub(super) fn restore(&mut self, frame: &SnapshotFrame) -> Result<(), Fatal> {
        self.machine
            .restore(&frame.data)
            .map_err(|source| Fatal::Restore { index: frame.index, source })?;
        self.applied = (frame.index, frame.term);
        self.conf = frame.conf.clone();
        self.snapshot_bytes = count(frame.data.len());
        self.applied_bytes = 0;
        self.counters.snapshots_received.add(1);
        tracing::info!(
            id = self.id,
            index = frame.index,
            term = frame.term,
            "restored the leader's snapshot"
        );
        Ok(())
    }

    /// Takes a snapshot when enough was applied since the last one or the log has grown too large,
    /// but no sooner than the log has brought twice the bytes that the last snapshot holds: a
    /// snapshot is the whole state, so that one each so many entries would cost the square of the
    /// state's growth. A start then replays at most twice the bytes that it restores.
    pub(super) fn maybe_snapshot(&mut self) -> Result<(), Fatal> {
        self.record_taken()?;
        if self.snapshots.is_busy() {
            return Ok(());
        }
        let store = self.node.store();
        let (index, term) = self.applied;
        let last = store.snapshot_index();
        let fresh = index.saturating_sub(last);
        // A log that is large because of what is not applied yet, or of what is kept behind the
        // last snapshot, is not made smaller by one more snapshot.
        let large = store.log_bytes() > self.snapshot_log_bytes && fresh > self.keep_entries;
        let asked = !self.snapshots_asked.is_empty();
        let wanted = (store.take_snapshot_wanted() || asked) && fresh > 0;
        if wanted {
            reached("raft: a snapshot is wanted by a peer");
        }
        let due = (fresh >= self.snapshot_every || large)
            && is_worth(self.snapshot_bytes, self.applied_bytes);
        if !due && !wanted {
            self.hand_out_snapshot();
            return Ok(());
        }
        self.snapshots.begin(Taking {
            files: store.files().clone(),
            frame: SnapshotFrame {
                cluster: self.cluster,
                index,
                term,
                conf: if planted("stale conf state") {
                    store.boot_conf()
                } else {
                    self.conf.clone()
                },
                data: Bytes::new(),
            },
            state: self.machine.capture(),
        });
        self.applied_bytes = 0;
        self.record_taken()
    }

    /// Lets the log rely on a snapshot that is in its file.
    fn record_taken(&mut self) -> Result<(), Fatal> {
        let Some(taken) = self.snapshots.take_done() else { return Ok(()) };
        let (index, bytes) = taken?;
        let last = self.node.store().snapshot_index();
        // A leader's newer snapshot may have come meanwhile.
        if index <= last {
            return Ok(());
        }
        // The log is kept back to the older of the two snapshots, so that either is enough to start
        // from.
        let boundary = index.saturating_sub(self.keep_entries).min(last);
        self.node.mut_store().record_snapshot(index, boundary)?;
        self.snapshot_bytes = bytes;
        self.counters.snapshots_taken.add(1);
        tracing::debug!(id = self.id, index, bytes, "took a snapshot");
        self.hand_out_snapshot();
        Ok(())
    }

    /// Answers those whose snapshot is there: one that holds all that was applied when they asked.
    fn hand_out_snapshot(&mut self) {
        let store = self.node.store();
        let index = store.snapshot_index();
        let asked = std::mem::take(&mut self.snapshots_asked);
        let (served, waiting) = asked.into_iter().partition(|(from, _)| *from <= index);
        self.snapshots_asked = waiting;
        let served: Vec<(u64, _)> = served;
        for (_, reply) in served {
            // A member that has joined and has no state yet.
            reply.send(if index == 0 {
                Err(ProposeError::Busy)
            } else {
                Ok(SnapshotFile { index, path: store.files().path(index) })
            });
        }
    }

    /// Why `raft` would not take a proposal although this member leads.
    pub(super) fn dropped(&self) -> ProposeError {
        match self.node.raft.lead_transferee {
            Some(next) => {
                reached("raft: a proposal during a handover");
                ProposeError::NotLeader { leader: Some(next) }
            }
            None => {
                reached("raft: too much is uncommitted");
                ProposeError::Busy
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_waits_for_twice_what_the_last_one_holds() {
        let (small, large) = (CHEAP_SNAPSHOT_BYTES, CHEAP_SNAPSHOT_BYTES + 1);
        assert!(is_worth(small, 0));
        assert!(!is_worth(large, WORTH_A_SNAPSHOT - 1));
        assert!(is_worth(large, WORTH_A_SNAPSHOT));
        assert!(!is_worth(WORTH_A_SNAPSHOT, 2 * WORTH_A_SNAPSHOT - 1));
        assert!(is_worth(WORTH_A_SNAPSHOT, 2 * WORTH_A_SNAPSHOT));
    }
}
