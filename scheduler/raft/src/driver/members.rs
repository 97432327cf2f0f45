//! Membership changes: add a learner, promote it when it has caught up, remove a member.
//!
//! `raft` turns a change that it does not like into an empty entry without a word, so all it checks
//! is checked here first and answered as an error.

use protobuf::Message as _;
use raft::eraftpb::{ConfChange, ConfChangeSingle, ConfChangeType, ConfChangeV2, Entry, EntryType};

use trainyard_probe::reached;

use super::{core::Driver, proposals::Applied, reply::Reply};
use crate::error::{ChangeError, Fatal, ProposeError};

/// Entries that a learner may lack when it is promoted; it catches these up within a heartbeat or
/// two.
const PROMOTION_SLACK: u64 = 1_000;

/// One step of a membership change. Ids are never used again, least of all after a member's
/// directory was wiped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberChange {
    /// Adds a member that receives everything and votes on nothing.
    AddLearner(u64),
    /// Makes a learner a voter.
    Promote(u64),
    /// Removes a voter or learner.
    Remove(u64),
}

impl Driver {
    pub(super) fn propose_change(
        &mut self,
        changes: &[MemberChange],
        reply: Reply<Applied, ChangeError>,
    ) {
        if let Err(error) = self.check_change(changes) {
            return reply.send(Err(error));
        }
        let mut change = ConfChangeV2::default();
        change.set_changes(changes.iter().map(|step| to_raft(*step)).collect());
        let id = self.proposals.next_id();
        match self.node.propose_conf_change(id.encode(), change) {
            Ok(()) => {
                reached("raft: a change of members is proposed");
                let term = self.node.raft.term;
                self.proposals.insert(id, term, reply.map_err(ChangeError::Propose));
            }
            Err(_) => reply.send(Err(self.dropped().into())),
        }
    }

    fn check_change(&self, changes: &[MemberChange]) -> Result<(), ChangeError> {
        if self.leading().is_none() {
            reached("raft: a change of members asked of a follower");
            return Err(ProposeError::NotLeader { leader: self.leader() }.into());
        }
        let refuse = |text: String| Err(ChangeError::Refused(text));
        let joint = !self.conf.voters_outgoing.is_empty();
        if joint || self.node.raft.has_pending_conf() {
            reached("raft: a change of members while one is under way");
            return Err(ChangeError::Pending);
        }
        if changes.is_empty() {
            return refuse("no change was asked for".to_owned());
        }
        // The leader itself cannot ask to be removed, so a voter is always left.
        for change in changes {
            match *change {
                MemberChange::AddLearner(0) => return refuse("member ids start at 1".to_owned()),
                MemberChange::AddLearner(id) if self.is_member(id) => {
                    return refuse(format!("member {id} belongs to the cluster already"));
                }
                MemberChange::AddLearner(_) => {}
                MemberChange::Promote(id) if !self.conf.learners.contains(&id) => {
                    return refuse(format!("member {id} is no learner; add it as one first"));
                }
                MemberChange::Promote(id) => self.check_caught_up(id)?,
                MemberChange::Remove(id) if !self.is_member(id) => {
                    return refuse(format!("member {id} does not belong to the cluster"));
                }
                MemberChange::Remove(id) if id == self.id => {
                    return refuse(
                        "this member leads; transfer the leadership before removing it".to_owned(),
                    );
                }
                MemberChange::Remove(_) => {}
            }
        }
        Ok(())
    }

    fn check_caught_up(&self, member: u64) -> Result<(), ChangeError> {
        let matched = self.node.raft.prs().get(member).map_or(0, |progress| progress.matched);
        let behind = self.node.raft.raft_log.committed.saturating_sub(matched);
        if behind > PROMOTION_SLACK {
            Err(ChangeError::NotCaughtUp { member, behind })
        } else {
            Ok(())
        }
    }

    /// Applies a committed change to `raft`'s own view.
    pub(super) fn apply_change(&mut self, entry: &Entry) -> Result<(), Fatal> {
        let fail = |detail: String| Fatal::Membership { index: entry.index, detail };
        let conf = if entry.get_entry_type() == EntryType::EntryConfChange {
            let change =
                ConfChange::parse_from_bytes(&entry.data).map_err(|e| fail(e.to_string()))?;
            self.node.apply_conf_change(&change)
        } else {
            let change =
                ConfChangeV2::parse_from_bytes(&entry.data).map_err(|e| fail(e.to_string()))?;
            self.node.apply_conf_change(&change)
        };
        self.conf = conf.map_err(|e| fail(e.to_string()))?;
        tracing::info!(
            id = self.id, index = entry.index, term = entry.term,
            voters = ?self.conf.voters, learners = ?self.conf.learners, "members changed"
        );
        if self.leading().is_some() && !self.is_member(self.id) {
            self.leave_to_another();
        }
        Ok(())
    }

    /// A leader was removed: one that was elected before the change in its log was committed.
    /// `raft` would go on leading, and panic at the next acknowledgement.
    fn leave_to_another(&mut self) {
        reached("raft: a leader that is removed");
        if let Some(to) = self.successor() {
            self.node.transfer_leader(to);
        }
        let term = self.node.raft.term;
        self.node.raft.become_follower(term, 0);
    }

    pub(super) fn is_member(&self, id: u64) -> bool {
        let conf = &self.conf;
        [&conf.voters, &conf.learners, &conf.voters_outgoing, &conf.learners_next]
            .iter()
            .any(|ids| ids.contains(&id))
    }
}

fn to_raft(change: MemberChange) -> ConfChangeSingle {
    let (kind, id) = match change {
        MemberChange::AddLearner(id) => (ConfChangeType::AddLearnerNode, id),
        MemberChange::Promote(id) => (ConfChangeType::AddNode, id),
        MemberChange::Remove(id) => (ConfChangeType::RemoveNode, id),
    };
    let mut single = ConfChangeSingle::default();
    single.set_change_type(kind);
    single.node_id = id;
    single
}
