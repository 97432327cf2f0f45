//! What is read out of a certificate: the identity in its alternative names, the cluster of an
//! authority, and how long it is valid.

use std::time::{Duration, SystemTime};

use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use sha2::{Digest as _, Sha256};
use trainyard_jobs::ClusterId;
use x509_parser::{
    certificate::X509Certificate,
    extensions::GeneralName,
    prelude::{FromDer as _, ParsedExtension},
};

use crate::{Identity, PkiError, identity::SCHEME};

fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, PkiError> {
    let parsed = X509Certificate::from_der(der.as_ref());
    parsed.map(|(_, certificate)| certificate).map_err(|e| PkiError::Unreadable(e.to_string()))
}

/// The URIs of ours among the alternative names.
fn names<'a>(certificate: &'a X509Certificate<'_>) -> Vec<&'a str> {
    let names = certificate.extensions().iter().filter_map(|e| match e.parsed_extension() {
        ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
        _ => None,
    });
    let ours = names.flatten().filter_map(|name| match name {
        GeneralName::URI(uri) if uri.starts_with(SCHEME) => Some(*uri),
        _ => None,
    });
    ours.collect()
}

/// Whom a certificate is for.
pub(crate) fn identity(der: &CertificateDer<'_>) -> Result<Identity, PkiError> {
    let certificate = parse(der)?;
    match names(&certificate).as_slice() {
        [one] => Ok(one.parse()?),
        others => Err(PkiError::Unnamed(others.len())),
    }
}

/// The cluster that an authority's own certificate is of.
pub(crate) fn cluster(root: &CertificateDer<'_>) -> Result<ClusterId, PkiError> {
    let certificate = parse(root)?;
    let found = names(&certificate);
    let cluster = match found.as_slice() {
        [one] => one.strip_prefix(SCHEME).and_then(|text| text.parse().ok()),
        _ => None,
    };
    cluster.ok_or_else(|| PkiError::Unreadable("it is no cluster's authority".into()))
}

/// From when to when a certificate is valid.
pub(crate) fn validity(der: &CertificateDer<'_>) -> Result<(SystemTime, SystemTime), PkiError> {
    let certificate = parse(der)?;
    let at = |time: x509_parser::time::ASN1Time| {
        let seconds = u64::try_from(time.timestamp()).unwrap_or(0);
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    };
    let validity = certificate.validity();
    Ok((at(validity.not_before), at(validity.not_after)))
}

/// All certificates in PEM text.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, PkiError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let all = all.map_err(|error| PkiError::Unreadable(error.to_string()))?;
    if all.is_empty() {
        return Err(PkiError::Unreadable("the PEM text holds no certificate".into()));
    }
    Ok(all)
}

/// SHA-256 of a certificate, in hex, as join tokens carry it.
#[must_use]
pub fn fingerprint(der: &CertificateDer<'_>) -> String {
    Sha256::digest(der.as_ref()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The fingerprints of all certificates in PEM text.
///
/// # Errors
/// When it holds none, or not only certificates.
pub fn fingerprints(pem: &str) -> Result<Vec<String>, PkiError> {
    Ok(certificates(pem.as_bytes())?.iter().map(fingerprint).collect())
}

/// Whether a certificate is of the public key with this encoding.
pub(crate) fn has_key(der: &CertificateDer<'_>, spki: &[u8]) -> bool {
    parse(der).is_ok_and(|certificate| certificate.public_key().raw == spki)
}
