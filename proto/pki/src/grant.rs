//! Grants of a recovery epoch: the authority's signature over (cluster, epoch). A restored or
//! recovered cluster shows one to its workers, which follow no higher epoch without it.

use rustls::pki_types::CertificateDer;
use trainyard_jobs::ClusterId;
use webpki::EndEntityCert;

use crate::PkiError;

/// Keeps a signature of ours from being taken for one over anything else.
const PURPOSE: &[u8] = b"trainyard recovery epoch 1\0";

pub(crate) fn message(cluster: ClusterId, epoch: u64) -> Vec<u8> {
    [PURPOSE, cluster.0.as_bytes(), &epoch.to_be_bytes()].concat()
}

/// Whether one of `roots` has granted `epoch` to `cluster`.
///
/// # Errors
/// When none has.
pub fn verify_epoch(
    roots: &[CertificateDer<'_>],
    cluster: ClusterId,
    epoch: u64,
    grant: &[u8],
) -> Result<(), PkiError> {
    let message = message(cluster, epoch);
    let signed = roots.iter().any(|root| {
        let Ok(root) = EndEntityCert::try_from(root) else { return false };
        root.verify_signature(webpki::aws_lc_rs::ECDSA_P256_SHA256, &message, grant).is_ok()
    });
    if signed { Ok(()) } else { Err(PkiError::Grant(epoch)) }
}
