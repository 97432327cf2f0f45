//! One authority for all nodes and schedulers of a test.

use std::{
    io,
    path::Path,
    sync::{Arc, OnceLock},
};

use futures::stream::{Stream, unfold};
use tempfile::TempDir;
use tokio::{
    io::{DuplexStream, copy_bidirectional, duplex},
    net::TcpListener,
};

use trainyard_jobs::NodeId;
use trainyard_pki::{
    AUTHORITY_LIFE, Authority, Clients, Credentials, Holder, Limits, NODE_LIFE, PkiDir, Protocol,
    Subject, accept,
};

use super::CLUSTER;

pub fn authority() -> &'static Authority {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    AUTHORITY.get_or_init(|| Authority::create(CLUSTER.parse().unwrap(), AUTHORITY_LIFE).unwrap())
}

/// Makes `dir` a new node's.
pub fn worker(dir: &Path) {
    let node = NodeId::from_random(rand::random());
    write(dir, authority(), Subject::Worker(node));
}

pub fn write(dir: &Path, authority: &Authority, subject: Subject) {
    let dir = PkiDir::new(dir);
    dir.write_roots(authority.certificate()).unwrap();
    dir.write_issued(Holder::Node, &authority.issue(subject, NODE_LIFE).unwrap()).unwrap();
}

/// Takes connections as scheduler 1 of the authority's cluster.
pub fn serve(
    listener: TcpListener,
    authority: &Authority,
) -> impl Stream<Item = io::Result<DuplexStream>> + use<> {
    let dir = TempDir::new().unwrap();
    write(dir.path(), authority, Subject::Scheduler(1));
    let credentials = Credentials::node(dir.path()).unwrap();
    let tls = credentials.server(Clients::Anybody, Protocol::Http2).unwrap();
    let incoming = accept(listener, tls, Limits::default(), Arc::default());
    unfold(incoming, async |mut incoming| {
        let mut secured = incoming.next().await;
        // What the server speaks through is of a kind that it knows.
        let (near, mut far) = duplex(1 << 16);
        tokio::spawn(async move { copy_bidirectional(&mut secured, &mut far).await });
        Some((Ok(near), incoming))
    })
}
