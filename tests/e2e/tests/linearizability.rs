//! What clients were told while leaders died, froze and were stopped is what one job after another
//! would have told them.

use std::time::Duration;

use anyhow::ensure;
use nix::sys::signal::Signal::{SIGCONT, SIGSTOP, SIGTERM};
use trainyard_tests::{
    Cluster, Options,
    cluster::CLUSTER,
    history::{History, SPEC},
    ledger::check_hashes,
    on_cluster, specs, until,
};

const SOON: Duration = Duration::from_secs(30);
const CLIENTS: u64 = 3;

/// Three schedulers over one worker of two slots.
const YARD: Options =
    Options { schedulers: 3, workers: 1, slots: 2, node_grace: "3s", id: CLUSTER };

/// A leader dies, freezes for a while, or is told to end.
fn fault(cluster: &mut Cluster, kind: usize) -> anyhow::Result<()> {
    let leader = cluster.leader()?;
    match kind % 3 {
        0 => cluster.kill_scheduler(leader)?,
        1 => cluster.signal_scheduler(leader, SIGSTOP)?,
        _ => cluster.signal_scheduler(leader, SIGTERM)?,
    }
    cluster.next_leader(leader)?;
    if kind % 3 == 1 {
        return cluster.signal_scheduler(leader, SIGCONT);
    }
    until("the scheduler to end", SOON, || Ok(cluster.scheduler_has_ended(leader)?.then_some(())))?;
    cluster.kill_scheduler(leader)?;
    cluster.start_scheduler(leader)
}

fn clients_are_told_one_story(faults: usize) -> anyhow::Result<()> {
    on_cluster(YARD, |cluster| {
        // One slot is taken for good, so that jobs of two ranks wait until they are cancelled.
        let holder = cluster.submit(&specs::single("sleep 600"))?;
        let ranks = cluster.wait_for_ranks(1, SOON)?;
        cluster.write(SPEC, &specs::shell("true"))?;
        let yard = cluster.yard().clone();
        let history = History::record(&yard, CLIENTS, || {
            (0..faults).try_for_each(|kind| fault(cluster, kind))
        })?;
        let (calls, unknown) = history.check(&yard, &[&holder])?;
        ensure!(calls > 10 * faults && unknown > 0, "{calls} calls, {unknown} unknown: too few");
        ensure!(cluster.ranks() == ranks, "the ranks were touched");
        check_hashes(cluster)
    })
}

#[test]
fn clients_are_told_one_story_while_leaders_go() -> anyhow::Result<()> {
    clients_are_told_one_story(6)
}

#[test]
#[ignore = "takes minutes: part of `make test-long`"]
fn clients_are_told_one_story_for_minutes() -> anyhow::Result<()> {
    clients_are_told_one_story(60)
}
