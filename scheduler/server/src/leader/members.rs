//! Brings raft's configuration to what the state says of members, one safe step at a time: a new
//! member follows first, votes once it has caught up, and one that leaves goes last. Everything
//! is read anew for each step, so a new leader goes on wherever the old one stopped.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::{MissedTickBehavior, interval};
use trainyard_core::{Command, state::Member};
use trainyard_raft::{MemberChange, Status};

use crate::{error::Failure, replica::Replica};

/// How often the two are compared. Steps wait for the one before, which takes about as long.
const LOOK: Duration = Duration::from_millis(200);

/// Entries that a learner may lack when it is made a voter.
const CAUGHT_UP: u64 = 100;

/// Voters that gain anything.
const MOST: usize = 5;

/// The next thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// Nothing, or not yet.
    Wait,
    /// One change of raft's configuration.
    Change(Vec<MemberChange>),
    /// This member has to go, and somebody else has to lead that: this one.
    HandOver(u64),
    /// Raft has no such member any more.
    Forget(u64),
}

pub(super) async fn run(replica: Replica) {
    let mut tick = interval(LOOK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        if let Err(failure) = step(&replica).await {
            tracing::debug!(%failure, "members not changed yet");
        }
    }
}

async fn step(replica: &Replica) -> Result<(), Failure> {
    let status = replica.status().borrow().clone();
    let (members, level) = replica.look(|s| (s.members().clone(), s.feature_level()));
    if members.is_empty() {
        let record = Command::SetMembers { members: replica.book.configured() };
        // An older version that may yet lead would not know the command.
        return if level < record.level() {
            Ok(())
        } else {
            replica.propose(record).await.map(drop)
        };
    }
    match next_step(&members, &status) {
        Step::Wait => Ok(()),
        Step::Change(changes) => {
            tracing::info!(?changes, "changing members");
            if let Err(error) = replica.raft.change_members(changes).await {
                tracing::warn!(%error, "members not changed; trying again");
            }
            Ok(())
        }
        Step::HandOver(to) => {
            tracing::info!(to, "this member is to leave: handing the leadership over");
            replica.raft.transfer_leadership(Some(to));
            Ok(())
        }
        Step::Forget(id) => replica.propose(Command::ForgetMember { id }).await.map(drop),
    }
}

/// What raft and the state together call for.
fn next_step(members: &BTreeMap<u64, Member>, status: &Status) -> Step {
    if status.joint || !status.leader_ready {
        return Step::Wait;
    }
    let in_raft = |id: &u64| status.voters.contains(id) || status.learners.contains(id);
    let replaced =
        |id: u64| members.iter().find(|(_, m)| m.replaces == Some(id)).map(|(new, _)| *new);
    for (id, member) in members {
        let has_successor = replaced(*id).is_some_and(|new| in_raft(&new));
        if !in_raft(id) && (member.leaving || has_successor) {
            return Step::Forget(*id);
        }
        if !in_raft(id) {
            return Step::Change(vec![MemberChange::AddLearner(*id)]);
        }
    }
    let ready = |id: &u64| {
        let caught_up = |p: &trainyard_raft::PeerProgress| {
            p.active && p.matched.saturating_add(CAUGHT_UP) >= status.commit
        };
        let stays = members.get(id).is_some_and(|m| !m.leaving);
        stays && status.learners.contains(id) && status.peers.get(id).is_some_and(caught_up)
    };
    let mut removed: Vec<u64> =
        members.iter().filter(|(id, m)| m.leaving && in_raft(id)).map(|(id, _)| *id).collect();
    let mut promoted = Vec::new();
    for (new, old) in members.iter().filter_map(|(id, m)| Some((*id, m.replaces?))) {
        // A learner takes a learner's place by the latter's going.
        let old_votes = status.voters.contains(&old);
        if ready(&new) && in_raft(&old) {
            promoted.extend(old_votes.then_some(new));
            removed.push(old);
        }
    }
    removed.sort_unstable();
    removed.dedup();
    if removed.contains(&status.id) {
        let staying = |id: &&u64| {
            let active = status.peers.get(id).is_some_and(|p| p.active);
            **id != status.id && active && !removed.contains(id)
        };
        let matched = |id: &&u64| status.peers.get(id).map_or(0, |p| p.matched);
        let next = status.voters.iter().filter(staying).max_by_key(matched);
        return next.map_or(Step::Wait, |to| Step::HandOver(*to));
    }
    let newcomers: Vec<u64> = status
        .learners
        .iter()
        .filter(|id| ready(id) && members.get(id).is_some_and(|m| m.replaces.is_none()))
        .copied()
        .collect();
    let leaving_voters = removed.iter().filter(|id| status.voters.contains(id)).count();
    let kept = status.voters.len() + promoted.len() - leaving_voters.min(status.voters.len());
    let growth = odd_growth(kept, newcomers.len());
    promoted.extend(newcomers.into_iter().take(growth));
    let promote = promoted.into_iter().map(MemberChange::Promote);
    let changes: Vec<_> = promote.chain(removed.into_iter().map(MemberChange::Remove)).collect();
    if changes.is_empty() { Step::Wait } else { Step::Change(changes) }
}

/// How many of `ready` newcomers may vote beside `kept` voters: as many as keep the number odd,
/// since an even number survives no more losses than the odd one below it.
fn odd_growth(kept: usize, ready: usize) -> usize {
    let room = MOST.saturating_sub(kept).min(ready);
    (0..=room).rev().find(|more| (kept + more) % 2 == 1).unwrap_or(0)
}

#[cfg(test)]
mod tests;
