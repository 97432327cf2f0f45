//! Snapshots that take long to write, beside a raft thread that goes on.

use std::{
    io,
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use tokio::time::timeout;

use super::{
    machine::Recorder,
    sim::{CLUSTER, peers},
};
use crate::{Capture, Config, RaftHandle, RestoreError, StateMachine, Transport, start};

const LIMIT: Duration = Duration::from_secs(30);

/// Opened once the capture may be written.
type Gate = Arc<(Mutex<bool>, Condvar)>;

fn open(gate: &Gate) {
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
}

/// A recorder whose captures wait at a gate before they are written.
struct Slow(Recorder, Gate);

struct Gated(Vec<u8>, Gate);

impl Capture for Gated {
    fn write(&self, out: &mut dyn io::Write) -> io::Result<()> {
        let closed = self.1.0.lock().unwrap();
        let opened = self.1.1.wait_timeout_while(closed, LIMIT, |open| !*open).unwrap();
        assert!(!opened.1.timed_out(), "the gate was never opened");
        out.write_all(&self.0)
    }
}

impl StateMachine for Slow {
    fn apply(&mut self, index: u64, term: u64, command: &[u8]) -> Vec<u8> {
        self.0.apply(index, term, command)
    }

    fn snapshot(&self) -> Vec<u8> {
        self.0.snapshot()
    }

    fn capture(&self) -> Box<dyn Capture> {
        Box::new(Gated(self.0.snapshot(), self.1.clone()))
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        self.0.restore(snapshot)
    }
}

struct Nobody;

impl Transport for Nobody {
    fn send(&mut self, _to: u64, _message: Vec<u8>) {}
}

fn member(dir: &std::path::Path, gate: &Gate) -> RaftHandle {
    let mut config = Config::new(1, CLUSTER, dir, peers([1]));
    config.snapshot_every = 10;
    config.keep_entries = 1;
    config.tick = Duration::from_millis(5);
    start(config, Slow(Recorder::default(), gate.clone()), Nobody).unwrap()
}

async fn propose(member: &RaftHandle, commands: std::ops::Range<u64>) -> u64 {
    let mut last = 0;
    for command in commands {
        let applied = timeout(LIMIT, member.propose(command.to_le_bytes().to_vec())).await;
        last = applied.expect("it is applied while a snapshot is written").unwrap().index;
    }
    last
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_are_applied_while_a_snapshot_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let gate = Gate::default();
    let running = member(dir.path(), &gate);
    let mut status = running.status();
    let first = status.borrow().last_snapshot_index;
    propose(&running, 0..50).await;
    assert_eq!(status.borrow().last_snapshot_index, first, "none is recorded before it is written");
    open(&gate);
    let taken = timeout(LIMIT, status.wait_for(|s| s.last_snapshot_index > first)).await;
    taken.expect("the snapshot is recorded").unwrap();
    let last = propose(&running, 50..60).await;
    tokio::task::spawn_blocking(move || running.shutdown()).await.unwrap();
    // The next life starts from the snapshot and what came after it.
    let again = member(dir.path(), &gate);
    assert!(again.status().borrow().applied >= last);
    let applied = propose(&again, 60..61).await;
    assert!(applied > last);
    let history = timeout(LIMIT, again.propose(61u64.to_le_bytes().to_vec())).await.unwrap();
    let held = u64::from_le_bytes(history.unwrap().response.try_into().unwrap());
    assert_eq!(held, 62, "nothing is lost or applied twice");
    tokio::task::spawn_blocking(move || again.shutdown()).await.unwrap();
    let drafts = std::fs::read_dir(dir.path()).unwrap().flatten();
    let drafts: Vec<_> =
        drafts.filter(|f| f.path().extension().is_some_and(|e| e == "draft")).collect();
    assert!(drafts.is_empty(), "{drafts:?}");
}
