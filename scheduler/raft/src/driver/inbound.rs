//! What peers may send: each message is checked before `raft`, which panics on broken invariants,
//! sees it.
//!
//! The transport authenticates peers; here it is about messages that are damaged, misaddressed,
//! from no member, or that no member of this program sends.

use bytes::Bytes;
use protobuf::Message as _;
use raft::eraftpb::{Message, MessageType};

use super::core::Driver;
use crate::storage::SnapshotFrame;

/// Messages larger than this are snapshots.
const SHARED_BYTES: usize = 4 << 20;

/// Why a message was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("it cannot be decoded, or its fields contradict each other")]
    Malformed,
    #[error("it is addressed to member {0}")]
    Misaddressed(u64),
    #[error("member {0} is not known here")]
    Stranger(u64),
    #[error("messages of kind {0:?} are not taken from peers")]
    Kind(MessageType),
    #[error("its snapshot cannot be used: {0}")]
    Snapshot(String),
    #[error(
        "the leader holds an acknowledgement of entry {acknowledged}, but this log ends at {last}: acknowledged entries were lost"
    )]
    LostEntries { leader: u64, acknowledged: u64, last: u64 },
}

impl Refusal {
    /// The branch that was reached.
    pub(super) const fn mark(&self) -> &'static str {
        match self {
            Self::Malformed => "raft: a malformed message",
            Self::Misaddressed(_) => "raft: a misaddressed message",
            Self::Stranger(_) => "raft: a stranger's message",
            Self::Kind(_) => "raft: a message of a kind never sent",
            Self::Snapshot(_) => "raft: a snapshot that cannot be used",
            Self::LostEntries { .. } => "raft: acknowledged entries are lost",
        }
    }
}

impl Driver {
    /// Decodes and checks one message.
    pub(super) fn check_inbound(&self, bytes: &Bytes) -> Result<Message, Refusal> {
        // A snapshot shares its message's memory; entries, which are kept for longer, must not hold
        // on to the message that they came in.
        let parsed = if bytes.len() > SHARED_BYTES {
            Message::parse_from_carllerche_bytes(bytes)
        } else {
            Message::parse_from_bytes(bytes)
        };
        let message = parsed.map_err(|_| Refusal::Malformed)?;
        if message.to != self.id {
            return Err(Refusal::Misaddressed(message.to));
        }
        let kind = message.get_msg_type();
        // A term of 0 marks a local message inside raft, so it must never come from outside.
        if message.from == 0 || message.from == self.id || message.term == 0 {
            return Err(Refusal::Malformed);
        }
        self.check_sender(&message)?;
        let current = message.term >= self.node.raft.term;
        let last = self.node.raft.raft_log.last_index();
        match kind {
            MessageType::MsgAppend => check_entries(&message)?,
            MessageType::MsgSnapshot => self.check_snapshot(&message)?,
            // A leader never announces a commit beyond what this member acknowledged to it in the
            // same term.
            MessageType::MsgHeartbeat if current && message.commit > last => {
                return Err(Refusal::LostEntries {
                    leader: message.from,
                    acknowledged: message.commit,
                    last,
                });
            }
            MessageType::MsgAppendResponse
                if current && !message.reject && message.index > last =>
            {
                return Err(Refusal::Malformed);
            }
            MessageType::MsgHeartbeat
            | MessageType::MsgAppendResponse
            | MessageType::MsgHeartbeatResponse
            | MessageType::MsgRequestVote
            | MessageType::MsgRequestVoteResponse
            | MessageType::MsgRequestPreVote
            | MessageType::MsgRequestPreVoteResponse
            | MessageType::MsgTimeoutNow => {}
            // A forwarded proposal would commit with nobody waiting for it, and perhaps twice;
            // reads and transfers are asked of the leader itself; the rest never leaves a member.
            _ => return Err(Refusal::Kind(kind)),
        }
        Ok(message)
    }

    /// Members are those of the applied configuration and of the operator's list. Raft has a
    /// request carried out without consulting the configuration, since a member that was away
    /// learns of new ones no other way; here that holds while no leader is known, or for the one
    /// that is followed, so a removed member cannot disturb the rest. One that does not vote never
    /// finds out by itself that the leader which it follows is gone, and the next may be a member
    /// of which it has not heard: it believes the leader of a later term.
    fn check_sender(&self, message: &Message) -> Result<(), Refusal> {
        let from = message.from;
        if self.is_member(from) || self.peers.contains(&from) {
            return Ok(());
        }
        let leader = self.node.raft.leader_id;
        let votes = self.conf.voters.contains(&self.id);
        let later = !votes && message.term > self.node.raft.term;
        let taken = match message.get_msg_type() {
            MessageType::MsgAppend | MessageType::MsgHeartbeat | MessageType::MsgSnapshot => {
                leader == 0 || leader == from || later
            }
            MessageType::MsgRequestVote | MessageType::MsgRequestPreVote => {
                leader == 0 || leader == from
            }
            _ => false,
        };
        if taken { Ok(()) } else { Err(Refusal::Stranger(from)) }
    }

    fn check_snapshot(&self, message: &Message) -> Result<(), Refusal> {
        let snapshot = message.get_snapshot();
        let metadata = snapshot.get_metadata();
        let frame = SnapshotFrame::decode(&snapshot.data).map_err(Refusal::Snapshot)?;
        if frame.cluster != self.cluster {
            return Err(Refusal::Snapshot("it belongs to another cluster".to_owned()));
        }
        if frame.index == 0 || frame.conf.voters.is_empty() || frame.metadata() != *metadata {
            return Err(Refusal::Malformed);
        }
        self.machine.check(&frame.data).map_err(|e| Refusal::Snapshot(e.to_string()))
    }
}

/// Entries follow on each other and on the index before them, with terms that never fall.
fn check_entries(message: &Message) -> Result<(), Refusal> {
    let (mut index, mut term) = (message.index, message.log_term);
    // Only the empty beginning of a log has term 0; raft would take term 0 for any index that it
    // does not have.
    if (index == 0) != (term == 0) || term > message.term {
        return Err(Refusal::Malformed);
    }
    for entry in &message.entries {
        let next = index.checked_add(1).ok_or(Refusal::Malformed)?;
        if entry.index != next || entry.term < term.max(1) || entry.term > message.term {
            return Err(Refusal::Malformed);
        }
        (index, term) = (entry.index, entry.term);
    }
    Ok(())
}
