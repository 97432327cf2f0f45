//! [`Driver`]: what it holds, how it opens, and what each input does to it.
//!
//! Inputs never touch the disk and send nothing; [`Driver::flush`] does both, for all of them at
//! once.

use std::collections::{BTreeMap, BTreeSet};

use raft::{RawNode, SnapshotStatus, StateRole, eraftpb::ConfState};

use trainyard_probe::reached;

use super::{
    inbound::Refusal,
    members::MemberChange,
    proposals::{Applied, Proposals},
    reads::Reads,
    reply::Reply,
    taking::{Snapshots, Taking},
};
use crate::{
    config::Config,
    counters::SharedCounters,
    error::{ChangeError, OpenError, ProposeError, ReadError, StorageError},
    log_bridge,
    machine::{StateMachine, Transport},
    storage::{Boot, Damage, Disk, LogStore, count, open_disk, open_store},
};

/// All that can happen to a member.
#[derive(Debug)]
pub enum Input {
    /// One tick of time passed.
    Tick,
    /// A peer's message came.
    Message(Vec<u8>),
    /// A command is proposed.
    Propose(Vec<u8>, Reply<Applied, ProposeError>),
    /// A linearizable read is asked for.
    Read(Reply<u64, ReadError>),
    /// A membership change is proposed.
    ChangeMembers(Vec<MemberChange>, Reply<Applied, ChangeError>),
    /// A message to this peer was lost.
    Unreachable(u64),
    /// A snapshot to this peer arrived, or did not.
    SnapshotSent(u64, bool),
    /// Leadership should go to this member, or to the best one.
    Transfer(Option<u64>),
    /// A snapshot of the present state is wanted on disk.
    Snapshot(Reply<SnapshotFile, ProposeError>),
}

/// A snapshot on disk, whole and durable. Two newer ones must be taken before it is removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotFile {
    /// The last entry that it holds.
    pub index: u64,
    /// Its file, in the data directory.
    pub path: std::path::PathBuf,
}

/// One member, without a thread or a clock of its own.
pub struct Driver {
    pub(super) id: u64,
    pub(super) cluster: [u8; 16],
    pub(super) peers: BTreeSet<u64>,
    pub(crate) node: RawNode<LogStore>,
    pub(super) machine: Box<dyn StateMachine>,
    /// The members as of the last applied entry.
    pub(super) conf: ConfState,
    /// Index and term of the last applied entry.
    pub(super) applied: (u64, u64),
    pub(super) proposals: Proposals,
    pub(super) reads: Reads,
    /// Ticks left for each snapshot that was sent and not reported on.
    pub(super) snapshots_out: BTreeMap<u64, u32>,
    pub(super) snapshots: Snapshots,
    pub(super) counters: SharedCounters,
    pub(super) snapshot_every: u64,
    pub(super) snapshot_log_bytes: u64,
    pub(super) keep_entries: u64,
    pub(super) snapshot_send_ticks: u32,
    /// Who waits for a snapshot, and what it must hold.
    pub(super) snapshots_asked: Vec<(u64, Reply<SnapshotFile, ProposeError>)>,
    /// The size of the newest snapshot's state, and the bytes of the entries applied since.
    pub(super) snapshot_bytes: u64,
    pub(super) applied_bytes: u64,
    pub(super) failed: bool,
    max_command_bytes: usize,
    election_ticks: u32,
    ticks_commit_behind: u32,
    /// Ticks for which this member has asked for votes.
    ticks_asking: u32,
    /// Ticks of this life, and by that count when each peer was heard last.
    ticks: u64,
    heard: BTreeMap<u64, u64>,
}

impl Driver {
    /// Opens the data directory, or bootstraps an empty one, brings the state machine up to the
    /// last known commit, and takes part in the cluster from then on. A sole voter leads at once.
    ///
    /// # Errors
    /// [`OpenError`] says whose the directory is, or what is wrong with it.
    pub fn open(config: &Config, machine: Box<dyn StateMachine>) -> Result<Self, OpenError> {
        config.validate()?;
        Self::open_on(config, open_disk(&config.dir)?, machine, SharedCounters::default())
    }

