//! Nodes that are reserved, as operators and researchers see it.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use trainyard_tests::{Cluster, Options, on_cluster, specs, view::Job};

const SOON: Duration = Duration::from_secs(20);

/// A job that runs until it is stopped, and says that it takes so long.
fn endless(estimate: &str) -> String {
    format!("{}[schedule]\nest_duration = \"{estimate}\"\n", specs::single("exec sleep 600"))
}

fn started(cluster: &Cluster, job: &str) -> anyhow::Result<Job> {
    cluster.job_when(job, "the job to start", SOON, |job| job.phase == "running")
}

#[test]
fn a_window_keeps_long_jobs_off_its_node_and_clears_it_when_it_begins() -> anyhow::Result<()> {
    on_cluster(Options { workers: 2, slots: 1, ..Options::default() }, |cluster| {
        let nodes: Value = cluster.json(&["node", "list"])?;
        let node = nodes["items"][0]["name"].as_str().context("a node's name")?;
        let create = |line: &str| {
            let words = format!("reservation create {line} --maintenance");
            cluster.run(&words.split(' ').collect::<Vec<_>>())
        };
        let soon = format!("upgrade --from +1h --for 2h --nodes {node}");
        create(&soon)?.ok()?;
        create(&soon)?.expect_code(6)?;
        create("other --from +1h --for 2h --nodes nowhere")?.expect_code(6)?;
        create("other --from +1h --for 2h --label rack=none")?.expect_code(6)?;
        create("other --from 2020-01-01T00:00:00Z --for 2h --all")?.expect_code(2)?;

        let first = cluster.submit(&endless("10h"))?;
        ensure!(started(cluster, &first)?.nodes() != [node], "on a node with a window ahead");
        let second = cluster.submit(&endless("10h"))?;
        let short = specs::single("true") + "[schedule]\nest_duration = \"1m\"\n";
        let short = cluster.submit(&short)?;
        cluster.run(&["wait", &short])?.ok()?;
        ensure!(cluster.job(&short)?.nodes() == [node], "it goes round the long one");
        let why = cluster.run(&["explain", &second])?.ok()?.stdout;
        ensure!(why.contains("reserved for maintenance (upgrade)"), "{why}");
        ensure!(cluster.job(&second)?.attempts.is_empty(), "it waits");
        let all: Value = cluster.json(&["reservation", "list"])?;
        let shown = &all["items"][0];
        ensure!((&shown["name"], &shown["state"]) == (&"upgrade".into(), &"ahead".into()), "{all}");
        let nodes: Value = cluster.json(&["node", "list"])?;
        ensure!(nodes["items"][0]["reservation"]["name"] == "upgrade", "{nodes:#}");

        cluster.run(&["reservation", "delete", "upgrade"])?.ok()?;
        cluster.run(&["reservation", "delete", "upgrade"])?.expect_code(3)?;
        ensure!(started(cluster, &second)?.nodes() == [node], "there is room again");

        create("now --from +1s --for 1h --all")?.ok()?;
        cluster.wait_for_ranks(0, SOON)?;
        for job in [&first, &second] {
            let waits = |job: &Job| job.phase == "queued";
            let job = cluster.job_when(job, "the job to wait again", SOON, waits)?;
            let end = job.last_attempt().and_then(|attempt| attempt.end.clone());
            ensure!(end.as_deref() == Some("its units are reserved"), "{job:#?}");
        }
        Ok(())
    })
}
