//! What a scheduler's ports make of those who mean no good or know no better: a typed refusal or a
//! closed connection, counted, and nobody else is kept waiting. And how machines join and renew.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test")]

mod support;

use std::{net::SocketAddr, time::Duration};

use support::{Daemon, Someone, config};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};
use tonic::{Code, Status};
use trainyard_jobs::{NodeId, Role, Secret, Token};
use trainyard_pki::{Authority, Credentials, Expected, Holder, PkiDir, Protocol, Request, Subject};
use trainyard_proto::v1::{
    self, client_client::ClientClient, join_client::JoinClient, raft_client::RaftClient,
    worker_client::WorkerClient,
};
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(20);

fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// The text of `/metrics`, read as a viewer with a certificate.
async fn metrics(daemon: &Daemon) -> String {
    let address = daemon.config.metrics_listen.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let pki = PkiDir::new(daemon.config.pki_dir());
    let authority = pki.authority().unwrap().unwrap();
    let own = PkiDir::new(dir.path());
    own.write_roots(authority.certificate()).unwrap();
    let subject = Subject::Person { role: Role::Viewer, name: "prometheus".into() };
    own.write_issued(Holder::Person, &authority.issue(subject, PATIENCE).unwrap()).unwrap();
    let viewer = Credentials::person(dir.path()).unwrap();
    let tls = viewer.client(Expected::AnyScheduler, Protocol::Http1).unwrap();
    let connector = trainyard_pki::Connector::new(tls);
    let mut stream = connector.connect("127.0.0.1", address.port()).await.unwrap();
    let ask = "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut text = String::new();
    let _ = timeout(PATIENCE, stream.read_to_string(&mut text)).await.unwrap();
    text
}

