//! Who is taken for whom: right and wrong certificates over real connections on loopback, and what
//! lies on disk after renewals and crashes.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::{sleep, timeout},
};
use trainyard_jobs::{ClusterId, NodeId, Role};

use crate::*;

mod ports;

const PATIENCE: Duration = Duration::from_secs(20);

fn cluster(number: u8) -> ClusterId {
    format!("00000000-0000-7000-8000-0000000000{number:02}").parse().unwrap()
}

fn authority(number: u8) -> Authority {
    Authority::create(cluster(number), AUTHORITY_LIFE).unwrap()
}

fn worker() -> Subject {
    Subject::Worker(NodeId::from_random(7))
}

fn person() -> Subject {
    Subject::Person { role: Role::Viewer, name: "ada".into() }
}

/// A directory with a certificate by `authority`; its credentials stay when it goes.
fn hold(dir: &PkiDir, authority: &Authority, subject: Subject, life: Duration) -> Credentials {
    let issued = authority.issue(subject.clone(), life).unwrap();
    hold_issued(dir, authority, &subject, &issued)
}

/// The same with a certificate whose time is over.
fn hold_expired(dir: &PkiDir, authority: &Authority, subject: Subject) -> Credentials {
    let issued = authority.issue_expired(subject.clone()).unwrap();
    hold_issued(dir, authority, &subject, &issued)
}

fn hold_issued(
    dir: &PkiDir,
    authority: &Authority,
    subject: &Subject,
    issued: &Issued,
) -> Credentials {
    let holder = match subject {
        Subject::Person { .. } => Holder::Person,
        _ => Holder::Node,
    };
    dir.write_roots(authority.certificate()).unwrap();
    dir.write_issued(holder, issued).unwrap();
    match holder {
        Holder::Node => Credentials::node(dir.path()).unwrap(),
        Holder::Person => Credentials::person(dir.path()).unwrap(),
    }
}

fn credentials(authority: &Authority, subject: Subject) -> Credentials {
    let dir = tempfile::tempdir().unwrap();
    hold(&PkiDir::new(dir.path()), authority, subject, NODE_LIFE)
}

struct Server {
    port: u16,
    counters: Arc<Counters>,
    ready: mpsc::Receiver<Secured>,
}

impl Server {
    async fn start(credentials: &Credentials, clients: Clients, limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let counters = Arc::<Counters>::default();
        let tls = credentials.server(clients, Protocol::Http2).unwrap();
        let mut incoming = accept(listener, tls, limits, Arc::clone(&counters));
        let (sender, ready) = mpsc::channel(64);
        tokio::spawn(async move { while sender.send(incoming.next().await).await.is_ok() {} });
        Self { port, counters, ready }
    }

    /// Waits until so many connections were refused for `reason`.
    async fn refused(&self, reason: &str, count: u64) {
        let met = || self.counters.refused().contains(&(reason_of(reason), count));
        let waited = timeout(PATIENCE, async {
            while !met() {
                sleep(Duration::from_millis(5)).await;
            }
        });
        assert!(waited.await.is_ok(), "{reason}: {:?}", self.counters.refused());
    }
}

fn reason_of(reason: &str) -> &'static str {
    let known = ["not_tls", "certificate", "left", "slow", "full"];
    known.into_iter().find(|known| *known == reason).unwrap()
}

/// Says a word to a server and hears whether it is taken: with TLS 1.3 a client knows only then.
async fn greet(client: &Credentials, expected: Expected, port: u16) -> io::Result<()> {
    let connector = Connector::to(client, expected).unwrap();
    let mut stream = connector.connect("127.0.0.1", port).await?;
    stream.write_all(b"hello").await?;
    let mut answer = [0; 5];
    timeout(PATIENCE, stream.read_exact(&mut answer)).await.unwrap()?;
    assert_eq!(&answer, b"hello");
    Ok(())
}

/// Repeats what the next connection says, and tells whose it is.
async fn echo(ready: &mut mpsc::Receiver<Secured>) -> Option<Identity> {
    let mut secured = timeout(PATIENCE, ready.recv()).await.unwrap().unwrap();
    let mut word = [0; 5];
    secured.read_exact(&mut word).await.unwrap();
    secured.write_all(&word).await.unwrap();
    secured.flush().await.unwrap();
    secured.identity().cloned()
}

