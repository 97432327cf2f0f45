//! The bundles that were seen in the store a moment ago. Every submit names one and most name the
//! same: to ask the store each time would make it part of every submit's way. Nothing of ours
//! deletes bundles; what somebody else deleted is noticed again after [`TRUSTED`].

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use trainyard_jobs::Digest;
use trainyard_store::{Store, StoreError};

/// How long a bundle counts as stored after it was seen.
const TRUSTED: Duration = Duration::from_secs(60);

/// Bundles remembered at most; beyond that all are looked for again.
const MOST: usize = 4096;

/// What was seen, and when.
#[derive(Debug, Clone, Default)]
pub(crate) struct SeenBundles(Arc<Mutex<BTreeMap<Digest, Instant>>>);

impl SeenBundles {
    /// Whether a bundle is stored. Absence is never remembered: it may be on its way.
    pub(crate) async fn has(&self, store: &Store, digest: &Digest) -> Result<bool, StoreError> {
        self.has_at(Instant::now(), store, digest).await
    }

    async fn has_at(
        &self,
        now: Instant,
        store: &Store,
        digest: &Digest,
    ) -> Result<bool, StoreError> {
        if self.saw(now, digest) {
            return Ok(true);
        }
        let found = store.has_bundle(digest).await?;
        if found {
            let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if seen.len() >= MOST {
                seen.clear();
            }
            seen.insert(*digest, now);
        }
        Ok(found)
    }

    fn saw(&self, now: Instant, digest: &Digest) -> bool {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(digest).is_some_and(|at| now.saturating_duration_since(*at) < TRUSTED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_bundle_is_looked_for_again_after_a_while_and_absence_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&format!("file://{}", dir.path().display())).unwrap();
        let seen = SeenBundles::default();
        let file = dir.path().join("bundle");
        std::fs::write(&file, b"bytes").unwrap();
        let digest = Digest::of(b"bytes");
        assert!(!seen.has(&store, &digest).await.unwrap());
        store.put_bundle(&digest, &file).await.unwrap();
        assert!(seen.has(&store, &digest).await.unwrap(), "absence was remembered");
        std::fs::remove_dir_all(dir.path().join("bundles")).unwrap();
        assert!(seen.has(&store, &digest).await.unwrap());
        let later = Instant::now() + TRUSTED;
        assert!(!seen.has_at(later, &store, &digest).await.unwrap());
    }
}
