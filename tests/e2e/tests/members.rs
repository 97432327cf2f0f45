//! Operating the schedulers themselves, with real processes: growing, replacing what is damaged,
//! removing, backing up, restoring, recovering. Whatever is done to them, ranks run on.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use anyhow::{Context as _, ensure};
use trainyard_tests::{
    Cluster, Options,
    cluster::CLUSTER,
    on_cluster, process, specs, until,
    view::{Held, Job, List, NewHistory, NewMember, Node, Seat},
};

const SOON: Duration = Duration::from_secs(30);

const THREE: Options =
    Options { schedulers: 3, workers: 1, slots: 2, node_grace: "3s", id: CLUSTER };

/// One rank that ticks until the file is there.
fn ticking(cluster: &Cluster, name: &str) -> String {
    let go = cluster.client().join("go");
    let script = format!("while [ ! -e {} ]; do sleep 0.05; done", go.display());
    specs::single(&script).replace("name = \"shell\"", &format!("name = \"{name}\""))
}

fn members(cluster: &Cluster) -> anyhow::Result<Vec<Seat>> {
    Ok(cluster.json::<List<Seat>>(&["cluster", "members"])?.items)
}

/// Waits until exactly these members vote, and nobody else is a member.
fn wait_for_voters(cluster: &Cluster, wanted: &[u64]) -> anyhow::Result<()> {
    let what = format!("{wanted:?} to vote");
    let mut last = Vec::new();
    let found = until(&what, SOON, || {
        last = members(cluster)?;
        let voters: Vec<u64> = last.iter().filter(|m| m.state == "voter").map(|m| m.id).collect();
        Ok((voters == wanted && last.len() == wanted.len()).then_some(()))
    });
    found.with_context(|| format!("the members are {last:#?}"))
}

/// Flips a bit of the first entry of a log that holds `text`, behind its scheduler's back.
fn spoil(data: &Path, text: &str) -> anyhow::Result<()> {
    let path = data.join("entries.log");
    let mut bytes = fs::read(&path)?;
    let mut found = 0;
    for at in 0..bytes.len().saturating_sub(text.len()) {
        if bytes.get(at..at + text.len()) == Some(text.as_bytes()) {
            *bytes.get_mut(at).context("within")? ^= 1;
            found += 1;
        }
    }
    ensure!(found > 0, "`{text}` is not in {}", path.display());
    Ok(fs::write(path, bytes)?)
}

#[test]
fn a_cluster_grows_from_one_to_three_and_survives_the_founder() -> anyhow::Result<()> {
    let one = Options { schedulers: 1, ..THREE };
    on_cluster(one, |cluster| {
        let job = cluster.submit(&ticking(cluster, "runs-on"))?;
        let ranks = cluster.wait_for_ranks(1, SOON)?;
        for (number, id) in [(1, 2), (2, 3)] {
            let address = cluster.scheduler_address(number);
            let new: NewMember = cluster.json(&["cluster", "add", &address])?;
            ensure!(new.id == id, "{new:?}");
            let again: NewMember = cluster.json(&["cluster", "add", &address])?;
            ensure!(again.id == id, "asked again, another id: {again:?}");
            cluster.join_scheduler(&new.config)?;
        }
        wait_for_voters(cluster, &[1, 2, 3])?;
        // The worker and the client learn of the others from the cluster.
        let all = (0..3).map(|n| cluster.scheduler_address(n)).collect::<Vec<_>>();
        let listed: Vec<String> = members(cluster)?.into_iter().map(|m| m.address).collect();
        ensure!(listed == all, "{listed:?}");
        cluster.run(&["cluster", "transfer", "2"])?.ok()?;
        until("the worker to follow", SOON, || {
            let nodes: List<Node> = cluster.json(&["node", "list"])?;
            Ok(nodes.items.iter().all(|node| node.state == "up").then_some(()))
        })?;
        cluster.kill_scheduler(0)?;
        cluster.ask_at(&[&all[1], &all[2]])?;
        cluster.job_when(&job, "the job to run on", SOON, |job| job.phase == "running")?;
        ensure!(cluster.ranks() == ranks, "the ranks were touched");
        cluster.write("go", "")?;
        cluster.run(&["wait", &job])?.ok()?;
        Ok(())
    })
}

