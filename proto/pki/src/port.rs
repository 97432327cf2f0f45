//! A port for metrics: HTTP/1.1 over TLS, for axum to serve.

use std::{io, net::SocketAddr, sync::Arc};

use rustls::ServerConfig;
use tokio::net::TcpListener;

use crate::{Counters, Incoming, Limits, Secured, accept};

/// What serves few, who come seldom.
const METRICS: Limits = Limits {
    handshake: std::time::Duration::from_secs(5),
    handshakes: 64,
    known: 64,
    anonymous: 0,
};

/// A port on which only TLS is spoken.
#[derive(Debug)]
pub struct TlsPort(Incoming);

impl TlsPort {
    /// Takes connections for metrics from `listener`.
    #[must_use]
    pub fn metrics(listener: TcpListener, tls: Arc<ServerConfig>, counters: Arc<Counters>) -> Self {
        Self(accept(listener, tls, METRICS, counters))
    }
}

impl axum::serve::Listener for TlsPort {
    type Io = Secured;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Secured, SocketAddr) {
        let secured = self.0.next().await;
        let address = secured.address();
        (secured, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}
