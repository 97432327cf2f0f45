//! Faults that are not deaths: frozen processes, full disks, damaged files, wrong clocks. Real
//! processes, real jobs; what must hold afterwards is one ledger, whatever the fault was.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, ensure};
use nix::sys::signal::Signal::{SIGCONT, SIGSTOP};
use trainyard_tests::{
    Cluster, Ledger, Load, Options, clock::Clock, cluster::CLUSTER, disk::SmallDisk, on_cluster,
    on_prepared_cluster, process, specs, until, view::Job,
};

const SOON: Duration = Duration::from_secs(30);

/// Two machines to train on and a spare one, under three schedulers.
const YARD: Options =
    Options { schedulers: 3, workers: 3, slots: 1, node_grace: "3s", id: CLUSTER };

/// Waits until another scheduler than `old` leads.
fn next_leader(cluster: &Cluster, old: usize) -> anyhow::Result<usize> {
    until("another leader", SOON, || {
        let status = cluster.status()?;
        let leader = usize::try_from(status.leader.context("nobody leads")?)?.checked_sub(1);
        Ok(leader.filter(|leader| *leader != old))
    })
}

#[test]
fn a_frozen_leader_is_replaced_and_follows_when_it_thaws() -> anyhow::Result<()> {
    on_cluster(YARD, |cluster| {
        let mut ledger = Ledger::open(cluster)?;
        let load = Load::start(cluster)?;
        let frozen = cluster.leader()?;
        cluster.signal_scheduler(frozen, SIGSTOP)?;
        let next = next_leader(cluster, frozen)?;
        cluster.wait_for_workers(3)?;
        cluster.signal_scheduler(frozen, SIGCONT)?;
        ledger.acknowledged(load.stop()?);
        ensure!(cluster.leader()? == next, "the leadership went on from {next}");
        ledger.close(cluster)
    })
}

#[test]
fn a_frozen_follower_is_not_missed_and_catches_up() -> anyhow::Result<()> {
    on_cluster(YARD, |cluster| {
        let mut ledger = Ledger::open(cluster)?;
        let leader = cluster.leader()?;
        cluster.signal_scheduler((leader + 1) % 3, SIGSTOP)?;
        for _ in 0..5 {
            ledger.acknowledged([cluster.submit(&specs::single("true"))?]);
        }
        cluster.signal_scheduler((leader + 1) % 3, SIGCONT)?;
        ensure!(cluster.leader()? == leader, "the leader changed for nothing");
        ledger.close(cluster)
    })
}

/// A rank that counts until it is told to end, and leaves a checkpoint each time it is asked for
/// one by a file `checkpoint-<attempt>` in the client's folder.
fn checkpointing(cluster: &Cluster) -> String {
    let folder = cluster.client().display().to_string();
    let script = format!(
        "n=$((TORCHELASTIC_RESTART_COUNT + 1)); s=0; while [ ! -e {folder}/go ]; do \
         if [ -e {folder}/checkpoint-$n ]; then rm {folder}/checkpoint-$n; s=$((s+1)); \
         d=$YARD_CHECKPOINT_DIR/step-00000000000$s; mkdir $d.tmp; echo $n > $d.tmp/weights; \
         echo \"{{\\\"format\\\":1,\\\"step\\\":$s}}\" > $d.tmp/checkpoint.json; mv $d.tmp $d; fi; \
         sleep 0.05; done; echo 1 > $YARD_ARTIFACT_DIR/weights"
    );
    let spec = specs::single(&script).replace("max_restarts = 0", "max_restarts = 5");
    format!("{spec}[register]\nmodel = \"late\"\n")
}

