//! A scheduler for the agent's tests: the real service over a real connection, which records
//! what it is told and sends the sets that it is given.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    unreachable_pub,
    dead_code,
    reason = "tests fail by panicking, and not every test uses everything"
)]

use std::{
    future::Future,
    net::SocketAddr,
    path::Path,
    pin::Pin,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
    task::JoinHandle,
};
use tokio_stream::{Stream, StreamExt as _, wrappers::TcpListenerStream};
use tonic::{Request, Response, Status, Streaming, transport::Server};
use trainyard_jobs::{AttemptNo, AttemptRef, Generation, JobId};
use trainyard_proto::v1::{
    self, CheckpointReport, DesiredAttempt, DesiredSet, EndedReport, Heartbeat, Hello, RankSlot,
    ReportAnswer, Revision, SchedulerMessage, StartedReport, Welcome, WorkerMessage,
    scheduler_message::Body,
    worker_message::Body as Up,
    worker_server::{Worker, WorkerServer},
};
use trainyard_store::Store;
use trainyard_worker::{Config, WorkerError};

pub const CLUSTER: &str = "00000000-0000-0000-0000-000000000001";
const DEADLINE: Duration = Duration::from_secs(30);

/// What the scheduler was told.
#[derive(Default)]
pub struct Told {
    pub hellos: Vec<Hello>,
    pub heartbeats: Vec<Heartbeat>,
    pub started: Vec<StartedReport>,
    pub ended: Vec<EndedReport>,
    pub checkpoints: Vec<CheckpointReport>,
}

#[derive(Clone)]
struct Service {
    told: Arc<Mutex<Told>>,
    desired: watch::Receiver<Option<DesiredSet>>,
    hang_up: watch::Receiver<()>,
    refusal: Arc<Mutex<Option<Status>>>,
    cluster: String,
}

/// A running fake scheduler.
pub struct Scheduler {
    pub address: SocketAddr,
    pub told: Arc<Mutex<Told>>,
    pub refusal: Arc<Mutex<Option<Status>>>,
    desired: watch::Sender<Option<DesiredSet>>,
    hang_up: watch::Sender<()>,
    server: JoinHandle<()>,
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Scheduler {
    pub async fn start() -> Self {
        Self::start_at("127.0.0.1:0", CLUSTER).await
    }

    pub async fn start_at(address: &str, cluster: &str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (desired, receiver) = watch::channel(None);
        let (hang_up, hung_up) = watch::channel(());
        let service = Service {
            told: Arc::default(),
            desired: receiver,
            hang_up: hung_up,
            refusal: Arc::default(),
            cluster: cluster.into(),
        };
        let (told, refusal) = (Arc::clone(&service.told), Arc::clone(&service.refusal));
        let server = tokio::spawn(async move {
            let incoming = TcpListenerStream::new(listener);
            let server = Server::builder().add_service(WorkerServer::new(service));
            server.serve_with_incoming(incoming).await.unwrap();
        });
        Self { address, told, refusal, desired, hang_up, server }
    }

    pub fn send(&self, epoch: u64, index: u64, attempts: Vec<DesiredAttempt>) {
        let revision = Some(Revision { epoch, index });
        self.desired.send_replace(Some(DesiredSet { revision, attempts }));
    }

    /// Ends every stream and gives the first hello that comes after.
    pub async fn next_hello(&self) -> Hello {
        let before = self.told.lock().unwrap().hellos.len();
        self.hang_up.send_replace(());
        self.wait("another hello", |t| t.hellos.get(before).cloned()).await
    }

    /// Returns when all that was sent before has been handled: sets are taken in order.
    pub async fn handled(&self, node: &Node, epoch: u64, index: u64) {
        let path = node.data().join("identity.json");
        let revision = format!("{{\"epoch\":{epoch},\"index\":{index}}}");
        let accepted = || std::fs::read_to_string(&path).ok()?.contains(&revision).then_some(());
        wait("a set's acceptance", accepted).await;
    }

    /// Waits until what was told answers.
    pub async fn wait<T>(&self, what: &str, ready: impl Fn(&Told) -> Option<T>) -> T {
        wait(what, || ready(&self.told.lock().unwrap())).await
    }

    pub async fn ended(&self, attempt: &AttemptRef) -> EndedReport {
        let wanted = Some(v1::AttemptRef::from(attempt));
        let what = format!("the end of {attempt}");
        self.wait(&what, |t| t.ended.iter().find(|r| r.attempt == wanted).cloned()).await
    }

    pub async fn started(&self, attempt: &AttemptRef) {
        let wanted = Some(v1::AttemptRef::from(attempt));
        let what = format!("the start of {attempt}");
        self.wait(&what, |t| t.started.iter().any(|r| r.attempt == wanted).then_some(())).await;
    }
}

/// Waits for a condition, with a deadline.
pub async fn wait<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

type Messages = Pin<Box<dyn Stream<Item = Result<SchedulerMessage, Status>> + Send>>;

#[tonic::async_trait]
impl Worker for Service {
    type SessionStream = Messages;

    async fn session(
        &self,
        request: Request<Streaming<WorkerMessage>>,
    ) -> Result<Response<Messages>, Status> {
        if let Some(status) = self.refusal.lock().unwrap().clone() {
            return Err(status);
        }
        let mut up = request.into_inner();
        let told = Arc::clone(&self.told);
        tokio::spawn(async move {
            while let Ok(Some(message)) = up.message().await {
                let mut told = told.lock().unwrap();
                match message.body.unwrap() {
                    Up::Hello(hello) => told.hellos.push(hello),
                    Up::Heartbeat(beat) => told.heartbeats.push(beat),
                }
            }
        });
        let welcome =
            Welcome { cluster: self.cluster.clone(), heartbeat_ms: 50, endpoints: Vec::new() };
        let message = |body| Ok(SchedulerMessage { body: Some(body) });
        let mut hang_up = self.hang_up.clone();
        hang_up.mark_unchanged();
        let hung_up = Box::pin(async move { drop(hang_up.changed().await) });
        let desired = tokio_stream::wrappers::WatchStream::new(self.desired.clone());
        let sets = desired.filter_map(|set| set).map(move |set| message(Body::Desired(set)));
        let all = tokio_stream::once(message(Body::Welcome(welcome))).chain(sets);
        Ok(Response::new(Box::pin(futures::StreamExt::take_until(all, hung_up))))
    }

