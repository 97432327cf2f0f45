//! The gate's short run: every corpus as it is, and some seconds of seeded damage to each. What
//! was found once is in a corpus, so it is tried first.

use std::time::Duration;

use anyhow::ensure;
use trainyard_fuzz::{TARGETS, corpus, driver, seeds};

/// Inputs of one target; as many on every machine, unless it is very slow.
const INPUTS: u64 = 3_000;
const AT_MOST: Duration = Duration::from_secs(20);

fn damage(names: &[&str]) -> anyhow::Result<()> {
    for target in TARGETS.iter().filter(|target| names.contains(&target.name)) {
        let inputs = if target.name == "raft_message" { INPUTS / 10 } else { INPUTS };
        driver::run(target, driver::Budget { seed: 1, inputs, time: AT_MOST })?;
    }
    Ok(())
}

#[test]
fn what_the_log_and_the_snapshots_carry() -> anyhow::Result<()> {
    damage(&["command", "history", "snapshot"])
}

#[test]
fn what_peers_send() -> anyhow::Result<()> {
    damage(&["raft_message", "raft_chunks", "proto"])
}

#[test]
fn what_people_and_trainers_write() -> anyhow::Result<()> {
    damage(&["spec_toml", "spec_yaml", "spec_json", "manifest", "log_segment", "config", "words"])
}

#[test]
fn what_bundles_hold() -> anyhow::Result<()> {
    damage(&["bundle"])
}

#[test]
fn every_target_has_seeds_and_every_seed_a_target() -> anyhow::Result<()> {
    for target in TARGETS {
        ensure!(!corpus::read(target.name)?.is_empty(), "{} has no corpus", target.name);
    }
    for (name, ..) in seeds::all()? {
        ensure!(TARGETS.iter().any(|target| target.name == name), "no target {name}");
    }
    Ok(())
}
