//! What an older version wrote opens in this one, to the same state. Each version that changes a
//! format adds a directory to `fixtures/`; none is ever written anew.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use trainyard_tests::{
    Cluster, Options, until,
    view::{DataDirectory, Job},
};

const SOON: Duration = Duration::from_secs(30);

/// The cluster that 0.1.0 wrote its directory for.
const CLUSTER: &str = "0190a000-0000-7000-8000-000000000001";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/0.1.0").join(name)
}

fn json(name: &str) -> anyhow::Result<Value> {
    Ok(serde_json::from_str(&fs::read_to_string(fixture(name))?)?)
}

/// Unpacks the directory of 0.1.0 as `data`.
fn unpack(data: &Path) -> anyhow::Result<()> {
    let folder = data.parent().context("a folder above it")?;
    fs::create_dir_all(folder)?;
    let mut tar = Command::new("tar");
    tar.arg("--zstd").arg("-xf").arg(fixture("scheduler.tar.zst")).arg("-C").arg(folder);
    ensure!(tar.status().context("could not run tar")?.success(), "tar failed");
    Ok(fs::rename(folder.join("scheduler"), data)?)
}

fn inspect(cluster: &Cluster, data: &Path) -> anyhow::Result<DataDirectory> {
    cluster.json(&["cluster", "inspect", &data.display().to_string()])
}

/// The jobs as `yard ps --all` lists them, without what depends on the time of asking.
fn lasting(mut jobs: Value) -> anyhow::Result<Vec<Value>> {
    let items = jobs.get_mut("items").and_then(Value::as_array_mut).context("a list")?;
    for item in items.iter_mut() {
        let fields = item.as_object_mut().context("an item")?;
        let ended = fields.get("ended_unix_ms").is_some_and(|at| !at.is_null());
        if !ended {
            fields.remove("run_ms");
            fields.remove("reason");
            fields.remove("expected");
        }
    }
    Ok(std::mem::take(items))
}

#[test]
fn a_directory_of_0_1_0_opens_to_the_same_state_and_goes_on() -> anyhow::Result<()> {
    let yard =
        Options { schedulers: 1, workers: 1, node_grace: "6s", id: CLUSTER, ..Options::default() };
    let mut cluster = Cluster::new(yard)?;
    let data = cluster.scheduler_data(0)?;
    let status = json("status.json")?;
    let before = status.pointer("/schedulers/0/state_hash").and_then(Value::as_str);
    let before = before.context("a hash")?;

    // From the newest snapshot, and from the one before with the log after it.
    let copy = cluster.folder().join("copy/data");
    unpack(&copy)?;
    fs::remove_file(copy.join("snapshot-25.bin"))?;
    let replayed = inspect(&cluster, &copy)?;
    ensure!((replayed.index, replayed.snapshot_index) == (25, 13), "{replayed:?}");
    ensure!(replayed.state_hash == before, "replayed to another state: {replayed:?}");
    unpack(&data)?;
    let opened = inspect(&cluster, &data)?;
    ensure!((opened.index, opened.snapshot_index) == (25, 25), "{opened:?}");
    ensure!((opened.feature_level, opened.epoch) == (1, 1), "{opened:?}");
    ensure!(opened.state_hash == before, "opened to another state: {opened:?}");

    // The scheduler shows what the old one showed, and raises the level by itself.
    cluster.start_schedulers()?;
    cluster.leader()?;
    let jobs: Value = cluster.json(&["ps", "--all"])?;
    ensure!(lasting(jobs.clone())? == lasting(json("jobs.json")?)?, "{jobs:#}");
    until("the feature level to rise", SOON, || {
        Ok((cluster.status()?.feature_level == 6).then_some(()))
    })?;

    // Its queued job runs on a worker of today, once the worker of then counts as lost.
    let queued = "fdq0qd14d6rz";
    ensure!(cluster.job(queued)?.phase == "queued", "it waits");
    cluster.start_agent("node-1")?;
    let job: Job = cluster.job_when(queued, "the queued job to start", SOON, |job| {
        job.phase != "queued" || !job.attempts.is_empty()
    })?;
    ensure!(job.last_attempt().is_some_and(|a| a.attempt == 1), "{job:#?}");
    let running = cluster.wait_for_ranks(2, SOON)?;
    ensure!(running.len() == 2, "{running:?}");
    cluster.run(&["cancel", queued])?.ok()?;
    Ok(())
}
