//! Uploads spooled checkpoints: files first, then the manifest that commits them, then the
//! report. A spooled checkpoint is deleted once the scheduler has answered. While the store is
//! away at most the newest three wait, and older ones are dropped. A step that is committed is
//! never written over.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{sync::watch, task::spawn_blocking, time::sleep};
use trainyard_jobs::{
    Bytes, CheckpointPart, Manifest,
    checkpoint::{DESCRIPTION_FILE, Description, FORMAT},
};
use trainyard_store::keys;

use super::{
    registry::Entry,
    supervise::Context,
    transfer::{files_below, persist},
};
use crate::durable;

const POLL: Duration = Duration::from_millis(200);
const MOST_WAITING: usize = 3;
const MAX_DESCRIPTION: u64 = 1 << 20;

/// Uploads until the ranks have ended and nothing waits.
pub(super) async fn upload(
    context: &Context,
    entry: &Entry,
    part: u32,
    mut ends: watch::Receiver<bool>,
) {
    let spool = entry.dir.checkpoints();
    loop {
        let ended = *ends.borrow_and_update();
        let mut waiting = spooled(&spool);
        let excess = waiting.len().saturating_sub(MOST_WAITING);
        for (step, dir) in waiting.drain(..excess) {
            tracing::warn!(attempt = %entry.order.attempt, step, "dropped: newer ones wait too");
            drop_spooled(context, &dir);
        }
        match waiting.first() {
            Some((step, dir)) => upload_one(context, entry, part, *step, dir).await,
            None if ended => return,
            None => {
                tokio::select! {
                    () = sleep(POLL) => {}
                    _ = ends.changed() => {}
                }
            }
        }
    }
}

/// Complete checkpoints by step. They appear by rename, so what is there is whole.
fn spooled(spool: &Path) -> Vec<(u64, PathBuf)> {
    let entries = fs::read_dir(spool).into_iter().flatten().flatten();
    let step = |entry: fs::DirEntry| {
        let name = entry.file_name();
        let digits = name.to_str()?.strip_prefix("step-")?;
        let step = digits.parse().ok().filter(|_| digits.bytes().all(|b| b.is_ascii_digit()))?;
        entry.path().is_dir().then(|| (step, entry.path()))
    };
    let mut found: Vec<(u64, PathBuf)> = entries.filter_map(step).collect();
    found.sort();
    found
}

async fn upload_one(context: &Context, entry: &Entry, part: u32, step: u64, dir: &Path) {
    let attempt = &entry.order.attempt;
    match store_part(context, entry, part, step, dir).await {
        Ok(part) => {
            context.reporter.checkpoint(&part).await;
            remove(dir);
        }
        Err(message) => {
            tracing::warn!(%attempt, step, message, "checkpoint dropped");
            drop_spooled(context, dir);
        }
    }
}

fn drop_spooled(context: &Context, dir: &Path) {
    context.counters.dropped_checkpoints.inc();
    remove(dir);
}

fn remove(dir: &Path) {
    if let Err(error) = fs::remove_dir_all(dir)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::error!(dir = %dir.display(), %error, "cannot remove a spooled checkpoint");
    }
}

