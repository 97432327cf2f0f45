//! A cluster's own certificate authority: one P-256 key that every scheduler holds, so that any of
//! them can sign what a node asks for. It says who somebody is and for how long, nothing else.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData as _, SanType, SigningKey as _,
};
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};
use time::OffsetDateTime;
use trainyard_jobs::ClusterId;

use crate::{Identity, PkiError, Subject, grant, parse};

/// How long a new authority is valid.
pub const AUTHORITY_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// How long a scheduler's or worker's certificate is valid, unless configured otherwise.
pub const NODE_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);

/// How long a person's certificate is valid, unless asked otherwise.
pub const PERSON_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);

/// Clocks of machines that join may be behind by this much, or a tenth of the life if less.
const CLOCKS_APART: Duration = Duration::from_secs(2 * 3600);

/// The largest request for a certificate that is read.
const MAX_REQUEST: usize = 8192;

/// Names under which software that insists on host names can check a server.
const SCHEDULER_NAME: &str = "trainyard-scheduler";
const WORKER_NAME: &str = "trainyard-worker";

/// A certificate with its key, as text.
#[derive(Clone)]
pub struct Issued {
    /// The certificate and the authority's own, PEM.
    pub certificate: String,
    /// The private key, PEM.
    pub key: String,
}

/// The authority of one cluster.
pub struct Authority {
    cluster: ClusterId,
    root: CertificateDer<'static>,
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    /// Shows nothing of the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes the authority of `cluster`, with a key that nobody else has.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn create(cluster: ClusterId, life: Duration) -> Result<Self, PkiError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = valid_for(life);
        params.distinguished_name = named(&format!("Trainyard {cluster}"));
        params.subject_alt_names =
            vec![SanType::URI(format!("{}{cluster}", crate::identity::SCHEME).try_into()?)];
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let certificate = params.self_signed(&key)?;
        Self::new(certificate.pem(), key)
    }

    /// The authority whose certificate and key these are.
    ///
    /// # Errors
    /// When they are not PEM, or do not belong together.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, PkiError> {
        Self::new(certificate.to_owned(), KeyPair::from_pem(key)?)
    }

    fn new(pem: String, key: KeyPair) -> Result<Self, PkiError> {
        let roots = parse::certificates(pem.as_bytes())?;
        let root =
            roots.into_iter().find(|root| parse::has_key(root, &key.subject_public_key_info()));
        let root =
            root.ok_or_else(|| PkiError::Unreadable("`ca.key` is not the key of `ca.crt`".into()))?;
        let cluster = parse::cluster(&root)?;
        let issuer = Issuer::from_ca_cert_der(&root, key)?;
        Ok(Self { cluster, root, pem, issuer })
    }

    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// The certificate that everybody trusts, PEM; more than one while roots change.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.pem
    }

    /// The private key, PEM. Whoever has it is the cluster.
    #[must_use]
    pub fn key(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// SHA-256 of the certificate, in hex, as join tokens carry it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        parse::fingerprint(&self.root)
    }

    /// Makes a key and a certificate for `subject`.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn issue(&self, subject: Subject, life: Duration) -> Result<Issued, PkiError> {
        self.issue_with(&self.params(subject, life)?)
    }

    /// The same with a certificate whose time has been over for an hour.
    #[cfg(test)]
    pub(crate) fn issue_expired(&self, subject: Subject) -> Result<Issued, PkiError> {
        let hour = Duration::from_secs(3600);
        let mut params = self.params(subject, hour)?;
        params.not_before -= 2 * hour;
        params.not_after -= 2 * hour;
        self.issue_with(&params)
    }

    fn issue_with(&self, params: &CertificateParams) -> Result<Issued, PkiError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Issued { certificate: self.chain(&certificate), key: key.serialize_pem() })
    }

    /// Signs a request. Only its public key is taken from it; who it is for says `subject`.
    ///
    /// # Errors
    /// When it is not a request, is not signed by its own key, or has a key of another kind.
    pub fn sign(
        &self,
        request: &[u8],
        subject: Subject,
        life: Duration,
    ) -> Result<String, PkiError> {
        let mut read = read(request)?;
        read.params = self.params(subject, life)?;
        Ok(self.chain(&read.signed_by(&self.issuer)?))
    }

    /// Grants recovery epoch `epoch`: workers accept a higher epoch only with this.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn sign_epoch(&self, epoch: u64) -> Result<Vec<u8>, PkiError> {
        Ok(self.issuer.key().sign(&grant::message(self.cluster, epoch))?)
    }

    fn params(&self, subject: Subject, life: Duration) -> Result<CertificateParams, PkiError> {
        let identity = Identity { cluster: self.cluster, subject };
        let mut params = valid_for(life);
        params.distinguished_name = named(&identity.subject.to_string());
        params.subject_alt_names = vec![SanType::URI(identity.to_string().try_into()?)];
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let server = match identity.subject {
            Subject::Scheduler(_) => SCHEDULER_NAME,
            Subject::Worker(_) => WORKER_NAME,
            Subject::Person { .. } => return Ok(params),
        };
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        params.subject_alt_names.push(SanType::DnsName(server.try_into()?));
        Ok(params)
    }

    /// A certificate and the root that signed it: somebody who joins knows only its fingerprint.
    fn chain(&self, certificate: &rcgen::Certificate) -> String {
        let root = self.pem.trim_end();
        format!("{}{root}\n", certificate.pem())
    }
}

fn read(request: &[u8]) -> Result<CertificateSigningRequestParams, PkiError> {
    if request.len() > MAX_REQUEST {
        return Err(PkiError::Request(format!("it is larger than {MAX_REQUEST} bytes")));
    }
    let der = CertificateSigningRequestDer::from(request);
    let read = CertificateSigningRequestParams::from_der(&der);
    let read = read.map_err(|error| PkiError::Request(error.to_string()))?;
    if read.public_key.algorithm() != &PKCS_ECDSA_P256_SHA256 {
        return Err(PkiError::Request("its key is not of the kind ECDSA P-256".into()));
    }
    Ok(read)
}

/// The public key for which a request wants a certificate, as X.509 encodes it.
///
/// # Errors
/// When it is not a request, is not signed by its own key, or has a key of another kind.
pub fn requested_key(request: &[u8]) -> Result<Vec<u8>, PkiError> {
    Ok(read(request)?.public_key.subject_public_key_info())
}

fn valid_for(life: Duration) -> CertificateParams {
    let now = SystemTime::now();
    let before = CLOCKS_APART.min(life / 10);
    let mut params = CertificateParams::default();
    params.not_before = OffsetDateTime::from(now - before);
    params.not_after = OffsetDateTime::from(now + life);
    params
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

/// A key and the request for its certificate. The key never leaves the machine.
pub struct Request {
    key: KeyPair,
    csr: Vec<u8>,
}

impl Request {
    /// Draws a key.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn new() -> Result<Self, PkiError> {
        Self::of(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?)
    }

    /// A request for a key that was drawn before, PEM.
    ///
    /// # Errors
    /// When it is no key.
    pub fn from_key(pem: &str) -> Result<Self, PkiError> {
        Self::of(KeyPair::from_pem(pem)?)
    }

    fn of(key: KeyPair) -> Result<Self, PkiError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = named("trainyard");
        let csr = params.serialize_request(&key)?.der().to_vec();
        Ok(Self { key, csr })
    }

    /// What to send, DER.
    #[must_use]
    pub fn csr(&self) -> &[u8] {
        &self.csr
    }

    /// The private key, PEM.
    #[must_use]
    pub fn key(&self) -> String {
        self.key.serialize_pem()
    }
}
