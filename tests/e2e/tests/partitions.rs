//! Networks that are cut, one way and both, between real processes on machines of their own: a
//! worker that is cut off trains on, and what became of its attempt meanwhile decides.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use trainyard_tests::{
    Ledger, Load, Network, Options, cluster::CLUSTER, ledger::check_hashes, on_networked_cluster,
    process, specs, until, view::Job,
};

const SOON: Duration = Duration::from_secs(30);

/// Two machines to train on and a spare one, under three schedulers.
const YARD: Options =
    Options { schedulers: 3, workers: 3, slots: 1, node_grace: "3s", id: CLUSTER };

fn scheduler(number: usize) -> String {
    format!("scheduler-{}", number + 1)
}

/// Both directions between a machine and each of the schedulers but itself.
fn isolate(network: &Network, host: &str, cut: bool) -> anyhow::Result<()> {
    for other in (0..3).map(scheduler).filter(|other| other != host) {
        for (from, to) in [(host, other.as_str()), (other.as_str(), host)] {
            if cut { network.cut(from, to)? } else { network.mend(from, to)? }
        }
    }
    Ok(())
}

#[test]
fn a_worker_that_is_cut_off_trains_on_until_it_hears_that_it_is_superseded() -> anyhow::Result<()> {
    let two = Options { workers: 2, ..YARD };
    on_networked_cluster(two, |cluster, network| {
        let job = cluster.submit(&specs::checkpointing(&cluster.client()))?;
        let old = cluster.wait_for_ranks(1, SOON)?;
        cluster.write("checkpoint-1", "")?;
        let begun = cluster.job_when(&job, "a first checkpoint", SOON, |job| {
            job.phase == "running" && job.checkpoints.len() == 1
        })?;
        let away = begun.node_of_rank(0).context("rank 0 has a node")?.to_owned();
        isolate(network, &away, true)?;
        // It trains on. Its checkpoint reaches the store, and nobody can be told.
        cluster.write("checkpoint-1", "")?;
        until("the second checkpoint to be stored", SOON, || {
            let stored = cluster.agent_words(&away)?.matches("checkpoint stored").count();
            Ok((stored == 2).then_some(()))
        })?;
        let second = |job: &Job| job.attempts.len() == 2 && job.phase == "running";
        cluster.job_when(&job, "another attempt", SOON, second)?;
        let pid = old.first().context("a rank ran")?.1;
        ensure!(process::is_running(pid), "nobody could reach it, yet it was stopped");
        isolate(network, &away, false)?;
        until(
            "the old rank to be stopped",
            SOON,
            || Ok((!process::is_running(pid)).then_some(())),
        )?;
        cluster.wait_for_workers(2)?;
        cluster.write("go", "")?;
        cluster.run(&["wait", &job])?.ok()?;
        let done = cluster.job(&job)?;
        ensure!(done.attempts.len() == 2, "once more than needed: {done:#?}");
        ensure!(
            done.checkpoints == begun.checkpoints,
            "a checkpoint of a superseded attempt entered the catalogue: {done:#?}"
        );
        let versions = cluster.models()?;
        ensure!(versions.len() == 1, "one run, one version: {versions:#?}");
        ensure!(versions.iter().all(|v| v.lineage.attempt == 2), "{versions:#?}");
        check_hashes(cluster)
    })
}

#[test]
fn a_worker_that_is_cut_off_within_its_grace_keeps_its_ranks() -> anyhow::Result<()> {
    let patient = Options { node_grace: "20s", ..YARD };
    on_networked_cluster(patient, |cluster, network| {
        let ledger = Ledger::open(cluster)?;
        isolate(network, "node-1", true)?;
        until("the node to be missed", SOON, || {
            let words = cluster.agent_words("node-1")?;
            Ok(words.contains("the leader is gone").then_some(()))
        })?;
        isolate(network, "node-1", false)?;
        cluster.wait_for_workers(3)?;
        ledger.close(cluster)
    })
}

/// Cuts a leader off in `directions` under load, until another one leads; then mends.
fn leader_cut_off(
    directions: impl Fn(&Network, &str, &str, bool) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    // The workers hear of both leaders all the while, so none is lost in any case.
    on_networked_cluster(YARD, |cluster, network| {
        let mut ledger = Ledger::open(cluster)?;
        let load = Load::start(cluster)?;
        let leader = cluster.leader()?;
        let others: Vec<usize> = (0..3).filter(|number| *number != leader).collect();
        for other in &others {
            directions(network, &scheduler(leader), &scheduler(*other), true)?;
        }
        cluster.next_leader(leader)?;
        cluster.wait_for_workers(3)?;
        ledger.acknowledged([cluster.submit(&specs::single("true"))?]);
        for other in &others {
            directions(network, &scheduler(leader), &scheduler(*other), false)?;
        }
        ledger.acknowledged(load.stop()?);
        ledger.close(cluster)
    })
}

fn rule(network: &Network, from: &str, to: &str, cut: bool) -> anyhow::Result<()> {
    if cut { network.cut(from, to) } else { network.mend(from, to) }
}

#[test]
fn a_leader_that_nobody_hears_is_replaced() -> anyhow::Result<()> {
    leader_cut_off(rule)
}

#[test]
fn a_leader_that_hears_nobody_is_replaced() -> anyhow::Result<()> {
    leader_cut_off(|network, leader, other, cut| rule(network, other, leader, cut))
}

#[test]
fn a_leader_cut_off_both_ways_is_replaced() -> anyhow::Result<()> {
    leader_cut_off(|network, leader, other, cut| {
        rule(network, leader, other, cut)?;
        rule(network, other, leader, cut)
    })
}

#[test]
fn schedulers_that_cannot_reach_each_other_decide_nothing_and_stop_nothing() -> anyhow::Result<()> {
    on_networked_cluster(YARD, |cluster, network| {
        let mut ledger = Ledger::open(cluster)?;
        let pairs = [(0, 1), (0, 2), (1, 2)].map(|(a, b)| (scheduler(a), scheduler(b)));
        for (one, other) in &pairs {
            rule(network, one, other, true)?;
            rule(network, other, one, true)?;
        }
        cluster.write("late.toml", &specs::single("true"))?;
        cluster.run(&["submit", "late.toml", "-q", "--key", "late"])?.expect_code(5)?;
        ledger.check_ranks(cluster)?;
        for (one, other) in &pairs {
            rule(network, one, other, false)?;
            rule(network, other, one, false)?;
        }
        cluster.wait_for_workers(3)?;
        let answer = cluster.run(&["submit", "late.toml", "-q", "--key", "late"])?.ok()?;
        ledger.acknowledged([answer.stdout.trim().to_owned()]);
        ledger.close(cluster)
    })
}
