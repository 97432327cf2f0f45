//! What the design says of faults, with real processes and real kills: no job is stopped by a fault
//! of the control plane, and a lost worker costs the work since the last checkpoint, nothing else.

use std::{
    collections::BTreeSet,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use trainyard_tests::{
    Cluster, Options,
    cluster::CLUSTER,
    ledger::check_count,
    on_cluster, process, specs, until,
    view::{Job, List, Member, Node, Version},
};

const SOON: Duration = Duration::from_secs(30);
const TRAINED: Duration = Duration::from_secs(120);

/// Two machines to train on and a spare one, under three schedulers.
const YARD: Options =
    Options { schedulers: 3, workers: 3, slots: 1, node_grace: "3s", id: CLUSTER };

/// A job whose ranks tick until the file is there, and then end with `code`.
fn ticking(cluster: &Cluster, code: u8) -> String {
    let go = cluster.client().join("go");
    specs::shell(&format!(
        "i=0; while [ ! -e {} ]; do echo \"rank=$RANK tick=$i.\"; i=$((i+1)); sleep 0.05; done; \
         echo \"rank=$RANK last=$i.\"; exit {code}",
        go.display()
    ))
}

#[test]
fn a_lost_worker_costs_no_bit_of_the_model() -> anyhow::Result<()> {
    const PARAMS: &str = "max_steps = 200\nwidth = 8\nseed = 7";
    on_cluster(YARD, |cluster| {
        let calm = cluster.submit(&specs::classifier(PARAMS))?;
        cluster.run(&["wait", &calm])?.ok()?;

        let job = cluster.submit(&specs::classifier(PARAMS))?;
        let at_work = cluster
            .job_when(&job, "a checkpoint half-way", TRAINED, |job| !job.checkpoints.is_empty())?;
        let lost = at_work.node_of_rank(1).context("rank 1 has a node")?.to_owned();
        cluster.lose_worker(&lost)?;
        cluster.run(&["wait", &job])?.ok()?;

        let done = cluster.job(&job)?;
        ensure!(done.attempts.len() == 2, "one loss, one more attempt: {done:#?}");
        ensure!(!done.nodes().contains(&lost.as_str()), "it ran on the lost node: {done:#?}");
        let resumed = done.last_attempt().and_then(|attempt| attempt.resumed_from);
        let newest = done.checkpoints.iter().filter(|c| c.attempt == 1).map(|c| c.id).max();
        ensure!(resumed.is_some() && resumed >= newest, "resumed from {resumed:?}, not {newest:?}");

        let versions = cluster.models()?;
        let of = |job: &str| versions.iter().filter(|v| v.lineage.job == job).collect::<Vec<_>>();
        let (undisturbed, resumed) = (of(&calm), of(&job));
        ensure!(undisturbed.len() == 1 && resumed.len() == 1, "one version a run: {versions:#?}");
        let weights = |versions: &[&Version]| {
            versions.first()?.digest_of("model.safetensors").map(str::to_owned)
        };
        ensure!(weights(&undisturbed).is_some(), "no weights in {undisturbed:#?}");
        ensure!(weights(&undisturbed) == weights(&resumed), "the weights differ: {versions:#?}");
        Ok(())
    })
}

#[test]
fn without_a_quorum_nothing_is_decided_and_nothing_is_stopped() -> anyhow::Result<()> {
    on_cluster(YARD, |cluster| {
        let job = cluster.submit(&ticking(cluster, 0))?;
        let ranks = cluster.wait_for_ranks(2, SOON)?;
        let leader = cluster.leader()?;
        cluster.kill_scheduler(leader)?;
        cluster.kill_scheduler((leader + 1) % 3)?;
        cluster.run(&["cancel", &job])?.expect_code(5)?;
        let stale = cluster.run(&["ps", "--stale"])?.ok()?;
        ensure!(stale.stdout.contains("running"), "{}", stale.stdout);
        ensure!(stale.stderr.contains("without quorum"), "it does not say so: {}", stale.stderr);
        ensure!(cluster.ranks() == ranks, "the ranks were touched");
        cluster.start_schedulers()?;
        cluster.wait_for_workers(3)?;
        ensure!(cluster.ranks() == ranks, "the ranks were touched");
        cluster.write("go", "")?;
        cluster.run(&["wait", &job])?.ok()?;
        check_count(&cluster.run(&["logs", &job])?.ok()?.stdout, 2)
    })
}

#[test]
fn a_dead_leader_is_not_noticed_by_the_ranks() -> anyhow::Result<()> {
    on_cluster(YARD, |cluster| {
        let job = cluster.submit(&ticking(cluster, 0))?;
        let ranks = cluster.wait_for_ranks(2, SOON)?;
        let leader = cluster.leader()?;
        cluster.kill_scheduler(leader)?;
        let asked = Instant::now();
        let answer = cluster.run(&["ps"])?.ok()?;
        ensure!(asked.elapsed() < Duration::from_secs(2), "`yard ps` took {:?}", asked.elapsed());
        ensure!(answer.stdout.contains("running"), "{}", answer.stdout);
        cluster.wait_for_workers(3)?;
        ensure!(cluster.ranks() == ranks, "the ranks were touched");
        cluster.start_schedulers()?;
        cluster.write("go", "")?;
        cluster.run(&["wait", &job])?.ok()?;
        ensure!(cluster.job(&job)?.attempts.len() == 1, "it was started again");
        check_count(&cluster.run(&["logs", &job])?.ok()?.stdout, 2)
    })
}

#[test]
fn all_schedulers_die_and_everything_is_still_there() -> anyhow::Result<()> {
    on_cluster(YARD, |cluster| {
        let trained = cluster.submit(&specs::classifier("max_steps = 60\nwidth = 8\nseed = 7"))?;
        cluster.run(&["wait", &trained])?.ok()?;
        let job = cluster.submit(&ticking(cluster, 0))?;
        let ranks = cluster.wait_for_ranks(2, SOON)?;
        let running = |cluster: &Cluster| {
            cluster.job_when(&job, "the ranks to be known", SOON, |job| job.phase == "running")
        };
        running(cluster)?;
        let before = (cluster.job(&trained)?.checkpoints, cluster.models()?);
        ensure!(!before.1.is_empty(), "a model was registered");

        cluster.kill_schedulers()?;
        cluster.start_schedulers()?;
        cluster.wait_for_workers(3)?;
        let after = (cluster.job(&trained)?.checkpoints, cluster.models()?);
        ensure!(before == after, "{before:#?} became {after:#?}");
        running(cluster)?;
        ensure!(cluster.ranks() == ranks, "the ranks were touched");

        cluster.write("go", "")?;
        cluster.run(&["wait", &job])?.ok()?;
        ensure!(cluster.job(&job)?.attempts.len() == 1, "it was started again");
        check_count(&cluster.run(&["logs", &job])?.ok()?.stdout, 2)
    })
}

#[test]
fn a_leader_with_an_old_state_stops_nothing() -> anyhow::Result<()> {
    on_cluster(YARD, |cluster| {
        // The copy is of a cluster that has never heard of the job.
        cluster.kill_schedulers()?;
        cluster.save_schedulers("old")?;
        cluster.start_schedulers()?;
        cluster.wait_for_workers(3)?;
        cluster.submit(&ticking(cluster, 0))?;
        let ranks = cluster.wait_for_ranks(2, SOON)?;
        cluster.kill_schedulers()?;
        cluster.restore_schedulers("old")?;
        cluster.start_schedulers()?;
        let leader = cluster.leader()?;
        let told = Instant::now();
        // The old leader has met every worker's agent, and has had time for several of its rounds.
        until("the workers to be told", SOON, || {
            let nodes: List<Node> = cluster.json(&["node", "list"])?;
            ensure!(cluster.ranks() == ranks, "leader {leader} stopped ranks");
            let met = nodes.items.iter().filter(|node| node.state == "up").count() == 3;
            Ok((met && told.elapsed() > Duration::from_secs(4)).then_some(()))
        })?;
        ensure!(cluster.ranks() == ranks, "the ranks were touched");
        Ok(())
    })
}

#[test]
fn an_agent_that_was_away_tells_how_its_rank_ended() -> anyhow::Result<()> {
    let yard = Options { workers: 1, slots: 2, node_grace: "60s", ..YARD };
    on_cluster(yard, |cluster| {
        let job = cluster.submit(&ticking(cluster, 3).replace("gpus = 2", "gpus = 1"))?;
        let ranks = cluster.wait_for_ranks(1, SOON)?;
        cluster.kill_agent("node-1")?;
        cluster.write("go", "")?;
        until("the ranks to end", SOON, || {
            Ok(ranks.iter().all(|(_, pid)| !process::is_running(*pid)).then_some(()))
        })?;
        cluster.start_agent("node-1")?;
        cluster.run(&["wait", &job])?.expect_code(100)?;
        let done = cluster.job(&job)?;
        let reason = done.reason.as_deref().unwrap_or_default();
        ensure!(reason.contains("rank 0 failed: exit code 3"), "{done:#?}");
        check_count(&cluster.run(&["logs", &job])?.ok()?.stdout, 1)
    })
}

#[test]
fn ranks_of_a_superseded_attempt_are_stopped_when_their_agent_returns() -> anyhow::Result<()> {
    on_cluster(YARD, |cluster| {
        let job = cluster.submit(&ticking(cluster, 0))?;
        let old = cluster.wait_for_ranks(2, SOON)?;
        let found = cluster.job_when(&job, "the job to run", SOON, |job| job.phase == "running")?;
        let away = found.node_of_rank(1).context("rank 1 has a node")?.to_owned();
        let pid_of_rank_1 = old.iter().find(|(rank, _)| *rank == 1).context("rank 1 runs")?.1;
        cluster.kill_agent(&away)?;
        cluster.job_when(&job, "another attempt", SOON, |job| {
            job.attempts.len() == 2 && job.phase == "running"
        })?;
        ensure!(process::is_running(pid_of_rank_1), "nobody could reach it");
        cluster.start_agent(&away)?;
        until("the old rank to be stopped", SOON, || {
            Ok((!process::is_running(pid_of_rank_1)).then_some(()))
        })?;
        cluster.write("go", "")?;
        cluster.run(&["wait", &job])?.ok()?;
        ensure!(cluster.job(&job)?.attempts.len() == 2, "once more than needed");
        Ok(())
    })
}

#[test]
fn submits_go_on_while_leaders_die() -> anyhow::Result<()> {
    const JOBS: usize = 8;
    on_cluster(YARD, |cluster| {
        cluster.write("job.toml", &specs::single("true"))?;
        let yard = cluster.yard().clone();
        let (acknowledge, acknowledged) = mpsc::channel();
        let submitter = thread::spawn(move || -> anyhow::Result<()> {
            for _ in 0..JOBS {
                let answer = yard.run(&["submit", "job.toml", "-q"])?.ok()?;
                acknowledge.send(answer.stdout.trim().to_owned())?;
            }
            Ok(())
        });
        // Each acknowledgement is the leader's death, while the next submit is on its way.
        let mut told = Vec::new();
        while let Ok(job) = acknowledged.recv() {
            told.push(job);
            let leader = cluster.leader()?;
            cluster.kill_scheduler(leader)?;
            cluster.leader()?;
            cluster.start_schedulers()?;
        }
        submitter.join().ok().context("the submitter panicked")??;
        for job in &told {
            cluster.run(&["wait", job])?.ok()?;
        }
        told.sort();
        let all: List<Job> = cluster.json(&["ps", "--all"])?;
        let mut known: Vec<_> = all.items.into_iter().map(|job| job.id).collect();
        known.sort();
        ensure!(known == told, "{told:?} were acknowledged; there are {known:?}");
        let hashes: BTreeSet<_> = until("the replicas to agree", SOON, || {
            let status = cluster.status()?;
            let of = |one: &Member| (one.applied, one.state_hash_index);
            let applied: BTreeSet<_> = status.schedulers.iter().map(of).collect();
            let hashes = status.schedulers.into_iter().map(|one| one.state_hash).collect();
            Ok((applied.len() == 1).then_some(hashes))
        })?;
        ensure!(hashes.len() == 1, "equal index, different states: {hashes:?}");
        Ok(())
    })
}
