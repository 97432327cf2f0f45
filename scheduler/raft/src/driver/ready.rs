//! The one place where `raft`'s decisions meet the disk, the peers and the state machine, in the
//! order that is safe.
//!
//! 1. a leader's messages leave (its followers may write while it writes);
//! 2. what is committed and durable here already is applied, so that those who wait for it do not
//!    wait for the next write too;
//! 3. a snapshot received goes to a file, durably;
//! 4. entries and hard state go to the log, durably, in one fsync;
//! 5. the messages that promise something of 3 and 4 leave;
//! 6. `raft` is told that it is durable, which may commit more;
//! 7. what that committed is applied, and `raft` is told.
//!
//! Any failure on the way ends the member before a later step, so a disk that cannot be written
//! never votes.

use protobuf::Message as _;
use raft::{
    Ready,
    eraftpb::{EntryType, Message, MessageType},
};

use trainyard_probe::{planted, reached};

use super::core::Driver;
use crate::{
    error::{Fatal, StorageError},
    machine::Transport,
    storage::{Batch, SnapshotFrame},
};

impl Driver {
    /// Carries out all that the inputs so far have caused. Feed many inputs first: all their
    /// entries then share one fsync.
    ///
    /// # Errors
    /// The member must stop: nothing may be sent or acknowledged after this.
    pub fn flush(&mut self, out: &mut dyn Transport) -> Result<(), Fatal> {
        if self.failed {
            reached("raft: a member that failed");
            return Err(Fatal::Stopped);
        }
        // Cleared only on the way out: after an error, or a panic, the member stays failed.
        self.failed = true;
        loop {
            self.check_damage()?;
            while self.node.has_ready() {
                self.handle_ready(out)?;
                self.check_damage()?;
            }
            self.settle();
            if !self.ask_reads() {
                break;
            }
        }
        self.maybe_snapshot()?;
        if self.commit_due() {
            reached("raft: the commit index by itself");
            self.node.mut_store().flush_commit()?;
        }
        self.failed = false;
        Ok(())
    }

    fn handle_ready(&mut self, out: &mut dyn Transport) -> Result<(), Fatal> {
        let mut ready = self.node.ready();
        self.check_damage()?;
        let early = ready.take_messages();
        // A sole voter can win an election within one round, before its new term is on disk. If its
        // appends left now and it crashed, it could lead the same term again with other entries at
        // the same places.
        let term_is_durable = ready.hs().is_none_or(|hard| {
            let stored = self.node.store().hard();
            (hard.term, hard.vote) == (stored.term, stored.vote)
        });
        let held = if term_is_durable {
            self.send(early, out);
            Vec::new()
        } else {
            reached("raft: a term that is not durable yet");
            early
        };

        // `raft` hands out as committed only what it was told is durable. A change of members waits
        // until the round is over: it makes `raft` look at all that it holds.
        let mut committed = ready.take_committed_entries();
        if committed.iter().all(|entry| entry.get_entry_type() == EntryType::EntryNormal) {
            self.apply(std::mem::take(&mut committed), out)?;
        }

        if planted("send before fsync") {
            self.send(ready.take_persisted_messages(), out);
        }
        let frame = self.persist(&ready)?;
        if planted("apply before commit") {
            self.apply(ready.entries().clone(), out)?;
        }
        self.send(held, out);
        self.send(ready.take_persisted_messages(), out);

        let read_states = ready.take_read_states();
        let mut light = self.node.advance_append(ready);
        if let Some(commit) = light.commit_index() {
            self.node.mut_store().note_commit(commit);
        }
        self.send(light.take_messages(), out);

        // Applying comes after persisting: an applied index ahead of the durable log makes raft
        // panic at the next start.
        if let Some(frame) = frame {
            reached("raft: a leader's snapshot");
            self.restore(&frame)?;
        }
        self.apply(committed, out)?;
        self.apply(light.take_committed_entries(), out)?;
        // More is applied than is committed only where that is planted.
        self.node.advance_apply_to(self.applied.0.min(self.node.raft.raft_log.committed));
        for state in read_states {
            reached("raft: a read is confirmed");
            self.reads.confirm(&state.request_ctx, state.index);
        }
        Ok(())
    }

    /// Ends the member if its disk was found to be damaged, before it says another word.
    fn check_damage(&self) -> Result<(), Fatal> {
        self.node.store().damage().take().map_or(Ok(()), |problem| Err(problem.into()))
    }

    /// Steps 3 and 4. Gives the snapshot that must then be restored, if the leader sent one.
    fn persist(&mut self, ready: &Ready) -> Result<Option<SnapshotFrame>, Fatal> {
        let snapshot = ready.snapshot();
        let mut frame = None;
        let mut replaced_by = None;
        if !snapshot.is_empty() {
            let (index, term) = (snapshot.get_metadata().index, snapshot.get_metadata().term);
            let files = self.node.store().files();
            let decoded = SnapshotFrame::decode(&snapshot.data).map_err(|detail| {
                StorageError::SnapshotCorrupt { path: files.path(index), detail }
            })?;
            // The file first: a log that begins after a snapshot which does not exist could never
            // be opened again.
            files.save(index, &snapshot.data)?;
            replaced_by = Some((index, term));
            frame = Some(decoded);
        }
        if !ready.must_sync() {
            // Nothing but the commit index moved, which may be lost (see `LogStore::note_commit`).
            reached("raft: nothing to sync");
            if let Some(hard) = ready.hs() {
                self.node.mut_store().note_commit(hard.commit);
            }
            return Ok(frame);
        }
        let batch = Batch { replaced_by, entries: ready.entries(), hard: ready.hs() };
        self.node.mut_store().write(&batch)?;
        Ok(frame)
    }

    fn send(&mut self, messages: Vec<Message>, out: &mut dyn Transport) {
        for message in messages {
            let (to, kind) = (message.to, message.get_msg_type());
            match message.write_to_bytes() {
                Ok(bytes) if kind == MessageType::MsgSnapshot => {
                    // raft sends nothing else to this peer until it hears the snapshot's fate, so a
                    // transport that forgets to tell must not leave the peer behind for good.
                    self.snapshots_out.insert(to, self.snapshot_send_ticks);
                    self.counters.snapshots_sent.add(1);
                    reached("raft: a snapshot is sent");
                    out.send_snapshot(to, bytes);
                }
                Ok(bytes) => out.send(to, bytes),
                Err(problem) => {
                    tracing::error!(to, %problem, "a message cannot be encoded; it is not sent")
                }
            }
        }
    }
}