#[test]
fn a_member_whose_log_is_damaged_is_replaced_under_a_new_id() -> anyhow::Result<()> {
    on_cluster(THREE, |cluster| {
        let job = cluster.submit(&ticking(cluster, "entry-to-be-spoilt"))?;
        let ranks = cluster.wait_for_ranks(1, SOON)?;
        let leader = cluster.leader()?;
        let damaged = (leader + 1) % 3;
        let old = u64::try_from(damaged)? + 1;
        cluster.kill_scheduler(damaged)?;
        let data = cluster.scheduler_data(damaged)?;
        spoil(&data, "entry-to-be-spoilt")?;
        cluster.start_scheduler(damaged)?;
        let code = cluster.scheduler_end(damaged, SOON)?;
        // Errors are set in 80 columns.
        let said = cluster.scheduler_log(damaged)?;
        let log = said.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ");
        ensure!(code == Some(1) && log.contains("yard cluster replace"), "{code:?}: {log}");

        let address = cluster.scheduler_address(u16::try_from(damaged)?);
        let new: NewMember = cluster.json(&["cluster", "replace", &old.to_string(), &address])?;
        ensure!(new.id == 4, "{new:?}");
        cluster.join_scheduler(&new.config)?;
        let mut voters: Vec<u64> = (1..=4).filter(|id| *id != old).collect();
        voters.sort_unstable();
        wait_for_voters(cluster, &voters)?;
        // The new one carries its weight: without the old leader, it and the third are a majority.
        cluster.kill_scheduler(leader)?;
        cluster.job_when(&job, "the job to run on", SOON, |job| job.phase == "running")?;
        ensure!(cluster.ranks() == ranks, "the ranks were touched");
        cluster.write("go", "")?;
        cluster.run(&["wait", &job])?.ok()?;
        Ok(())
    })
}

#[test]
fn a_damaged_member_comes_back_by_itself_where_that_is_configured() -> anyhow::Result<()> {
    on_cluster(THREE, |cluster| {
        cluster.submit(&ticking(cluster, "entry-to-be-spoilt"))?;
        let ranks = cluster.wait_for_ranks(1, SOON)?;
        let damaged = (cluster.leader()? + 1) % 3;
        let old = u64::try_from(damaged)? + 1;
        cluster.kill_scheduler(damaged)?;
        let data = cluster.scheduler_data(damaged)?;
        spoil(&data, "entry-to-be-spoilt")?;
        cluster.configure_scheduler(damaged, "auto_replace = true")?;
        cluster.start_scheduler(damaged)?;
        let voters: Vec<u64> = (1..=4).filter(|id| *id != old).collect();
        wait_for_voters(cluster, &voters)?;
        ensure!(data.with_file_name(format!("data.member-{old}.1")).exists(), "it is kept");
        // Also the next start is under the new id, whatever the configuration says.
        cluster.kill_scheduler(damaged)?;
        cluster.start_scheduler(damaged)?;
        wait_for_voters(cluster, &voters)?;
        until("the new member to answer", SOON, || {
            let answers = |m: &Seat| m.id == 4 && m.version.is_some();
            Ok(members(cluster)?.iter().any(answers).then_some(()))
        })?;
        ensure!(cluster.ranks() == ranks, "the ranks were touched");
        Ok(())
    })
}

