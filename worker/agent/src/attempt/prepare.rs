//! Brings to the node what an attempt needs: its bundle, the checkpoint that it resumes from,
//! the native trainer. Gives the plan by which the shim starts the ranks.

use std::{collections::BTreeMap, fs, io, path::Path, time::Duration};

use tokio::{task::spawn_blocking, time::timeout};
use trainyard_jobs::{
    AttemptRef, Bytes, FileEntry, Manifest,
    checkpoint::{DESCRIPTION_FILE, Description},
};
use trainyard_store::{Store, bundle, keys};

use super::{
    AttemptDir, Trainer,
    environment::{environment, inherited},
    order::Work,
    supervise::Context,
    transfer::persist,
};
use crate::{
    durable,
    shim::{FORMAT, Plan, RankPlan},
};

/// How long the store may be away before an attempt gives up and its devices go to others.
const STORE_PATIENCE: Duration = Duration::from_secs(300);
/// How large an attempt's log may grow on this node.
const LOG_LIMIT: Bytes = Bytes(1 << 30);

/// Prepares the attempt's directory.
///
/// # Errors
/// Why the ranks cannot be started, in words for the researcher.
pub(super) async fn prepare(
    context: &Context,
    attempt: &AttemptRef,
    work: &Work,
    dir: &AttemptDir,
) -> Result<Plan, String> {
    let store = &context.store;
    folders(dir).map_err(|error| format!("cannot make {}: {error}", dir.path().display()))?;
    let fetch = async {
        fetch_bundle(store, attempt, work, dir).await?;
        fetch_resume(store, attempt, work, dir).await
    };
    timeout(STORE_PATIENCE, fetch).await.map_err(|_| {
        format!("the store could not be reached for {} s", STORE_PATIENCE.as_secs())
    })??;
    let argv = command(&context.trainer, work).await?;
    let limits = context.mps.as_ref().map_or_else(BTreeMap::new, |mps| mps.variables(work));
    let network = context.network.variables(work);
    let rank_environment = |local| {
        let mut all = environment(attempt, work, (local, &network), dir, inherited());
        all.extend(limits.clone());
        all
    };
    let cpus = context.pins.take(attempt, work);
    let ranks = work.ranks.iter().zip(cpus).enumerate().map(|(local, ((rank, _), cpus))| {
        RankPlan { rank: *rank, argv: argv.clone(), env: rank_environment(local), cpus }
    });
    Ok(Plan {
        format: FORMAT,
        attempt: attempt.clone(),
        ranks: ranks.collect(),
        workdir: dir.work(),
        grace: work.spec.stop_grace(),
        time_allowance: work.time_allowance,
        log_limit: LOG_LIMIT,
        cgroup: context.cgroup,
    })
}

