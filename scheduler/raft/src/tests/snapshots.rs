//! Snapshots: taken, kept, sent to those who fell behind, damaged, and replayed from.

use std::fs;

use super::sim::Sim;

fn commit(sim: &mut Sim, commands: usize) {
    let leader = sim.elect();
    let before = sim.outcomes.lock().unwrap().acked.len();
    for _ in 0..commands {
        sim.propose(leader);
        sim.step();
    }
    sim.run_until(200, "the commits", |sim| {
        sim.outcomes.lock().unwrap().acked.len() == before + commands
    });
}

fn files(sim: &Sim, id: u64) -> Vec<String> {
    let items = fs::read_dir(sim.nodes[&id].dir.path()).unwrap();
    let mut names: Vec<String> =
        items.map(|item| item.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.starts_with("snapshot-"));
    names.sort();
    names
}

#[test]
fn a_member_that_fell_behind_catches_up_by_snapshot() {
    let mut sim = Sim::new(1, 3);
    let leader = sim.elect();
    let behind = sim.ids().into_iter().find(|id| *id != leader).unwrap();
    sim.crash(behind);
    commit(&mut sim, 120);
    let (first, last) = (sim.status(leader).first_index, sim.status(leader).last_index);
    assert!(first > 30, "the log was not compacted: {first}..{last}");
    sim.settle();
    assert!(sim.nodes[&behind].counters.read().snapshots_received >= 1);
    // And it can start again from what it received.
    sim.crash(behind);
    sim.settle();
}

#[test]
fn a_snapshot_that_is_lost_is_sent_again() {
    let mut sim = Sim::new(4, 3);
    let leader = sim.elect();
    let behind = sim.ids().into_iter().find(|id| *id != leader).unwrap();
    sim.partition(&[behind]);
    commit(&mut sim, 120);
    sim.heal();
    // Lost without any report: the driver's own limit must end the wait.
    sim.swallow_snapshots = true;
    sim.run_until(100, "a snapshot to be sent", |sim| {
        sim.nodes[&leader].counters.read().snapshots_sent > 0
    });
    sim.settle();
}

#[test]
fn the_newest_two_are_kept_and_the_log_reaches_back_to_the_older() {
    let mut sim = Sim::new(2, 1);
    commit(&mut sim, 200);
    let status = sim.status(1);
    let names = files(&sim, 1);
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names.contains(&format!("snapshot-{}.bin", status.last_snapshot_index)), "{names:?}");
    let older = status.last_snapshot_index - 25;
    assert!(status.first_index <= older + 1, "{status:?}");
    assert!(status.last_index - status.first_index < 60);
}

#[test]
fn a_restart_replays_to_the_same_state_without_the_network() {
    let mut sim = Sim::new(3, 1);
    commit(&mut sim, 90);
    let before = sim.nodes[&1].history.lock().unwrap().clone();
    for _ in 0..3 {
        sim.crash(1);
        sim.restart(1);
        assert_eq!(*sim.nodes[&1].history.lock().unwrap(), before);
    }
}

#[test]
fn a_quiet_cluster_writes_its_commit_index() {
    let mut sim = Sim::new(12, 3);
    commit(&mut sim, 10);
    for _ in 0..60 {
        sim.step();
    }
    let follower = sim.ids().into_iter().find(|id| Some(*id) != sim.leader()).unwrap();
    let before = sim.nodes[&follower].history.lock().unwrap().clone();
    sim.crash(follower);
    sim.restart(follower);
    assert_eq!(*sim.nodes[&follower].history.lock().unwrap(), before);
}

#[test]
fn a_damaged_snapshot_costs_a_longer_replay_only() {
    let mut sim = Sim::new(5, 1);
    commit(&mut sim, 90);
    let before = sim.nodes[&1].history.lock().unwrap().clone();
    let newest = sim.status(1).last_snapshot_index;
    let path = sim.nodes[&1].dir.path().join(format!("snapshot-{newest}.bin"));
    sim.crash(1);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    sim.restart(1);
    assert_eq!(*sim.nodes[&1].history.lock().unwrap(), before);
}

#[test]
fn drafts_and_files_the_log_does_not_know_are_removed() {
    let mut sim = Sim::new(6, 1);
    commit(&mut sim, 30);
    let dir = sim.nodes[&1].dir.path().to_owned();
    sim.crash(1);
    fs::write(dir.join("snapshot-999.bin"), b"half of a leader's snapshot").unwrap();
    fs::write(dir.join("snapshot-998.tmp"), b"a draft").unwrap();
    sim.restart(1);
    assert_eq!(files(&sim, 1).len(), 2);
    commit(&mut sim, 30);
}