#[tokio::test]
async fn both_ends_know_each_other() {
    let lab = authority(1);
    let scheduler = credentials(&lab, Subject::Scheduler(3));
    let mut server = Server::start(&scheduler, Clients::Anybody, Limits::default()).await;
    for subject in [worker(), person(), Subject::Scheduler(4)] {
        let client = credentials(&lab, subject.clone());
        let (greeted, known) = tokio::join!(
            greet(&client, Expected::Scheduler(3), server.port),
            echo(&mut server.ready)
        );
        greeted.unwrap();
        assert_eq!(known, Some(Identity { cluster: cluster(1), subject }));
    }
    let dir = tempfile::tempdir().unwrap();
    PkiDir::new(dir.path()).write_roots(lab.certificate()).unwrap();
    let nobody = Credentials::person(dir.path()).unwrap();
    assert_eq!((nobody.identity(), nobody.cluster()), (None, cluster(1)));
    let (greeted, known) =
        tokio::join!(greet(&nobody, Expected::AnyScheduler, server.port), echo(&mut server.ready));
    greeted.unwrap();
    assert_eq!(known, None);
    assert_eq!(server.counters.served(), 4);
}

#[tokio::test]
async fn a_client_speaks_to_a_scheduler_of_its_cluster_alone() {
    let (lab, other) = (authority(1), authority(2));
    let client = credentials(&lab, person());
    let dir = tempfile::tempdir().unwrap();
    let dir = PkiDir::new(dir.path());
    let expired = hold_expired(&dir, &lab, Subject::Scheduler(1));
    let twin = Authority::create(cluster(1), AUTHORITY_LIFE).unwrap();
    let cases = [
        (credentials(&other, Subject::Scheduler(1)), "another cluster's authority"),
        (credentials(&twin, Subject::Scheduler(1)), "another cluster's authority"),
        (expired, "its certificate has expired"),
        (credentials(&lab, worker()), "not of a scheduler"),
        (credentials(&lab, Subject::Scheduler(2)), "not of scheduler 1"),
    ];
    for (credentials, why) in cases {
        let expected = match why {
            "not of scheduler 1" => Expected::Scheduler(1),
            _ => Expected::AnyScheduler,
        };
        let server = Server::start(&credentials, Clients::Anybody, Limits::default()).await;
        let error = greet(&client, expected, server.port).await.unwrap_err();
        let said = advice(&error).unwrap_or_default();
        assert!(said.contains(why), "{error:?}: {said}");
        server.refused("left", 1).await;
    }
}

#[tokio::test]
async fn an_authority_that_signs_for_another_cluster_is_not_followed() {
    // The same key under two names: the identity decides, not only the chain.
    let lab = authority(1);
    let key = lab.key();
    let params = |cluster: ClusterId| {
        let mut params = rcgen::CertificateParams::default();
        params.subject_alt_names =
            vec![rcgen::SanType::URI(format!("trainyard://{cluster}").try_into().unwrap())];
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
        params
    };
    let pair = rcgen::KeyPair::from_pem(&key).unwrap();
    let both = |n| params(cluster(n)).self_signed(&pair).unwrap().pem();
    let (first, second) = (both(1), both(2));
    let first = Authority::from_pem(&first, &key).unwrap();
    let second = Authority::from_pem(&second, &key).unwrap();
    let server_side = credentials(&second, Subject::Scheduler(1));
    let server = Server::start(&server_side, Clients::Anybody, Limits::default()).await;
    let client = credentials(&first, person());
    let error = greet(&client, Expected::AnyScheduler, server.port).await.unwrap_err();
    assert!(advice(&error).unwrap().contains("certificate is of cluster"), "{error}");
}

#[tokio::test]
async fn a_server_tells_a_client_of_another_cluster_why() {
    let (lab, other) = (authority(1), authority(2));
    let scheduler = credentials(&lab, Subject::Scheduler(1));
    let server = Server::start(&scheduler, Clients::Anybody, Limits::default()).await;
    // It trusts the right authority, and shows what the wrong one signed.
    let dir = tempfile::tempdir().unwrap();
    let dir = PkiDir::new(dir.path());
    hold(&dir, &other, person(), NODE_LIFE);
    dir.write_roots(lab.certificate()).unwrap();
    assert!(matches!(Credentials::person(dir.path()), Err(PkiError::OtherCluster { .. })));
    let twin = Authority::create(cluster(1), AUTHORITY_LIFE).unwrap();
    hold(&dir, &twin, person(), NODE_LIFE);
    dir.write_roots(lab.certificate()).unwrap();
    let impostor = Credentials::person(dir.path()).unwrap();
    let error = greet(&impostor, Expected::AnyScheduler, server.port).await.unwrap_err();
    assert!(advice(&error).unwrap().contains("does not know the authority"), "{error}");
    server.refused("certificate", 1).await;

    let expired = hold_expired(&dir, &lab, person());
    let error = greet(&expired, Expected::AnyScheduler, server.port).await.unwrap_err();
    assert!(advice(&error).unwrap().contains("our certificate has expired"), "{error}");
    server.refused("certificate", 2).await;
}

