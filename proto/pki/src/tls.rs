//! How both ends of a connection speak: TLS 1.3 alone, no resumption (a resumed session would
//! outlive the certificate that it began with), and the certificate that is current when the
//! connection opens.

use std::{fmt, sync::Arc};

use rustls::{
    ClientConfig, ServerConfig, SignatureScheme,
    client::{ResolvesClientCert, Resumption},
    crypto::aws_lc_rs,
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::CertifiedKey,
    version::TLS13,
};

use crate::{
    Credentials, PkiError,
    verify::{ClientVerifier, PinnedVerifier, SchedulerVerifier},
};

/// Whom a client wants to speak with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Whichever scheduler of the cluster answers.
    AnyScheduler,
    /// The scheduler with this id.
    Scheduler(u64),
    /// A worker: its metrics.
    Worker,
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AnyScheduler => f.write_str("a scheduler"),
            Self::Scheduler(id) => write!(f, "scheduler {id}"),
            Self::Worker => f.write_str("a worker"),
        }
    }
}

/// Whether a server takes connections without a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clients {
    /// Everybody; who shows no certificate is nobody yet.
    Anybody,
    /// Only those with a certificate of the cluster.
    Known,
}

/// Protocols, by preference, as TLS names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC.
    Http2,
    /// Metrics.
    Http1,
}

impl Protocol {
    fn names(self) -> Vec<Vec<u8>> {
        match self {
            Self::Http2 => vec![b"h2".to_vec()],
            Self::Http1 => vec![b"http/1.1".to_vec()],
        }
    }
}

#[derive(Debug)]
struct Newest(Credentials);

impl Newest {
    fn key(&self) -> Option<Arc<CertifiedKey>> {
        self.0.current().own.as_ref().map(|own| Arc::clone(&own.key))
    }
}

impl ResolvesServerCert for Newest {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.key()
    }
}

impl ResolvesClientCert for Newest {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.key()
    }

    fn has_certs(&self) -> bool {
        self.0.current().own.is_some()
    }
}

impl Credentials {
    /// How a server with these credentials answers.
    ///
    /// # Errors
    /// When TLS 1.3 cannot be had.
    pub fn server(
        &self,
        clients: Clients,
        protocol: Protocol,
    ) -> Result<Arc<ServerConfig>, PkiError> {
        let required = clients == Clients::Known;
        let verifier = Arc::new(ClientVerifier { credentials: self.clone(), required });
        let mut config = ServerConfig::builder_with_provider(Arc::clone(self.provider()))
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(Newest(self.clone())));
        config.alpn_protocols = protocol.names();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    /// How a client with these credentials speaks to `expected`.
    ///
    /// # Errors
    /// When TLS 1.3 cannot be had.
    pub fn client(
        &self,
        expected: Expected,
        protocol: Protocol,
    ) -> Result<Arc<ClientConfig>, PkiError> {
        let verifier = SchedulerVerifier { credentials: self.clone(), expected };
        let mut config = ClientConfig::builder_with_provider(Arc::clone(self.provider()))
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(Newest(self.clone())));
        settle(&mut config, protocol);
        Ok(Arc::new(config))
    }
}

/// How somebody who joins speaks to a scheduler whose authority has this fingerprint.
///
/// # Errors
/// When TLS 1.3 cannot be had.
pub fn pinned_client(fingerprint: &str) -> Result<Arc<ClientConfig>, PkiError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let fingerprint = fingerprint.to_ascii_lowercase();
    let verifier = PinnedVerifier { fingerprint, provider: Arc::clone(&provider) };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    settle(&mut config, Protocol::Http2);
    Ok(Arc::new(config))
}

fn settle(config: &mut ClientConfig, protocol: Protocol) {
    config.alpn_protocols = protocol.names();
    config.resumption = Resumption::disabled();
    // The certificate says who the peer is; the name by which it was found is nobody's business.
    config.enable_sni = false;
}