#[test]
fn the_leader_is_removed_after_it_has_handed_over() -> anyhow::Result<()> {
    on_cluster(THREE, |cluster| {
        let job = cluster.submit(&ticking(cluster, "runs-on"))?;
        let ranks = cluster.wait_for_ranks(1, SOON)?;
        let leader = cluster.leader()?;
        let id = u64::try_from(leader)? + 1;
        cluster.run(&["cluster", "remove", &id.to_string()])?.ok()?;
        let left: Vec<u64> = (1..=3).filter(|other| *other != id).collect();
        wait_for_voters(cluster, &left)?;
        let listed = cluster.run(&["cluster", "members"])?.ok()?;
        ensure!(listed.stderr.contains("`yard cluster add` one"), "{}", listed.stderr);

        // It is out for good: stopped, it is missed by nobody.
        cluster.stop_scheduler(leader)?;
        cluster.job_when(&job, "the job to run on", SOON, |job| job.phase == "running")?;
        ensure!(cluster.ranks() == ranks, "the ranks were touched");
        cluster.write("go", "")?;
        cluster.run(&["wait", &job])?.ok()?;

        let last = cluster.run(&["cluster", "remove", "99"])?;
        last.expect_code(3)?;
        Ok(())
    })
}

#[test]
fn a_removal_that_would_lose_the_quorum_is_refused() -> anyhow::Result<()> {
    on_cluster(THREE, |cluster| {
        let leader = cluster.leader()?;
        let (away, there) = ((leader + 1) % 3, (leader + 2) % 3);
        cluster.kill_scheduler(away)?;
        let id = |number: usize| (number + 1).to_string();
        let refused = cluster.run(&["cluster", "remove", &id(there)])?.expect_code(6)?;
        ensure!(refused.stderr.contains("--force"), "{}", refused.stderr);
        // The one that is away may go.
        cluster.run(&["cluster", "remove", &id(away)])?.ok()?;
        Ok(())
    })
}

#[test]
fn a_restored_cluster_takes_the_ranks_over_and_holds_what_it_does_not_know() -> anyhow::Result<()> {
    let yard = Options { workers: 2, slots: 1, ..THREE };
    on_cluster(yard, |cluster| {
        let known = cluster.submit(&ticking(cluster, "known"))?;
        cluster.wait_for_ranks(1, SOON)?;
        cluster.job_when(&known, "the job to run", SOON, |job| job.phase == "running")?;
        let backup = cluster.folder().join("backup");
        let file = backup.display().to_string();
        cluster.run(&["cluster", "snapshot", &file])?.ok()?;
        let unknown = cluster.submit(&ticking(cluster, "unknown"))?;
        let mut ranks = cluster.wait_for_ranks(2, SOON)?;
        ranks.sort_unstable();

        // The machines of the schedulers are lost, and set up anew from the backup.
        cluster.kill_schedulers()?;
        cluster.save_schedulers("lost")?;
        let peers: Vec<String> = (0..3).map(|n| cluster.scheduler_address(n)).collect();
        for number in 0..3 {
            let data = cluster.scheduler_data(number)?;
            fs::remove_dir_all(&data)?;
            let (data, id) = (data.display().to_string(), (number + 1).to_string());
            let made: NewHistory = cluster.json(&[
                "cluster",
                "restore",
                &file,
                "--data-dir",
                &data,
                "--id",
                &id,
                "--peers",
                &peers.join(","),
            ])?;
            let expected = 1001 + u64::try_from(number)?;
            ensure!(made.epoch == 2 && made.id == expected && made.index == 1 << 40, "{made:?}");
        }
        cluster.start_schedulers()?;
        cluster.wait_for_workers(2)?;
        wait_for_voters(cluster, &[1001, 1002, 1003])?;
        let status = cluster.status()?;
        ensure!(status.epoch == 2, "{status:?}");
        cluster.job_when(&known, "the job to be known", SOON, |job| job.phase == "running")?;
        cluster.run(&["job", "get", &unknown])?.expect_code(3)?;
        let (node, held) = held(cluster)?;
        ensure!(held.attempt.starts_with(&unknown), "{held:?}");
        ensure!(cluster.ranks() == ranks, "the ranks were touched");
        // What is held keeps its unit, and nobody else gets it.
        let waits = cluster.submit(&ticking(cluster, "waits"))?;
        let reason = cluster.run(&["explain", &waits])?;
        ensure!(reason.stdout.contains("busy") || reason.stdout.contains("held"), "{reason:?}");
        ensure!(cluster.job(&waits)?.phase == "queued");

        // Nothing but somebody's word ends it.
        cluster.run(&["node", "release", &node, &held.attempt, "--stop"])?.ok()?;
        let mut running = ranks.clone();
        until("the held rank to be stopped", SOON, || {
            running = ranks.iter().copied().filter(|(_, pid)| process::is_running(*pid)).collect();
            Ok((running.len() == 1).then_some(()))
        })?;
        cluster.job_when(&waits, "the unit to be free", SOON, |job| job.phase == "running")?;
        cluster.write("go", "")?;
        cluster.run(&["wait", &known, &waits])?.ok()?;
        ensure!(cluster.job(&known)?.attempts.len() == 1, "it was started again");

        // The lost schedulers come back: the worker does not listen to them.
        cluster.kill_schedulers()?;
        cluster.restore_schedulers("lost")?;
        cluster.start_schedulers()?;
        cluster.leader()?;
        until("the worker to be lost to them", SOON, || {
            let nodes: List<Node> = cluster.json(&["node", "list"])?;
            Ok(nodes.items.iter().all(|node| node.state == "lost").then_some(()))
        })?;
        Ok(())
    })
}

