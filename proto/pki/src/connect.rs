//! The client's end of a connection: TCP, then TLS, as tonic wants it.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tower_service::Service;

use crate::{Credentials, Expected, PkiError, tls::Protocol};

/// Where gRPC is spoken when an address names no port.
const DEFAULT_PORT: u16 = 7401;

/// Stands where TLS wants a name; nobody looks at it.
const NAME: &str = "trainyard";

/// Opens connections to schedulers.
#[derive(Clone)]
pub struct Connector {
    tls: TlsConnector,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

impl Connector {
    /// Speaks with these settings.
    #[must_use]
    pub fn new(config: Arc<ClientConfig>) -> Self {
        Self { tls: TlsConnector::from(config) }
    }

    /// To the schedulers of the credentials' cluster.
    ///
    /// # Errors
    /// When TLS 1.3 cannot be had.
    pub fn to(credentials: &Credentials, expected: Expected) -> Result<Self, PkiError> {
        credentials.client(expected, Protocol::Http2).map(Self::new)
    }

    /// Opens one connection.
    ///
    /// # Errors
    /// When nobody listens there, or it is not who was expected.
    pub async fn connect(&self, host: &str, port: u16) -> io::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect((host, port)).await?;
        // Messages are whole when they are sent: waiting for more only delays them.
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from(NAME).map_err(io::Error::other)?;
        self.tls.connect(name, tcp).await
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let host = uri.host().unwrap_or_default();
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let port = uri.port_u16().unwrap_or(DEFAULT_PORT);
            this.connect(host, port).await.map(TokioIo::new)
        })
    }
}