#[test]
fn what_a_superseded_attempt_says_late_is_refused() -> anyhow::Result<()> {
    let two = Options { workers: 2, ..YARD };
    on_cluster(two, |cluster| {
        let job = cluster.submit(&checkpointing(cluster))?;
        let old = cluster.wait_for_ranks(1, SOON)?;
        cluster.write("checkpoint-1", "")?;
        let begun = cluster.job_when(&job, "a first checkpoint", SOON, |job| {
            job.phase == "running" && job.checkpoints.len() == 1
        })?;
        let away = begun.node_of_rank(0).context("rank 0 has a node")?.to_owned();
        cluster.signal_agent(&away, SIGSTOP)?;
        // It trains on, and leaves a checkpoint that nobody fetches yet.
        cluster.write("checkpoint-1", "")?;
        let second = |job: &Job| job.attempts.len() == 2 && job.phase == "running";
        cluster.job_when(&job, "another attempt", SOON, second)?;
        let pid = old.first().context("a rank ran")?.1;
        ensure!(process::is_running(pid), "nobody could reach it, yet it was stopped");
        cluster.signal_agent(&away, SIGCONT)?;
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
        let resumed = done.last_attempt().and_then(|attempt| attempt.resumed_from);
        ensure!(resumed == begun.checkpoints.first().map(|c| c.id), "resumed from {resumed:?}");
        let versions = cluster.models()?;
        ensure!(versions.len() == 1, "one run, one version: {versions:#?}");
        ensure!(versions.iter().all(|v| v.lineage.attempt == 2), "{versions:#?}");
        trainyard_tests::ledger::check_hashes(cluster)
    })
}

