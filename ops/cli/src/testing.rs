//! A scheduler's client service for tests: answers what it is told to, over real connections.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{Arc, Mutex, OnceLock},
};

use futures::Stream;
use tokio::{
    io::{copy_bidirectional, duplex},
    net::TcpListener,
};
use tonic::{Request, Response, Status, Streaming, transport::Server};
use trainyard_jobs::{ClusterId, Role};
use trainyard_pki::{
    AUTHORITY_LIFE, Authority, Clients, Credentials, Holder, Limits, NODE_LIFE, PkiDir, Protocol,
    Subject, accept,
};
use trainyard_proto::{
    LEADER_METADATA,
    v1::{
        self,
        client_server::{Client, ClientServer},
    },
};

use crate::endpoint::Endpoint;

type Items<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn authority() -> &'static Authority {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    let cluster = ClusterId(uuid::Uuid::from_u128(7));
    AUTHORITY.get_or_init(|| Authority::create(cluster, AUTHORITY_LIFE).unwrap())
}

/// A directory of certificates of `authority`, which may go once it was read.
fn issue(authority: &Authority, holder: Holder, subject: Subject) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let pki = PkiDir::new(dir.path());
    pki.write_roots(authority.certificate()).unwrap();
    pki.write_issued(holder, &authority.issue(subject, NODE_LIFE).unwrap()).unwrap();
    dir
}

fn as_node() -> Credentials {
    let dir = issue(authority(), Holder::Node, Subject::Scheduler(1));
    Credentials::node(dir.path()).unwrap()
}

fn person(authority: &Authority) -> Credentials {
    let subject = Subject::Person { role: Role::Admin, name: "ada".into() };
    let dir = issue(authority, Holder::Person, subject);
    Credentials::person(dir.path()).unwrap()
}

/// Somebody of the cluster that the fakes are of.
pub(crate) fn somebody() -> Credentials {
    person(authority())
}

/// Somebody of another cluster.
pub(crate) fn stranger() -> Credentials {
    let cluster = ClusterId(uuid::Uuid::from_u128(8));
    person(&Authority::create(cluster, AUTHORITY_LIFE).unwrap())
}

/// What one call brings: its messages, and how the stream ends.
#[derive(Debug, Clone)]
pub(crate) struct Script<T> {
    /// In order.
    pub(crate) items: Vec<T>,
    /// `None`: ends well.
    pub(crate) end: Option<Status>,
}

/// Scripts for the calls to come; the last one stays.
#[derive(Debug, Default)]
pub(crate) struct Scripts {
    /// Of `GetJob`.
    pub(crate) jobs: VecDeque<Result<v1::Job, Status>>,
    /// Of `WatchJob`.
    pub(crate) watches: VecDeque<Script<v1::Job>>,
    /// Of `Logs`.
    pub(crate) logs: VecDeque<Script<v1::LogLine>>,
    /// How many calls came.
    pub(crate) calls: usize,
}

/// A fake scheduler.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fake(pub(crate) Arc<Mutex<Scripts>>);

impl Fake {
    /// Serves on a port of the system's choice until the runtime ends.
    pub(crate) async fn serve(&self) -> Endpoint {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = ClientServer::new(self.clone());
        let tls = as_node().server(Clients::Anybody, Protocol::Http2).unwrap();
        let incoming = accept(listener, tls, Limits::default(), Arc::default());
        let incoming = futures::stream::unfold(incoming, async |mut incoming| {
            let mut secured = incoming.next().await;
            // What the server speaks through is of a kind that it knows.
            let (near, mut far) = duplex(1 << 16);
            tokio::spawn(async move { copy_bidirectional(&mut secured, &mut far).await });
            Some((Ok::<_, io::Error>(near), incoming))
        });
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
        address.to_string().parse().unwrap()
    }

    /// How many calls came.
    pub(crate) fn calls(&self) -> usize {
        self.0.lock().unwrap().calls
    }