    async fn report_started(
        &self,
        request: Request<StartedReport>,
    ) -> Result<Response<ReportAnswer>, Status> {
        self.told.lock().unwrap().started.push(request.into_inner());
        Ok(Response::new(ReportAnswer {}))
    }

    async fn report_ended(
        &self,
        request: Request<EndedReport>,
    ) -> Result<Response<ReportAnswer>, Status> {
        self.told.lock().unwrap().ended.push(request.into_inner());
        Ok(Response::new(ReportAnswer {}))
    }

    async fn report_checkpoint(
        &self,
        request: Request<CheckpointReport>,
    ) -> Result<Response<ReportAnswer>, Status> {
        self.told.lock().unwrap().checkpoints.push(request.into_inner());
        Ok(Response::new(ReportAnswer {}))
    }
}

/// A node: its directories, which outlive its agents.
pub struct Node {
    pub dir: tempfile::TempDir,
}

/// A running agent. Dropping it ends the agent; the ranks run on.
pub struct Agent {
    shutdown: oneshot::Sender<()>,
    pub task: JoinHandle<Result<(), WorkerError>>,
}

impl Agent {
    pub async fn stop(self) {
        self.shutdown.send(()).unwrap();
        self.task.await.unwrap().unwrap();
    }
}

impl Node {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub fn data(&self) -> std::path::PathBuf {
        self.dir.path().join("data")
    }

    pub fn store(&self) -> Store {
        Store::open(&self.store_url()).unwrap()
    }

    fn store_url(&self) -> String {
        format!("file://{}/store", self.dir.path().display())
    }

    pub fn config(&self, schedulers: &[SocketAddr]) -> Config {
        Config {
            name: "w1".parse().unwrap(),
            data_dir: self.data(),
            endpoints: schedulers.iter().map(ToString::to_string).collect(),
            store: self.store_url(),
            slots: Some(2),
            cgroup: false,
            shim_program: Some(env!("CARGO_BIN_EXE_trainyard-shim").into()),
            ..Config::default()
        }
    }

    pub fn agent(&self, schedulers: &[SocketAddr]) -> Agent {
        let config = self.config(schedulers);
        let (shutdown, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            trainyard_worker::run(config, async { drop(stopped.await) }).await
        });
        Agent { shutdown, task }
    }

    pub fn attempt_dir(&self, attempt: &AttemptRef) -> std::path::PathBuf {
        self.data().join("attempts").join(attempt.to_string())
    }

    /// The attempt's output, in the order in which the store has it.
    pub async fn log(&self, attempt: &AttemptRef) -> Vec<String> {
        let store = self.store();
        let mut lines = Vec::new();
        let segments = store.list_log_segments(&attempt.job).await.unwrap();
        for segment in segments.iter().filter(|segment| segment.attempt == *attempt) {
            let bytes = store.read_log_segment(&segment.key).await.unwrap();
            lines.extend(trainyard_store::log::parse(&bytes).map(|record| record.unwrap().l));
        }
        lines
    }
}

impl Drop for Node {
    /// Whatever a failed test left running ends.
    fn drop(&mut self) {
        let attempts = std::fs::read_dir(self.data().join("attempts"));
        for entry in attempts.into_iter().flatten().flatten() {
            kill_shim(&entry.path());
        }
    }
}

/// Kills the shim that runs in `dir`, if one does.
pub fn kill_shim(dir: &Path) {
    let shim = trainyard_worker::shim::ShimDir::new(dir);
    let Ok(bytes) = std::fs::read(shim.started()) else { return };
    let started: trainyard_worker::shim::StartedRecord = serde_json::from_slice(&bytes).unwrap();
    if shim.is_alive().unwrap() {
        let pid = nix::unistd::Pid::from_raw(started.shim.pid);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
    }
}

pub fn attempt(number: u32) -> AttemptRef {
    AttemptRef {
        job: JobId::from_random(77),
        attempt: AttemptNo(number),
        generation: Generation(1),
    }
}

/// An attempt that runs `script` as its only rank, started at index 10.
pub fn desired(attempt: &AttemptRef, script: &str) -> DesiredAttempt {
    let spec = serde_json::json!({
        "name": "test",
        "resources": { "gpus": 1, "device": "cpu" },
        "run": { "command": ["sh", "-c", script], "stop_grace": "2s" },
    });
    DesiredAttempt {
        attempt: Some(attempt.into()),
        started: Some(Revision { epoch: 1, index: 10 }),
        spec_json: spec.to_string().into(),
        ranks: vec![RankSlot { rank: 0, unit: "cpu-0".into() }],
        world_size: 1,
        group_rank: 0,
        group_world_size: 1,
        master_addr: "127.0.0.1".into(),
        master_port: 20_000,
        ..DesiredAttempt::default()
    }
}

/// The exit of the only rank.
pub fn how(report: &EndedReport) -> v1::rank_exit::How {
    assert_eq!(report.ranks.len(), 1, "{report:?}");
    report.ranks[0].how.unwrap()
}

/// Waits until a task ends, with a deadline.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let ended = tokio::time::timeout(DEADLINE, future).await;
    ended.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}
