//! The scheduler: the worker's service over a real connection.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
};

use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming, transport::Server};
use trainyard_jobs::AttemptRef;
use trainyard_pki::Authority;
use trainyard_proto::v1::{
    self, CheckpointReport, DesiredAttempt, DesiredSet, EndedReport, Heartbeat, Hello,
    ReportAnswer, Revision, Roll, RollCall, SchedulerMessage, StartedReport, Welcome,
    WorkerMessage,
    scheduler_message::Body,
    worker_message::Body as Up,
    worker_server::{Worker, WorkerServer},
};

use super::{Node, pki, wait};

pub const CLUSTER: &str = "00000000-0000-0000-0000-000000000001";
/// What the scheduler was told.
#[derive(Default)]
pub struct Told {
    pub hellos: Vec<Hello>,
    pub rolls: Vec<Roll>,
    pub heartbeats: Vec<Heartbeat>,
    pub started: Vec<StartedReport>,
    pub ended: Vec<EndedReport>,
    pub checkpoints: Vec<CheckpointReport>,
}

#[derive(Clone)]
struct Service {
    told: Arc<Mutex<Told>>,
    roll_call: Arc<Mutex<Option<RollCall>>>,
    desired: watch::Receiver<Option<DesiredSet>>,
    hang_up: watch::Receiver<()>,
    refusal: Arc<Mutex<Option<Status>>>,
    refusal_of_results: Arc<Mutex<Option<Status>>>,
    cluster: String,
}

/// A running fake scheduler.
pub struct Scheduler {
    pub address: SocketAddr,
    pub told: Arc<Mutex<Told>>,
    /// Goes out before each welcome.
    pub roll_call: Arc<Mutex<Option<RollCall>>>,
    pub refusal: Arc<Mutex<Option<Status>>>,
    /// The answer to ends that bring artifacts or metrics.
    pub refusal_of_results: Arc<Mutex<Option<Status>>>,
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
        Self::start_as(address, cluster, pki::authority()).await
    }

    /// A scheduler whose certificate is of `authority`.
    pub async fn start_as(address: &str, cluster: &str, authority: &Authority) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (desired, receiver) = watch::channel(None);
        let (hang_up, hung_up) = watch::channel(());
        let service = Service {
            told: Arc::default(),
            roll_call: Arc::default(),
            desired: receiver,
            hang_up: hung_up,
            refusal: Arc::default(),
            refusal_of_results: Arc::default(),
            cluster: cluster.into(),
        };
        let (told, refusal) = (Arc::clone(&service.told), Arc::clone(&service.refusal));
        let roll_call = Arc::clone(&service.roll_call);
        let refusal_of_results = Arc::clone(&service.refusal_of_results);
        let incoming = pki::serve(listener, authority);
        let server = tokio::spawn(async move {
            let server = Server::builder().add_service(WorkerServer::new(service));
            server.serve_with_incoming(incoming).await.unwrap();
        });
        Self { address, told, roll_call, refusal, refusal_of_results, desired, hang_up, server }
    }

    pub fn send(&self, epoch: u64, index: u64, attempts: Vec<DesiredAttempt>) {
        self.send_set(epoch, index, attempts, &[]);
    }

    /// A set that also names what must not run.
    pub fn send_stopping(&self, epoch: u64, index: u64, stopping: &[&AttemptRef]) {
        self.send_set(epoch, index, Vec::new(), stopping);
    }

    fn send_set(
        &self,
        epoch: u64,
        index: u64,
        attempts: Vec<DesiredAttempt>,
        stopping: &[&AttemptRef],
    ) {
        let revision = Some(Revision { epoch, index });
        let stopping = stopping.iter().map(|attempt| (*attempt).into()).collect();
        self.desired.send_replace(Some(DesiredSet { revision, attempts, stopping }));
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

type Messages = Pin<Box<dyn Stream<Item = Result<SchedulerMessage, Status>> + Send>>;

impl Service {
    /// A connection outlives the listener; a dead scheduler takes no report all the same.
    fn must_live(&self) -> Result<(), Status> {
        let closed = self.hang_up.has_changed().is_err();
        if closed { Err(Status::unavailable("the scheduler is gone")) } else { Ok(()) }
    }
}

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
                    Up::Roll(roll) => told.rolls.push(roll),
                    Up::Heartbeat(beat) => told.heartbeats.push(beat),
                }
            }
        });
        // The fake takes its word from the set that it is about to send.
        let revision = self.desired.borrow().as_ref().and_then(|set| set.revision);
        let epoch = revision.map_or(0, |revision| revision.epoch);
        let welcome = Welcome {
            cluster: self.cluster.clone(),
            heartbeat_ms: 50,
            epoch,
            epoch_grant: pki::authority().sign_epoch(epoch).unwrap(),
            ..Welcome::default()
        };
        let message = |body| Ok(SchedulerMessage { body: Some(body) });
        let mut hang_up = self.hang_up.clone();
        hang_up.mark_unchanged();
        let hung_up = Box::pin(async move { drop(hang_up.changed().await) });
        let desired = tokio_stream::wrappers::WatchStream::new(self.desired.clone());
        let sets = desired.filter_map(|set| set).map(move |set| message(Body::Desired(set)));
        let call = self.roll_call.lock().unwrap().clone();
        let call = tokio_stream::iter(call.map(|call| message(Body::RollCall(call))));
        let all = call.chain(tokio_stream::once(message(Body::Welcome(welcome)))).chain(sets);
        Ok(Response::new(Box::pin(futures::StreamExt::take_until(all, hung_up))))
    }

    async fn report_started(
        &self,
        request: Request<StartedReport>,
    ) -> Result<Response<ReportAnswer>, Status> {
        self.must_live()?;
        self.told.lock().unwrap().started.push(request.into_inner());
        Ok(Response::new(ReportAnswer {}))
    }

    async fn report_ended(
        &self,
        request: Request<EndedReport>,
    ) -> Result<Response<ReportAnswer>, Status> {
        self.must_live()?;
        let report = request.into_inner();
        if let Some(status) = self.refusal_of_results.lock().unwrap().clone()
            && !(report.artifacts.is_empty() && report.metrics.is_empty())
        {
            return Err(status);
        }
        self.told.lock().unwrap().ended.push(report);
        Ok(Response::new(ReportAnswer {}))
    }

    async fn report_checkpoint(
        &self,
        request: Request<CheckpointReport>,
    ) -> Result<Response<ReportAnswer>, Status> {
        self.must_live()?;
        self.told.lock().unwrap().checkpoints.push(request.into_inner());
        Ok(Response::new(ReportAnswer {}))
    }
}
