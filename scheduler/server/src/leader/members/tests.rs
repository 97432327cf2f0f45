//! The steps, one after the other, as raft's configuration would follow them.

use std::collections::BTreeSet;

use trainyard_jobs::Timestamp;
use trainyard_raft::{PeerProgress, PeerState};

use super::*;

fn member(replaces: Option<u64>, leaving: bool) -> Member {
    Member { address: String::new(), added: Timestamp(0), replaces, leaving }
}

fn members(ids: impl IntoIterator<Item = u64>) -> BTreeMap<u64, Member> {
    ids.into_iter().map(|id| (id, member(None, false))).collect()
}

/// As seen by the leading member `id`, with everybody heard from and caught up.
fn status(id: u64, voters: &[u64], learners: &[u64]) -> Status {
    let progress = PeerProgress { matched: 500, state: PeerState::Replicate, active: true };
    let others = voters.iter().chain(learners).filter(|peer| **peer != id);
    Status {
        id,
        commit: 500,
        leader_ready: true,
        voters: voters.iter().copied().collect(),
        learners: learners.iter().copied().collect(),
        peers: others.map(|peer| (*peer, progress.clone())).collect(),
        ..Status::default()
    }
}

/// Carries steps out until there is nothing more to do, and gives the numbers of voters on the
/// way.
fn settle(members: &mut BTreeMap<u64, Member>, status: &mut Status) -> Vec<usize> {
    let mut counts = vec![status.voters.len()];
    for _ in 0..50 {
        let lead = status.id;
        match next_step(members, status) {
            Step::Wait => return counts,
            Step::Forget(id) => {
                members.remove(&id);
                for m in members.values_mut().filter(|m| m.replaces == Some(id)) {
                    m.replaces = None;
                }
            }
            Step::HandOver(to) => {
                let (v, l): (Vec<_>, Vec<_>) = (
                    status.voters.iter().copied().collect(),
                    status.learners.iter().copied().collect(),
                );
                *status = super::tests::status(to, &v, &l);
            }
            Step::Change(changes) => {
                let (mut v, mut l) = (status.voters.clone(), status.learners.clone());
                for change in changes {
                    match change {
                        MemberChange::AddLearner(id) => drop(l.insert(id)),
                        MemberChange::Promote(id) => {
                            assert!(l.remove(&id));
                            v.insert(id);
                        }
                        MemberChange::Remove(id) => {
                            assert_ne!(id, lead, "a leader does not remove itself");
                            assert!(v.remove(&id) || l.remove(&id));
                        }
                    }
                }
                let list = |ids: BTreeSet<u64>| ids.into_iter().collect::<Vec<_>>();
                *status = super::tests::status(lead, &list(v), &list(l));
                counts.push(status.voters.len());
            }
        }
    }
    panic!("no end: {members:?} {status:?}");
}

fn voters(status: &Status) -> Vec<u64> {
    status.voters.iter().copied().collect()
}

#[test]
fn a_cluster_grows_by_two_at_once() {
    let (mut all, mut raft) = (members([1, 2]), status(1, &[1], &[]));
    assert_eq!(settle(&mut all, &mut raft), [1, 1]);
    assert_eq!(raft.learners, BTreeSet::from([2]), "two voters survive no more than one");
    all.insert(3, member(None, false));
    assert_eq!(settle(&mut all, &mut raft), [1, 1, 3]);
    all.extend(members([4, 5]));
    settle(&mut all, &mut raft);
    assert_eq!(voters(&raft), [1, 2, 3, 4, 5]);
}

#[test]
fn a_learner_that_lags_or_is_away_does_not_vote() {
    let all = members([1, 2, 3]);
    type Spoil = fn(&mut PeerProgress);
    let spoils: [Spoil; 2] = [|p| p.active = false, |p| p.matched = 100];
    for spoil in spoils {
        let mut raft = status(1, &[1], &[2, 3]);
        raft.peers.get_mut(&3).map(spoil).unwrap();
        assert_eq!(next_step(&all, &raft), Step::Wait);
    }
    let mut raft = status(1, &[1], &[2, 3]);
    raft.joint = true;
    assert_eq!(next_step(&all, &raft), Step::Wait, "one change at a time");
}

#[test]
fn a_replacement_takes_the_place_in_one_step_and_the_leader_hands_over_first() {
    for old in 1..=3 {
        let (mut all, mut raft) = (members([1, 2, 3]), status(1, &[1, 2, 3], &[]));
        all.insert(4, member(Some(old), false));
        let counts = settle(&mut all, &mut raft);
        assert!(counts.iter().all(|n| *n == 3), "never even: {counts:?}");
        let expected: Vec<u64> = (1..=4).filter(|id| *id != old).collect();
        assert_eq!(voters(&raft), expected);
        assert_eq!(all.keys().copied().collect::<Vec<_>>(), expected);
        assert!(all.values().all(|m| m.replaces.is_none()));
    }
}

#[test]
fn a_learner_can_be_replaced_too() {
    let (mut all, mut raft) = (members([1, 2]), status(1, &[1], &[2]));
    all.insert(3, member(Some(2), false));
    settle(&mut all, &mut raft);
    assert_eq!((voters(&raft), raft.learners), (vec![1], BTreeSet::from([3])));
    assert_eq!(all.keys().copied().collect::<Vec<_>>(), [1, 3]);
}

#[test]
fn who_leaves_goes_and_the_leader_hands_over_first() {
    for leaving in 1..=3 {
        let (mut all, mut raft) = (members([1, 2, 3]), status(1, &[1, 2, 3], &[]));
        all.insert(leaving, member(None, true));
        settle(&mut all, &mut raft);
        assert_eq!(raft.voters.len(), 2);
        assert!(!all.contains_key(&leaving));
        // The next one that is added makes it odd again.
        all.extend(members([9]));
        settle(&mut all, &mut raft);
        assert_eq!(raft.voters.len(), 3);
    }
    let (mut all, raft) = (members([1]), status(1, &[1], &[]));
    all.insert(1, member(None, true));
    assert_eq!(next_step(&all, &raft), Step::Wait, "nobody to hand over to");
}

#[test]
fn one_that_waits_takes_the_place_of_one_that_leaves() {
    let (mut all, mut raft) = (members([1, 2, 3, 4]), status(1, &[1, 2, 3], &[4]));
    assert_eq!(next_step(&all, &raft), Step::Wait);
    all.insert(3, member(None, true));
    assert_eq!(settle(&mut all, &mut raft), [3, 3]);
    assert_eq!(voters(&raft), [1, 2, 4]);
}
