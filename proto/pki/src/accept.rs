//! The server's end of connections: everybody gets a bounded time for a handshake, in a task of
//! their own, and what is refused is counted by its reason. A slow or hostile client costs its
//! own slot and nobody else's: those without a certificate share a smaller part of the places, so
//! that members and workers always find one.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use rustls::ServerConfig;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{parse, secured::Secured};

/// The wait after the system had no connection to give, such as when files ran out.
const SHORT_OF_FILES: Duration = Duration::from_millis(50);

/// What one port takes.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long a client may take from its first byte to the first one of its request.
    pub handshake: Duration,
    /// How many may be in that at once.
    pub handshakes: usize,
    /// Open connections of those with a certificate.
    pub known: usize,
    /// Open connections of those without.
    pub anonymous: usize,
}

impl Default for Limits {
    fn default() -> Self {
        let handshake = Duration::from_secs(5);
        Self { handshake, handshakes: 1024, known: 8192, anonymous: 2048 }
    }
}

/// Why a connection was closed before it was served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// What came is not TLS, or not TLS 1.3.
    NotTls,
    /// The certificate is of nobody here: another authority or cluster, expired, absent.
    Certificate,
    /// The client does not take our certificate, or went away.
    Left,
    /// It took too long.
    Slow,
    /// There is no place.
    Full,
}

/// What a port has taken and refused.
#[derive(Debug, Default)]
pub struct Counters {
    served: AtomicU64,
    not_tls: AtomicU64,
    certificate: AtomicU64,
    left: AtomicU64,
    slow: AtomicU64,
    full: AtomicU64,
}

impl Counters {
    /// Connections that were served.
    #[must_use]
    pub fn served(&self) -> u64 {
        self.served.load(Relaxed)
    }

    /// Connections that were refused, with the reason in a word.
    #[must_use]
    pub fn refused(&self) -> [(&'static str, u64); 5] {
        [
            ("not_tls", self.not_tls.load(Relaxed)),
            ("certificate", self.certificate.load(Relaxed)),
            ("left", self.left.load(Relaxed)),
            ("slow", self.slow.load(Relaxed)),
            ("full", self.full.load(Relaxed)),
        ]
    }

    fn count(&self, refusal: Refusal) {
        let counter = match refusal {
            Refusal::NotTls => &self.not_tls,
            Refusal::Certificate => &self.certificate,
            Refusal::Left => &self.left,
            Refusal::Slow => &self.slow,
            Refusal::Full => &self.full,
        };
        counter.fetch_add(1, Relaxed);
    }
}

impl std::fmt::Debug for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Port").field("limits", &self.limits).finish_non_exhaustive()
    }
}

struct Port {
    tls: TlsAcceptor,
    limits: Limits,
    counters: Arc<Counters>,
    known: Arc<Semaphore>,
    anonymous: Arc<Semaphore>,
}

/// The connections that come to a port. The port closes when this is dropped, at once.
#[derive(Debug)]
pub struct Incoming {
    listener: TcpListener,
    port: Arc<Port>,
    greetings: JoinSet<Result<Secured, Refusal>>,
}

/// Takes connections from `listener`.
#[must_use]
pub fn accept(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    limits: Limits,
    counters: Arc<Counters>,
) -> Incoming {
    let port = Arc::new(Port {
        tls: TlsAcceptor::from(tls),
        limits,
        counters,
        known: Arc::new(Semaphore::new(limits.known)),
        anonymous: Arc::new(Semaphore::new(limits.anonymous)),
    });
    Incoming { listener, port, greetings: JoinSet::new() }
}

impl Incoming {
    /// Where connections come to.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The next connection that has passed its handshake. Handshakes go on in tasks of their own,
    /// and dropping the future loses none.
    pub async fn next(&mut self) -> Secured {
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((tcp, _)) => self.greet(tcp),
                    Err(error) => {
                        tracing::warn!(%error, "cannot take a connection");
                        sleep(SHORT_OF_FILES).await;
                    }
                },
                Some(greeted) = self.greetings.join_next() => match greeted {
                    Ok(Ok(secured)) => {
                        self.port.counters.served.fetch_add(1, Relaxed);
                        return secured;
                    }
                    Ok(Err(refusal)) => self.port.counters.count(refusal),
                    Err(error) => tracing::error!(%error, "a handshake's task ended"),
                },
            }
        }
    }

    fn greet(&mut self, tcp: TcpStream) {
        if self.greetings.len() >= self.port.limits.handshakes {
            self.port.counters.count(Refusal::Full);
            return;
        }
        let port = Arc::clone(&self.port);
        self.greetings.spawn(async move {
            port.greet(tcp).await.map_err(|(refusal, reason)| {
                tracing::debug!(?refusal, reason, "connection refused");
                refusal
            })
        });
    }
}

impl Port {
    /// TLS, then the first bytes of a request: who sends none has no place to hold.
    async fn greet(&self, tcp: TcpStream) -> Result<Secured, (Refusal, String)> {
        let address = tcp.peer_addr().map_err(|e| (Refusal::Left, e.to_string()))?;
        let greeting = async {
            tcp.set_nodelay(true)?;
            let mut io = BufReader::new(self.tls.accept(tcp).await?);
            if io.fill_buf().await?.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Ok(io)
        };
        let io: BufReader<TlsStream<TcpStream>> =
            match timeout(self.limits.handshake, greeting).await {
                Ok(Ok(io)) => io,
                Ok(Err(error)) => return Err((sort(&error), format!("{address}: {error}"))),
                Err(_) => return Err((Refusal::Slow, address.to_string())),
            };
        let certificate = io.get_ref().get_ref().1.peer_certificates().and_then(|all| all.first());
        let (identity, expires) = match certificate {
            None => (None, None),
            Some(der) => {
                // The verifier has read both before.
                let unread = |e: crate::PkiError| (Refusal::Certificate, e.to_string());
                let identity = parse::identity(der).map_err(unread)?;
                let until = parse::validity(der).map_err(unread)?.1;
                let left = until.duration_since(SystemTime::now()).unwrap_or_default();
                (Some(identity), Some(left))
            }
        };
        let places = if identity.is_some() { &self.known } else { &self.anonymous };
        let place: OwnedSemaphorePermit = Arc::clone(places)
            .try_acquire_owned()
            .map_err(|_| (Refusal::Full, address.to_string()))?;
        Ok(Secured::new(io, address, identity, expires, place))
    }
}

fn sort(error: &io::Error) -> Refusal {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
            Refusal::Certificate
        }
        Some(rustls::Error::AlertReceived(_)) | None => Refusal::Left,
        Some(_) => Refusal::NotTls,
    }
}
