//! One connection that has passed its handshake: bytes, and who is at the other end. It ends when
//! the peer's certificate does, so that nobody stays longer than was signed for.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, BufReader, ReadBuf},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
    time::{Sleep, sleep},
};
use tokio_rustls::server::TlsStream;

use crate::Identity;

/// A connection whose peer is known, or known to have shown no certificate.
#[derive(Debug)]
pub struct Secured {
    io: BufReader<TlsStream<TcpStream>>,
    address: SocketAddr,
    identity: Option<Identity>,
    expires: Option<Pin<Box<Sleep>>>,
    _place: OwnedSemaphorePermit,
}

impl Secured {
    pub(crate) fn new(
        io: BufReader<TlsStream<TcpStream>>,
        address: SocketAddr,
        identity: Option<Identity>,
        expires: Option<Duration>,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let expires = expires.map(|left| Box::pin(sleep(left)));
        Self { io, address, identity, expires, _place: place }
    }

    /// Where the peer is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Who it is, if it showed a certificate.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }
}

impl AsyncRead for Secured {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(expires) = &mut self.expires
            && expires.as_mut().poll(cx).is_ready()
        {
            let why = "the peer's certificate has expired since the connection opened";
            return Poll::Ready(Err(io::Error::other(why)));
        }
        let read = ready!(Pin::new(&mut self.io).poll_read(cx, buf));
        Poll::Ready(read)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
