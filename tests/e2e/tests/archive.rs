//! Jobs that ended some time ago leave memory, and nobody who asks for them notices.

use std::{collections::BTreeSet, fs, time::Duration};

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use trainyard_tests::{
    Cluster, Options, Yard, specs, until,
    view::{Job, List},
};

const SOON: Duration = Duration::from_secs(30);

/// Jobs that are run.
const JOBS: usize = 5;

#[derive(Deserialize)]
struct Archived {
    archived: usize,
}

/// Three schedulers that archive soon and keep little of their log, so that a member that was away
/// needs a snapshot.
fn cluster() -> anyhow::Result<Cluster> {
    let mut cluster = Cluster::new(Options { schedulers: 3, ..Options::default() })?;
    for number in 0..3 {
        let config = cluster.scheduler_config(number)?;
        let toml = fs::read_to_string(&config)?;
        let ours = "archive_after = \"300ms\"\nsnapshot_every = 10\nkeep_entries = 2\n";
        fs::write(&config, format!("{ours}{toml}"))?;
    }
    cluster.start()?;
    Ok(cluster)
}

/// What anybody may ask of jobs that are archived.
fn check(yard: &Yard, jobs: &[String]) -> anyhow::Result<()> {
    let newest: Vec<&String> = jobs.iter().rev().collect();
    let listed = |arguments: &[&str]| -> anyhow::Result<Vec<String>> {
        let list: List<Job> = yard.json(&[&["--stale", "ps", "--all"], arguments].concat())?;
        Ok(list.items.into_iter().map(|job| job.id).collect())
    };
    let all = listed(&[])?;
    ensure!(all.iter().eq(newest.iter().copied()), "{all:?} is not {newest:?}");
    let page = listed(&["--limit", "2"])?;
    ensure!(page.iter().eq(newest.iter().copied().take(2)), "{page:?}");
    let last = page.last().context("a page with jobs")?;
    let next = listed(&["--limit", "2", "--before", last])?;
    ensure!(next.iter().eq(newest.iter().copied().skip(2).take(2)), "{next:?}");
    for job in jobs {
        let found: Job = yard.json(&["--stale", "job", "get", &job[..10]])?;
        ensure!(found.id == *job && found.phase == "succeeded", "{found:#?}");
        ensure!(found.attempts.len() == 1, "{found:#?}");
        let logs = yard.run(&["--stale", "logs", job])?.ok()?.stdout;
        ensure!(logs.contains(&format!("this is {job}")), "no logs of {job}: {logs}");
    }
    Ok(())
}

#[test]
fn archived_jobs_are_listed_read_and_survive_everywhere() -> anyhow::Result<()> {
    let mut cluster = cluster()?;
    // One member is away while everything happens.
    let away = (cluster.leader()? + 1) % 3;
    cluster.kill_scheduler(away)?;
    let mut jobs = Vec::new();
    for _ in 0..JOBS {
        let job = cluster.submit(&specs::single("echo this is $YARD_JOB"))?;
        cluster.run(&["wait", &job])?.ok()?;
        jobs.push(job);
    }
    until("the jobs to be archived", SOON, || {
        let status: Archived = cluster.json(&["cluster", "status"])?;
        Ok((status.archived == JOBS).then_some(()))
    })?;
    check(cluster.yard(), &jobs)?;
    cluster.start_schedulers()?;
    until("the replicas to agree", SOON, || {
        let status = cluster.status()?;
        let states: BTreeSet<_> =
            status.schedulers.iter().map(|one| (one.applied, &one.state_hash)).collect();
        Ok((states.len() == 1).then_some(()))
    })?;
    let endpoint = cluster.yard().endpoint().split(',').nth(away).context("its address")?;
    let returned = cluster.yard().at(endpoint);
    check(&returned, &jobs)?;
    cluster.kill_schedulers()?;
    cluster.start_schedulers()?;
    cluster.leader()?;
    check(cluster.yard(), &jobs)?;
    check(&returned, &jobs)
}
