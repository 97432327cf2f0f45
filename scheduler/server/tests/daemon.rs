//! One scheduler as a client and a worker meet it: over its port, with real raft, disk and store.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test")]

use std::{collections::BTreeMap, net::SocketAddr, sync::OnceLock, time::Duration};

use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Streaming, transport::Channel};
use trainyard_jobs::{ClusterId, Millis, Role};
use trainyard_pki::{
    AUTHORITY_LIFE, Authority, Connector, Credentials, Expected, Holder, NODE_LIFE, PkiDir, Subject,
};
use trainyard_proto::v1::{
    self, client_client::ClientClient, scheduler_message::Body, worker_client::WorkerClient,
    worker_message,
};
use trainyard_scheduler::{Config, SchedulerError};
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(20);

struct Daemon {
    config: Config,
    stop: CancellationToken,
    task: JoinHandle<Result<(), SchedulerError>>,
}

fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn authority() -> &'static Authority {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    let cluster = ClusterId(Uuid::from_u128(7));
    AUTHORITY.get_or_init(|| Authority::create(cluster, AUTHORITY_LIFE).unwrap())
}

/// A connector of somebody, whose directory may go once it was read.
fn connector(holder: Holder, subject: Subject) -> Connector {
    let dir = tempfile::tempdir().unwrap();
    let pki = PkiDir::new(dir.path());
    pki.write_roots(authority().certificate()).unwrap();
    pki.write_issued(holder, &authority().issue(subject, NODE_LIFE).unwrap()).unwrap();
    let credentials = match holder {
        Holder::Node => Credentials::node(dir.path()),
        Holder::Person => Credentials::person(dir.path()),
    };
    Connector::to(&credentials.unwrap(), Expected::AnyScheduler).unwrap()
}

fn admin() -> Connector {
    connector(Holder::Person, Subject::Person { role: Role::Admin, name: "ada".into() })
}

fn config(dir: &std::path::Path) -> Config {
    let listen = free_address();
    let pki = PkiDir::new(dir.join("pki"));
    pki.write_authority(authority().certificate(), &authority().key()).unwrap();
    let issued = authority().issue(Subject::Scheduler(1), NODE_LIFE).unwrap();
    pki.write_issued(Holder::Node, &issued).unwrap();
    Config {
        id: 1,
        cluster: ClusterId(Uuid::from_u128(7)),
        listen,
        peers: BTreeMap::from([(1, listen.to_string())]),
        data_dir: dir.join("scheduler"),
        pki_dir: Some(dir.join("pki")),
        store: format!("file://{}", dir.join("store").display()),
        node_grace: Millis(600),
        heartbeat: Millis(100),
        ..Config::default()
    }
}

impl Daemon {
    async fn start(config: Config) -> Self {
        let stop = CancellationToken::new();
        let until = stop.clone().cancelled_owned();
        let task = tokio::spawn(trainyard_scheduler::run(config.clone(), until));
        let daemon = Self { config, stop, task };
        daemon.until(|status| status.leader == 1 && status.applied > 0).await;
        daemon
    }

    async fn client(&self) -> ClientClient<Channel> {
        ClientClient::new(self.channel(admin()).await)
    }

