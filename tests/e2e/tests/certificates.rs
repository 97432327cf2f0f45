//! Machines that join with a token, and certificates that are over within seconds: both go on
//! under running ranks.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, ensure};
use trainyard_pki::{Credentials, Holder, PkiDir, Subject};
use trainyard_tests::{
    Answer, Cluster, Options, on_cluster, on_prepared_cluster, specs, text, until,
    view::{List, Node},
};

const SOON: Duration = Duration::from_secs(30);

/// A life that is over soon after a test has begun.
const LIFE: Duration = Duration::from_secs(6);

/// A configuration with another value of `key`.
fn with(config: &str, key: &str, value: &str) -> String {
    let lines = config.lines().filter(|line| !line.starts_with(&format!("{key} = ")));
    let lines: Vec<&str> = lines.collect();
    format!("{key} = \"{value}\"\n{}\n", lines.join("\n"))
}

/// Makes the configuration of node-1 that of a new machine.
fn new_machine(cluster: &Cluster, name: &str) -> anyhow::Result<()> {
    let path = cluster.worker_config("node-1")?;
    let home = cluster.folder().join(name);
    let config = fs::read_to_string(&path)?;
    let config = with(&config, "name", name);
    let config = with(&config, "data_dir", &home.join("data").display().to_string());
    let config = with(&config, "pki_dir", &home.join("pki").display().to_string());
    Ok(fs::write(path, config)?)
}

fn said(cluster: &Cluster, answer: &Answer) -> String {
    text::steady(&answer.stderr, cluster.folder())
}

fn token(cluster: &Cluster, role: &str) -> anyhow::Result<String> {
    let answer = cluster.run(&["token", "create", "--role", role, "--ttl", "5m"])?.ok()?;
    Ok(answer.stdout.trim().to_owned())
}

fn joined(cluster: &Cluster, name: &str) -> anyhow::Result<Node> {
    until(&format!("{name} to be up"), SOON, || {
        let nodes: List<Node> = cluster.json(&["node", "list"])?;
        Ok(nodes.items.into_iter().find(|node| node.name == name && node.state == "up"))
    })
}

#[test]
fn a_machine_joins_with_a_token_and_nobody_joins_with_it_again() -> anyhow::Result<()> {
    on_cluster(Options::default(), |cluster| {
        let token = token(cluster, "worker")?;
        cluster.kill_agent("node-1")?;
        new_machine(cluster, "joined")?;
        cluster.set("node-1", "YARD_JOIN", Path::new(&token))?;
        cluster.start_agent("node-1")?;
        let node = joined(cluster, "joined")?;
        let own = Credentials::node(&cluster.folder().join("joined/pki"))?;
        let subject = own.identity().context("an identity")?.subject;
        ensure!(subject.to_string() == format!("worker/{}", node.id), "{subject} is not {node:?}");
        until("node-1 to be lost", SOON, || {
            let nodes: List<Node> = cluster.json(&["node", "list"])?;
            Ok(nodes.items.iter().any(|n| n.name == "node-1" && n.state == "lost").then_some(()))
        })?;
        let job = cluster.submit(&specs::single("true"))?;
        cluster.run(&["wait", &job])?.ok()?;

        // Started again it has what it needs.
        cluster.kill_agent("node-1")?;
        cluster.start_agent("node-1")?;
        let job = cluster.submit(&specs::single("true"))?;
        cluster.run(&["wait", &job])?.ok()?;
        let config = cluster.worker_config("node-1")?.display().to_string();

        cluster.kill_agent("node-1")?;
        new_machine(cluster, "second")?;
        let again = cluster.run(&["worker", "--config", &config, "--join", &token])?;
        ensure!(again.code == Some(6), "{again:?}");
        ensure!(said(cluster, &again).contains("used"), "{again:?}");
        let wrong = self::token(cluster, "scheduler")?;
        let wrong = cluster.run(&["worker", "--config", &config, "--join", &wrong])?;
        ensure!(said(cluster, &wrong).contains("lets a scheduler join"), "{wrong:?}");
        let other = token.chars().rev().take(64).collect::<String>();
        let forged = token.replace(&token[token.len() - 64..], &other);
        let forged = cluster.run(&["worker", "--config", &config, "--join", &forged])?;
        ensure!(forged.code == Some(4), "{forged:?}");
        let why = "not the one that the token names";
        ensure!(said(cluster, &forged).contains(why), "{forged:?}");
        Ok(())
    })
}

/// When the certificate in a directory ends.
fn end(cluster: &Cluster, name: &str) -> anyhow::Result<std::time::SystemTime> {
    let own = Credentials::node(&cluster.folder().join("pki").join(name))?;
    own.valid_until().context("a certificate")
}

#[test]
fn certificates_are_renewed_again_and_again_under_a_running_job() -> anyhow::Result<()> {
    let prepare = |cluster: &mut Cluster| {
        let config = cluster.scheduler_config(0)?;
        let text = fs::read_to_string(&config)?;
        fs::write(&config, with(&text, "certificate_life", "6s"))?;
        for name in ["scheduler-1", "node-1"] {
            let dir = PkiDir::new(cluster.folder().join("pki").join(name));
            let subject = Credentials::node(dir.path())?.identity().context("a name")?.subject;
            let issued = cluster.pki().authority().issue(subject, LIFE)?;
            dir.write_issued(Holder::Node, &issued)?;
        }
        Ok(())
    };
    on_prepared_cluster(Options::default(), prepare, |cluster, ()| {
        let go = cluster.client().join("go");
        let job = cluster.submit(&specs::single(&format!(
            "while [ ! -e {} ]; do sleep 0.1; done; echo done",
            go.display()
        )))?;
        let ranks = cluster.wait_for_ranks(1, SOON)?;
        let names = ["scheduler-1", "node-1"];
        for round in 0..3 {
            for name in names {
                let before = end(cluster, name)?;
                until(&format!("renewal {round} of {name}"), SOON, || {
                    Ok((end(cluster, name)? > before).then_some(()))
                })?;
            }
            ensure!(cluster.ranks() == ranks, "the ranks were touched");
        }
        cluster.wait_for_workers(1)?;
        fs::write(go, "")?;
        cluster.run(&["wait", &job])?.ok()?;
        let job = cluster.job(&job)?;
        ensure!(job.attempts.len() == 1, "it was started again: {job:#?}");
        let owner = Credentials::node(&cluster.folder().join("pki/node-1"))?;
        let owner = owner.identity().context("a name")?.subject;
        ensure!(matches!(owner, Subject::Worker(_)), "{owner}");
        Ok(())
    })
}
