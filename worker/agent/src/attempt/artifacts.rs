//! Stores what a run hands back: every file of its artifact directory.

use tokio::task::spawn_blocking;
use trainyard_jobs::FileEntry;
use trainyard_store::keys;

use super::{
    registry::Entry,
    supervise::Context,
    transfer::{files_below, persist},
};

/// Most artifacts of a run: the leader refuses reports of more.
const MAX_FILES: usize = 10_000;

/// Stores the artifacts; gives up when the attempt is told to stop, because nobody will ask
/// for them then.
///
/// # Errors
/// What cannot be stored, and why.
pub(super) async fn upload(context: &Context, entry: &Entry) -> Result<Vec<FileEntry>, String> {
    tokio::select! {
        stored = store_all(context, entry) => stored,
        () = entry.stopped() => Ok(Vec::new()),
    }
}

async fn store_all(context: &Context, entry: &Entry) -> Result<Vec<FileEntry>, String> {
    let (attempt, root) = (&entry.order.attempt, entry.dir.artifacts());
    let found = spawn_blocking(move || files_below(&root)).await.map_err(|e| e.to_string())?;
    let found = found.map_err(|error| error.to_string())?;
    if found.len() > MAX_FILES {
        let count = found.len();
        return Err(format!("the run left {count} files, at most {MAX_FILES} are kept: pack them"));
    }
    let mut files = Vec::new();
    for (name, path) in found {
        let key = keys::artifact(attempt, &name);
        let stored = persist(attempt, || context.store.put_file(&key, &name, &path)).await;
        files.push(stored.map_err(|error| error.to_string())?);
    }
    Ok(files)
}
