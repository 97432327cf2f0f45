//! Whom a connection is with. A chain must lead to the cluster's authority and the identity in the
//! certificate must be the one expected; host names mean nothing here.

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use webpki::{EndEntityCert, KeyUsage};

use crate::{Credentials, Expected, Identity, PkiError, Subject, parse};

/// Checks a scheduler for a client.
#[derive(Debug)]
pub(crate) struct SchedulerVerifier {
    pub(crate) credentials: Credentials,
    pub(crate) expected: Expected,
}

/// Checks a client for a server, if it shows a certificate.
#[derive(Debug)]
pub(crate) struct ClientVerifier {
    pub(crate) credentials: Credentials,
    pub(crate) required: bool,
}

/// Checks a scheduler for somebody who joins, and who knows only the authority's fingerprint.
#[derive(Debug)]
pub(crate) struct PinnedVerifier {
    pub(crate) fingerprint: String,
    pub(crate) provider: Arc<CryptoProvider>,
}

/// Follows the chain from `certificate` to one of the `anchors`.
fn chain(
    certificate: &CertificateDer<'_>,
    between: &[CertificateDer<'_>],
    anchors: &[TrustAnchor<'_>],
    usage: KeyUsage,
    now: UnixTime,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<Identity, Error> {
    let parsed = EndEntityCert::try_from(certificate).map_err(invalid)?;
    parsed
        .verify_for_usage(algorithms.all, anchors, between, now, usage, None, None)
        .map_err(invalid)?;
    parse::identity(certificate).map_err(refused)
}

fn invalid(error: webpki::Error) -> Error {
    Error::InvalidCertificate(match error {
        webpki::Error::CertExpired { .. } => CertificateError::Expired,
        webpki::Error::CertNotValidYet { .. } => CertificateError::NotValidYet,
        // Of another authority of the same name, which a cluster that was made twice has.
        webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey => {
            CertificateError::UnknownIssuer
        }
        webpki::Error::BadDer | webpki::Error::BadDerTime => CertificateError::BadEncoding,
        other => CertificateError::Other(OtherError(Arc::new(other))),
    })
}

fn refused(error: PkiError) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
}

fn must_be(identity: &Identity, credentials: &Credentials) -> Result<(), Error> {
    let own = credentials.cluster();
    if identity.cluster == own {
        return Ok(());
    }
    Err(refused(PkiError::OtherCluster { own, theirs: identity.cluster }))
}

impl SchedulerVerifier {
    fn check(&self, identity: Identity) -> Result<(), Error> {
        must_be(&identity, &self.credentials)?;
        let right = match (&self.expected, &identity.subject) {
            (Expected::AnyScheduler, Subject::Scheduler(_)) => true,
            (Expected::Scheduler(wanted), Subject::Scheduler(id)) => wanted == id,
            (Expected::Worker, Subject::Worker(_)) => true,
            _ => false,
        };
        if right {
            return Ok(());
        }
        let wanted = self.expected.to_string();
        Err(refused(PkiError::WrongPeer { found: Box::new(identity), wanted }))
    }
}

impl ServerCertVerifier for SchedulerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let anchors = &self.credentials.current().anchors;
        let algorithms = &self.credentials.provider().signature_verification_algorithms;
        let usage = KeyUsage::server_auth();
        let identity = chain(end_entity, intermediates, anchors, usage, now, algorithms)?;
        self.check(identity)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signature(self.credentials.provider(), message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes(self.credentials.provider())
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        self.required
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let anchors = &self.credentials.current().anchors;
        let algorithms = &self.credentials.provider().signature_verification_algorithms;
        let usage = KeyUsage::client_auth();
        let identity = chain(end_entity, intermediates, anchors, usage, now, algorithms)?;
        must_be(&identity, &self.credentials)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signature(self.credentials.provider(), message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes(self.credentials.provider())
    }
}

impl ServerCertVerifier for PinnedVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let pinned = |root: &&CertificateDer<'_>| parse::fingerprint(root) == self.fingerprint;
        let root = intermediates.iter().find(pinned);
        let root = root.ok_or_else(|| refused(PkiError::WrongFingerprint))?;
        let anchor = webpki::anchor_from_trusted_cert(root).map_err(invalid)?;
        let algorithms = &self.provider.signature_verification_algorithms;
        let usage = KeyUsage::server_auth();
        let identity = chain(end_entity, &[], &[anchor], usage, now, algorithms)?;
        if !matches!(identity.subject, Subject::Scheduler(_)) {
            let (found, wanted) = (Box::new(identity), Expected::AnyScheduler.to_string());
            return Err(refused(PkiError::WrongPeer { found, wanted }));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signature(&self.provider, message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes(&self.provider)
    }
}

fn only_tls13() -> Error {
    Error::General("only TLS 1.3 is spoken here".into())
}

fn signature(
    provider: &CryptoProvider,
    message: &[u8],
    cert: &CertificateDer<'_>,
    dss: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    verify_tls13_signature(message, cert, dss, &provider.signature_verification_algorithms)
}

fn schemes(provider: &CryptoProvider) -> Vec<SignatureScheme> {
    provider.signature_verification_algorithms.supported_schemes()
}
