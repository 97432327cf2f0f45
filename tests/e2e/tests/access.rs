//! Who may do what, as people meet it: tokens on the command line, projects that do not exist for
//! others, and the record of it all.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use trainyard_tests::{Cluster, Options, Yard, on_prepared_cluster, specs, until};

const SOON: Duration = Duration::from_secs(30);

/// A cluster whose audit trail is exported each second.
fn on_audited_cluster(test: impl FnOnce(&mut Cluster) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let options = Options { schedulers: 3, ..Options::default() };
    let prepare = |cluster: &mut Cluster| {
        for number in 0..3 {
            let config = cluster.scheduler_config(number)?;
            let text = fs::read_to_string(&config)?;
            fs::write(&config, format!("audit_every = \"1s\"\n{text}"))?;
        }
        Ok(())
    };
    on_prepared_cluster(options, prepare, |cluster, ()| test(cluster))
}

fn token(cluster: &Cluster, arguments: &[&str]) -> anyhow::Result<String> {
    let create = ["token", "create", "--ttl", "1h"];
    let answer = cluster.run(&[&create[..], arguments].concat())?.ok()?;
    Ok(answer.stdout.trim().to_owned())
}

fn in_project(project: &str) -> String {
    format!("project = \"{project}\"\n{}", specs::single("echo the secret of $YARD_JOB"))
}

/// Everything that was recorded, oldest first.
fn trail(cluster: &Cluster) -> anyhow::Result<Vec<Value>> {
    let answer = cluster.run(&["cluster", "audit"])?.ok()?;
    answer.stdout.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

fn segments(cluster: &Cluster) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let folder = cluster.folder().join("store/audit");
    for scheduler in fs::read_dir(folder).into_iter().flatten() {
        for segment in fs::read_dir(scheduler?.path())? {
            found.push(segment?.path());
        }
    }
    // One that is being written has another name.
    found.retain(|path| path.extension().is_some_and(|name| name == "jsonl"));
    found.sort();
    Ok(found)
}

/// An error's text without the frame that is drawn around it.
fn line(text: &str) -> String {
    text.split(|c: char| c.is_whitespace() || c == '│')
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

fn ids(yard: &Yard) -> anyhow::Result<String> {
    Ok(yard.run(&["ps", "--all", "-q"])?.ok()?.stdout)
}

#[test]
fn a_researcher_works_in_their_project_and_nobody_elses_exists() -> anyhow::Result<()> {
    on_audited_cluster(|cluster| {
        let nobody = cluster.pki().roots("nobody")?;
        let bearing = |token: Option<&str>| cluster.yard().bearing(&nobody, token);
        let adas = ["--role", "researcher", "--project", "research", "--name", "ada"];
        let ada = bearing(Some(&token(cluster, &adas)?));
        let bobs = ["--role", "researcher", "--project", "other", "--name", "bob"];
        let bob = bearing(Some(&token(cluster, &bobs)?));

        cluster.write("job.toml", &in_project("research"))?;
        let job = ada.run(&["submit", "job.toml", "-q"])?.ok()?.stdout.trim().to_owned();
        ada.run(&["wait", &job])?.ok()?;
        let logs = ada.run(&["logs", &job])?.ok()?.stdout;
        ensure!(logs.contains("the secret of"), "{logs}");
        ensure!(ids(&ada)?.contains(&job));

        // For others it is as if there were no such job, whatever they try.
        ensure!(ids(&bob)?.is_empty());
        for command in ["logs", "explain", "cancel"] {
            let hidden = bob.run(&[command, &job])?.expect_code(3)?;
            let never = bob.run(&[command, "zzzzzzzzzzzz"])?.expect_code(3)?;
            let words = |text: &str, job: &str| text.replace(job, "JOB");
            let same = words(&hidden.stderr, &job) == words(&never.stderr, "zzzzzzzzzzzz");
            ensure!(same, "{} {}", hidden.stderr, never.stderr);
        }
        let refused = bob.run(&["submit", "job.toml"])?.expect_code(4)?;
        ensure!(line(&refused.stderr).contains("theirs are other"), "{}", refused.stderr);
        let refused = bob.run(&["token", "list"])?.expect_code(4)?;
        ensure!(line(&refused.stderr).contains("needs the role admin"), "{}", refused.stderr);
        bearing(None).run(&["ps"])?.expect_code(4)?;
        bearing(Some("yard_api_garbage")).run(&["ps"])?.expect_code(4)?;

        let listed = cluster.run(&["token", "list", "-o", "jsonl"])?.ok()?.stdout;
        let adas: Value = listed
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .find(|token: &Value| token["name"] == "ada")
            .context("ada's token is listed")?;
        cluster.run(&["token", "revoke", adas["id"].as_str().unwrap_or_default()])?.ok()?;
        until("the revocation to reach every scheduler", SOON, || {
            Ok((ada.run(&["ps", "--stale"])?.code == Some(4)).then_some(()))
        })?;
        told(cluster, &job)
    })
}

/// The trail tells of what was just done, and of what was denied.
fn told(cluster: &Cluster, job: &str) -> anyhow::Result<()> {
    let records = trail(cluster)?;
    let find = |event: &str, principal: &str, rpc: &str| {
        let wanted = |record: &&Value| {
            record["event"] == event && record["principal"] == principal && record["rpc"] == rpc
        };
        let found = records.iter().find(wanted);
        found.with_context(|| format!("no {event} of {rpc} by {principal} in {records:#?}"))
    };
    ensure!(find("change", "ada", "Client/Submit")?["subject"] == job);
    ensure!(find("change", "admin", "Access/CreateToken")?["credential"] == "certificate");
    ensure!(find("denied", "bob", "Client/GetJob")?["subject"] == job);
    ensure!(find("denied", "bob", "Client/Submit")?["outcome"] == "permission_denied");
    ensure!(find("denied", "nobody", "Client/ListJobs")?["outcome"] == "unauthenticated");
    ensure!(records.iter().any(|record| {
        record["principal"]
            .as_str()
            .is_some_and(|who| who.starts_with("worker/") && record["rpc"] == "Worker/ReportEnded")
    }));
    Ok(())
}

#[test]
fn a_changed_segment_of_the_audit_trail_is_found() -> anyhow::Result<()> {
    on_audited_cluster(|cluster| {
        token(cluster, &["--role", "viewer"])?;
        let exported = until("a segment with the token to be exported", SOON, || {
            let of_token = |path: &PathBuf| {
                fs::read_to_string(path).is_ok_and(|text| text.contains("Access/CreateToken"))
            };
            Ok(segments(cluster)?.into_iter().find(of_token))
        })?;
        let whole = cluster.run(&["cluster", "audit", "--verify"])?.ok()?;
        ensure!(whole.stdout.contains("whole"), "{}", whole.stdout);
        let text = fs::read_to_string(&exported)?;
        fs::write(&exported, text.replace("\"principal\":\"admin\"", "\"principal\":\"eve\""))?;
        let damaged = cluster.run(&["cluster", "audit", "--verify"])?.expect_code(1)?;
        ensure!(damaged.stdout.contains("was changed"), "{}", damaged.stdout);
        fs::write(&exported, &text)?;
        cluster.run(&["cluster", "audit", "--verify"])?.ok()?;
        fs::remove_file(&exported)?;
        let gone = cluster.run(&["cluster", "audit", "--verify"])?.expect_code(1)?;
        ensure!(gone.stdout.contains("missing"), "{}", gone.stdout);
        Ok(())
    })
}
