//! Real training: the native trainer from spec to a registered model that plain Python loads, and
//! a script written for torchrun, run as it is.

use std::{fs, process::Command, time::Duration};

use anyhow::{Context as _, ensure};
use trainyard_tests::{Options, cluster::CLUSTER, on_cluster, programs, specs};

const YARD: Options =
    Options { schedulers: 1, workers: 2, slots: 1, node_grace: "10s", id: CLUSTER };
const TRAINED: Duration = Duration::from_secs(120);

#[test]
fn a_model_goes_from_spec_to_plain_python() -> anyhow::Result<()> {
    on_cluster(YARD, |cluster| {
        let job = cluster.submit(&specs::classifier("max_steps = 100\nwidth = 8\nseed = 3"))?;
        let done = cluster.job_when(&job, "the training to end", TRAINED, |job| {
            matches!(job.phase.as_str(), "succeeded" | "failed")
        })?;
        ensure!(done.phase == "succeeded", "{done:#?}");
        let nodes = done.nodes();
        ensure!(nodes.len() == 2, "one rank a worker: {nodes:?}");
        let versions = cluster.models()?;
        let [version] = versions.as_slice() else { anyhow::bail!("one version: {versions:#?}") };
        ensure!(
            version.lineage.job == job && version.metrics.contains_key("val_accuracy"),
            "{version:#?}"
        );

        cluster.run(&["model", "verify", "fashion"])?.ok()?;
        cluster.run(&["model", "pull", "fashion", "--to", "pulled"])?.ok()?;
        let pulled = cluster.client().join("pulled");
        for file in &version.files {
            ensure!(pulled.join(&file.path).exists(), "{} was not pulled", file.path);
        }
        let script = programs::repository().join("ops/load_model.py");
        let output = Command::new(programs::python()?).arg(script).arg(&pulled).output()?;
        ensure!(output.status.success(), "Python says: {output:?}");

        // A flipped bit in the store is found, not handed out.
        let weights = find(&cluster.folder().join("store"), "model.safetensors")
            .context("the weights lie in the store")?;
        let mut bytes = fs::read(&weights)?;
        *bytes.last_mut().context("weights have bytes")? ^= 1;
        fs::write(&weights, bytes)?;
        let verified = cluster.run(&["model", "verify", "fashion"])?;
        ensure!(verified.code != Some(0), "a flipped bit was not noticed");
        let pulled = cluster.run(&["model", "pull", "fashion", "--to", "bad"])?;
        ensure!(pulled.code != Some(0), "a flipped bit was handed out");
        Ok(())
    })
}

/// The artifact named `name` below `folder`.
fn find(folder: &std::path::Path, name: &str) -> Option<std::path::PathBuf> {
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).ok()?.flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path.ends_with(format!("artifacts/{name}")) {
                return Some(path);
            }
        }
    }
    None
}

#[test]
fn a_script_for_torchrun_runs_unchanged() -> anyhow::Result<()> {
    on_cluster(YARD, |cluster| {
        let example = programs::repository().join("jobs/examples/torchrun-ddp.toml");
        let example = example.display().to_string();
        let job = cluster.run(&["submit", &example, "-q"])?.ok()?.stdout.trim().to_owned();
        let done = cluster.job_when(&job, "the script to end", TRAINED, |job| {
            matches!(job.phase.as_str(), "succeeded" | "failed")
        })?;
        let logs = cluster.run(&["logs", &job])?.ok()?.stdout;
        ensure!(done.phase == "succeeded", "{done:#?}\n{logs}");
        ensure!(done.nodes().len() == 2, "one rank a worker: {done:#?}");
        for rank in 0..2 {
            let mark = format!("rank {rank} of 2: step ");
            let steps: Vec<&str> = logs
                .lines()
                .filter_map(|line| line.split_once(&mark)?.1.split('/').next())
                .collect();
            let all: Vec<String> = (1..=15).map(|line| (20 * line).to_string()).collect();
            ensure!(steps == all, "rank {rank} told of steps {steps:?}: {logs}");
        }
        Ok(())
    })
}
