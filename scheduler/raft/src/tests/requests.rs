//! What callers are told when leadership moves, limits are met, or the disk fails.

use std::sync::{Arc, Mutex};

use super::{
    machine::{Outbox, Recorder},
    sim::{CLUSTER, Sim, peers, scratch},
};
use crate::{Config, Driver, Fatal, Input, ProposeError, ReadError, Reply, Role};

#[test]
fn a_follower_names_the_leader() {
    let mut sim = Sim::new(1, 3);
    let leader = sim.elect();
    sim.run_until(50, "followers to know the leader", |sim| {
        sim.ids().iter().all(|id| sim.status(*id).leader == Some(leader))
    });
    let follower = if leader == 1 { 2 } else { 1 };
    let command = sim.propose(follower);
    sim.read(follower);
    let outcomes = sim.outcomes.lock().unwrap();
    assert_eq!(outcomes.refused[&command], ProposeError::NotLeader { leader: Some(leader) });
    assert_eq!(outcomes.read_errors, [ReadError::NotLeader { leader: Some(leader) }]);
}

#[test]
fn a_leader_cut_off_tells_unknown_and_its_entry_is_overridden() {
    let mut sim = Sim::new(2, 3);
    let old = sim.elect();
    sim.partition(&[old]);
    let command = sim.propose(old);
    sim.read(old);
    sim.run_until(300, "the old leader to step down", |sim| sim.status(old).role != Role::Leader);
    {
        let outcomes = sim.outcomes.lock().unwrap();
        assert!(outcomes.unknown.contains(&command), "{outcomes:?}");
        assert_eq!(outcomes.read_errors.len(), 1);
        assert_eq!(outcomes.reads, 0);
    }
    sim.run_until(300, "a new leader", |sim| sim.leader().is_some_and(|id| id != old));
    let new = sim.leader().unwrap();
    let other = sim.propose(new);
    sim.settle();
    let held: Vec<u64> = sim.nodes[&old].history.lock().unwrap().values().copied().collect();
    assert_eq!(held, [other]);
}

#[test]
fn reads_asked_before_the_leader_can_serve_are_answered_later() {
    let mut sim = Sim::new(5, 3);
    sim.run_until(500, "an election", |sim| {
        sim.ids().iter().any(|id| sim.status(*id).role == Role::Leader)
    });
    let leader = sim.ids().into_iter().find(|id| sim.status(*id).role == Role::Leader).unwrap();
    assert!(!sim.status(leader).leader_ready);
    for _ in 0..20 {
        sim.read(leader);
    }
    sim.run_until(50, "the reads", |sim| sim.outcomes.lock().unwrap().reads == 20);
}

#[test]
fn reads_survive_a_network_that_loses_their_rounds() {
    let mut sim = Sim::new(6, 3);
    let leader = sim.elect();
    sim.network.faults.loss = 40;
    for _ in 0..10 {
        sim.read(leader);
    }
    sim.run_until(300, "the reads", |sim| {
        let outcomes = sim.outcomes.lock().unwrap();
        outcomes.reads + outcomes.read_errors.len() as u64 == 10
    });
    sim.settle();
}

#[test]
fn a_leader_always_knows_who_could_take_over() {
    let mut sim = Sim::new(9, 3);
    let leader = sim.elect();
    sim.settle();
    for _ in 0..200 {
        sim.step();
        let driver = sim.nodes[&leader].driver.as_ref().unwrap();
        assert!(driver.successor().is_some(), "at any time");
        assert!(driver.status().peers.values().all(|peer| peer.active));
    }
    sim.partition(&[leader]);
    sim.run_until(300, "the others to be gone", |sim| {
        sim.nodes[&leader].driver.as_ref().unwrap().successor().is_none()
    });
}

#[test]
fn leadership_moves_when_asked() {
    let mut sim = Sim::new(8, 3);
    let leader = sim.elect();
    let target = sim.ids().into_iter().find(|id| *id != leader).unwrap();
    sim.input(leader, Input::Transfer(Some(target)));
    sim.run_until(20, "the transfer", |sim| sim.leader() == Some(target));
}

/// A sole voter on a directory of its own.
fn single(adjust: impl FnOnce(&mut Config)) -> (tempfile::TempDir, Driver) {
    let dir = scratch();
    let mut config = Config::new(1, CLUSTER, dir.path(), peers([1]));
    adjust(&mut config);
    let driver = Driver::open(&config, Box::new(Recorder::default())).unwrap();
    (dir, driver)
}