/// Three schedulers, those of `small` on disks of a few megabytes.
fn with_small_disks(
    small: &[usize],
    test: impl FnOnce(&mut Cluster, &Vec<SmallDisk>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mount = |cluster: &mut Cluster| {
        small.iter().map(|n| SmallDisk::mount(&cluster.scheduler_data(*n)?, 24)).collect()
    };
    on_prepared_cluster(YARD, mount, test)
}

/// Waits until a scheduler has ended because of its full disk, and has said so.
fn gave_up(cluster: &mut Cluster, number: usize) -> anyhow::Result<()> {
    until("the scheduler to give up", SOON, || {
        Ok(cluster.scheduler_has_ended(number)?.then_some(()))
    })?;
    let words = cluster.scheduler_words(number)?;
    for word in ["No space left on device", "check the disk's space"] {
        ensure!(words.contains(word), "it does not say {word:?}: {words}");
    }
    Ok(())
}

#[test]
fn a_full_disk_stops_one_scheduler_and_nothing_else() -> anyhow::Result<()> {
    with_small_disks(&[0], |cluster, disks| {
        let mut ledger = Ledger::open(cluster)?;
        let disk = disks.first().context("a disk")?;
        let load = Load::start(cluster)?;
        disk.fill()?;
        gave_up(cluster, 0)?;
        ledger.acknowledged([cluster.submit(&specs::single("true"))?]);
        ledger.acknowledged(load.stop()?);
        disk.free()?;
        cluster.kill_scheduler(0)?;
        cluster.start_scheduler(0)?;
        ledger.close(cluster)
    })
}

#[test]
fn full_disks_of_a_quorum_stop_writes_and_lose_nothing() -> anyhow::Result<()> {
    with_small_disks(&[0, 1], |cluster, disks| {
        let mut ledger = Ledger::open(cluster)?;
        for _ in 0..3 {
            ledger.acknowledged([cluster.submit(&specs::single("true"))?]);
        }
        disks.iter().try_for_each(SmallDisk::fill)?;
        // Until both have met the end of their disks, a write may still find room. None that is
        // acknowledged is lost, and then none is acknowledged.
        let mut tries = 0;
        let refused = until("writes to stop", SOON, || {
            cluster.write("late.toml", &specs::single("true"))?;
            tries += 1;
            let answer =
                cluster.run(&["submit", "late.toml", "-q", "--key", &format!("late-{tries}")])?;
            if answer.code == Some(0) {
                ledger.acknowledged([answer.stdout.trim().to_owned()]);
                return Ok(None);
            }
            Ok(Some(answer))
        })?;
        refused.expect_code(5)?;
        gave_up(cluster, 0)?;
        gave_up(cluster, 1)?;
        ledger.check_ranks(cluster)?;
        let stale = cluster.run(&["ps", "--stale"])?.ok()?;
        ensure!(stale.stdout.contains("running"), "{}", stale.stdout);
        disks.iter().try_for_each(SmallDisk::free)?;
        for number in [0, 1] {
            cluster.kill_scheduler(number)?;
            cluster.start_scheduler(number)?;
        }
        cluster.wait_for_workers(3)?;
        // The one with the unknown outcome, asked for again: it exists once.
        let key = format!("late-{tries}");
        let answer = cluster.run(&["submit", "late.toml", "-q", "--key", &key])?.ok()?;
        ledger.acknowledged([answer.stdout.trim().to_owned()]);
        ledger.close(cluster)
    })
}

/// What happens to a file.
type Change<'a> = &'a dyn Fn(&mut Vec<u8>);

/// Changes a file's bytes in place.
fn damage(path: &Path, change: impl FnOnce(&mut Vec<u8>)) -> anyhow::Result<()> {
    let mut bytes = fs::read(path).with_context(|| format!("no {}", path.display()))?;
    change(&mut bytes);
    fs::write(path, bytes)?;
    Ok(())
}

/// Starts a scheduler on what it has: what it said, if it refused to run on that; nothing, if it
/// took part. It is down again afterwards.
fn refused(cluster: &mut Cluster, number: usize) -> anyhow::Result<Option<String>> {
    let before = cluster.scheduler_words(number)?.len();
    cluster.start_scheduler(number)?;
    let ended = until("the scheduler to end or to serve", SOON, || {
        if cluster.scheduler_has_ended(number)? {
            return Ok(Some(true));
        }
        let status = cluster.status()?;
        let applied = status.schedulers.get(number).map_or(0, |member| member.applied);
        Ok((applied > 0).then_some(false))
    })?;
    cluster.kill_scheduler(number)?;
    let words = cluster.scheduler_words(number)?;
    Ok(ended.then(|| words.get(before..).unwrap_or_default().to_owned()))
}

/// Flips one bit in each of many places.
fn flip(bytes: &mut [u8]) {
    let step = (bytes.len() / 97).max(1);
    bytes.iter_mut().skip(step / 2).step_by(step).for_each(|byte| *byte ^= 0x10);
}

#[test]
fn damaged_files_are_refused_and_the_others_go_on() -> anyhow::Result<()> {
    on_cluster(YARD, |cluster| {
        let mut ledger = Ledger::open(cluster)?;
        cluster.kill_scheduler(0)?;
        let data = cluster.scheduler_data(0)?;
        let log = data.join("log.redb");
        let whole = fs::read(&log)?;
        // The commands' own text, so that the page is in use: the last place that names the job.
        let job = ledger.job().as_bytes().to_owned();
        let in_an_entry = |bytes: &mut Vec<u8>| {
            let places: Vec<usize> = bytes
                .windows(job.len())
                .enumerate()
                .filter(|(_, w)| *w == job)
                .map(|(i, _)| i)
                .collect();
            for place in places {
                if let Some(byte) = bytes.get_mut(place) {
                    *byte ^= 0x01;
                }
            }
        };
        let cases: [(&str, bool, Change); 5] = [
            ("a log of half its length", true, &|b| b.truncate(b.len() / 2)),
            ("a log of one page", true, &|b| b.truncate(4096)),
            ("an empty log", true, &Vec::clear),
            ("a log with a flipped bit in an entry", true, &in_an_entry),
            // Pages that nothing refers to any more may be hit, which harms nobody.
            ("a log with flipped bits", false, &|b| flip(b)),
        ];
        for (what, fatal, change) in cases {
            damage(&log, change)?;
            match refused(cluster, 0).context(what)? {
                Some(said) => {
                    ensure!(said.contains("log.redb") || said.contains("no log"), "{what}: {said}");
                    ensure!(!said.contains("panicked"), "{what}: {said}");
                }
                None => ensure!(!fatal, "{what} was taken as it is"),
            }
            fs::write(&log, &whole)?;
        }
        ledger.acknowledged([cluster.submit(&specs::single("true"))?]);
        cluster.start_scheduler(0)?;
        ledger.close(cluster)
    })
}

#[test]
fn a_damaged_snapshot_is_refused_or_passed_over() -> anyhow::Result<()> {
    on_cluster(Options::default(), |cluster| {
        cluster.kill_scheduler(0)?;
        let data = cluster.scheduler_data(0)?;
        let config = cluster.scheduler_config(0)?;
        let snapshots: Vec<_> = fs::read_dir(&data)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.file_name().is_some_and(|name| name != "log.redb"))
            .filter(|path| path.is_file() && path.extension().is_some_and(|e| e == "bin"))
            .collect();
        ensure!(!snapshots.is_empty(), "a member begins with a snapshot: {data:?}");
        for change in
            [|b: &mut Vec<u8>| b.truncate(b.len() / 2), |b: &mut Vec<u8>| flip(b), Vec::clear]
        {
            for path in &snapshots {
                let whole = fs::read(path)?;
                damage(path, change)?;
                let answer = cluster.daemon("scheduler", &config)?.expect_code(1)?;
                let said = answer.stdout + &answer.stderr;
                ensure!(said.contains("snapshot") && said.contains("damaged"), "{said}");
                ensure!(!said.contains("panicked"), "{said}");
                fs::write(path, &whole)?;
            }
        }
        cluster.start_scheduler(0)?;
        let job = cluster.submit(&specs::single("true"))?;
        cluster.run(&["wait", &job])?.ok().map(drop)
    })
}

