//! What comes to a port from those who mean it no good, or know no better.

use super::*;

async fn port(limits: Limits) -> Server {
    let scheduler = credentials(&authority(1), Subject::Scheduler(1));
    Server::start(&scheduler, Clients::Anybody, limits).await
}

async fn closed(mut tcp: TcpStream) {
    let mut answer = Vec::new();
    // A reset is an end too.
    let _ = timeout(PATIENCE, tcp.read_to_end(&mut answer)).await.unwrap();
}

#[tokio::test]
async fn plaintext_and_garbage_are_closed_and_counted() {
    let server = port(Limits::default()).await;
    let said: [&[u8]; 4] = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\n\r\n",
        &[0xff; 4096],
        // The beginning of TLS, then nonsense.
        b"\x16\x03\x01\x00\x05\xff\xff\xff\xff\xff",
    ];
    for (count, bytes) in (1..).zip(said) {
        let mut tcp = TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
        tcp.write_all(bytes).await.unwrap();
        closed(tcp).await;
        server.refused("not_tls", count).await;
    }
    drop(TcpStream::connect(("127.0.0.1", server.port)).await.unwrap());
    server.refused("left", 1).await;
}

#[tokio::test]
async fn half_open_handshakes_stall_nobody_and_end() {
    let handshake = Duration::from_millis(500);
    let lab = authority(1);
    let scheduler = credentials(&lab, Subject::Scheduler(1));
    let limits = Limits { handshake, handshakes: 8, ..Limits::default() };
    let mut server = Server::start(&scheduler, Clients::Anybody, limits).await;
    let mut silent = Vec::new();
    for _ in 0..7 {
        silent.push(TcpStream::connect(("127.0.0.1", server.port)).await.unwrap());
    }
    let client = credentials(&lab, person());
    let (greeted, _) =
        tokio::join!(greet(&client, Expected::AnyScheduler, server.port), echo(&mut server.ready));
    greeted.unwrap();
    server.refused("slow", 7).await;
    for tcp in silent {
        closed(tcp).await;
    }
    // Who finishes the handshake and asks nothing is slow too.
    let connector = Connector::to(&client, Expected::AnyScheduler).unwrap();
    let _mute = connector.connect("127.0.0.1", server.port).await.unwrap();
    server.refused("slow", 8).await;
}

#[tokio::test]
async fn there_is_an_end_to_places_and_the_nameless_have_fewer() {
    let lab = authority(1);
    let scheduler = credentials(&lab, Subject::Scheduler(1));
    let limits = Limits { known: 2, anonymous: 0, handshakes: 2, ..Limits::default() };
    let mut server = Server::start(&scheduler, Clients::Anybody, limits).await;
    let connector = Connector::new(pinned_client(&lab.fingerprint()).unwrap());
    let mut nameless = connector.connect("127.0.0.1", server.port).await.unwrap();
    nameless.write_all(b"hello").await.unwrap();
    server.refused("full", 1).await;
    let client = credentials(&lab, worker());
    let (greeted, _) =
        tokio::join!(greet(&client, Expected::AnyScheduler, server.port), echo(&mut server.ready));
    greeted.unwrap();
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(TcpStream::connect(("127.0.0.1", server.port)).await.unwrap());
    }
    server.refused("full", 2).await;
}

#[tokio::test]
async fn where_a_certificate_is_wanted_nobody_comes_without() {
    let lab = authority(1);
    let own = credentials(&lab, worker());
    let mut server = Server::start(&own, Clients::Known, Limits::default()).await;
    let dir = tempfile::tempdir().unwrap();
    PkiDir::new(dir.path()).write_roots(lab.certificate()).unwrap();
    let nobody = Credentials::person(dir.path()).unwrap();
    let error = greet(&nobody, Expected::Worker, server.port).await.unwrap_err();
    assert!(advice(&error).unwrap().contains("wants a certificate"), "{error}");
    server.refused("certificate", 1).await;
    let viewer = credentials(&lab, person());
    let (greeted, _) =
        tokio::join!(greet(&viewer, Expected::Worker, server.port), echo(&mut server.ready));
    greeted.unwrap();
}