    pub(crate) fn open_on(
        config: &Config,
        disk: Disk,
        mut machine: Box<dyn StateMachine>,
        counters: SharedCounters,
    ) -> Result<Self, OpenError> {
        config.validate()?;
        let Boot { store, restore, applied, boots } =
            open_store(config, disk, machine.as_ref(), counters.clone())?;
        let mut snapshot_bytes = 0;
        if let Some(frame) = restore {
            reached("raft: a start from a snapshot");
            snapshot_bytes = count(frame.data.len());
            machine
                .restore(&frame.data)
                .map_err(|source| OpenError::Restore { index: frame.index, source })?;
        }
        let conf = raft::Storage::initial_state(&store)?.conf_state;
        let node = RawNode::new(&config.raft(applied.0), store, &log_bridge::logger())?;
        let mut driver = Self {
            id: config.id,
            cluster: config.cluster,
            peers: config.peers.keys().copied().collect(),
            node,
            machine,
            conf,
            applied,
            proposals: Proposals::new(config.id, boots),
            reads: Reads::new(config.read_timeout_ticks, config.read_retry_ticks()),
            snapshots_out: BTreeMap::new(),
            snapshots: Snapshots::default(),
            counters,
            snapshot_every: config.snapshot_every,
            snapshot_log_bytes: config.snapshot_log_bytes,
            keep_entries: config.keep_entries,
            snapshot_send_ticks: config.snapshot_send_ticks,
            snapshots_asked: Vec::new(),
            snapshot_bytes,
            applied_bytes: 0,
            failed: false,
            max_command_bytes: config.max_command_bytes,
            election_ticks: config.election_ticks,
            ticks_commit_behind: 0,
            ticks_asking: 0,
            ticks: 0,
            heard: BTreeMap::new(),
        };
        // The log is replayed before any message or time comes in, so an election never meets half
        // a configuration.
        driver.flush(&mut Nowhere).map_err(|fatal| OpenError::Replay(Box::new(fatal)))?;
        if driver.conf.voters == [driver.id] && driver.conf.voters_outgoing.is_empty() {
            reached("raft: a sole voter leads at once");
            driver.node.campaign()?;
            driver.flush(&mut Nowhere).map_err(|fatal| OpenError::Replay(Box::new(fatal)))?;
        }
        Ok(driver)
    }

    /// From now on snapshots are fetched with [`fetch_snapshot`](Self::fetch_snapshot) and written
    /// elsewhere.
    pub(crate) fn snapshots_elsewhere(&mut self) {
        self.snapshots = Snapshots::Idle;
    }

    /// A snapshot to write, if one is due. What came of it is told with
    /// [`snapshot_taken`](Self::snapshot_taken).
    pub(crate) fn fetch_snapshot(&mut self) -> Option<Taking> {
        self.snapshots.fetch()
    }

    /// The outcome of writing a snapshot; recorded by the next flush.
    pub(crate) fn snapshot_taken(&mut self, done: Result<(u64, u64), StorageError>) {
        self.snapshots.finish(done);
    }

    /// Takes one input. What it causes is carried out by the next [`flush`](Self::flush).
    pub fn step(&mut self, input: Input) {
        match input {
            Input::Tick => self.tick(),
            Input::Message(bytes) => self.receive(bytes),
            Input::Propose(command, reply) => self.propose(command, reply),
            Input::Read(reply) if self.leading().is_some() => self.reads.push(reply),
            Input::Read(reply) => reply.send(Err(ReadError::NotLeader { leader: self.leader() })),
            Input::ChangeMembers(changes, reply) => self.propose_change(&changes, reply),
            Input::Unreachable(peer) => self.node.report_unreachable(peer),
            Input::SnapshotSent(peer, arrived) => self.snapshot_sent(peer, arrived),
            Input::Transfer(to) => self.transfer(to),
            Input::Snapshot(reply) => self.snapshots_asked.push((self.applied.0, reply)),
        }
    }

    fn tick(&mut self) {
        self.node.tick();
        self.ask_again();
        self.ticks = self.ticks.saturating_add(1);
        self.reads.tick();
        let behind = self.node.store().commit_behind();
        self.ticks_commit_behind =
            if behind { self.ticks_commit_behind.saturating_add(1) } else { 0 };
        for ticks in self.snapshots_out.values_mut() {
            *ticks = ticks.saturating_sub(1);
        }
        let overdue: Vec<u64> =
            self.snapshots_out.iter().filter(|(_, left)| **left == 0).map(|(id, _)| *id).collect();
        for peer in overdue {
            reached("raft: a snapshot of which nothing is heard");
            self.snapshot_sent(peer, false);
        }
    }

    /// Two that ask for votes at the same time get one each, and would then wait for another
    /// election timeout. Asked again after a third of it, by one member a tick before the other,
    /// the vote is not split twice.
    fn ask_again(&mut self) {
        let raft = &self.node.raft;
        let asking = matches!(raft.state, StateRole::PreCandidate | StateRole::Candidate);
        self.ticks_asking = if asking { self.ticks_asking.saturating_add(1) } else { 0 };
        let voters = count(self.conf.voters.len()).max(1);
        let place = self.conf.voters.iter().filter(|voter| **voter < self.id).count();
        let turn = count(place).wrapping_add(raft.term) % voters;
        let patience = u64::from(self.election_ticks / 3).saturating_add(turn);
        if u64::from(self.ticks_asking) > patience && raft.promotable() {
            reached("raft: votes are asked for again");
            self.ticks_asking = 0;
            // Refused only where nobody may be elected now.
            drop(self.node.campaign());
        }
    }

