//! A scheduler with real raft, disk, store and certificates, and everybody who may call it.

#![allow(dead_code, reason = "not every test uses all of it")]

use std::{collections::BTreeMap, path::Path, sync::OnceLock, time::Duration};

use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Status,
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};
use trainyard_jobs::{ClusterId, Digest, FileEntry, Millis, NodeId, Role, Secret, Token};
use trainyard_pki::{
    AUTHORITY_LIFE, Authority, Connector, Credentials, Expected, Holder, NODE_LIFE, PkiDir, Subject,
};
use trainyard_proto::v1::{
    self, access_client::AccessClient, client_client::ClientClient, scheduler_message::Body,
    worker_client::WorkerClient, worker_message,
};
use trainyard_scheduler::{Config, SchedulerError};
use trainyard_store::Store;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(20);

/// Who calls.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Someone {
    Nobody,
    Person(Role),
    Worker,
    Scheduler,
    OfAnotherCluster,
}

pub(crate) struct Daemon {
    pub(crate) config: Config,
    stop: CancellationToken,
    task: JoinHandle<Result<(), SchedulerError>>,
}

fn cluster() -> ClusterId {
    ClusterId(Uuid::from_u128(7))
}

pub(crate) fn worker() -> NodeId {
    NodeId::from_random(1)
}

fn authority() -> &'static Authority {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    AUTHORITY.get_or_init(|| Authority::create(cluster(), AUTHORITY_LIFE).unwrap())
}

/// Another cluster's authority, of the same name.
fn foreign() -> &'static Authority {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    AUTHORITY.get_or_init(|| Authority::create(cluster(), AUTHORITY_LIFE).unwrap())
}

impl Someone {
    fn connector(self) -> Connector {
        let dir = tempfile::tempdir().unwrap();
        let pki = PkiDir::new(dir.path());
        pki.write_roots(authority().certificate()).unwrap();
        let (holder, subject, by) = match self {
            Self::Nobody => return to(&Credentials::person(dir.path()).unwrap()),
            Self::Person(role) => {
                (Holder::Person, Subject::Person { role, name: "ada".into() }, authority())
            }
            Self::Worker => (Holder::Node, Subject::Worker(worker()), authority()),
            Self::Scheduler => (Holder::Node, Subject::Scheduler(1), authority()),
            Self::OfAnotherCluster => {
                let subject = Subject::Person { role: Role::Admin, name: "eve".into() };
                (Holder::Person, subject, foreign())
            }
        };
        pki.write_issued(holder, &by.issue(subject, NODE_LIFE).unwrap()).unwrap();
        match holder {
            Holder::Node => to(&Credentials::node(dir.path()).unwrap()),
            Holder::Person => to(&Credentials::person(dir.path()).unwrap()),
        }
    }
}

fn to(credentials: &Credentials) -> Connector {
    Connector::to(credentials, Expected::AnyScheduler).unwrap()
}

pub(crate) fn config(dir: &Path) -> Config {
    let listen = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let pki = PkiDir::new(dir.join("pki"));
    pki.write_authority(authority().certificate(), &authority().key()).unwrap();
    let issued = authority().issue(Subject::Scheduler(1), NODE_LIFE).unwrap();
    pki.write_issued(Holder::Node, &issued).unwrap();
    Config {
        id: 1,
        cluster: cluster(),
        listen,
        peers: BTreeMap::from([(1, listen.to_string())]),
        data_dir: dir.join("scheduler"),
        pki_dir: Some(dir.join("pki")),
        store: store_url(dir),
        ..Config::default()
    }
}

fn store_url(dir: &Path) -> String {
    format!("file://{}", dir.join("store").display())
}

impl Daemon {
    pub(crate) async fn start(config: Config) -> Self {
        let stop = CancellationToken::new();
        let until = stop.clone().cancelled_owned();
        let task = tokio::spawn(trainyard_scheduler::run(config.clone(), until));
        let daemon = Self { config, stop, task };
        daemon.until(|status| status.leader == 1 && status.applied > 0).await;
        daemon
    }

