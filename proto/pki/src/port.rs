//! A port for metrics: HTTP/1.1 over TLS, for axum to serve.

use std::{io, net::SocketAddr, sync::Arc};

use rustls::ServerConfig;
use tokio::{net::TcpListener, sync::mpsc};

use crate::{Counters, Limits, Secured, accept};

/// What serves few, who come seldom.
const METRICS: Limits = Limits {
    handshake: std::time::Duration::from_secs(5),
    handshakes: 64,
    known: 64,
    anonymous: 0,
};

/// A port on which only TLS is spoken.
#[derive(Debug)]
pub struct TlsPort {
    address: io::Result<SocketAddr>,
    ready: mpsc::Receiver<Secured>,
}

impl TlsPort {
    /// Takes connections for metrics from `listener`.
    pub fn metrics(listener: TcpListener, tls: Arc<ServerConfig>, counters: Arc<Counters>) -> Self {
        let address = listener.local_addr();
        Self { address, ready: accept(listener, tls, METRICS, counters) }
    }
}

impl axum::serve::Listener for TlsPort {
    type Io = Secured;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Secured, SocketAddr) {
        match self.ready.recv().await {
            Some(secured) => {
                let address = secured.address();
                (secured, address)
            }
            // The runtime ends.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.address {
            Ok(address) => Ok(*address),
            Err(error) => Err(error.kind().into()),
        }
    }
}
