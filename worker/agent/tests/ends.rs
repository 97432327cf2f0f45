//! What the agent tells of attempts that end in unusual ways: that never began here, that
//! somebody else stopped, whose report no leader takes; and that its own trouble with a disk
//! neither silences it nor harms what is stored.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod support;

use std::{fs, process::Command, thread};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use support::{Node, Scheduler, Told, attempt, desired, how, wait, within};
use tonic::Status;
use trainyard_jobs::{AttemptRef, FileEntry};
use trainyard_proto::v1::{self, CheckpointReport, rank_exit::How};
use trainyard_worker::shim::{ShimDir, StartedRecord};

/// How many ends were reported.
fn ends(scheduler: &Scheduler) -> usize {
    scheduler.told.lock().unwrap().ended.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_not_run_and_was_never_heard_of_is_reported_ended_once() {
    let (node, scheduler) = (Node::new(), Scheduler::start().await);
    let (a, b, c) = (attempt(1), attempt(2), attempt(3));
    let agent = node.agent(&[scheduler.address]);
    scheduler.send(1, 10, vec![desired(&b, "exec sleep 600")]);
    scheduler.started(&b).await;
    // What cannot be read may have ranks that run: the agent does not speak for it.
    fs::create_dir_all(node.attempt_dir(&c)).unwrap();
    for index in [11, 12] {
        scheduler.send_stopping(1, index, &[&a, &b, &c]);
        scheduler.handled(&node, 1, index).await;
    }
    let report = scheduler.ended(&a).await;
    assert!(report.ranks.is_empty());
    assert_eq!(report.start_error, "the ranks were never started on this node");
    assert_eq!(how(&scheduler.ended(&b).await), How::Signal(15));
    // A set that is refused is not acted upon; the next one is, and comes after.
    scheduler.send_stopping(1, 9, &[&attempt(4)]);
    scheduler.next_hello().await;
    scheduler.send_stopping(1, 13, &[&a, &attempt(5)]);
    scheduler.ended(&attempt(5)).await;
    assert_eq!(ends(&scheduler), 3);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_whose_directory_cannot_be_made_is_given_up() {
    let (node, scheduler, a) = (Node::new(), Scheduler::start().await, attempt(1));
    let agent = node.agent(&[scheduler.address]);
    scheduler.wait("a hello", |t| t.hellos.first().map(drop)).await;
    let attempts = node.data().join("attempts");
    fs::remove_dir(&attempts).unwrap();
    fs::write(&attempts, "in the way").unwrap();
    for index in [10, 11, 12] {
        scheduler.send(1, index, vec![desired(&a, "true")]);
        scheduler.handled(&node, 1, index).await;
    }
    let report = scheduler.ended(&a).await;
    assert!(report.ranks.is_empty());
    let begin = "this node cannot make the attempt's directory: ";
    assert!(report.start_error.starts_with(begin), "{}", report.start_error);
    // What was reported as ended does not start after all.
    fs::remove_file(&attempts).unwrap();
    let b = attempt(2);
    scheduler.send(1, 13, vec![desired(&a, "true"), desired(&b, "true")]);
    scheduler.ended(&b).await;
    assert!(!node.attempt_dir(&a).exists());
    assert_eq!(ends(&scheduler), 2);
    agent.stop().await;
}

/// Does what the end of a machine does to a shim.
fn stop_from_outside(node: &Node, a: &AttemptRef) {
    let path = ShimDir::new(node.attempt_dir(a)).started();
    let started: StartedRecord = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    kill(Pid::from_raw(started.shim.pid), Signal::SIGTERM).unwrap();
}

/// Ends well when it is told to stop, with something to show for it.
const ENDS_WELL: &str = "trap 'exit 0' TERM; echo x > $YARD_ARTIFACT_DIR/model; \
    touch READY; while :; do sleep 0.02; done";

fn ends_well(node: &Node, a: &AttemptRef) -> (v1::DesiredAttempt, std::path::PathBuf) {
    let ready = node.dir.path().join(format!("ready-{}", a.attempt));
    (desired(a, &ENDS_WELL.replace("READY", &ready.display().to_string())), ready)
}

#[tokio::test(flavor = "multi_thread")]
async fn ranks_that_are_stopped_from_outside_have_vanished_and_not_succeeded() {
    let (node, scheduler, a, b) = (Node::new(), Scheduler::start().await, attempt(1), attempt(2));
    let agent = node.agent(&[scheduler.address]);
    let (first, first_ready) = ends_well(&node, &a);
    scheduler.send(1, 10, vec![first.clone(), desired(&b, "exec sleep 600")]);
    // A rank runs before its shim has written down whom it started.
    scheduler.started(&a).await;
    scheduler.started(&b).await;
    wait("the first rank", || first_ready.exists().then_some(())).await;
    for attempt in [&a, &b] {
        stop_from_outside(&node, attempt);
        let report = scheduler.ended(attempt).await;
        assert_eq!(how(&report), How::Vanished(true));
        assert!(report.artifacts.is_empty());
        assert_eq!(report.first_failure, None);
    }
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_that_the_agent_asked_for_is_known_as_such_by_the_next_agent() {
    let (node, scheduler, a) = (Node::new(), Scheduler::start().await, attempt(1));
    let agent = node.agent(&[scheduler.address]);
    let go = node.dir.path().join("go");
    let ready = node.dir.path().join("ready");
    // Told to stop, it waits until the agent is gone.
    let script = format!(
        "trap 'while [ ! -e {go} ]; do sleep 0.02; done; exit 7' TERM; touch {ready}; \
         while :; do sleep 0.02; done",
        go = go.display(),
        ready = ready.display(),
    );
    let mut order = desired(&a, &script);
    let spec = String::from_utf8(order.spec_json).unwrap();
    order.spec_json = spec.replace("\"2s\"", "\"60s\"").into();
    scheduler.send(1, 10, vec![order]);
    scheduler.started(&a).await;
    wait("the rank", || ready.exists().then_some(())).await;
    scheduler.send(1, 11, vec![]);
    wait("the stop", || node.attempt_dir(&a).join("stop").exists().then_some(())).await;
    agent.stop().await;
    // Had the agent's own signal not been sent yet, this one does its work.
    stop_from_outside(&node, &a);
    fs::write(&go, "").unwrap();
    wait("the rank's end", || node.attempt_dir(&a).join("exit.json").exists().then_some(())).await;
    let agent = node.agent(&[scheduler.address]);
    assert_eq!(how(&scheduler.ended(&a).await), How::Code(7));
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_no_leader_can_take_is_reported_without_its_results() {
    for refusal in [Status::invalid_argument, Status::out_of_range, Status::resource_exhausted] {
        let (node, scheduler, a) = (Node::new(), Scheduler::start().await, attempt(1));
        *scheduler.refusal_of_results.lock().unwrap() = Some(refusal("far too much"));
        let agent = node.agent(&[scheduler.address]);
        let script = "echo '{\"loss\":0.5}' >> $YARD_METRICS; echo x > $YARD_ARTIFACT_DIR/model";
        scheduler.send(1, 10, vec![desired(&a, script)]);
        let report = scheduler.ended(&a).await;
        assert_eq!(how(&report), How::Code(0));
        assert_eq!(report.start_error, "the report was refused: far too much");
        assert!(report.artifacts.is_empty() && report.metrics.is_empty());
        agent.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_is_written_again_leaves_the_stored_one_as_it_is() {
    let (node, scheduler, a) = (Node::new(), Scheduler::start().await, attempt(1));
    let agent = node.agent(&[scheduler.address]);
    let script = r#"
set -e
for weights in first again; do
    tmp="$YARD_CHECKPOINT_DIR/.tmp"; mkdir "$tmp"
    echo "$weights" > "$tmp/model.bin"
    echo '{"format":1,"step":5,"world_size":1}' > "$tmp/checkpoint.json"
    mv "$tmp" "$YARD_CHECKPOINT_DIR/step-000000000005"
    while [ -d "$YARD_CHECKPOINT_DIR/step-000000000005" ]; do sleep 0.02; done
done
"#;
    scheduler.send(1, 10, vec![desired(&a, script)]);
    assert_eq!(how(&scheduler.ended(&a).await), How::Code(0));
    let reports = scheduler.told.lock().unwrap().checkpoints.clone();
    let [first, again] = &reports[..] else { panic!("{reports:?}") };
    assert_eq!(CheckpointReport { session: first.session.clone(), ..again.clone() }, *first);
    let manifest = FileEntry::try_from(first.manifest.clone().unwrap()).unwrap();
    let manifest = node.store().check_manifest(&manifest).await.unwrap();
    node.store().verify(&manifest.files[0]).await.unwrap();
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_waits_for_its_disk_goes_on_sending_heartbeats() {
    let (node, scheduler) = (Node::new(), Scheduler::start().await);
    let config = node.config(&[scheduler.address]);
    let (shutdown, stopped) = tokio::sync::oneshot::channel::<()>();
    // In a runtime of its own, as in its program: the blocked thread is not one of ours.
    let agent = thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(trainyard_worker::run(config, async { drop(stopped.await) }))
    });
    let beats = |t: &Told| t.heartbeats.len();
    scheduler.wait("a heartbeat", |t| (beats(t) > 0).then_some(())).await;
    // The next write of the agent's own state waits for somebody who reads it.
    let pipe = node.data().join("identity.json.tmp");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for index in 10..40 {
        scheduler.send(1, index, vec![]);
        let before = beats(&scheduler.told.lock().unwrap());
        scheduler.wait("one more heartbeat", |t| (beats(t) > before).then_some(())).await;
    }
    // A leader that comes back finds it alive too.
    scheduler.next_hello().await;
    let before = beats(&scheduler.told.lock().unwrap());
    scheduler.wait("one more heartbeat", |t| (beats(t) > before).then_some(())).await;

    let reader = tokio::task::spawn_blocking(move || {
        let reader = fs::File::open(&pipe);
        fs::remove_file(&pipe).map(|()| reader)
    });
    let _reader = within("the agent's write", reader).await.unwrap().unwrap().unwrap();
    scheduler.send(1, 40, vec![]);
    scheduler.handled(&node, 1, 40).await;
    shutdown.send(()).unwrap();
    let ended = tokio::task::spawn_blocking(move || agent.join().unwrap());
    within("the agent's end", ended).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_that_the_disk_refused_is_taken_once_it_can_be_recorded() {
    let (node, scheduler, a) = (Node::new(), Scheduler::start().await, attempt(1));
    let agent = node.agent(&[scheduler.address]);
    let beats = |t: &Told| t.heartbeats.len();
    scheduler.wait("a heartbeat", |t| (beats(t) > 0).then_some(())).await;
    // The agent writes its state aside first, which cannot be done over a folder.
    let obstacle = node.data().join("identity.json.tmp");
    fs::create_dir(&obstacle).unwrap();
    scheduler.send(1, 10, vec![desired(&a, "exit 0")]);
    let before = beats(&scheduler.told.lock().unwrap());
    scheduler.wait("three more heartbeats", |t| (beats(t) > before + 2).then_some(())).await;
    fs::remove_dir(&obstacle).unwrap();
    // Nothing changes, so the leader does not send it again.
    assert_eq!(how(&scheduler.ended(&a).await), How::Code(0));
    agent.stop().await;
}
