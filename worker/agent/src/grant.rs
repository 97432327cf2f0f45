//! Whether a scheduler may speak for a higher recovery epoch than this worker has seen. An epoch
//! fences off the schedulers of the one before, so it is not taken on anybody's word: the cluster's
//! authority must have signed it.

use trainyard_jobs::ClusterId;
use trainyard_pki::{Credentials, PkiError};

/// Checks that `grant` proves that the cluster was recovered into `epoch`.
pub(crate) fn check(
    credentials: &Credentials,
    cluster: ClusterId,
    epoch: u64,
    grant: &[u8],
) -> Result<(), PkiError> {
    let own = credentials.cluster();
    if own != cluster {
        return Err(PkiError::OtherCluster { own, theirs: cluster });
    }
    credentials.verify_epoch(epoch, grant)
}
