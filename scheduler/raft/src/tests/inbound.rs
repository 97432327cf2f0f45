//! Messages that a member must refuse, and must never panic at.

use proptest::prelude::*;
use protobuf::Message as _;
use raft::eraftpb::{Entry, Message, MessageType};

use super::{
    machine::{Outbox, Recorder},
    sim::{CLUSTER, Sim, peers, scratch},
};
use crate::{Config, Driver, Input};

fn member() -> (tempfile::TempDir, Driver) {
    let dir = scratch();
    let config = Config::new(1, CLUSTER, dir.path(), peers([1, 2, 3]));
    let driver = Driver::open(&config, Box::new(Recorder::default())).unwrap();
    (dir, driver)
}

fn message(kind: MessageType) -> Message {
    let mut message = Message::default();
    message.set_msg_type(kind);
    (message.to, message.from, message.term) = (1, 2, 9);
    message
}

fn refused(driver: &mut Driver, message: &Message) -> bool {
    let before = driver.counters().messages_refused;
    driver.step(Input::Message(message.write_to_bytes().unwrap()));
    driver.flush(&mut Outbox::default()).unwrap();
    driver.counters().messages_refused == before + 1
}

#[test]
fn what_no_member_sends() {
    let (_dir, mut driver) = member();
    for kind in [
        MessageType::MsgHup,
        MessageType::MsgBeat,
        MessageType::MsgPropose,
        MessageType::MsgReadIndex,
        MessageType::MsgReadIndexResp,
        MessageType::MsgTransferLeader,
        MessageType::MsgUnreachable,
        MessageType::MsgSnapStatus,
        MessageType::MsgCheckQuorum,
    ] {
        assert!(refused(&mut driver, &message(kind)), "{kind:?}");
    }
    assert!(!refused(&mut driver, &message(MessageType::MsgHeartbeat)));
}

#[test]
fn what_is_misaddressed_or_from_a_stranger() {
    let (_dir, mut driver) = member();
    assert!(!refused(&mut driver, &message(MessageType::MsgHeartbeat)));
    let spoil = |change: fn(&mut Message)| {
        let mut message = message(MessageType::MsgHeartbeat);
        change(&mut message);
        message
    };
    assert!(refused(&mut driver, &spoil(|m| m.to = 2)));
    assert!(refused(&mut driver, &spoil(|m| m.from = 0)));
    assert!(refused(&mut driver, &spoil(|m| m.from = 1)));
    assert!(refused(&mut driver, &spoil(|m| m.term = 0)));
    assert!(refused(&mut driver, &spoil(|m| (m.from, m.term) = (77, 50))));
    assert_eq!(driver.status().term, 9);
}

#[test]
fn what_would_break_the_log() {
    let (_dir, mut driver) = member();
    let mut beyond = message(MessageType::MsgHeartbeat);
    beyond.commit = 1_000;
    assert!(refused(&mut driver, &beyond));
    let mut gap = message(MessageType::MsgAppend);
    (gap.index, gap.log_term) = (1, 1);
    let mut entry = Entry::default();
    (entry.index, entry.term) = (5, 9);
    gap.set_entries(vec![entry].into());
    assert!(refused(&mut driver, &gap));
    let mut empty = message(MessageType::MsgSnapshot);
    assert!(refused(&mut driver, &empty));
    empty.mut_snapshot().mut_metadata().index = 40;
    assert!(refused(&mut driver, &empty));
}

#[test]
fn rubbish_is_counted() {
    let (_dir, mut driver) = member();
    for bytes in [vec![], vec![0xff; 40], b"GET / HTTP/1.1".to_vec()] {
        driver.step(Input::Message(bytes));
    }
    assert_eq!(driver.counters().messages_refused, 3);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Any fields of any kind of message, at a follower and at a leader. What contradicts a
    /// committed entry must end the process, so only one message is tried on each.
    #[test]
    fn no_message_panics(message in any_message()) {
        let (_dir, mut follower) = member();
        follower.step(Input::Message(addressed(&message, 1)));
        follower.flush(&mut Outbox::default()).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(50))]

    #[test]
    fn no_message_panics_a_leader(message in any_message()) {
        let mut sim = Sim::new(1, 3);
        let leader = sim.elect();
        sim.input(leader, Input::Message(addressed(&message, leader)));
        for _ in 0..5 {
            sim.step();
        }
    }
}

fn addressed(message: &Message, to: u64) -> Vec<u8> {
    let mut message = message.clone();
    (message.to, message.from) = (to, 1 + to % 3);
    message.write_to_bytes().unwrap()
}

fn any_message() -> impl Strategy<Value = Message> {
    let small = 0u64..6;
    let entries = prop::collection::vec((small.clone(), small.clone()), 0..4);
    (0i32..19, small.clone(), small.clone(), small.clone(), small, entries, any::<bool>()).prop_map(
        |(kind, term, log_term, index, commit, entries, reject)| {
            let mut message = Message::default();
            message.set_msg_type(protobuf::ProtobufEnum::from_i32(kind).unwrap_or_default());
            (message.term, message.log_term, message.index, message.commit) =
                (term, log_term, index, commit);
            message.reject = reject;
            let entries = entries.into_iter().map(|(index, term)| {
                let mut entry = Entry::default();
                (entry.index, entry.term) = (index, term);
                entry
            });
            message.set_entries(entries.collect());
            message
        },
    )
}

#[test]
fn a_learner_follows_a_later_leader_that_it_was_never_told_of() {
    let dir = scratch();
    let mut config = Config::new(9, CLUSTER, dir.path(), peers([1, 2, 3]));
    config.join = true;
    let mut driver = Driver::open(&config, Box::new(Recorder::default())).unwrap();
    let heartbeat = |from, term| {
        let mut beat = message(MessageType::MsgHeartbeat);
        (beat.to, beat.from, beat.term) = (9, from, term);
        beat
    };
    // Member 7 took the place of one of the first three, and has won the next election.
    for (leader, term) in [(3, 4), (7, 5)] {
        assert!(!refused(&mut driver, &heartbeat(leader, term)), "{leader}");
        assert_eq!(driver.status().leader, Some(leader));
    }
    assert!(refused(&mut driver, &heartbeat(8, 5)), "one leader a term");
    let mut vote = message(MessageType::MsgRequestVote);
    (vote.to, vote.from, vote.term) = (9, 8, 6);
    assert!(refused(&mut driver, &vote), "whoever was removed may ask in vain");
}