    fn next<T: Clone>(&self, of: impl FnOnce(&mut Scripts) -> &mut VecDeque<T>) -> Option<T> {
        let mut scripts = self.0.lock().unwrap();
        scripts.calls += 1;
        let queue = of(&mut scripts);
        if queue.len() > 1 { queue.pop_front() } else { queue.front().cloned() }
    }
}

/// What a scheduler that does not lead answers.
pub(crate) fn not_leader(leader: Option<&Endpoint>) -> Status {
    let mut status = Status::unavailable("this scheduler does not lead");
    if let Some(leader) = leader {
        let value = leader.to_string().parse().unwrap();
        status.metadata_mut().insert(LEADER_METADATA, value);
    }
    status
}

fn stream<T, U: Send + 'static>(script: Script<T>, wrap: impl Fn(T) -> U) -> Response<Items<U>> {
    let items = script.items.into_iter().map(wrap).map(Ok).collect::<Vec<_>>();
    let all = items.into_iter().chain(script.end.map(Err));
    Response::new(Box::pin(futures::stream::iter(all.collect::<Vec<_>>())))
}

macro_rules! not_played {
    ($($name:ident($request:ty) -> $answer:ty;)*) => { $(
        fn $name<'a, 'b>(
            &'a self,
            _: Request<$request>,
        ) -> Pin<Box<dyn Future<Output = Result<Response<$answer>, Status>> + Send + 'b>>
        where
            'a: 'b,
            Self: 'b,
        {
            Box::pin(async { Err(Status::unimplemented("the fake does not play this")) })
        }
    )* };
}

#[tonic::async_trait]
impl Client for Fake {
    type WatchJobStream = Items<v1::JobUpdate>;
    type LogsStream = Items<v1::LogChunk>;
    type ReadModelFileStream = Items<v1::DataChunk>;

    async fn get_job(
        &self,
        _: Request<v1::GetJobRequest>,
    ) -> Result<Response<v1::JobAnswer>, Status> {
        let job = self.next(|s| &mut s.jobs).ok_or_else(|| Status::not_found("no job"))??;
        Ok(Response::new(v1::JobAnswer { job: Some(job) }))
    }

    async fn watch_job(
        &self,
        _: Request<v1::GetJobRequest>,
    ) -> Result<Response<Self::WatchJobStream>, Status> {
        let script = self.next(|s| &mut s.watches).ok_or_else(|| Status::not_found("no job"))?;
        Ok(stream(script, |job| v1::JobUpdate { job: Some(job) }))
    }

    async fn logs(
        &self,
        _: Request<v1::LogsRequest>,
    ) -> Result<Response<Self::LogsStream>, Status> {
        let script = self.next(|s| &mut s.logs).ok_or_else(|| Status::not_found("no job"))?;
        Ok(stream(script, |line| v1::LogChunk { lines: vec![line] }))
    }

    not_played! {
        submit(v1::SubmitRequest) -> v1::SubmitAnswer;
        cancel(v1::CancelRequest) -> v1::JobAnswer;
        list_jobs(v1::ListJobsRequest) -> v1::ListJobsAnswer;
        explain(v1::GetJobRequest) -> v1::ExplainAnswer;
        list_nodes(v1::ListNodesRequest) -> v1::ListNodesAnswer;
        list_models(v1::ListModelsRequest) -> v1::ListModelsAnswer;
        get_model(v1::GetModelRequest) -> v1::ModelAnswer;
        read_model_file(v1::ReadModelFileRequest) -> Self::ReadModelFileStream;
        has_bundle(v1::HasBundleRequest) -> v1::HasBundleAnswer;
        upload_bundle(Streaming<v1::BundleChunk>) -> v1::HasBundleAnswer;
        cluster_status(v1::ClusterStatusRequest) -> v1::ClusterStatusAnswer;
    }
}