fn held(cluster: &Cluster) -> anyhow::Result<(String, Held)> {
    until("an attempt to be held", SOON, || {
        let nodes: List<Node> = cluster.json(&["node", "list"])?;
        let held = |node: Node| Some((node.name, node.held.into_iter().next()?));
        Ok(nodes.items.into_iter().find_map(held))
    })
}

#[test]
fn a_survivor_of_a_lost_quorum_goes_on_with_all_that_was_acknowledged() -> anyhow::Result<()> {
    on_cluster(THREE, |cluster| {
        let running = cluster.submit(&ticking(cluster, "running"))?;
        let ranks = cluster.wait_for_ranks(1, SOON)?;
        cluster.job_when(&running, "the job to run", SOON, |job| job.phase == "running")?;
        let queued = cluster.submit(&specs::shell("true"))?;
        // Two machines burn; what the third has on disk holds everything that was answered, since
        // it followed until the end.
        let leader = cluster.leader()?;
        let survivor = (leader + 1) % 3;
        until("the survivor to follow", SOON, || {
            let status = cluster.status()?;
            let applied: BTreeSet<_> = status.schedulers.iter().map(|one| one.applied).collect();
            Ok((applied.len() == 1).then_some(()))
        })?;
        cluster.kill_schedulers()?;
        let data = cluster.scheduler_data(survivor)?.display().to_string();
        let address = cluster.scheduler_address(u16::try_from(survivor)?);
        let command = ["cluster", "recover", "--data-dir", &data, "--address", &address];
        cluster.run(&command)?.expect_code(2)?;
        let made: NewHistory = cluster.json(&[&command[..], &["--yes"]].concat())?;
        ensure!(made.epoch == 2 && made.id == 1001, "{made:?}");
        cluster.start_scheduler(survivor)?;
        cluster.ask_at(&[&address])?;
        cluster.wait_for_workers(1)?;
        cluster.job_when(&running, "the job to run on", SOON, |job| job.phase == "running")?;
        ensure!(cluster.ranks() == ranks, "the ranks were touched");
        let all: List<Job> = cluster.json(&["ps", "--all"])?;
        let ids: BTreeSet<String> = all.items.into_iter().map(|job| job.id).collect();
        ensure!(ids == BTreeSet::from([running.clone(), queued]), "{ids:?}");
        cluster.write("go", "")?;
        cluster.run(&["wait", &running])?.ok()?;

        // And it grows again.
        for number in [10, 11] {
            let address = cluster.scheduler_address(number);
            let new: NewMember = cluster.json(&["cluster", "add", &address])?;
            cluster.join_scheduler(&new.config)?;
        }
        wait_for_voters(cluster, &[1001, 1002, 1003])
    })
}
