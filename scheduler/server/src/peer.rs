//! Who is at the other end of a connection, and what the certificate alone decides: members speak
//! to members as themselves, a worker for its own node, and nobody for another.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::{Request, Status, transport::server::Connected};
use trainyard_jobs::NodeId;
use trainyard_pki::{Identity, Secured, Subject};

/// The other end of a connection; in the extensions of every request.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// Where it is.
    pub(crate) address: SocketAddr,
    /// Who it is, if it showed a certificate of this cluster.
    pub(crate) identity: Option<Identity>,
}

/// A connection as tonic serves it.
pub(crate) struct Connection(pub(crate) Secured);

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        Peer { address: self.0.address(), identity: self.0.identity().cloned() }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Who makes a request.
///
/// # Errors
/// UNAUTHENTICATED, when it showed no certificate.
pub(crate) fn identity<T>(request: &Request<T>) -> Result<Identity, Status> {
    let peer = request.extensions().get::<Peer>();
    peer.and_then(|peer| peer.identity.clone()).ok_or_else(|| {
        Status::unauthenticated(
            "this takes a certificate of the cluster: name the pki directory that holds yours",
        )
    })
}

/// The member that makes a request.
///
/// # Errors
/// UNAUTHENTICATED or PERMISSION_DENIED, when it is none.
pub(crate) fn scheduler<T>(request: &Request<T>) -> Result<u64, Status> {
    match identity(request)?.subject {
        Subject::Scheduler(id) => Ok(id),
        other => Err(Status::permission_denied(format!("{other} is no scheduler"))),
    }
}

/// The node whose agent makes a request.
///
/// # Errors
/// UNAUTHENTICATED or PERMISSION_DENIED, when it is none.
pub(crate) fn worker<T>(request: &Request<T>) -> Result<NodeId, Status> {
    match identity(request)?.subject {
        Subject::Worker(node) => Ok(node),
        other => Err(Status::permission_denied(format!("{other} is no worker"))),
    }
}

/// Fails unless a worker's message names its own node.
///
/// # Errors
/// PERMISSION_DENIED, when it names another.
pub(crate) fn must_be(own: &NodeId, named: &str) -> Result<(), Status> {
    if own.as_str() == named {
        return Ok(());
    }
    let named: String = named.chars().take(40).collect();
    Err(Status::permission_denied(format!(
        "the certificate is of worker {own}, the message of `{named}`: a worker speaks for itself"
    )))
}
