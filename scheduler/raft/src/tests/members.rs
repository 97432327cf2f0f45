//! Members that join, are promoted, and leave.

use std::sync::{Arc, Mutex};

use protobuf::Message as _;
use raft::eraftpb::{Message, MessageType};

use super::{
    machine::Outbox,
    sim::{Sim, peers},
};
use crate::{Applied, ChangeError, Input, MemberChange, Reply, Role};

type Answer = Arc<Mutex<Option<Result<Applied, ChangeError>>>>;

fn ask(sim: &mut Sim, leader: u64, changes: &[MemberChange]) -> Answer {
    let answer = Answer::default();
    let slot = Arc::clone(&answer);
    let reply = Reply::new(move |result| *slot.lock().unwrap() = Some(result));
    sim.input(leader, Input::ChangeMembers(changes.to_vec(), reply));
    answer
}

fn change(sim: &mut Sim, changes: &[MemberChange]) -> Result<Applied, ChangeError> {
    let leader = sim.elect();
    let answer = ask(sim, leader, changes);
    sim.run_until(100, "the change", |_| answer.lock().unwrap().is_some());
    let result = answer.lock().unwrap().take();
    result.unwrap()
}

fn join(sim: &mut Sim, id: u64) {
    sim.add(id, |config| {
        config.join = true;
        config.peers = peers([]);
    });
}

#[test]
fn a_member_joins_as_a_learner_by_snapshot_and_is_promoted() {
    let mut sim = Sim::new(1, 3);
    let leader = sim.elect();
    for _ in 0..10 {
        sim.propose(leader);
    }
    join(&mut sim, 4);
    change(&mut sim, &[MemberChange::AddLearner(4)]).unwrap();
    sim.settle();
    // Nothing was compacted yet, and still it began with a snapshot: the members come no other way.
    assert_eq!(sim.nodes[&4].counters.read().snapshots_received, 1);
    assert!(sim.status(4).learners.contains(&4));
    change(&mut sim, &[MemberChange::Promote(4)]).unwrap();
    sim.settle();
    assert_eq!(sim.status(4).voters.len(), 4);
    sim.crash(4);
    sim.settle();
    assert_eq!(sim.status(4).voters.len(), 4);
}

#[test]
fn a_member_is_replaced_in_one_step() {
    let mut sim = Sim::new(2, 3);
    let leader = sim.elect();
    let dead = sim.ids().into_iter().find(|id| *id != leader).unwrap();
    join(&mut sim, 4);
    change(&mut sim, &[MemberChange::AddLearner(4)]).unwrap();
    sim.run_until(200, "the learner to catch up", |sim| {
        sim.status(4).applied == sim.status(leader).applied
    });
    change(&mut sim, &[MemberChange::Promote(4), MemberChange::Remove(dead)]).unwrap();
    sim.run_until(200, "the joint configuration to be left", |sim| {
        let voters = sim.status(leader).voters;
        voters.contains(&4) && !voters.contains(&dead)
    });
    sim.crash(dead);
    sim.nodes.remove(&dead);
    for _ in 0..5 {
        sim.propose(leader);
    }
    sim.settle();
    for id in sim.ids() {
        sim.crash(id);
    }
    sim.settle();
    assert!(!sim.status(4).voters.contains(&dead));
}

#[test]
fn a_cluster_shrinks_to_one_and_starts_again_alone() {
    let mut sim = Sim::new(3, 2);
    let leader = sim.elect();
    let other = 3 - leader;
    sim.propose(leader);
    change(&mut sim, &[MemberChange::Remove(other)]).unwrap();
    sim.nodes.remove(&other);
    // The change must be known to be committed at the start, or it would wait for the other's vote
    // for ever.
    sim.crash(leader);
    sim.restart(leader);
    assert!(sim.status(leader).leader_ready);
    assert_eq!(sim.nodes[&leader].history.lock().unwrap().len(), 1);
}