#[tokio::test]
async fn who_joins_knows_the_authority_by_its_fingerprint() {
    let (lab, other) = (authority(1), authority(2));
    let scheduler = credentials(&lab, Subject::Scheduler(1));
    let mut server = Server::start(&scheduler, Clients::Anybody, Limits::default()).await;
    let right = Connector::new(pinned_client(&lab.fingerprint()).unwrap());
    let wrong = Connector::new(pinned_client(&other.fingerprint()).unwrap());
    let error = wrong.connect("127.0.0.1", server.port).await.unwrap_err();
    assert!(advice(&error).unwrap().contains("not the one that the token names"), "{error}");
    let (stream, known) = tokio::join!(
        async {
            let mut stream = right.connect("127.0.0.1", server.port).await.unwrap();
            stream.write_all(b"hello").await.unwrap();
            stream
        },
        echo(&mut server.ready)
    );
    drop(stream);
    assert_eq!(known, None);
    // A worker holds a certificate of the same authority, and is nobody to join.
    let impostor = credentials(&lab, worker());
    let server = Server::start(&impostor, Clients::Anybody, Limits::default()).await;
    let error = right.connect("127.0.0.1", server.port).await.unwrap_err();
    assert!(advice(&error).unwrap().contains("not of a scheduler"), "{error}");
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_without_a_restart() {
    let lab = authority(1);
    let dir = tempfile::tempdir().unwrap();
    let pki = PkiDir::new(dir.path());
    let own = hold_expired(&pki, &lab, Subject::Scheduler(1));
    let client = credentials(&lab, person());
    let mut server = Server::start(&own, Clients::Anybody, Limits::default()).await;
    let error = greet(&client, Expected::AnyScheduler, server.port).await.unwrap_err();
    assert!(advice(&error).unwrap().contains("its certificate has expired"), "{error}");
    let before = own.valid_until().unwrap();
    let request = Request::new().unwrap();
    let signed = lab.sign(request.csr(), Subject::Scheduler(1), NODE_LIFE).unwrap();
    own.install(&request, signed).unwrap();
    assert!(own.valid_until().unwrap() > before);
    let (greeted, _) =
        tokio::join!(greet(&client, Expected::AnyScheduler, server.port), echo(&mut server.ready));
    greeted.unwrap();
    assert_eq!(Credentials::node(dir.path()).unwrap().valid_until(), own.valid_until());

    // What does not belong here changes nothing.
    let stranger = lab.sign(request.csr(), Subject::Scheduler(2), NODE_LIFE).unwrap();
    assert!(own.install(&request, stranger).is_err());
    own.reload().unwrap();
    assert_eq!(own.identity().unwrap().subject, Subject::Scheduler(1));
    let other = lab.sign(Request::new().unwrap().csr(), Subject::Scheduler(1), NODE_LIFE).unwrap();
    assert!(matches!(own.install(&request, other), Err(PkiError::Tls(_))));
}

#[tokio::test]
async fn a_connection_ends_with_the_certificate_that_opened_it() {
    let lab = authority(1);
    let scheduler = credentials(&lab, Subject::Scheduler(1));
    let mut server = Server::start(&scheduler, Clients::Anybody, Limits::default()).await;
    let dir = tempfile::tempdir().unwrap();
    let life = Duration::from_secs(2);
    let client = hold(&PkiDir::new(dir.path()), &lab, worker(), life);
    let connector = Connector::to(&client, Expected::AnyScheduler).unwrap();
    let mut stream = connector.connect("127.0.0.1", server.port).await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    let mut secured = timeout(PATIENCE, server.ready.recv()).await.unwrap().unwrap();
    let mut word = [0; 5];
    secured.read_exact(&mut word).await.unwrap();
    let ended = timeout(PATIENCE, secured.read_exact(&mut word)).await.unwrap();
    assert!(ended.unwrap_err().to_string().contains("expired"));
}

#[tokio::test]
async fn certificates_renew_themselves() {
    let lab = Arc::new(authority(1));
    let dir = tempfile::tempdir().unwrap();
    let life = Duration::from_secs(3);
    let own = hold(&PkiDir::new(dir.path()), &lab, worker(), life);
    let before = own.valid_until().unwrap();
    let failures = std::sync::atomic::AtomicU32::new(0);
    let renewing = keep_fresh(own.clone(), |csr| {
        let lab = Arc::clone(&lab);
        let first = failures.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
        async move {
            if first { Err("nobody signs".to_owned()) } else { Ok(lab) }
                .and_then(|lab| lab.sign(&csr, worker(), NODE_LIFE).map_err(|e| e.to_string()))
        }
    });
    let renewed = async {
        while own.valid_until().unwrap() == before {
            sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = renewing => panic!("it never ends"),
        waited = timeout(PATIENCE, renewed) => waited.unwrap(),
    }
    assert!(own.renewal_due().unwrap() > Duration::from_secs(3600));
}

#[test]
fn only_a_whole_request_is_signed() {
    let lab = authority(1);
    let mut csr = Request::new().unwrap().csr().to_vec();
    assert!(lab.sign(&csr, worker(), NODE_LIFE).is_ok());
    let last = csr.len() - 1;
    csr[last] ^= 1;
    assert!(matches!(lab.sign(&csr, worker(), NODE_LIFE), Err(PkiError::Request(_))));
    for wrong in [&b""[..], b"garbage", &[0x30; 9000]] {
        assert!(matches!(lab.sign(wrong, worker(), NODE_LIFE), Err(PkiError::Request(_))));
    }
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let other = rcgen::CertificateParams::default().serialize_request(&key).unwrap();
    assert!(matches!(lab.sign(other.der(), worker(), NODE_LIFE), Err(PkiError::Request(_))));
}

#[test]
fn an_epoch_is_granted_by_the_authority_alone() {
    let (lab, other) = (authority(1), authority(2));
    let trusted = credentials(&lab, worker());
    let grant = lab.sign_epoch(7).unwrap();
    trusted.verify_epoch(7, &grant).unwrap();
    assert!(matches!(trusted.verify_epoch(8, &grant), Err(PkiError::Grant(8))));
    assert!(verify_epoch(&trusted.roots(), cluster(2), 7, &grant).is_err());
    assert!(trusted.verify_epoch(7, &other.sign_epoch(7).unwrap()).is_err());
    let mut tampered = grant;
    tampered[9] ^= 1;
    assert!(trusted.verify_epoch(7, &tampered).is_err());
    assert!(trusted.verify_epoch(7, b"").is_err());
}

#[test]
fn keys_are_their_owners_and_fit() {
    use std::os::unix::fs::PermissionsExt as _;
    let lab = authority(1);
    let dir = tempfile::tempdir().unwrap();
    let pki = PkiDir::new(dir.path().join("pki"));
    assert!(matches!(Credentials::node(pki.path()), Err(PkiError::Missing { .. })));
    pki.write_authority(lab.certificate(), &lab.key()).unwrap();
    pki.write_issued(Holder::Node, &lab.issue(worker(), NODE_LIFE).unwrap()).unwrap();
    let mode = |name| pki.path().join(name).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("ca.key"), mode("node.key")), (0o600, 0o600));
    assert_eq!(pki.authority().unwrap().unwrap().fingerprint(), lab.fingerprint());
    Credentials::node(pki.path()).unwrap();

    // A crash between a new certificate and its key is made good.
    let next = lab.issue(worker(), NODE_LIFE).unwrap();
    std::fs::write(pki.path().join("node.crt"), &next.certificate).unwrap();
    assert!(matches!(Credentials::node(pki.path()), Err(PkiError::Content { .. })));
    let waiting = pki.path().join("node.key.next");
    std::fs::write(&waiting, &next.key).unwrap();
    std::fs::set_permissions(&waiting, std::fs::Permissions::from_mode(0o600)).unwrap();
    Credentials::node(pki.path()).unwrap();
    assert!(!waiting.exists());
    Credentials::node(pki.path()).unwrap();

    let key = pki.path().join("node.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(Credentials::node(pki.path()), Err(PkiError::Exposed { .. })));
    let other = authority(2);
    pki.write_roots(other.certificate()).unwrap();
    assert!(matches!(pki.authority(), Err(PkiError::Content { .. })));
}