    pub(crate) async fn channel(&self, who: Someone) -> Channel {
        timeout(PATIENCE, async {
            loop {
                if let Ok(channel) = self.try_channel(who).await {
                    return channel;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("the daemon listens")
    }

    pub(crate) async fn try_channel(
        &self,
        who: Someone,
    ) -> Result<Channel, tonic::transport::Error> {
        let url = format!("https://{}", self.config.listen);
        let endpoint = tonic::transport::Endpoint::from_shared(url).unwrap();
        endpoint.connect_with_connector(who.connector()).await
    }

    pub(crate) async fn admin(&self) -> ClientClient<Channel> {
        ClientClient::new(self.channel(Someone::Person(Role::Admin)).await)
    }

    pub(crate) async fn until(&self, done: impl Fn(&v1::ClusterStatusAnswer) -> bool) {
        let mut client = self.admin().await;
        let answered = timeout(PATIENCE, async {
            loop {
                let answer = client.cluster_status(v1::ClusterStatusRequest {}).await;
                if answer.is_ok_and(|a| done(a.get_ref())) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        answered.await.expect("the daemon comes into the state");
    }

    pub(crate) async fn access(&self) -> AccessClient<Channel> {
        AccessClient::new(self.channel(Someone::Person(Role::Admin)).await)
    }

    pub(crate) async fn make(
        &self,
        role: &str,
        projects: &[&str],
        name: &str,
        ttl_ms: u64,
    ) -> (String, String) {
        let secret = Secret::from_random(rand::random());
        let request = v1::CreateTokenRequest {
            key: Uuid::now_v7().to_string(),
            role: role.to_owned(),
            projects: projects.iter().map(ToString::to_string).collect(),
            name: name.to_owned(),
            ttl_ms,
            digest: secret.digest().to_string(),
        };
        let answer = self.access().await.create_token(request).await.unwrap().into_inner();
        let id = answer.token.unwrap().id;
        (id.clone(), Token::Api { id: id.parse().unwrap(), secret }.expose())
    }

    pub(crate) async fn token(&self, role: &str, projects: &[&str], ttl_ms: u64) -> String {
        self.make(role, projects, "", ttl_ms).await.1
    }

    pub(crate) async fn named_token(&self, role: &str, name: &str) -> String {
        self.make(role, &[], name, 60_000).await.1
    }

    pub(crate) async fn revoked(&self, role: &str) -> String {
        let (id, token) = self.make(role, &[], "", 60_000).await;
        self.revoke(id).await;
        token
    }

    pub(crate) async fn revoke(&self, token: String) {
        let request = v1::RevokeTokenRequest { key: Uuid::now_v7().to_string(), token };
        self.access().await.revoke_token(request).await.unwrap();
    }

    pub(crate) async fn stop(self) -> Config {
        self.stop.cancel();
        timeout(PATIENCE, self.task).await.unwrap().unwrap().unwrap();
        self.config
    }
}

/// Adds a token to a request.
pub(crate) fn bearer<T>(request: &mut Request<T>, token: &str) {
    let value = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", value);
}

/// Adds a token to every request.
#[derive(Clone)]
pub(crate) struct Bearer(Option<String>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            bearer(&mut request, token);
        }
        Ok(request)
    }
}

pub(crate) fn client(
    channel: Channel,
    token: &Option<String>,
) -> ClientClient<InterceptedService<Channel, Bearer>> {
    ClientClient::with_interceptor(channel, Bearer(token.clone()))
}

pub(crate) fn now_key() -> Uuid {
    Uuid::now_v7()
}

pub(crate) fn submit_in(project: &str, key: Uuid) -> v1::SubmitRequest {
    submit(project, key, "")
}

/// A job that would register a version of the model `m`.
pub(crate) fn register_in(project: &str, key: Uuid) -> v1::SubmitRequest {
    submit(project, key, r#","register":{"model":"m"}"#)
}

fn submit(project: &str, key: Uuid, more: &str) -> v1::SubmitRequest {
    let spec = format!(
        r#"{{"name":"j","project":"{project}","run":{{"command":["/bin/true"]}},"resources":{{"gpus":1,"device":"cpu"}}{more}}}"#
    );
    v1::SubmitRequest { key: key.to_string(), spec_json: spec.into_bytes(), ..Default::default() }
}

fn hello() -> v1::Hello {
    let slot = v1::Device {
        unit: "cpu-0".into(),
        kind: "cpu".into(),
        index: 0,
        model: "cpu".into(),
        memory: 0,
        part: None,
    };
    v1::Hello {
        node: worker().to_string(),
        session: Uuid::new_v4().to_string(),
        inventory: Some(v1::Inventory {
            name: "n1".into(),
            address: "127.0.0.1".into(),
            devices: vec![slot],
            cpus: 1,
            memory: 1 << 30,
            first_port: 20_000,
            last_port: 20_009,
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Plays a worker until a job of `project` has registered version 1 of the model `m`. Returns the
/// job.
pub(crate) async fn model_of(daemon: &Daemon, project: &str) -> String {
    let mut admin = daemon.admin().await;
    let job = admin.submit(register_in(project, now_key())).await.unwrap().into_inner().job;
    let mut worker = WorkerClient::new(daemon.channel(Someone::Worker).await);
    let (up, messages) = mpsc::channel(8);
    let hello = hello();
    let session = hello.session.clone();
    let body = Some(worker_message::Body::Hello(hello));
    up.send(v1::WorkerMessage { body }).await.unwrap();
    let mut down = worker.session(ReceiverStream::new(messages)).await.unwrap().into_inner();
    let attempt = timeout(PATIENCE, async {
        loop {
            if let Some(Body::Desired(set)) = down.message().await.unwrap().unwrap().body
                && let Some(attempt) = set.attempts.into_iter().next()
            {
                return attempt.attempt.unwrap();
            }
        }
    });
    let attempt = attempt.await.unwrap();
    let file = artifact(daemon, &attempt).await;
    let node = self::worker().to_string();
    let exit = v1::RankExit { rank: 0, how: Some(v1::rank_exit::How::Code(0)) };
    let report = v1::EndedReport {
        node,
        session,
        attempt: Some(attempt),
        ranks: vec![exit],
        artifacts: vec![(&file).into()],
        ..Default::default()
    };
    worker.report_ended(report).await.unwrap();
    timeout(PATIENCE, async {
        let get = v1::GetJobRequest { job: job.clone(), stale: false };
        while admin.get_job(get.clone()).await.unwrap().into_inner().job.unwrap().model != "m/1" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("the model is registered");
    job
}

async fn artifact(daemon: &Daemon, attempt: &v1::AttemptRef) -> FileEntry {
    let store = Store::open(&daemon.config.store).unwrap();
    let attempt = attempt.clone().try_into().unwrap();
    let key = trainyard_store::keys::artifact(&attempt, "model.bin");
    let entry = store.put_bytes(&key, "model.bin", "weights".into()).await.unwrap();
    assert_eq!(entry.digest, Digest::of(b"weights"));
    entry
}

/// A span for configurations.
pub(crate) const fn ms(n: u64) -> Millis {
    Millis(n)
}