type Answers = Arc<Mutex<Vec<Result<crate::Applied, ProposeError>>>>;

fn propose(driver: &mut Driver, command: Vec<u8>, answers: &Answers) {
    let answers = Arc::clone(answers);
    driver.step(Input::Propose(
        command,
        Reply::new(move |result| answers.lock().unwrap().push(result)),
    ));
}

#[test]
fn a_sole_voter_leads_at_once_and_answers() {
    let (_dir, mut driver) = single(|_| {});
    assert!(driver.status().leader_ready);
    let answers = Answers::default();
    propose(&mut driver, 7u64.to_le_bytes().to_vec(), &answers);
    driver.flush(&mut Outbox::default()).unwrap();
    let answer = answers.lock().unwrap().pop().unwrap().unwrap();
    assert_eq!(answer.response, 1u64.to_le_bytes());
    assert_eq!(answer.index, driver.status().applied);
}

#[test]
fn many_commands_share_one_fsync() {
    let (_dir, mut driver) = single(|_| {});
    let answers = Answers::default();
    let before = driver.counters().log_commits;
    for n in 0..500u64 {
        propose(&mut driver, n.to_le_bytes().to_vec(), &answers);
    }
    driver.flush(&mut Outbox::default()).unwrap();
    assert_eq!(answers.lock().unwrap().len(), 500);
    assert_eq!(driver.counters().log_commits - before, 1);
}

#[test]
fn limits_are_answered_not_exceeded() {
    let (_dir, mut driver) = single(|config| {
        config.max_command_bytes = 100;
        config.max_message_bytes = 100;
        config.max_uncommitted_bytes = 1_000;
    });
    let answers = Answers::default();
    propose(&mut driver, vec![0; 101], &answers);
    assert_eq!(
        answers.lock().unwrap().pop(),
        Some(Err(ProposeError::TooLarge { bytes: 101, limit: 100 }))
    );
    for _ in 0..20 {
        propose(&mut driver, vec![0; 100], &answers);
    }
    assert!(answers.lock().unwrap().contains(&Err(ProposeError::Busy)));
}

#[test]
fn a_member_whose_disk_fails_neither_votes_nor_acknowledges() {
    let mut sim = Sim::new(9, 3);
    let leader = sim.elect();
    let follower = sim.ids().into_iter().find(|id| *id != leader).unwrap();
    sim.partition(&[follower]);
    let node = sim.nodes.get_mut(&follower).unwrap();
    node.disk.burn(0);
    let driver = node.driver.as_mut().unwrap();
    let mut out = Outbox::default();
    let term = driver.status().term;
    let fatal = loop {
        // Cut off, it asks for votes in time; a vote for itself must be on disk first.
        driver.step(Input::Message(vote_request(follower, leader, term + 5)));
        driver.step(Input::Tick);
        if let Err(fatal) = driver.flush(&mut out) {
            break fatal;
        }
    };
    assert!(matches!(fatal, Fatal::Storage(_)), "{fatal}");
    assert!(driver.flush(&mut out).is_err_and(|fatal| matches!(fatal, Fatal::Stopped)));
    let granted = out.0.iter().any(|(_, bytes, _)| {
        let message: raft::eraftpb::Message = protobuf::Message::parse_from_bytes(bytes).unwrap();
        message.get_msg_type() == raft::eraftpb::MessageType::MsgRequestVoteResponse
            && !message.reject
    });
    assert!(!granted);
}

fn vote_request(to: u64, from: u64, term: u64) -> Vec<u8> {
    let mut message = raft::eraftpb::Message::default();
    message.set_msg_type(raft::eraftpb::MessageType::MsgRequestVote);
    (message.to, message.from, message.term) = (to, from, term);
    (message.index, message.log_term) = (1_000, term);
    protobuf::Message::write_to_bytes(&message).unwrap()
}

#[test]
fn closing_tells_those_who_still_wait() {
    let mut sim = Sim::new(10, 3);
    let leader = sim.elect();
    sim.partition(&[leader]);
    let command = sim.propose(leader);
    sim.read(leader);
    sim.nodes.get_mut(&leader).unwrap().driver.take().unwrap().close();
    let outcomes = sim.outcomes.lock().unwrap();
    assert!(outcomes.unknown.contains(&command));
    assert_eq!(outcomes.read_errors, [ReadError::Stopped]);
}