fn folders(dir: &AttemptDir) -> io::Result<()> {
    // An agent that was killed here may have left half of them.
    for path in [dir.work(), dir.resume()] {
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    for path in
        [dir.work(), dir.checkpoints(), dir.artifacts(), dir.metrics(), dir.shim().control()]
    {
        durable::private_dir(&path)?;
    }
    Ok(())
}

async fn fetch_bundle(
    store: &Store,
    attempt: &AttemptRef,
    work: &Work,
    dir: &AttemptDir,
) -> Result<(), String> {
    let Some(digest) = &work.bundle else { return Ok(()) };
    let failed = |error: String| format!("cannot fetch the work directory: {error}");
    let file = dir.path().join("bundle.tar.zst");
    let fetched = persist(attempt, || store.get_bundle(digest, &file)).await;
    fetched.map_err(|error| failed(error.to_string()))?;
    let dest = dir.work();
    let unpacked = spawn_blocking(move || {
        let unpacked = bundle::unpack(&file, &dest);
        // It is in the store, and a later removal of the attempt takes what is left.
        let _ = fs::remove_file(&file);
        unpacked
    });
    let unpacked = unpacked.await.map_err(|error| failed(error.to_string()))?;
    unpacked.map_err(|error| failed(error.to_string()))
}

/// Merges the checkpoint's parts. Of two files with one name, this node's own part has the
/// right one, then the lowest part.
async fn fetch_resume(
    store: &Store,
    attempt: &AttemptRef,
    work: &Work,
    dir: &AttemptDir,
) -> Result<(), String> {
    if work.resume.is_empty() {
        return Ok(());
    }
    let failed = |error: String| format!("cannot fetch the checkpoint to resume from: {error}");
    let root = dir.resume();
    durable::private_dir(&root).map_err(|error| failed(error.to_string()))?;
    let mut parts = Vec::new();
    for entry in &work.resume {
        let manifest = persist(attempt, || store.read_manifest(entry)).await;
        parts.push(manifest.map_err(|error| failed(error.to_string()))?);
    }
    let Some(first) = parts.iter().min_by_key(|part| part.part) else { return Ok(()) };
    let description = first.description.clone();
    for (path, entry) in merge(parts, work.group_rank) {
        keys::check_path(&path).map_err(|error| failed(error.to_string()))?;
        let dest = root.join(&path);
        let parent = dest.parent().unwrap_or(&root);
        durable::private_dir(parent).map_err(|error| failed(error.to_string()))?;
        let got = persist(attempt, || store.get_file(&entry, &dest)).await;
        got.map_err(|error| failed(error.to_string()))?;
    }
    describe(&root, &description).map_err(|error| failed(error.to_string()))
}

fn merge(mut parts: Vec<Manifest>, own: u32) -> BTreeMap<String, FileEntry> {
    parts.sort_by_key(|part| (part.part != own, part.part));
    let mut files = BTreeMap::new();
    for file in parts.into_iter().flat_map(|part| part.files) {
        files.entry(file.path.clone()).or_insert(file);
    }
    files
}

fn describe(root: &Path, description: &Description) -> io::Result<()> {
    durable::write_json(&root.join(DESCRIPTION_FILE), description)
}

async fn command(trainer: &Trainer, work: &Work) -> Result<Vec<String>, String> {
    let run = &work.spec.run;
    let Some(recipe) = &run.recipe else {
        return match run.command.is_empty() {
            false => Ok(run.command.clone()),
            true => Err("the job names neither a command nor a recipe".into()),
        };
    };
    let program = trainer.program().await?;
    let program = program.to_str().ok_or("the trainer's path is not UTF-8")?.to_owned();
    let params = serde_json::to_string(&run.params).map_err(|error| error.to_string())?;
    Ok(vec![program, "--recipe".into(), recipe.clone(), "--params-json".into(), params])
}

#[cfg(test)]
mod tests {
    use trainyard_jobs::{AttemptNo, Digest, Generation, JobId};

    use super::*;

    fn part(part: u32, files: &[&str]) -> Manifest {
        let file = |path: &&str| FileEntry {
            path: (*path).to_owned(),
            key: format!("part-{part}/{path}"),
            size: Bytes(1),
            digest: Digest::of(b"x"),
        };
        Manifest {
            format: 1,
            attempt: AttemptRef {
                job: JobId::from_random(1),
                attempt: AttemptNo(1),
                generation: Generation(1),
            },
            part,
            description: Description {
                format: 1,
                step: 10,
                epoch: 0,
                world_size: 2,
                parts: 2,
                metrics: BTreeMap::new(),
            },
            files: files.iter().map(file).collect(),
        }
    }

    #[test]
    fn the_nodes_own_part_wins_then_the_lowest() {
        let parts =
            || vec![part(2, &["c", "x"]), part(0, &["a", "x"]), part(1, &["b", "rng", "x"])];
        let keys = |own| -> Vec<String> {
            merge(parts(), own).into_values().map(|file| file.key).collect()
        };
        assert_eq!(keys(1), ["part-0/a", "part-1/b", "part-2/c", "part-1/rng", "part-1/x"]);
        assert_eq!(keys(7), ["part-0/a", "part-1/b", "part-2/c", "part-1/rng", "part-0/x"]);
    }
}
