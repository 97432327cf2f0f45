//! What a driver tells about itself: status, counters, and a short form for logs.
//!
//! Reads only; nothing here may change what the driver does next.

use std::fmt;

use raft::eraftpb::ConfState;

use super::core::Driver;
use crate::{
    counters::Counters,
    status::{PeerProgress, Role, Status},
};

/// What of a member's status nobody may hear late.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Part {
    term: u64,
    role: Role,
    leader: Option<u64>,
    ready: bool,
    snapshot: u64,
    conf: ConfState,
}

impl Driver {
    pub(crate) fn part(&self) -> Part {
        Part {
            term: self.node.raft.term,
            role: self.node.raft.state.into(),
            leader: self.leader(),
            ready: self.leader_ready(),
            snapshot: self.node.store().snapshot_index(),
            conf: self.conf.clone(),
        }
    }

    /// What this member tells about itself.
    #[must_use]
    pub fn status(&self) -> Status {
        let raft = &self.node.raft;
        let store = self.node.store();
        let (first_index, last_index) = store.bounds();
        let progress =
            raft.prs().iter().filter(|(id, _)| self.leading().is_some() && **id != self.id);
        let peers = progress.map(|(id, p)| {
            (
                *id,
                PeerProgress {
                    matched: p.matched,
                    state: p.state.into(),
                    active: self.is_heard(*id),
                },
            )
        });
        Status {
            id: self.id,
            term: raft.term,
            role: raft.state.into(),
            leader: self.leader(),
            commit: raft.raft_log.committed,
            applied: self.applied.0,
            first_index,
            last_index,
            log_bytes: store.log_bytes(),
            last_snapshot_index: store.snapshot_index(),
            voters: self.conf.voters.iter().chain(&self.conf.voters_outgoing).copied().collect(),
            learners: self.conf.learners.iter().chain(&self.conf.learners_next).copied().collect(),
            joint: !self.conf.voters_outgoing.is_empty(),
            leader_ready: self.leader_ready(),
            peers: peers.collect(),
        }
    }

    /// What this member has done since it opened.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters.read()
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("status", &self.status()).finish_non_exhaustive()
    }
}