#[test]
fn a_sole_voter_tells_its_learners_nothing_of_a_term_that_is_not_on_disk() {
    let mut sim = Sim::new(6, 1);
    join(&mut sim, 4);
    change(&mut sim, &[MemberChange::AddLearner(4)]).unwrap();
    sim.settle();
    let node = sim.nodes.get_mut(&1).unwrap();
    let driver = node.driver.as_mut().unwrap();
    // Somebody of a later term makes it a follower; then it elects itself within one flush.
    let mut message = Message { to: 1, from: 4, term: 50, ..Message::default() };
    message.set_msg_type(MessageType::MsgHeartbeat);
    driver.step(Input::Message(message.write_to_bytes().unwrap()));
    let mut out = Outbox::default();
    driver.flush(&mut out).unwrap();
    assert_eq!((driver.status().term, driver.status().role), (50, Role::Follower));
    node.disk.burn(0);
    let mut out = Outbox::default();
    while driver.flush(&mut out).is_ok() {
        driver.step(Input::Tick);
    }
    assert_eq!(driver.status().role, Role::Leader);
    assert!(out.0.is_empty(), "its term may be led again, with other entries, after a crash");
}

#[test]
fn a_leader_that_finds_itself_removed_hands_over() {
    let mut led = 0;
    for seed in 20..30 {
        let mut sim = Sim::new(seed, 3);
        let first = sim.elect();
        sim.settle();
        let removed = if first == 1 { 2 } else { 1 };
        let third = 6 - first - removed;
        // The others have the change, and the one that made it never hears so.
        for from in [removed, third] {
            sim.network.cut(from, first);
        }
        ask(&mut sim, first, &[MemberChange::Remove(removed)]);
        for _ in 0..5 {
            sim.step();
        }
        sim.crash(first);
        sim.heal();
        let leads = |sim: &Sim, id| sim.status(id).role == Role::Leader;
        sim.run_until(500, "an election", |sim| leads(sim, removed) || leads(sim, third));
        led += u64::from(leads(&sim, removed));
        sim.restart(first);
        sim.run_until(500, "a leader that is a member", |sim| {
            sim.leader().is_some_and(|id| id != removed && sim.status(id).voters.len() == 2)
        });
        sim.nodes.remove(&removed);
        let leader = sim.elect();
        sim.propose(leader);
        sim.settle();
    }
    assert!(led > 0, "nowhere did the removed one lead");
}

#[test]
fn changes_that_make_no_sense_are_refused_with_the_reason() {
    let mut sim = Sim::new(4, 3);
    let leader = sim.elect();
    let follower = if leader == 1 { 2 } else { 1 };
    let mut refused = |changes: &[MemberChange]| change(&mut sim, changes).unwrap_err().to_string();
    assert!(refused(&[]).contains("no change"));
    assert!(refused(&[MemberChange::AddLearner(follower)]).contains("already"));
    assert!(refused(&[MemberChange::Promote(9)]).contains("no learner"));
    assert!(refused(&[MemberChange::Remove(9)]).contains("does not belong"));
    assert!(refused(&[MemberChange::Remove(leader)]).contains("transfer the leadership"));
    assert!(matches!(
        *ask(&mut sim, follower, &[MemberChange::Remove(leader)]).lock().unwrap(),
        Some(Err(ChangeError::Propose(_)))
    ));
}

#[test]
fn a_second_change_waits_for_the_first() {
    let mut sim = Sim::new(5, 3);
    let leader = sim.elect();
    let first = ask(&mut sim, leader, &[MemberChange::AddLearner(4)]);
    let second = ask(&mut sim, leader, &[MemberChange::AddLearner(5)]);
    assert_eq!(second.lock().unwrap().take(), Some(Err(ChangeError::Pending)));
    sim.run_until(100, "the first change", |_| first.lock().unwrap().is_some());
    let behind = change(&mut sim, &[MemberChange::AddLearner(5)]);
    assert!(behind.is_ok(), "{behind:?}");
}
