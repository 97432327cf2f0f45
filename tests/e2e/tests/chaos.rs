//! Faults that are not deaths: frozen processes, full disks, damaged files, wrong clocks. Real
//! processes, real jobs; what must hold afterwards is one ledger, whatever the fault was.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, ensure};
use nix::sys::signal::Signal::{SIGCONT, SIGSTOP, SIGTERM};
use trainyard_tests::{
    Cluster, Ledger, Load, Options, clock::Clock, cluster::CLUSTER, disk::SmallDisk, on_cluster,
    on_prepared_cluster, process, specs, until, view::Job,
};

const SOON: Duration = Duration::from_secs(30);

/// Two machines to train on and a spare one, under three schedulers.
const YARD: Options =
    Options { schedulers: 3, workers: 3, slots: 1, node_grace: "3s", id: CLUSTER };

#[test]
fn a_frozen_leader_is_replaced_and_follows_when_it_thaws() -> anyhow::Result<()> {
    on_cluster(YARD, |cluster| {
        let mut ledger = Ledger::open(cluster)?;
        let load = Load::start(cluster)?;
        let frozen = cluster.leader()?;
        cluster.signal_scheduler(frozen, SIGSTOP)?;
        let next = cluster.next_leader(frozen)?;
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

#[test]
fn what_a_superseded_attempt_says_late_is_refused() -> anyhow::Result<()> {
    let two = Options { workers: 2, ..YARD };
    on_cluster(two, |cluster| {
        let job = cluster.submit(&specs::checkpointing(&cluster.client()))?;
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

/// Puts the schedulers of `numbers` on disks of a few megabytes.
fn small_disks(cluster: &mut Cluster, numbers: &[usize]) -> anyhow::Result<Vec<SmallDisk>> {
    let mount = |number: &usize| SmallDisk::mount(&cluster.scheduler_data(*number)?, 24);
    numbers.iter().map(mount).collect()
}

/// A job whose spec fills a good part of what the log had room for already when its disk was full.
fn large() -> String {
    specs::single(&format!("true # {}", "x".repeat(64 << 10)))
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
    let small = |cluster: &mut Cluster| small_disks(cluster, &[0]);
    on_prepared_cluster(YARD, small, |cluster, disks| {
        let mut ledger = Ledger::open(cluster)?;
        let disk = disks.first().context("a disk")?;
        let load = Load::start(cluster)?;
        disk.fill()?;
        until("the scheduler to give up", SOON, || {
            ledger.acknowledged([cluster.submit(&large())?]);
            Ok(cluster.scheduler_has_ended(0)?.then_some(()))
        })?;
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
fn full_disks_of_a_quorum_stop_new_work_and_lose_nothing() -> anyhow::Result<()> {
    let small = |cluster: &mut Cluster| small_disks(cluster, &[0, 1]);
    on_prepared_cluster(YARD, small, |cluster, disks| {
        let mut ledger = Ledger::open(cluster)?;
        for _ in 0..3 {
            ledger.acknowledged([cluster.submit(&specs::single("true"))?]);
        }
        disks.iter().try_for_each(SmallDisk::fill)?;
        // Until the leader has heard of it, a submit may still find room.
        cluster.write("late.toml", &specs::single("true"))?;
        let refused = until("new work to be refused", SOON, || {
            let answer = cluster.run(&["submit", "late.toml", "-q"])?;
            if answer.code == Some(0) {
                ledger.acknowledged([answer.stdout.trim().to_owned()]);
                return Ok(None);
            }
            Ok(Some(answer))
        })?;
        let refused = refused.expect_code(6)?;
        ensure!(refused.stderr.contains("new work is refused"), "{}", refused.stderr);
        let status = cluster.run(&["cluster", "status"])?.ok()?;
        let told = status.stderr.matches("disk is nearly full").count();
        ensure!(told == 2, "two schedulers raise the alarm: {}", status.stderr);
        ledger.check_ranks(cluster)?;
        disks.iter().try_for_each(SmallDisk::free)?;
        let again = until("new work to be taken on", SOON, || {
            let answer = cluster.run(&["submit", "late.toml", "-q"])?;
            Ok((answer.code == Some(0)).then_some(answer))
        })?;
        ledger.acknowledged([again.stdout.trim().to_owned()]);
        ledger.close(cluster)
    })
}

/// Where nothing is kept free, what a scheduler cannot write ends it.
#[test]
fn full_disks_of_a_quorum_stop_writes_and_lose_nothing() -> anyhow::Result<()> {
    let prepare = |cluster: &mut Cluster| {
        for number in 0..3 {
            cluster.configure_scheduler(number, "disk_reserve = \"0B\"")?;
        }
        small_disks(cluster, &[0, 1])
    };
    on_prepared_cluster(YARD, prepare, |cluster, disks| {
        let mut ledger = Ledger::open(cluster)?;
        for _ in 0..3 {
            ledger.acknowledged([cluster.submit(&specs::single("true"))?]);
        }
        disks.iter().try_for_each(SmallDisk::fill)?;
        // Until both have met the end of their disks, a write may still find room. None that is
        // acknowledged is lost, and then none is acknowledged.
        let mut tries = 0;
        cluster.write("late.toml", &large())?;
        let refused = until("writes to stop", SOON, || {
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

/// Copies the files of one folder over those of another.
fn copy_files(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
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
        let job = ledger.job().as_bytes().to_owned();
        // A bit in each place that names the job: not in the log's last record.
        let in_an_entry = |bytes: &mut Vec<u8>| {
            let named = |(_, window): &(usize, &[u8])| *window == job;
            let windows = bytes.windows(job.len()).enumerate();
            let places: Vec<usize> = windows.filter(named).map(|(place, _)| place).collect();
            for place in places {
                if let Some(byte) = bytes.get_mut(place) {
                    *byte ^= 0x01;
                }
            }
        };
        let half: Change = &|bytes| bytes.truncate(bytes.len() / 2);
        let page: Change = &|bytes| bytes.truncate(4096);
        let flips: Change = &|bytes| flip(bytes);
        // The file, what happens to it, and whether that must be noticed: places that nothing
        // refers to any more may be hit, which harms nobody.
        let cases = [
            ("log.redb", "half", half, true),
            ("log.redb", "a page", page, true),
            ("log.redb", "empty", &Vec::clear, true),
            ("log.redb", "flipped bits", flips, false),
            ("entries.log", "half", half, false),
            ("entries.log", "a page", page, false),
            ("entries.log", "empty", &Vec::clear, true),
            ("entries.log", "flipped bits", flips, false),
            ("entries.log", "a flipped bit in an entry", &in_an_entry, true),
        ];
        let whole = cluster.folder().join("whole");
        copy_files(&data, &whole)?;
        for (file, what, change, must) in cases {
            damage(&data.join(file), change)?;
            match refused(cluster, 0).with_context(|| format!("{file}: {what}"))? {
                Some(said) => {
                    let named = ["log.redb", "entries.log"].iter().any(|name| said.contains(name));
                    ensure!(named && !said.contains("panicked"), "{file}, {what}: {said}");
                }
                // It took part, so what it has now is what it must not forget.
                None => {
                    ensure!(!must, "{file}, {what}: taken as it is");
                    copy_files(&data, &whole)?;
                }
            }
            copy_files(&whole, &data)?;
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

/// A linear congruential generator (Knuth's MMIX): a seed gives the same faults twice.
struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// One fault, and its end.
fn one_fault(cluster: &mut Cluster, draw: &mut Draw) -> anyhow::Result<()> {
    let leader = cluster.leader()?;
    let follower = (leader + 1 + usize::try_from(draw.below(2))?) % 3;
    let victim = if draw.below(3) == 0 { follower } else { leader };
    let agent = format!("node-{}", 1 + draw.below(3));
    match draw.below(5) {
        0 => cluster.kill_scheduler(victim)?,
        1 => {
            cluster.signal_scheduler(victim, SIGTERM)?;
            until("the scheduler to end", SOON, || {
                Ok(cluster.scheduler_has_ended(victim)?.then_some(()))
            })?;
            cluster.kill_scheduler(victim)?;
        }
        2 => {
            cluster.signal_scheduler(victim, SIGSTOP)?;
            if victim == leader {
                cluster.next_leader(leader)?;
            }
            cluster.signal_scheduler(victim, SIGCONT)?;
        }
        // Within the grace, so that no node is lost.
        3 => {
            cluster.kill_agent(&agent)?;
            cluster.start_agent(&agent)?;
        }
        _ => {
            cluster.kill_scheduler(victim)?;
            cluster.kill_agent(&agent)?;
            cluster.start_agent(&agent)?;
        }
    }
    cluster.start_schedulers()?;
    cluster.wait_for_workers(3)
}

#[test]
#[ignore = "takes minutes: part of `make test-long`"]
fn faults_for_minutes_cost_nothing() -> anyhow::Result<()> {
    for seed in 1..=6 {
        let patient = Options { node_grace: "10s", ..YARD };
        on_cluster(patient, |cluster| {
            let mut draw = Draw(seed);
            let mut ledger = Ledger::open(cluster)?;
            for _ in 0..8 {
                let load = Load::start(cluster)?;
                one_fault(cluster, &mut draw)?;
                ledger.acknowledged(load.stop()?);
                ledger.check_ranks(cluster)?;
            }
            ledger.close(cluster)
        })
        .with_context(|| format!("seed {seed}"))?;
    }
    Ok(())
}
