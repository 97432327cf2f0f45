//! Pieces of ranks' output in the store. A piece is written once; which pieces exist is the
//! only index that there is.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStore;
use trainyard_jobs::{AttemptRef, JobId};

use crate::{Store, StoreError, keys};

/// A stored piece of one node's output. Orders by attempt, node and start.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogSegment {
    /// The attempt that wrote it.
    pub attempt: AttemptRef,
    /// Which node of the attempt, by group rank from 0.
    pub node: u32,
    /// Where it begins in the node's log, as its writer counts.
    pub start: u64,
    /// Its size in bytes.
    pub size: u64,
    /// Its object's key.
    pub key: String,
}

impl Store {
    /// Stores a piece of a node's log ([`crate::log::Record`] lines). Storing the same again
    /// does nothing.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the piece exists with other bytes; or the backend fails.
    pub async fn put_log_segment(
        &self,
        attempt: &AttemptRef,
        node: u32,
        start: u64,
        bytes: Bytes,
    ) -> Result<(), StoreError> {
        self.create(&keys::log_segment(attempt, node, start), bytes).await
    }

    /// All pieces of a job's log, over all attempts, in order.
    ///
    /// # Errors
    /// The backend fails.
    pub async fn list_log_segments(&self, job: &JobId) -> Result<Vec<LogSegment>, StoreError> {
        let attempts = format!("{}attempts", keys::job_prefix(job));
        let failed = || StoreError::backend("the listing", &attempts);
        let root = keys::prefix_path(&attempts)?;
        let found = match self.inner.list_with_delimiter(Some(&root)).await {
            Err(object_store::Error::NotFound { .. }) => return Ok(Vec::new()),
            found => found.map_err(failed())?,
        };
        let mut segments = Vec::new();
        for prefix in found.common_prefixes {
            let attempt = prefix.filename().and_then(|part| keys::parse_attempt(job, part));
            let Some(attempt) = attempt else { continue };
            let logs = prefix.join("logs");
            let mut objects = self.inner.list(Some(&logs)).boxed();
            while let Some(object) = objects.try_next().await.map_err(failed())? {
                let key = object.location.as_ref();
                segments.extend(keys::parse_log_segment(&attempt, key, object.size));
            }
        }
        segments.sort();
        Ok(segments)
    }

    /// The bytes of a piece that [`Store::list_log_segments`] named.
    ///
    /// # Errors
    /// The piece was deleted, or the backend fails.
    pub async fn read_log_segment(&self, key: &str) -> Result<Bytes, StoreError> {
        self.read_all(key).await
    }
}