    async fn channel(&self, connector: Connector) -> Channel {
        let url = format!("https://{}", self.config.listen);
        let endpoint = tonic::transport::Endpoint::from_shared(url).unwrap();
        timeout(PATIENCE, async {
            loop {
                if let Ok(channel) = endpoint.connect_with_connector(connector.clone()).await {
                    return channel;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("the daemon listens")
    }

    async fn until(&self, done: impl Fn(&v1::ClusterStatusAnswer) -> bool) {
        let mut client = self.client().await;
        let answered = timeout(PATIENCE, async {
            loop {
                let answer = client.cluster_status(v1::ClusterStatusRequest {}).await;
                if answer.is_ok_and(|a| done(a.get_ref())) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        });
        answered.await.expect("the daemon comes into the state");
    }

    async fn stop(self) -> Config {
        self.stop.cancel();
        timeout(PATIENCE, self.task).await.unwrap().unwrap().unwrap();
        self.config
    }
}

fn submit_request(key: u128, gpus: u32) -> v1::SubmitRequest {
    let spec = format!(
        r#"{{"name":"j","run":{{"command":["/bin/true"]}},"resources":{{"gpus":{gpus},"device":"cpu"}}}}"#
    );
    let key = Uuid::from_u128(key).to_string();
    v1::SubmitRequest { key, spec_json: spec.into_bytes(), ..Default::default() }
}

fn now_key(n: u128) -> u128 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    (now.as_millis() << 80) | (0x7 << 76) | (0x8 << 60) | n
}

struct Worker {
    /// Held open: a worker that says no more is not a worker that hangs up.
    up: mpsc::Sender<v1::WorkerMessage>,
    down: Streaming<v1::SchedulerMessage>,
}

fn hello(node: &str, name: &str, slots: u32) -> v1::Hello {
    let slot = |index| v1::Device {
        unit: format!("cpu-{index}"),
        kind: "cpu".into(),
        index,
        model: "cpu".into(),
        memory: 0,
        part: None,
    };
    v1::Hello {
        cluster: String::new(),
        node: node.into(),
        session: Uuid::new_v4().to_string(),
        inventory: Some(v1::Inventory {
            name: name.into(),
            address: "127.0.0.1".into(),
            devices: (0..slots).map(slot).collect(),
            cpus: slots,
            memory: 1 << 30,
            first_port: 20_000,
            last_port: 20_009,
            ..Default::default()
        }),
        running: Vec::new(),
        revision: None,
        answers_roll_call: true,
    }
}

impl Worker {
    async fn connect(daemon: &Daemon, hello: v1::Hello) -> Result<Self, tonic::Status> {
        let mut worker = Self::greet(daemon, hello).await?;
        let Body::Welcome(_) = worker.next().await else { panic!("a welcome comes first") };
        Ok(worker)
    }

    async fn greet(daemon: &Daemon, hello: v1::Hello) -> Result<Self, tonic::Status> {
        let node = Subject::Worker(hello.node.parse().unwrap());
        let channel = daemon.channel(connector(Holder::Node, node)).await;
        let mut client = WorkerClient::new(channel);
        let (up, messages) = mpsc::channel(8);
        let body = Some(worker_message::Body::Hello(hello));
        up.send(v1::WorkerMessage { body }).await.unwrap();
        let down = client.session(ReceiverStream::new(messages)).await?.into_inner();
        Ok(Self { up, down })
    }

    async fn next(&mut self) -> Body {
        timeout(PATIENCE, self.down.message()).await.unwrap().unwrap().unwrap().body.unwrap()
    }

    async fn desired(&mut self) -> v1::DesiredSet {
        match self.next().await {
            Body::Desired(set) => set,
            Body::Welcome(_) | Body::RollCall(_) => panic!("welcomed already"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(config(dir.path())).await;
    let key = now_key(1);
    let mut client = daemon.client().await;
    let first = client.submit(submit_request(key, 1)).await.unwrap().into_inner();
    assert!(!first.existed);
    let again = client.submit(submit_request(key, 1)).await.unwrap().into_inner();
    assert_eq!((again.job, again.existed), (first.job.clone(), true));
    let conflict = client.submit(submit_request(key, 2)).await.unwrap_err();
    assert_eq!(conflict.code(), Code::AlreadyExists);

    let config = daemon.stop().await;
    let daemon = Daemon::start(config).await;
    let mut client = daemon.client().await;
    let get = v1::GetJobRequest { job: first.job[..6].to_owned(), stale: false };
    let job = client.get_job(get).await.unwrap().into_inner().job.unwrap();
    assert_eq!((job.id, job.phase.as_str()), (first.job.clone(), "queued"));
    let again = client.submit(submit_request(key, 1)).await.unwrap().into_inner();
    assert_eq!((again.job, again.existed), (first.job, true));
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_given_its_desired_set_and_a_lost_one_is_called_lost() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(config(dir.path())).await;
    let mut client = daemon.client().await;
    let mut worker = Worker::connect(&daemon, hello("000000000001", "n1", 2)).await.unwrap();
    assert!(worker.desired().await.attempts.is_empty());

    let impossible = client.submit(submit_request(now_key(1), 3)).await.unwrap_err();
    assert_eq!(impossible.code(), Code::FailedPrecondition);
    let twin = Worker::connect(&daemon, hello("000000000002", "n1", 2)).await.err().unwrap();
    assert_eq!(twin.code(), Code::AlreadyExists);

    client.submit(submit_request(now_key(2), 2)).await.unwrap();
    let set = loop {
        let set = worker.desired().await;
        if !set.attempts.is_empty() {
            break set;
        }
    };
    let attempt = &set.attempts[0];
    assert_eq!((attempt.ranks.len(), attempt.world_size), (2, 2));
    let revision = set.revision.unwrap();
    assert!(revision.index >= attempt.started.unwrap().index, "the set knows of the start");

    // Silent from here on: the node is lost, its job waits again.
    drop(worker);
    daemon.until(|status| status.nodes == 0 && status.queued == 1).await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_was_called_lost_over_an_open_stream_is_asked_to_greet_again() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(config(dir.path())).await;
    let greeting = hello("000000000001", "n1", 1);
    let mut stalled = Worker::connect(&daemon, greeting.clone()).await.unwrap();
    stalled.desired().await;
    // No heartbeat comes, the stream stays open: after the grace the node is lost.
    daemon.until(|status| status.nodes == 0).await;
    let end = timeout(PATIENCE, async {
        loop {
            if let Err(status) = stalled.down.message().await {
                return status;
            }
        }
    });
    assert_eq!(end.await.unwrap().code(), Code::Unavailable);
    let _back = Worker::connect(&daemon, greeting).await.unwrap();
    daemon.until(|status| status.nodes == 1).await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_stop_is_said_even_to_a_worker_that_never_heard_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { node_grace: Millis(60_000), ..config(dir.path()) };
    let daemon = Daemon::start(config).await;
    let mut client = daemon.client().await;
    let mut worker = Worker::connect(&daemon, hello("000000000001", "n1", 1)).await.unwrap();
    let job = client.submit(submit_request(now_key(1), 1)).await.unwrap().into_inner().job;
    daemon.until(|status| status.running == 1).await;
    let key = Uuid::from_u128(now_key(2)).to_string();
    client.cancel(v1::CancelRequest { key, job: job.clone() }).await.unwrap();
    let stopping = loop {
        let set = worker.desired().await;
        if let Some(attempt) = set.stopping.into_iter().next() {
            break attempt;
        }
    };
    assert_eq!((stopping.job.as_str(), stopping.attempt), (job.as_str(), 1));
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_greeting_that_comes_late_ends_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { node_grace: Millis(60_000), ..config(dir.path()) };
    let daemon = Daemon::start(config).await;
    let mut client = daemon.client().await;
    // What the worker said before it had anything, and was long under way.
    let late = hello("000000000001", "n1", 1);
    let mut worker = Worker::connect(&daemon, late.clone()).await.unwrap();
    let job = client.submit(submit_request(now_key(1), 1)).await.unwrap().into_inner().job;
    let attempt = loop {
        if let Some(attempt) = worker.desired().await.attempts.into_iter().next() {
            break attempt.attempt;
        }
    };
    let started = v1::StartedReport {
        node: late.node.clone(),
        attempt: attempt.clone(),
        ..Default::default()
    };
    let node = Subject::Worker(late.node.parse().unwrap());
    let mut reports = WorkerClient::new(daemon.channel(connector(Holder::Node, node)).await);
    reports.report_started(started).await.unwrap();

    let mut stream = Worker::greet(&daemon, late.clone()).await.unwrap();
    let Body::RollCall(call) = stream.next().await else { panic!("it is asked first") };
    assert_eq!(call.attempts, [attempt.clone().unwrap()]);
    drop(stream);
    let phase = async |client: &mut ClientClient<Channel>| {
        let get = v1::GetJobRequest { job: job.clone(), stale: false };
        client.get_job(get).await.unwrap().into_inner().job.unwrap().phase
    };
    assert_eq!(phase(&mut client).await, "running");

    // The same words, from a worker that is there and says that it is so.
    let mut stream = Worker::greet(&daemon, late).await.unwrap();
    let Body::RollCall(_) = stream.next().await else { panic!("it is asked first") };
    let body = Some(worker_message::Body::Roll(v1::Roll { held: Vec::new() }));
    stream.up.send(v1::WorkerMessage { body }).await.unwrap();
    let Body::Welcome(_) = stream.next().await else { panic!("then it is welcome") };
    let next = loop {
        if let Some(next) = stream.desired().await.attempts.into_iter().next() {
            break next.attempt.unwrap();
        }
    };
    assert_eq!(next.attempt, 2, "the first has vanished");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_are_told_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(config(dir.path())).await;
    let mut client = daemon.client().await;
    let mut request = submit_request(now_key(1), 1);
    request.spec_json = b"{\"name\":\"j\",\"oops\":1}".to_vec();
    let error = client.submit(request).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert!(error.message().contains("oops"), "{error}");
    let mut request = submit_request(now_key(1), 1);
    request.key = "not a uuid".into();
    assert_eq!(client.submit(request).await.unwrap_err().code(), Code::InvalidArgument);
    let missing = v1::GetJobRequest { job: "zzzz".into(), stale: false };
    assert_eq!(client.get_job(missing).await.unwrap_err().code(), Code::NotFound);
    let foreign =
        v1::Hello { cluster: Uuid::from_u128(8).to_string(), ..hello("000000000001", "n", 1) };
    let error = Worker::connect(&daemon, foreign).await.err().unwrap();
    assert_eq!(error.code(), Code::FailedPrecondition);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archived_job_is_found_like_any_other() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { archive_after: Millis(1), ..config(dir.path()) };
    let daemon = Daemon::start(config).await;
    let mut client = daemon.client().await;
    let mut jobs = Vec::new();
    let first = now_key(1);
    for n in 1..=6 {
        let request = submit_request(if n == 1 { first } else { now_key(n) }, 1);
        jobs.push(client.submit(request).await.unwrap().into_inner().job);
    }
    for (n, job) in (10..).zip(&jobs[..4]) {
        let key = Uuid::from_u128(now_key(n)).to_string();
        client.cancel(v1::CancelRequest { key, job: job.clone() }).await.unwrap();
    }
    daemon.until(|status| status.archived == 4).await;
    let list = |before: &str, limit, all| v1::ListJobsRequest {
        all,
        limit,
        before: before.to_owned(),
        ..Default::default()
    };
    let newest: Vec<String> = jobs.iter().rev().cloned().collect();
    let ids = |answer: &v1::ListJobsAnswer| -> Vec<String> {
        answer.jobs.iter().map(|job| job.id.clone()).collect()
    };
    let (mut daemon, mut client) = (daemon, client);
    for restarted in [false, true] {
        let all = client.list_jobs(list("", 0, true)).await.unwrap().into_inner();
        assert_eq!((ids(&all), all.more), (newest.clone(), false), "restarted: {restarted}");
        let page = client.list_jobs(list("", 4, true)).await.unwrap().into_inner();
        assert_eq!((ids(&page), page.more), (newest[..4].to_vec(), true));
        let rest = client.list_jobs(list(&newest[3], 4, true)).await.unwrap().into_inner();
        assert_eq!((ids(&rest), rest.more), (newest[4..].to_vec(), false));
        let live = client.list_jobs(list("", 0, false)).await.unwrap().into_inner();
        assert_eq!(ids(&live), newest[..2]);
        let config = daemon.stop().await;
        daemon = Daemon::start(config).await;
        client = daemon.client().await;
    }
    let get = v1::GetJobRequest { job: jobs[0][..9].to_owned(), stale: false };
    let job = client.get_job(get.clone()).await.unwrap().into_inner().job.unwrap();
    assert_eq!((&job.id, job.phase.as_str()), (&jobs[0], "cancelled"));
    let explained = client.explain(get.clone()).await.unwrap().into_inner();
    assert_eq!(explained.summary, "cancelled: cancelled");
    let mut watch = client.watch_job(get).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().job.unwrap().id, jobs[0]);
    assert!(watch.message().await.unwrap().is_none(), "it has ended");
    let again = client.submit(submit_request(first, 1)).await.unwrap().into_inner();
    assert_eq!((&again.job, again.existed), (&jobs[0], true), "the key went along");
    daemon.stop().await;
}
