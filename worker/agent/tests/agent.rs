//! The agent against a scheduler in this process: a job's way from start to end, and that no
//! fault of the control plane, nor the agent's own absence, touches the ranks or loses a line.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod support;

use std::{collections::BTreeSet, fs, io::ErrorKind, net::SocketAddr};

use support::{Node, Scheduler, attempt, desired, how, kill_shim, pki, wait, within};
use tokio::net::{TcpListener, TcpStream};
use tonic::{Code, Status};
use trainyard_jobs::FileEntry;
use trainyard_pki::{AUTHORITY_LIFE, Authority, Subject};
use trainyard_proto::{
    LEADER_METADATA,
    v1::{self, rank_exit::How},
};
use trainyard_worker::WorkerError;

/// Writes what a training script would: figures, a checkpoint, artifacts, output.
const TRAINING: &str = r#"
set -e
echo "rank $RANK of $WORLD_SIZE"
echo '{"step":5,"loss":0.25}' >> "$YARD_METRICS"
tmp="$YARD_CHECKPOINT_DIR/.tmp"; mkdir -p "$tmp/sub"
echo weights > "$tmp/sub/model.bin"
echo '{"format":1,"step":5,"world_size":1}' > "$tmp/checkpoint.json"
mv "$tmp" "$YARD_CHECKPOINT_DIR/step-000000000005"
while [ -d "$YARD_CHECKPOINT_DIR/step-000000000005" ]; do sleep 0.05; done
echo final > "$YARD_ARTIFACT_DIR/model.safetensors"
echo '{"accuracy":0.9,"note":"x"}' > "$YARD_ARTIFACT_DIR/metrics.json"
while [ ! -e GO ]; do sleep 0.02; done
echo done
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_run_delivers_all_that_it_leaves_and_the_next_resumes_from_it() {
    let (node, scheduler, first) = (Node::new(), Scheduler::start().await, attempt(1));
    let agent = node.agent(&[scheduler.address]);
    let go = node.dir.path().join("go");
    let script = TRAINING.replace("GO", &go.display().to_string());
    scheduler.send(1, 10, vec![desired(&first, &script)]);
    scheduler.started(&first).await;
    let report = scheduler.wait("the checkpoint", |t| t.checkpoints.first().cloned()).await;
    assert_eq!((report.step, report.part, report.parts), (5, 0, 1));
    let loss = |t: &support::Told| {
        let mut progress = t.heartbeats.iter().flat_map(|beat| &beat.progress);
        progress.any(|p| p.metrics.get("loss") == Some(&0.25)).then_some(())
    };
    scheduler.wait("figures", loss).await;
    fs::write(&go, "").unwrap();

    let ended = scheduler.ended(&first).await;
    assert_eq!(how(&ended), How::Code(0), "{:?}", node.log(&first).await);
    assert_eq!(ended.metrics["accuracy"], 0.9);
    let paths: BTreeSet<&str> = ended.artifacts.iter().map(|f| f.path.as_str()).collect();
    assert_eq!(paths, BTreeSet::from(["metrics.json", "model.safetensors"]));
    for file in &ended.artifacts {
        let entry = FileEntry::try_from(file.clone()).unwrap();
        node.store().verify(&entry).await.unwrap();
    }
    assert_eq!(node.log(&first).await, ["rank 0 of 1", "done"]);
    let manifest = FileEntry::try_from(report.manifest.clone().unwrap()).unwrap();
    let manifest = node.store().check_manifest(&manifest).await.unwrap();
    assert_eq!(manifest.files[0].path, "sub/model.bin");

    let second = attempt(2);
    let script =
        "cat $YARD_RESUME_DIR/sub/model.bin; grep -c step $YARD_RESUME_DIR/checkpoint.json";
    let next = v1::DesiredAttempt {
        started: Some(v1::Revision { epoch: 1, index: 11 }),
        resume: vec![report.manifest.unwrap()],
        ..desired(&second, script)
    };
    scheduler.send(1, 11, vec![next]);
    assert_eq!(how(&scheduler.ended(&second).await), How::Code(0));
    assert_eq!(node.log(&second).await, ["weights", "1"]);
    let removed = || (!node.attempt_dir(&first).exists()).then_some(());
    wait("the first attempt's removal", removed).await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exit_while_the_agent_is_away_is_reported_exactly_with_every_line() {
    let (node, scheduler, a) = (Node::new(), Scheduler::start().await, attempt(1));
    let agent = node.agent(&[scheduler.address]);
    let go = node.dir.path().join("go");
    let script = format!(
        "echo begin; while [ ! -e {} ]; do sleep 0.02; done; \
         i=0; while [ $i -lt 10000 ]; do echo line $i; i=$((i+1)); done; exit 3",
        go.display()
    );
    scheduler.send(1, 10, vec![desired(&a, &script)]);
    scheduler.started(&a).await;
    agent.stop().await;
    fs::write(&go, "").unwrap();
    wait("the rank's end", || node.attempt_dir(&a).join("exit.json").exists().then_some(())).await;
    let agent = node.agent(&[scheduler.address]);
    let ended = scheduler.ended(&a).await;
    assert_eq!(how(&ended), How::Code(3));
    assert_eq!(ended.first_failure, Some(0));
    let log = node.log(&a).await;
    let mut expected = vec!["begin".to_owned()];
    expected.extend((0..10_000).map(|i| format!("line {i}")));
    assert_eq!(log, expected);
    let hellos = scheduler.told.lock().unwrap().hellos.clone();
    let [first, second] = &hellos[..] else { panic!("{hellos:?}") };
    assert_eq!(first.node, second.node);
    assert_ne!(first.session, second.session);
    assert!(first.cluster.is_empty() && first.running.is_empty());
    assert_eq!(second.cluster, support::CLUSTER);
    assert_eq!(second.revision, Some(v1::Revision { epoch: 1, index: 10 }));
    assert_eq!(second.running[0].attempt, Some((&a).into()));
    agent.stop().await;
}

fn rank_pid(node: &Node, a: &trainyard_jobs::AttemptRef) -> i32 {
    let path = node.attempt_dir(a).join("started.json");
    let started: trainyard_worker::shim::StartedRecord =
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    started.ranks[&0].pid
}

fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

#[tokio::test(flavor = "multi_thread")]
async fn losing_the_scheduler_touches_no_rank_and_the_next_leader_hears_all() {
    let (node, a) = (Node::new(), attempt(1));
    let old = Scheduler::start().await;
    let next = Scheduler::start().await;
    let hint = || {
        let mut status = Status::unavailable("not the leader");
        let address = old.address.to_string().parse().unwrap();
        status.metadata_mut().insert("yard-leader", address);
        status
    };
    *next.refusal.lock().unwrap() = Some(hint());
    let agent = node.agent(&[next.address, old.address]);
    let go = node.dir.path().join("go");
    let script = format!("while [ ! -e {} ]; do sleep 0.02; done; exit 4", go.display());
    old.send(1, 10, vec![desired(&a, &script)]);
    old.started(&a).await;
    let pid = rank_pid(&node, &a);
    drop(old);
    fs::write(&go, "").unwrap();
    wait("the rank's end", || node.attempt_dir(&a).join("exit.json").exists().then_some(())).await;
    *next.refusal.lock().unwrap() = None;
    assert_eq!(how(&next.ended(&a).await), How::Code(4));
    assert!(!is_alive(pid));
    agent.stop().await;
}

/// Waits until the agent says that its only attempt is in `state`.
async fn reported_as(scheduler: &Scheduler, state: &str) {
    let hellos = async { while scheduler.next_hello().await.running[0].state != state {} };
    within(state, hellos).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_higher_revision_of_the_same_epoch_stops_an_absent_attempt() {
    let (node, scheduler, a) = (Node::new(), Scheduler::start().await, attempt(1));
    let agent = node.agent(&[scheduler.address]);
    scheduler.send(1, 10, vec![desired(&a, "exec sleep 600")]);
    scheduler.started(&a).await;
    let pid = rank_pid(&node, &a);
    // The set of an old leader, then one that is as old as the attempt.
    for index in [9, 10] {
        scheduler.send(1, index, vec![]);
        assert_eq!(scheduler.next_hello().await.running[0].state, "running");
    }
    // A set alone does not begin an epoch: a leader's welcome does.
    scheduler.send(2, 1, vec![]);
    let before = scheduler.next_hello().await;
    assert_eq!(before.revision.map(|r| r.epoch), Some(1));
    scheduler.handled(&node, 2, 1).await;
    scheduler
        .wait("a heartbeat that tells what is held", |t| {
            let held = |h: &v1::HeldAttempt| h.attempt == Some((&a).into()) && h.world_size == 1;
            t.heartbeats.iter().any(|beat| beat.held.iter().any(held)).then_some(())
        })
        .await;
    reported_as(&scheduler, "held").await;
    agent.stop().await;
    let agent = node.agent(&[scheduler.address]);
    reported_as(&scheduler, "held").await;
    assert!(is_alive(pid), "a recovered cluster does not stop what it does not know");
    assert!(scheduler.told.lock().unwrap().ended.is_empty());

    let b = attempt(2);
    let started = Some(v1::Revision { epoch: 2, index: 5 });
    let next = v1::DesiredAttempt { started, ..desired(&b, "exec sleep 600") };
    scheduler.send(2, 5, vec![next]);
    scheduler.started(&b).await;
    let second = rank_pid(&node, &b);
    scheduler.send(2, 6, vec![]);
    assert_eq!(how(&scheduler.ended(&b).await), How::Signal(15));
    assert!(!is_alive(second) && is_alive(pid));
    agent.stop().await;
    kill_shim(&node.attempt_dir(&a));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lower_revision_is_refused_also_by_the_next_agent() {
    let (node, scheduler, a) = (Node::new(), Scheduler::start().await, attempt(1));
    let agent = node.agent(&[scheduler.address]);
    scheduler.send(1, 20, vec![]);
    scheduler.handled(&node, 1, 20).await;
    agent.stop().await;
    scheduler.send(1, 19, vec![desired(&a, "true")]);
    let agent = node.agent(&[scheduler.address]);
    let hello = scheduler.wait("the second hello", |t| t.hellos.get(1).cloned()).await;
    assert_eq!(hello.revision, Some(v1::Revision { epoch: 1, index: 20 }));
    // The stream's only set is the outdated one; the next stream begins with a newer one.
    scheduler.next_hello().await;
    scheduler.send(1, 21, vec![]);
    scheduler.handled(&node, 1, 21).await;
    assert!(!node.attempt_dir(&a).exists());
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_roll_call_is_answered_by_what_is_held() {
    let (node, scheduler) = (Node::new(), Scheduler::start().await);
    let (a, b) = (attempt(1), attempt(2));
    let agent = node.agent(&[scheduler.address]);
    scheduler.send(1, 10, vec![desired(&a, "sleep 600")]);
    scheduler.started(&a).await;
    let attempts = vec![(&b).into(), (&a).into(), v1::AttemptRef::default()];
    *scheduler.roll_call.lock().unwrap() = Some(v1::RollCall { attempts });
    scheduler.next_hello().await;
    let roll = scheduler.wait("the answer", |t| t.rolls.first().cloned()).await;
    assert_eq!(roll.held, [(&a).into()]);
    scheduler.send(1, 11, vec![]);
    assert_eq!(how(&scheduler.ended(&a).await), How::Signal(15), "the session goes on");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ranks_whose_shim_died_have_vanished() {
    let (node, scheduler, a, b) = (Node::new(), Scheduler::start().await, attempt(1), attempt(2));
    let agent = node.agent(&[scheduler.address]);
    let both = || vec![desired(&a, "exec sleep 600"), desired(&b, "exec sleep 600")];
    scheduler.send(1, 10, both());
    scheduler.started(&a).await;
    scheduler.started(&b).await;
    kill_shim(&node.attempt_dir(&a));
    assert_eq!(how(&scheduler.ended(&a).await), How::Vanished(true));
    agent.stop().await;
    kill_shim(&node.attempt_dir(&b));
    let agent = node.agent(&[scheduler.address]);
    assert_eq!(how(&scheduler.ended(&b).await), How::Vanished(true));
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_started_says_why() {
    let (node, scheduler, a, b) = (Node::new(), Scheduler::start().await, attempt(1), attempt(2));
    let agent = node.agent(&[scheduler.address]);
    let unknown = v1::DesiredAttempt { spec_json: b"{}".into(), ..desired(&a, "") };
    let bundle = format!("sha256:{}", "0".repeat(64));
    let missing = v1::DesiredAttempt { bundle, ..desired(&b, "true") };
    scheduler.send(1, 10, vec![unknown, missing]);
    let error = scheduler.ended(&a).await.start_error;
    assert!(error.contains("cannot read the order"), "{error}");
    let error = scheduler.ended(&b).await.start_error;
    assert!(error.contains("cannot fetch the work directory"), "{error}");
    agent.stop().await;
}

async fn refused(node: &Node, schedulers: &[SocketAddr]) -> WorkerError {
    within("the agent's end", node.agent(schedulers).task).await.unwrap().unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_name_or_another_cluster_ends_the_agent() {
    let (node, scheduler) = (Node::new(), Scheduler::start().await);
    *scheduler.refusal.lock().unwrap() =
        Some(Status::new(Code::AlreadyExists, "a worker named w1 has joined already"));
    let error = refused(&node, &[scheduler.address]).await;
    assert!(matches!(error, WorkerError::DuplicateName { .. }), "{error}");
    assert!(error.to_string().contains("give it a `name` of its own"));
    *scheduler.refusal.lock().unwrap() = None;
    let agent = node.agent(&[scheduler.address]);
    scheduler.wait("a hello", |t| t.heartbeats.first().map(drop)).await;
    let busy = refused(&node, &[scheduler.address]).await;
    assert!(matches!(busy, WorkerError::Busy { .. }), "{busy}");
    agent.stop().await;
    let other = "00000000-0000-0000-0000-000000000002";
    let other = Scheduler::start_at("127.0.0.1:0", other).await;
    let error = refused(&node, &[other.address]).await;
    assert!(matches!(error, WorkerError::OtherCluster { .. }), "{error}");
}

/// Whether the other side has not closed a connection.
fn is_open(connection: &TcpStream) -> bool {
    let mut bytes = [0; 4096];
    loop {
        match connection.try_read(&mut bytes) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_is_asked_while_a_frozen_scheduler_is_silent() {
    let node = Node::new();
    let mut asked = [Vec::new(), Vec::new()];
    let (first, second) = (TcpListener::bind("127.0.0.1:0"), TcpListener::bind("127.0.0.1:0"));
    let (first, second) = (first.await.unwrap(), second.await.unwrap());
    let agent = node.agent(&[first.local_addr().unwrap(), second.local_addr().unwrap()]);
    within("two that are asked at once", async {
        while !asked.iter().all(|asked| asked.iter().any(is_open)) {
            tokio::select! {
                connection = first.accept() => asked[0].push(connection.unwrap().0),
                connection = second.accept() => asked[1].push(connection.unwrap().0),
            }
        }
    })
    .await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_that_names_a_leader_that_is_gone_leads_nobody_astray() {
    let node = Node::new();
    let (follower, leader) = (Scheduler::start().await, Scheduler::start().await);
    let mut status = Status::unavailable("this scheduler does not lead");
    status.metadata_mut().insert(LEADER_METADATA, "127.0.0.1:1".parse().unwrap());
    *follower.refusal.lock().unwrap() = Some(status);
    let agent = node.agent(&[follower.address, leader.address]);
    leader.wait("a greeting", |t| t.hellos.first().cloned()).await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_of_another_authority_is_not_spoken_to() {
    let node = Node::new();
    let stranger = Authority::create(support::CLUSTER.parse().unwrap(), AUTHORITY_LIFE).unwrap();
    let scheduler = Scheduler::start_as("127.0.0.1:0", support::CLUSTER, &stranger).await;
    let error = refused(&node, &[scheduler.address]).await;
    assert!(matches!(error, WorkerError::Untrusted { .. }), "{error}");
    assert!(scheduler.told.lock().unwrap().hellos.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_somebody_else_is_refused_before_anything_is_touched() {
    let node = Node::new();
    let config = || node.config(&["127.0.0.1:1".parse().unwrap()]);
    pki::write(&node.pki(), pki::authority(), Subject::Scheduler(1));
    let ended = trainyard_worker::run(config(), std::future::pending());
    let error = within("the agent's end", ended).await.unwrap_err();
    assert!(matches!(error, WorkerError::NotWorker { .. }), "{error}");
    assert!(!node.data().exists());

    pki::worker(&node.pki());
    trainyard_worker::run(config(), async {}).await.unwrap();
    pki::worker(&node.pki());
    let ended = trainyard_worker::run(config(), std::future::pending());
    let error = within("the agent's end", ended).await.unwrap_err();
    assert!(matches!(error, WorkerError::OtherNode { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_named() {
    let (node, scheduler) = (Node::new(), Scheduler::start().await);
    let mut config = node.config(&[scheduler.address]);
    config.metrics_listen = Some(scheduler.address);
    let ended = trainyard_worker::run(config, std::future::pending());
    let error = within("the agent's end", ended).await.unwrap_err();
    assert!(error.to_string().contains("is the port taken?"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ranks_that_are_asked_to_save_their_state_are_not_stopped_by_it() {
    let (node, scheduler, a) = (Node::new(), Scheduler::start().await, attempt(1));
    let agent = node.agent(&[scheduler.address]);
    let script = "until [ -e $YARD_CONTROL/request.json ]; do sleep 0.02; done; \
                  cat $YARD_CONTROL/request.json; echo; echo went on";
    scheduler.send(1, 10, vec![desired(&a, script)]);
    scheduler.started(&a).await;
    let asked = v1::DesiredAttempt { save_before_unix_ms: 5_000_000, ..desired(&a, script) };
    scheduler.send(1, 11, vec![asked]);
    assert_eq!(how(&scheduler.ended(&a).await), How::Code(0));
    let log = node.log(&a).await.join(" ");
    assert!(log.contains("5000") && log.contains("continue"), "{log}");
    assert!(log.ends_with("went on"), "{log}");
    agent.stop().await;
}