async fn counted(daemon: &Daemon, sample: &str) {
    let waited = timeout(PATIENCE, async {
        while !metrics(daemon).await.lines().any(|line| line == sample) {
            sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(waited.await.is_ok(), "no `{sample}` in {}", metrics(daemon).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn noise_on_any_port_is_closed_and_counted_and_delays_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.metrics_listen = Some(free_address());
    let daemon = Daemon::start(config).await;
    let ports =
        [("main", daemon.config.listen), ("metrics", daemon.config.metrics_listen.unwrap())];
    for (name, address) in ports {
        let noise: [&[u8]; 3] =
            [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n", &[0x80; 2000]];
        for bytes in noise {
            let mut tcp = TcpStream::connect(address).await.unwrap();
            tcp.write_all(bytes).await.unwrap();
            let mut answer = Vec::new();
            let _ = timeout(PATIENCE, tcp.read_to_end(&mut answer)).await.unwrap();
            assert!(answer.len() < 100, "nothing but an alert comes back");
        }
        let sample =
            format!("trainyard_connections_refused_total{{port=\"{name}\",reason=\"not_tls\"}} 3");
        counted(&daemon, &sample).await;
    }
    // A hundred that say nothing, on each port.
    let mut silent = Vec::new();
    for (_, address) in ports {
        for _ in 0..50 {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
    }
    let before = Instant::now();
    let mut admin = daemon.admin().await;
    admin.cluster_status(v1::ClusterStatusRequest {}).await.unwrap();
    assert!(before.elapsed() < Duration::from_secs(3), "it took {:?}", before.elapsed());
    let slow = "trainyard_connections_refused_total{port=\"main\",reason=\"slow\"} 50";
    counted(&daemon, slow).await;
    drop(silent);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_nobody_here_is_told_so_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.metrics_listen = Some(free_address());
    let daemon = Daemon::start(config).await;
    let mut nobody = ClientClient::new(daemon.channel(Someone::Nobody).await);
    let status = nobody.cluster_status(v1::ClusterStatusRequest {}).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");

    let stranger = daemon.try_channel(Someone::OfAnotherCluster).await;
    if let Ok(channel) = stranger {
        let mut stranger = ClientClient::new(channel);
        stranger.cluster_status(v1::ClusterStatusRequest {}).await.unwrap_err();
    }
    // A channel that is turned away connects again, so there may be more than one.
    let refused = "trainyard_connections_refused_total{port=\"main\",reason=\"certificate\"} ";
    let some = |line: &str| line.strip_prefix(refused).is_some_and(|count| count != "0");
    let waited = timeout(PATIENCE, async {
        while !metrics(&daemon).await.lines().any(some) {
            sleep(Duration::from_millis(20)).await;
        }
    });
    waited.await.expect("the stranger is counted");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_speaks_for_another() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(config(dir.path())).await;
    let refused = |result: Result<(), Status>| {
        let status = result.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied, "{status}");
        status.message().to_owned()
    };
    let mut raft = RaftClient::new(daemon.channel(Someone::Scheduler).await);
    let chunk = v1::RaftChunk {
        cluster: daemon.config.cluster.to_string(),
        from: 2,
        to: 1,
        data: vec![1],
        last: true,
        ..Default::default()
    };
    let chunks = tokio_stream::iter([chunk]);
    let exchanged = raft.exchange(chunks).await.map(drop).unwrap_err();
    assert!(
        matches!(exchanged.code(), Code::PermissionDenied | Code::FailedPrecondition),
        "{exchanged}"
    );
    let mut raft = RaftClient::new(daemon.channel(Someone::Worker).await);
    let chunk = v1::RaftChunk::default();
    refused(raft.exchange(tokio_stream::iter([chunk])).await.map(drop));

    let mut worker = WorkerClient::new(daemon.channel(Someone::Worker).await);
    let node = NodeId::from_random(99).to_string();
    let report = v1::StartedReport { node, ..Default::default() };
    let text = refused(worker.report_started(report).await.map(drop));
    assert!(text.contains("speaks for itself"), "{text}");
    let mut worker = WorkerClient::new(daemon.channel(Someone::Person(Role::Admin)).await);
    refused(worker.report_started(v1::StartedReport::default()).await.map(drop));
    daemon.stop().await;
}

/// A join token of `role`.
async fn token(daemon: &Daemon, role: &str) -> String {
    let secret = Secret::from_random(rand::random());
    let request = v1::CreateTokenRequest {
        key: Uuid::now_v7().to_string(),
        role: role.to_owned(),
        ttl_ms: 60_000,
        digest: secret.digest().to_string(),
        ..Default::default()
    };
    let answer = daemon.access().await.create_token(request).await.unwrap().into_inner();
    let id = answer.token.unwrap().id.parse().unwrap();
    let ca = trainyard_jobs::Digest::from_hex(&answer.ca).unwrap();
    Token::Join { id, secret, ca }.expose()
}

fn code<T>(result: Result<T, Status>) -> Code {
    result.err().map_or(Code::Ok, |status| status.code())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_lets_one_machine_in_and_it_renews_itself() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    // The question here is what, not how often.
    config.limits.stranger.burst = 1000;
    let daemon = Daemon::start(config).await;
    let mut anybody = JoinClient::new(daemon.channel(Someone::Nobody).await);
    let request = Request::new().unwrap();
    let node = NodeId::from_random(42);
    let subject = Subject::Worker(node.clone());
    let ask = v1::JoinRequest {
        token: token(&daemon, "worker").await,
        subject: subject.to_string(),
        csr: request.csr().to_vec(),
    };
    let wrong = [
        (v1::JoinRequest { token: "yard_join_x".into(), ..ask.clone() }, Code::InvalidArgument),
        (v1::JoinRequest { csr: vec![0x30; 100], ..ask.clone() }, Code::InvalidArgument),
        (v1::JoinRequest { csr: vec![1; 10_000], ..ask.clone() }, Code::InvalidArgument),
        (
            v1::JoinRequest { subject: "person/admin/eve".into(), ..ask.clone() },
            Code::InvalidArgument,
        ),
        (
            v1::JoinRequest { subject: "scheduler/9".into(), ..ask.clone() },
            Code::FailedPrecondition,
        ),
    ];
    for (request, expected) in wrong {
        let got = anybody.join(request.clone()).await;
        assert_eq!(code(got), expected, "{}", request.subject);
    }
    // None of these has used it up; the same key may ask twice, another may not.
    let first = anybody.join(ask.clone()).await.unwrap().into_inner();
    assert!(first.ca_key.is_empty(), "a worker gets no authority");
    anybody.join(ask.clone()).await.unwrap();
    let other = Request::new().unwrap().csr().to_vec();
    let again = v1::JoinRequest { csr: other, ..ask.clone() };
    assert_eq!(code(anybody.join(again).await), Code::FailedPrecondition);
    assert_eq!(code(anybody.renew(v1::RenewRequest::default()).await), Code::Unauthenticated);

    let home = tempfile::tempdir().unwrap();
    let pki = PkiDir::new(home.path());
    pki.write_roots(&first.ca).unwrap();
    let issued = trainyard_pki::Issued { certificate: first.certificate, key: request.key() };
    pki.write_issued(Holder::Node, &issued).unwrap();
    let own = Credentials::node(home.path()).unwrap();
    assert_eq!(own.identity().unwrap().subject, subject);
    let url = format!("https://{}", daemon.config.listen);
    let connector = trainyard_pki::Connector::to(&own, Expected::Scheduler(1)).unwrap();
    let endpoint = tonic::transport::Endpoint::from_shared(url).unwrap();
    let channel = endpoint.connect_with_connector(connector).await.unwrap();
    let mut joined = JoinClient::new(channel);
    let next = Request::new().unwrap();
    let renew = v1::RenewRequest { csr: next.csr().to_vec() };
    let renewed = joined.renew(renew).await.unwrap().into_inner();
    own.install(&next, renewed.certificate).unwrap();
    assert_eq!(own.identity().unwrap().subject, subject);

    let mut person = JoinClient::new(daemon.channel(Someone::Person(Role::Admin)).await);
    let renew = v1::RenewRequest { csr: next.csr().to_vec() };
    assert_eq!(code(person.renew(renew).await), Code::PermissionDenied);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_that_joins_can_sign_too() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(config(dir.path())).await;
    let mut anybody = JoinClient::new(daemon.channel(Someone::Nobody).await);
    let request = Request::new().unwrap();
    let ask = v1::JoinRequest {
        token: token(&daemon, "scheduler").await,
        subject: "scheduler/4".into(),
        csr: request.csr().to_vec(),
    };
    let answer = anybody.join(ask).await.unwrap().into_inner();
    let authority = Authority::from_pem(&answer.ca, &answer.ca_key).unwrap();
    assert_eq!(authority.cluster(), daemon.config.cluster);
    assert_eq!(answer.endpoints, [daemon.config.listen.to_string()]);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_under_a_new_id_signs_for_itself_and_a_worker_is_no_member() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let pki = PkiDir::new(config.pki_dir());
    let authority = pki.authority().unwrap().unwrap();
    let life = Duration::from_secs(60);
    let old = authority.issue(Subject::Scheduler(9), life).unwrap();
    pki.write_issued(Holder::Node, &old).unwrap();
    let config = Daemon::start(config).await.stop().await;
    let own = Credentials::node(&config.pki_dir()).unwrap();
    assert_eq!(own.identity().unwrap().subject, Subject::Scheduler(1));

    let worker = Subject::Worker(NodeId::from_random(1));
    pki.write_issued(Holder::Node, &authority.issue(worker, life).unwrap()).unwrap();
    let error = trainyard_scheduler::run(config, std::future::pending()).await.unwrap_err();
    assert!(error.to_string().contains("not of a scheduler"), "{error}");
}
