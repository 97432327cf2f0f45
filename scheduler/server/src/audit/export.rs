//! Closed segments go to the object store, in order, by create-only puts, and only then leave
//! the disk.

use std::{
    fs, io,
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{
    chain::End,
    journal::{exported, note_exported, segments},
    trail::Shared,
};
use crate::replica::Replica;

/// How often closed segments are looked for.
const LOOK: Duration = Duration::from_millis(500);

/// The pause after a store that did not take one.
const PAUSE: Duration = Duration::from_secs(10);

/// Why a segment stays.
#[derive(Debug, thiserror::Error)]
enum ExportError {
    #[error(transparent)]
    Store(#[from] trainyard_store::StoreError),
    #[error("the segment cannot be read or removed: {0}")]
    Io(#[from] std::io::Error),
    #[error("the segment does not continue the chain: {0}")]
    Broken(String),
}

/// Exports, as long as the daemon runs.
pub(crate) async fn run(replica: Replica) {
    loop {
        tokio::time::sleep(LOOK).await;
        if let Err(error) = export(&replica, replica.audit.shared()).await {
            tracing::warn!(%error, "a segment of the audit trail is not exported yet");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn export(replica: &Replica, shared: &Arc<Shared>) -> Result<(), ExportError> {
    // The position first: what is closed then stays closed.
    let (_, current) = shared.position();
    for (first, path) in segments(&shared.dir)? {
        if current.is_none_or(|current| first < current) {
            // Thousands of records are read and summed: not on the runtime's threads.
            let (segment, trail) = (path.clone(), Arc::clone(shared));
            let read = tokio::task::spawn_blocking(move || closed(&trail, &segment));
            let (bytes, end) = read.await.map_err(io::Error::other)??;
            let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            replica.store.put_audit_segment(shared.scheduler, first, bytes.into()).await?;
            leave(&shared.dir, &path, &end)?;
            shared.bytes.fetch_sub(size, Ordering::Relaxed);
        }
    }
    Ok(())
}

/// A closed segment, and where the chain ends after it.
fn closed(shared: &Shared, path: &Path) -> Result<(Vec<u8>, End), ExportError> {
    let bytes = fs::read(path)?;
    let end = end_of(shared, &bytes)?;
    Ok((bytes, end))
}

/// Where the chain ends after this segment, which must follow what was exported before.
fn end_of(shared: &Shared, bytes: &[u8]) -> Result<End, ExportError> {
    let beginning = || End::beginning(shared.cluster, shared.scheduler);
    let mut end = exported(&shared.dir).unwrap_or_else(beginning);
    for line in String::from_utf8_lossy(bytes).lines() {
        end.follow(shared.scheduler, line).map_err(ExportError::Broken)?;
    }
    Ok(end)
}

fn leave(dir: &Path, path: &Path, end: &End) -> Result<(), std::io::Error> {
    note_exported(dir, end)?;
    fs::remove_file(path)
}