    fn receive(&mut self, bytes: Vec<u8>) {
        match self.check_inbound(&bytes.into()) {
            Ok(message) => {
                self.heard.insert(message.from, self.ticks);
                // raft answers an error for what it does not want (a stranger's response, say);
                // there is nothing to do.
                drop(self.node.step(message));
            }
            Err(refusal) => {
                reached(refusal.mark());
                // Only the leader that is followed is believed so far.
                if let Refusal::LostEntries { leader, .. } = refusal
                    && self.leader() == Some(leader)
                {
                    let store = self.node.store();
                    store.damage().note(store.corrupt(refusal.to_string()));
                }
                let count = self.counters.messages_refused.add(1);
                // Each power of two, so that a misbehaving peer cannot flood the log.
                if count.is_power_of_two() {
                    tracing::warn!(id = self.id, count, %refusal, "refused a peer's message");
                }
            }
        }
    }

    fn propose(&mut self, command: Vec<u8>, reply: Reply<Applied, ProposeError>) {
        let (bytes, limit) = (command.len(), self.max_command_bytes);
        if bytes > limit {
            return reply.send(Err(ProposeError::TooLarge { bytes, limit }));
        }
        // A follower would forward it and then not know what became of it.
        let Some(term) = self.leading() else {
            reached("raft: a proposal to a follower");
            return reply.send(Err(ProposeError::NotLeader { leader: self.leader() }));
        };
        let id = self.proposals.next_id();
        match self.node.propose(id.encode(), command) {
            // Appended, not committed: the waiter is answered when the entry is applied, or
            // leadership is lost.
            Ok(()) => self.proposals.insert(id, term, reply),
            Err(_) => reply.send(Err(self.dropped())),
        }
    }

    fn snapshot_sent(&mut self, peer: u64, arrived: bool) {
        if self.snapshots_out.remove(&peer).is_some() {
            reached(if arrived { "raft: a snapshot arrived" } else { "raft: a snapshot was lost" });
            let status = if arrived { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
            self.node.report_snapshot(peer, status);
        }
    }

    fn transfer(&mut self, to: Option<u64>) {
        if self.leading().is_some()
            && let Some(to) = to.or_else(|| self.successor())
        {
            reached("raft: a handover");
            self.node.transfer_leader(to);
        }
    }

    /// The voter that could take over soonest: heard from lately, and with the longest log.
    pub(crate) fn successor(&self) -> Option<u64> {
        let candidates = self
            .node
            .raft
            .prs()
            .iter()
            .filter(|(id, _)| self.is_heard(**id) && self.conf.voters.contains(id));
        candidates.max_by_key(|(id, progress)| (progress.matched, **id)).map(|(id, _)| *id)
    }

    /// Whether a peer was heard within an election timeout. `raft` forgets that with each round of
    /// its own count, and for some ticks after it everybody looks gone.
    pub(super) fn is_heard(&self, peer: u64) -> bool {
        let since = self.heard.get(&peer).map(|at| self.ticks.saturating_sub(*at));
        since.is_some_and(|ticks| ticks <= u64::from(self.election_ticks))
    }

    /// The term that this member leads, if it does.
    pub(crate) fn leading(&self) -> Option<u64> {
        (self.node.raft.state == StateRole::Leader).then_some(self.node.raft.term)
    }

    pub(super) fn leader(&self) -> Option<u64> {
        Some(self.node.raft.leader_id).filter(|id| *id != 0)
    }

    /// Whether nothing that was proposed here waits for its decision.
    pub(crate) fn all_decided(&self) -> bool {
        self.proposals.is_empty()
    }

    pub(super) fn leader_ready(&self) -> bool {
        self.leading() == Some(self.applied.1)
    }

    /// What would say why the disk cannot be read, even after a panic over it.
    pub(crate) fn damage(&self) -> Damage {
        self.node.store().damage().clone()
    }

    /// Answers those whose outcome is known now.
    pub(super) fn settle(&mut self) {
        let leading = self.leading();
        self.proposals.retain_term(leading);
        if leading.is_none() {
            reached("raft: not leading");
            self.reads.fail(&ReadError::NotLeader { leader: self.leader() });
        }
        self.reads.settle(self.applied.0);
    }

    /// Begins a round of linearizable reads if one is due and can succeed.
    pub(super) fn ask_reads(&mut self) -> bool {
        if !self.leader_ready() {
            return false;
        }
        let context = self.reads.next_round();
        let due = context.is_some();
        if let Some(context) = context {
            reached("raft: a round of reads");
            self.node.read_index(context);
        }
        due
    }

    /// A commit index that no write has carried to disk for a while is written by itself, so that a
    /// restart of a quiet cluster replays everything at once.
    pub(super) fn commit_due(&self) -> bool {
        self.ticks_commit_behind >= self.election_ticks
    }

    /// Ends this life in good order: waiters are answered, and the commit index is written.
    pub fn close(mut self) {
        self.proposals.abandon();
        self.reads.abandon();
        for (_, reply) in std::mem::take(&mut self.snapshots_asked) {
            reply.send(Err(ProposeError::Stopped));
        }
        if !self.failed
            && let Err(problem) = self.node.mut_store().flush_commit()
        {
            tracing::warn!(id = self.id, %problem, "the commit index was not written; it will be learnt again");
        }
    }
}

/// The network before there is one: a member that replays has nobody to talk to.
struct Nowhere;

impl Transport for Nowhere {
    fn send(&mut self, _to: u64, _message: Vec<u8>) {}
}
