//! A disk that lies to a running member ends it before it says another word, and a directory can
//! be read and made without one.

use std::{fs, path::Path};

use protobuf::Message as _;
use raft::eraftpb::{Message, MessageType};

use super::{
    machine::{Outbox, Recorder},
    sim::{CLUSTER, Sim, peers, scratch},
};
use crate::{
    ClusterId, Config, Driver, Fatal, Input, OpenError, ProposeError, Reply, StateAt, StorageError,
    make_directory, read_directory, storage::Damage,
};

fn member(dir: &Path, commands: u64) -> Driver {
    let mut config = Config::new(1, CLUSTER, dir, peers([1]));
    config.snapshot_every = 20;
    config.keep_entries = 3;
    config.entry_cache_bytes = 1;
    let mut driver = Driver::open(&config, Box::new(Recorder::default())).unwrap();
    for n in 0..commands {
        let reply = Reply::new(|result: Result<_, ProposeError>| drop(result.unwrap()));
        driver.step(Input::Propose(n.to_le_bytes().to_vec(), reply));
        driver.flush(&mut Outbox::default()).unwrap();
    }
    driver
}

#[test]
fn the_first_damage_counts_and_is_told_once() {
    let damage = Damage::default();
    let problem =
        |detail: &str| StorageError::LogCorrupt { path: "log".into(), detail: detail.to_owned() };
    damage.note(problem("first"));
    damage.note(problem("second"));
    assert!(damage.take().unwrap().to_string().contains("first"));
    assert!(damage.take().is_none());
}

#[test]
fn a_leader_that_cannot_read_what_a_follower_lacks_stops_before_it_sends_anything() {
    let mut sim = Sim::new(7, 3);
    let leader = sim.elect();
    sim.nodes.get_mut(&leader).unwrap().config.entry_cache_bytes = 1;
    sim.crash(leader);
    sim.restart(leader);
    let leader = sim.elect();
    let away = sim.ids().into_iter().find(|id| *id != leader).unwrap();
    sim.crash(away);
    for _ in 0..5 {
        sim.propose(leader);
    }
    for _ in 0..30 {
        sim.step();
    }
    let driver = sim.nodes.get_mut(&leader).unwrap().driver.as_mut().unwrap();
    driver.spoil_entry(driver.status().last_index);
    sim.restart(away);
    let mut found = None;
    for _ in 0..400 {
        sim.step();
        let node = sim.nodes.get_mut(&leader).unwrap();
        if let Some(driver) = node.driver.as_mut() {
            driver.step(Input::Tick);
            let mut out = Outbox::default();
            if let Err(fatal) = driver.flush(&mut out) {
                found = Some(fatal);
                break;
            }
        } else {
            // The simulation flushed it, met the error, and called that a crash.
            found = Some(Fatal::Stopped);
            break;
        }
    }
    assert!(found.is_some(), "it read the spoilt entry and went on");
}

#[test]
fn a_follower_whose_log_lost_what_it_had_acknowledged_stops() {
    let dir = scratch();
    let config = Config::new(1, CLUSTER, dir.path(), peers([1, 2, 3]));
    let mut driver = Driver::open(&config, Box::new(Recorder::default())).unwrap();
    let mut send = |commit: u64| {
        let mut message = Message { to: 1, from: 2, term: 9, commit, ..Message::default() };
        message.set_msg_type(MessageType::MsgHeartbeat);
        driver.step(Input::Message(message.write_to_bytes().unwrap()));
        driver.flush(&mut Outbox::default())
    };
    send(1).unwrap();
    let fatal = send(50).unwrap_err();
    assert!(fatal.is_damage());
    let text = fatal.to_string();
    assert!(text.contains("acknowledged entries were lost"), "{text}");
    assert!(text.contains("yard cluster replace"), "{text}");
}

#[test]
fn a_directory_is_read_to_its_last_entry_and_another_made_of_it() {
    let dir = scratch();
    member(dir.path(), 50).close();
    let found = read_directory(dir.path()).unwrap();
    assert_eq!((found.member, found.snapshot.cluster), (1, ClusterId(CLUSTER)));
    let last = found.commands.last().unwrap();
    assert_eq!(last.2, 49u64.to_le_bytes());
    assert!(found.snapshot.index > 1 && found.snapshot.index < last.0);

    let new = scratch();
    let state = StateAt {
        index: 1 << 40,
        term: found.term + 1,
        voters: [1001].into(),
        ..found.snapshot.clone()
    };
    make_directory(new.path(), 1001, &state).unwrap();
    let again = make_directory(new.path(), 1001, &state).unwrap_err();
    assert!(matches!(again, OpenError::NotEmpty { .. }), "{again}");
    let config = Config::new(1001, CLUSTER, new.path(), peers([1001]));
    let mut driver = Driver::open(&config, Box::new(Recorder::default())).unwrap();
    let status = driver.status();
    assert!(status.leader_ready && status.applied == (1 << 40) + 1, "{status:?}");
    let reply = Reply::new(|result: Result<crate::Applied, ProposeError>| {
        // What it was given, and one more.
        let count = u64::from_le_bytes(result.unwrap().response.try_into().unwrap());
        assert!(count > 1);
    });
    driver.step(Input::Propose(7u64.to_le_bytes().to_vec(), reply));
    driver.flush(&mut Outbox::default()).unwrap();
    driver.close();
    // Also the next start begins there.
    assert!(Driver::open(&config, Box::new(Recorder::default())).is_ok());
}

#[test]
fn a_directory_without_a_log_is_not_read() {
    let dir = scratch();
    assert!(matches!(read_directory(dir.path()), Err(OpenError::LogMissing { .. })));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing was made");
}

#[test]
fn a_snapshot_is_taken_when_it_is_asked_for() {
    let dir = scratch();
    let mut driver = member(dir.path(), 5);
    let applied = driver.status().applied;
    let (sender, receiver) = std::sync::mpsc::channel();
    for _ in 0..2 {
        let sender = sender.clone();
        driver.step(Input::Snapshot(Reply::new(move |taken| sender.send(taken).unwrap())));
        driver.flush(&mut Outbox::default()).unwrap();
    }
    let taken: Vec<_> = receiver.try_iter().map(Result::unwrap).collect();
    assert_eq!((taken[0].index, &taken[0]), (applied, &taken[1]), "the second is the first");
    let state = StateAt::decode(&fs::read(&taken[0].path).unwrap()).unwrap();
    assert_eq!((state.index, state.data.len()), (applied, 5 * 16));
}

impl Driver {
    /// Changes a stored entry behind the member's back.
    fn spoil_entry(&self, index: u64) {
        self.node.store().spoil(index);
    }
}
