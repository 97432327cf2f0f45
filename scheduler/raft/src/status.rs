//! What a member tells about itself, published every tick, and at once when it plays another part.
//!
//! A report only: nothing decides by it whether a command is committed.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

/// A member's part in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Follows a leader, or waits for one.
    #[default]
    Follower,
    /// Asks whether an election could be won, without disturbing anyone.
    PreCandidate,
    /// Stands for election.
    Candidate,
    /// Leads its term.
    Leader,
}

impl From<raft::StateRole> for Role {
    fn from(role: raft::StateRole) -> Self {
        match role {
            raft::StateRole::Follower => Self::Follower,
            raft::StateRole::PreCandidate => Self::PreCandidate,
            raft::StateRole::Candidate => Self::Candidate,
            raft::StateRole::Leader => Self::Leader,
        }
    }
}

/// How the leader replicates to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerState {
    /// One message at a time, until the logs are known to meet.
    Probe,
    /// Streaming entries.
    Replicate,
    /// Waiting for a snapshot to arrive there.
    Snapshot,
}

impl From<raft::ProgressState> for PeerState {
    fn from(state: raft::ProgressState) -> Self {
        match state {
            raft::ProgressState::Probe => Self::Probe,
            raft::ProgressState::Replicate => Self::Replicate,
            raft::ProgressState::Snapshot => Self::Snapshot,
        }
    }
}

/// The leader's view of one peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PeerProgress {
    /// The last index known to be durable there.
    pub matched: u64,
    /// How it is fed.
    pub state: PeerState,
    /// Whether it was heard from in the running election period.
    pub active: bool,
}

/// One member's own view.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Status {
    /// This member.
    pub id: u64,
    /// Its term.
    pub term: u64,
    /// Its role.
    pub role: Role,
    /// The leader it knows of.
    pub leader: Option<u64>,
    /// Known to be committed.
    pub commit: u64,
    /// Applied to the state machine.
    pub applied: u64,
    /// The first entry still in the log.
    pub first_index: u64,
    /// The last durable entry of the log.
    pub last_index: u64,
    /// Bytes of the entries in the log, about.
    pub log_bytes: u64,
    /// The index of the newest snapshot; 0 when there is none.
    pub last_snapshot_index: u64,
    /// Members that vote, both halves of a joint configuration included.
    pub voters: BTreeSet<u64>,
    /// Members that only follow.
    pub learners: BTreeSet<u64>,
    /// True while a change of voters is half-way: both halves decide together.
    pub joint: bool,
    /// True when this member leads *and* has applied an entry of its own term, so its state holds
    /// all that was ever acknowledged.
    pub leader_ready: bool,
    /// On the leader, the other members' progress; empty elsewhere.
    pub peers: BTreeMap<u64, PeerProgress>,
}
