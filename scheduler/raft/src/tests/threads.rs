//! Three members on real threads and a real disk, wired by channels.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{task::JoinSet, time::timeout};

use super::{
    machine::{History, Recorder, Truth},
    sim::{CLUSTER, peers},
};
use crate::{Config, ProposeError, RaftHandle, RestoreError, StateMachine, Transport, start};

const LIMIT: Duration = Duration::from_secs(30);

type Handles = Arc<Mutex<BTreeMap<u64, RaftHandle>>>;

struct Wire {
    from: u64,
    handles: Handles,
}

impl Wire {
    fn deliver(&self, to: u64, message: Vec<u8>) -> bool {
        self.handles.lock().unwrap().get(&to).map(|peer| peer.receive(message)).is_some()
    }
}

impl Transport for Wire {
    fn send(&mut self, to: u64, message: Vec<u8>) {
        self.deliver(to, message);
    }

    fn send_snapshot(&mut self, to: u64, message: Vec<u8>) {
        let arrived = self.deliver(to, message);
        if let Some(own) = self.handles.lock().unwrap().get(&self.from) {
            own.report_snapshot(to, arrived);
        }
    }
}

struct Cluster {
    dirs: Vec<tempfile::TempDir>,
    handles: Handles,
    histories: BTreeMap<u64, History>,
    truth: Truth,
}

impl Cluster {
    fn start() -> Self {
        let dirs = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
        let (handles, histories) = (Handles::default(), BTreeMap::new());
        let mut cluster = Self { dirs, handles, histories, truth: Truth::default() };
        for id in 1..=3 {
            cluster.start_member(id);
        }
        cluster
    }

    fn start_member(&mut self, id: u64) {
        let dir = self.dirs[id as usize - 1].path();
        let mut config = Config::new(id, CLUSTER, dir, peers(1..=3));
        config.tick = Duration::from_millis(20);
        config.snapshot_every = 500;
        config.keep_entries = 50;
        let history = History::default();
        let machine = Recorder::new(history.clone(), self.truth.clone());
        let handle =
            start(config, machine, Wire { from: id, handles: self.handles.clone() }).unwrap();
        self.histories.insert(id, history);
        self.handles.lock().unwrap().insert(id, handle);
    }

    fn running(&self) -> BTreeMap<u64, RaftHandle> {
        self.handles.lock().unwrap().clone()
    }

    async fn stop(&self, id: u64) {
        let handle = self.running()[&id].clone();
        tokio::task::spawn_blocking(move || handle.shutdown()).await.unwrap();
        self.handles.lock().unwrap().remove(&id);
    }

    /// Waits for a leader that can serve, among the members that run.
    async fn leader(&self) -> (u64, RaftHandle) {
        let mut waits = JoinSet::new();
        for (id, handle) in self.running() {
            waits.spawn(async move {
                let mut status = handle.status();
                let ready = status.wait_for(|status| status.leader_ready).await.is_ok();
                ready.then_some((id, handle))
            });
        }
        timeout(LIMIT, waits.join_next())
            .await
            .expect("no leader in time")
            .unwrap()
            .unwrap()
            .unwrap()
    }

    /// Waits until each member that runs has applied up to `index`.
    async fn applied(&self, index: u64) {
        for handle in self.running().into_values() {
            let mut status = handle.status();
            timeout(LIMIT, status.wait_for(|status| status.applied >= index))
                .await
                .expect("lagging")
                .unwrap();
        }
    }
}

async fn propose_many(leader: &RaftHandle, commands: std::ops::Range<u64>) -> u64 {
    let mut tasks = JoinSet::new();
    for n in commands {
        let leader = leader.clone();
        tasks.spawn(async move { leader.propose(n.to_le_bytes().to_vec()).await });
    }
    let mut last = 0;
    while let Some(result) =
        timeout(LIMIT, tasks.join_next()).await.expect("commands take too long")
    {
        last = last.max(result.unwrap().unwrap().index);
    }
    last
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_commands_share_few_fsyncs_and_survive_a_handover() {
    let mut cluster = Cluster::start();
    let (id, leader) = cluster.leader().await;
    let last = propose_many(&leader, 0..2_000).await;
    assert!(leader.read_index().await.unwrap() >= last);
    cluster.applied(last).await;
    for (member, handle) in cluster.running() {
        let counters = handle.counters();
        assert_eq!(counters.commands_applied, 2_000, "member {member}");
        assert!(counters.log_commits < 400, "member {member}: {counters:?}");
    }

    // A leader that is stopped hands over; the others go on, and it catches up when it is back.
    cluster.stop(id).await;
    assert_eq!(leader.propose(vec![0; 8]).await, Err(ProposeError::Stopped));
    let (next, new) = cluster.leader().await;
    assert_ne!(next, id);
    let last = propose_many(&new, 2_000..2_800).await;
    cluster.start_member(id);
    cluster.applied(last).await;
    let histories: Vec<_> = cluster.histories.values().map(|h| h.lock().unwrap().clone()).collect();
    assert_eq!(histories[0].len(), 2_800);
    assert!(histories.windows(2).all(|pair| pair[0] == pair[1]));
    for id in 1..=3 {
        cluster.stop(id).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sole_member_serves_at_once_and_leadership_moves_in_a_cluster() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::new(1, CLUSTER, dir.path(), peers([1]));
    let handles = Handles::default();
    let alone = start(config, Recorder::default(), Wire { from: 1, handles }).unwrap();
    assert!(alone.status().borrow().leader_ready);
    let applied = alone.propose(1u64.to_le_bytes().to_vec()).await.unwrap();
    assert!(alone.read_index().await.unwrap() >= applied.index);
    tokio::task::spawn_blocking(move || alone.shutdown()).await.unwrap();

    let cluster = Cluster::start();
    let (id, leader) = cluster.leader().await;
    let target = id % 3 + 1;
    leader.transfer_leadership(Some(target));
    let mut status = cluster.running()[&target].status();
    timeout(LIMIT, status.wait_for(|status| status.leader_ready))
        .await
        .expect("no transfer")
        .unwrap();
    for id in 1..=3 {
        cluster.stop(id).await;
    }
}

/// Panics at the first command, as a broken invariant would.
struct Bomb;

impl StateMachine for Bomb {
    fn apply(&mut self, _index: u64, _term: u64, _command: &[u8]) -> Vec<u8> {
        panic!("a broken invariant");
    }

    fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }

    fn restore(&mut self, _snapshot: &[u8]) -> Result<(), RestoreError> {
        Ok(())
    }
}

/// Not a test of its own: what [`a_panic_on_the_raft_thread_ends_the_process`] runs in a process
/// that may die.
#[tokio::test]
#[ignore = "run by a_panic_on_the_raft_thread_ends_the_process"]
async fn a_process_that_panics() {
    let config = Config::new(1, CLUSTER, std::env::var("RAFT_TEST_DIR").unwrap(), peers([1]));
    let wire = Wire { from: 1, handles: Handles::default() };
    let handle = start(config, Bomb, wire).unwrap();
    let _ = handle.propose(vec![1]).await;
    // Joins the thread, which must not end but by ending the process.
    tokio::task::spawn_blocking(move || handle.shutdown()).await.unwrap();
}

#[test]
fn a_panic_on_the_raft_thread_ends_the_process() {
    use std::os::unix::process::ExitStatusExt;
    let dir = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tests::threads::a_process_that_panics", "--ignored"])
        .env("RAFT_TEST_DIR", dir.path())
        .output()
        .unwrap();
    assert_eq!(output.status.signal(), Some(6), "it did not abort: {output:?}");
}
