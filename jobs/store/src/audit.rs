//! The audit trail's segments in the store: each scheduler's own chain, written once, never
//! overwritten, and deleted by nobody here.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStore;

use crate::{Store, StoreError, keys};

/// A stored segment. Orders by scheduler and first record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuditSegment {
    /// The scheduler that wrote it.
    pub scheduler: u64,
    /// The number of its first record.
    pub first: u64,
    /// Its object's key.
    pub key: String,
}

impl Store {
    /// Stores a segment. Storing the same again does nothing.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if it exists with other bytes; or the backend fails.
    pub async fn put_audit_segment(
        &self,
        scheduler: u64,
        first: u64,
        bytes: Bytes,
    ) -> Result<(), StoreError> {
        self.create(&keys::audit_segment(scheduler, first), bytes).await
    }

    /// All segments of all schedulers, in order.
    ///
    /// # Errors
    /// The backend fails.
    pub async fn list_audit_segments(&self) -> Result<Vec<AuditSegment>, StoreError> {
        let root = keys::prefix_path(keys::AUDIT)?;
        let mut objects = self.inner.list(Some(&root)).boxed();
        let mut segments = Vec::new();
        loop {
            match objects.try_next().await {
                Ok(Some(object)) => {
                    segments.extend(keys::parse_audit_segment(object.location.as_ref()));
                }
                Ok(None) | Err(object_store::Error::NotFound { .. }) => break,
                Err(error) => return Err(StoreError::backend("the listing", keys::AUDIT)(error)),
            }
        }
        segments.sort();
        Ok(segments)
    }

    /// The bytes of a segment that [`Store::list_audit_segments`] named.
    ///
    /// # Errors
    /// It was deleted, or the backend fails.
    pub async fn read_audit_segment(&self, key: &str) -> Result<Bytes, StoreError> {
        self.read_all(key).await
    }
}