#[test]
fn a_damaged_identity_is_refused() -> anyhow::Result<()> {
    on_cluster(Options::default(), |cluster| {
        let job = cluster.submit(&specs::single("true"))?;
        cluster.run(&["wait", &job])?.ok()?;
        cluster.kill_agent("node-1")?;
        let identity = cluster.worker_data("node-1")?.join("identity.json");
        let config = cluster.worker_config("node-1")?;
        for change in
            [|b: &mut Vec<u8>| b.truncate(b.len() / 2), |b: &mut Vec<u8>| flip(b), Vec::clear]
        {
            let whole = fs::read(&identity)?;
            damage(&identity, change)?;
            let answer = cluster.daemon("worker", &config)?;
            ensure!(answer.code.is_some_and(|code| code != 0 && code != 101), "{answer:#?}");
            let said = answer.stdout + &answer.stderr;
            ensure!(said.contains("identity.json"), "{said}");
            fs::write(&identity, &whole)?;
        }
        cluster.start_agent("node-1")?;
        let job = cluster.submit(&specs::single("true"))?;
        cluster.run(&["wait", &job])?.ok().map(drop)
    })
}

#[test]
fn a_leader_whose_clock_is_set_loses_nothing() -> anyhow::Result<()> {
    let prepare = |cluster: &mut Cluster| {
        let clocks: Vec<Clock> = (0..3)
            .map(|n| Clock::new(&cluster.folder().join(format!("clock-{n}"))))
            .collect::<anyhow::Result<_>>()?;
        for (number, clock) in clocks.iter().enumerate() {
            cluster.set_clock(number, clock)?;
        }
        Ok(clocks)
    };
    on_prepared_cluster(YARD, prepare, |cluster, clocks| {
        let mut ledger = Ledger::open(cluster)?;
        for offset in [-3600, 3600, 0] {
            let leader = cluster.leader()?;
            clocks.get(leader).context("a clock")?.set(offset)?;
            let load = Load::start(cluster)?;
            ledger.acknowledged([cluster.submit(&specs::single("true"))?]);
            ledger.acknowledged(load.stop()?);
            ledger.check_ranks(cluster)?;
        }
        clocks.iter().try_for_each(|clock| clock.set(0))?;
        cluster.wait_for_workers(3)?;
        ledger.close(cluster)
    })
}