/// Stores the part, unless it was before: what is catalogued is never written over.
async fn store_part(
    context: &Context,
    entry: &Entry,
    part: u32,
    step: u64,
    dir: &Path,
) -> Result<CheckpointPart, String> {
    let attempt = &entry.order.attempt;
    let description = describe(dir, step)?;
    if part >= description.parts {
        return Err(format!(
            "{DESCRIPTION_FILE} speaks of {} parts, this is part {part}: each node's has to count them all",
            description.parts
        ));
    }
    if let Some(stored) = stored_part(context, entry, part, step).await? {
        tracing::warn!(%attempt, step, "this step is stored already: it is not stored again");
        return Ok(stored);
    }
    let root = dir.to_owned();
    let found = spawn_blocking(move || files_below(&root)).await.map_err(|e| e.to_string())?;
    let prefix = keys::checkpoint_part(attempt, step, part);
    let mut files = Vec::new();
    for (name, path) in found.map_err(|error| error.to_string())? {
        // It travels inside the manifest.
        if name == DESCRIPTION_FILE {
            continue;
        }
        let key = format!("{prefix}{name}");
        let stored = persist(attempt, || context.store.put_file(&key, &name, &path)).await;
        files.push(stored.map_err(|error| error.to_string())?);
    }
    let size = Bytes(files.iter().map(|file| file.size.0).sum());
    let parts = description.parts;
    let manifest = Manifest { format: FORMAT, attempt: attempt.clone(), part, description, files };
    let stored = persist(attempt, || context.store.commit_manifest(&manifest)).await;
    let manifest = stored.map_err(|error| error.to_string())?;
    context.counters.checkpoints.inc();
    tracing::info!(%attempt, step, %size, "checkpoint stored");
    Ok(CheckpointPart { attempt: attempt.clone(), step, part, parts, manifest, size })
}

/// The part of this step that is committed already: by an agent that ended before it could
/// report it, or because the run went back and reached the step again.
async fn stored_part(
    context: &Context,
    entry: &Entry,
    part: u32,
    step: u64,
) -> Result<Option<CheckpointPart>, String> {
    let (attempt, store) = (&entry.order.attempt, &context.store);
    let found = persist(attempt, || store.find_manifest(attempt, step, part)).await;
    let Some(manifest) = found.map_err(|error| error.to_string())? else { return Ok(None) };
    let read = persist(attempt, || store.read_manifest(&manifest)).await;
    let Manifest { description, files, .. } = read.map_err(|error| error.to_string())?;
    let size = Bytes(files.iter().map(|file| file.size.0).sum());
    let (attempt, parts) = (attempt.clone(), description.parts);
    Ok(Some(CheckpointPart { attempt, step, part, parts, manifest, size }))
}

fn describe(dir: &Path, step: u64) -> Result<Description, String> {
    let path = dir.join(DESCRIPTION_FILE);
    let bytes = durable::read_bounded(&path, MAX_DESCRIPTION).map_err(|error| error.to_string())?;
    let bytes = bytes.ok_or_else(|| format!("it has no {DESCRIPTION_FILE}"))?;
    let description: Description =
        serde_json::from_slice(&bytes).map_err(|error| format!("{DESCRIPTION_FILE}: {error}"))?;
    if description.format > FORMAT {
        return Err(format!("{DESCRIPTION_FILE} has format {}", description.format));
    }
    if description.step != step {
        return Err(format!("{DESCRIPTION_FILE} speaks of step {}", description.step));
    }
    Ok(description)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_complete_checkpoints_are_seen_in_order_of_steps() {
        let spool = tempfile::tempdir().unwrap();
        for name in ["step-000000000200", "step-000000000010", "step-10.tmp", ".step-3", "step-+1"]
        {
            fs::create_dir(spool.path().join(name)).unwrap();
        }
        fs::write(spool.path().join("step-000000000300"), "a file").unwrap();
        let steps: Vec<u64> = spooled(spool.path()).into_iter().map(|(step, _)| step).collect();
        assert_eq!(steps, [10, 200]);
    }

    #[test]
    fn a_description_must_fit_its_directory() {
        let dir = tempfile::tempdir().unwrap();
        assert!(describe(dir.path(), 5).unwrap_err().contains("has no checkpoint.json"));
        fs::write(dir.path().join(DESCRIPTION_FILE), r#"{"format":1,"step":4}"#).unwrap();
        assert!(describe(dir.path(), 5).unwrap_err().contains("step 4"));
        assert_eq!(describe(dir.path(), 4).unwrap().parts, 1);
        fs::write(dir.path().join(DESCRIPTION_FILE), r#"{"format":2,"step":4}"#).unwrap();
        assert!(describe(dir.path(), 4).unwrap_err().contains("format 2"));
    }
}
