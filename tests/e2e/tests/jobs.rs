//! A job's way as its owner sees it: submitted, watched, waited for, cancelled, read.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, ensure};
use trainyard_tests::{
    Cluster, Options, nvml, on_cluster, on_prepared_cluster, process, specs, until,
    view::{Gpu, Job, List},
};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_job_goes_from_submit_to_succeeded() -> anyhow::Result<()> {
    on_cluster(Options::default(), |cluster| {
        let job = cluster.submit(&specs::shell("echo rank $RANK of $WORLD_SIZE in $YARD_JOB"))?;
        cluster.run(&["wait", &job])?.ok()?;
        let found = cluster.job(&job)?;
        ensure!(found.phase == "succeeded", "{found:#?}");
        ensure!(found.attempts.len() == 1 && found.restarts == 0, "{found:#?}");
        let logs = cluster.run(&["logs", &job])?.ok()?.stdout;
        for rank in 0..2 {
            let line = format!("rank {rank} of 2 in {job}");
            ensure!(logs.contains(&line), "no {line:?} in {logs}");
        }
        Ok(())
    })
}

#[test]
fn a_failing_job_says_which_rank_and_how() -> anyhow::Result<()> {
    on_cluster(Options::default(), |cluster| {
        let job =
            cluster.submit(&specs::shell("[ $RANK = 0 ] && sleep 60; echo no >&2; exit 7"))?;
        cluster.run(&["wait", &job])?.expect_code(100)?;
        let found = cluster.job(&job)?;
        let reason = found.reason.as_deref().unwrap_or_default();
        ensure!(
            found.phase == "failed" && reason.contains("rank 1 failed: exit code 7"),
            "{found:#?}"
        );
        cluster.wait_for_ranks(0, SOON)?;
        let logs = cluster.run(&["logs", &job])?.ok()?.stdout;
        ensure!(logs.contains("no"), "what it said last is missing: {logs}");
        Ok(())
    })
}

#[test]
fn a_job_is_started_again_as_often_as_its_limits_say() -> anyhow::Result<()> {
    on_cluster(Options::default(), |cluster| {
        let spec = specs::single("echo attempt $TORCHELASTIC_RESTART_COUNT; exit 1")
            .replace("max_restarts = 0", "max_restarts = 2");
        let job = cluster.submit(&spec)?;
        cluster.run(&["wait", &job])?.expect_code(100)?;
        let found = cluster.job(&job)?;
        ensure!(found.attempts.len() == 3 && found.restarts == 2, "{found:#?}");
        Ok(())
    })
}

#[test]
fn a_cancelled_job_leaves_no_process() -> anyhow::Result<()> {
    on_cluster(Options::default(), |cluster| {
        // Deaf to SIGTERM, with a child of its own: only SIGKILL to the whole group ends these.
        let job = cluster.submit(&specs::shell("trap '' TERM; sleep 600 & wait; sleep 600"))?;
        let ranks = cluster.wait_for_ranks(2, SOON)?;
        cluster.run(&["wait", &job, "--timeout", "200ms"])?.expect_code(102)?;
        cluster.run(&["cancel", &job])?.ok()?;
        cluster.run(&["wait", &job])?.expect_code(103)?;
        ensure!(ranks.iter().all(|(_, pid)| !process::is_running(*pid)), "ranks are left");
        let left = process::of_folder(cluster.folder());
        let sleeping = left.iter().find(|process| process.arguments.iter().any(|a| a == "600"));
        ensure!(sleeping.is_none(), "{sleeping:?}");
        // A second wish changes nothing: ended is ended.
        cluster.run(&["cancel", &job])?;
        ensure!(cluster.job(&job)?.phase == "cancelled", "it was cancelled");
        Ok(())
    })
}

#[test]
fn a_key_makes_one_job_however_often_it_is_sent() -> anyhow::Result<()> {
    on_cluster(Options { schedulers: 3, ..Options::default() }, |cluster| {
        let key = uuid::Uuid::now_v7().to_string();
        cluster.write("one.toml", &specs::single("true"))?;
        cluster.write("other.toml", &specs::single("false"))?;
        let submit = |spec: &str| cluster.run(&["submit", spec, "--key", &key, "-q"]);
        let first = submit("one.toml")?.ok()?.stdout;
        let leader = cluster.leader()?;
        ensure!(submit("one.toml")?.ok()?.stdout == first, "the same key made another job");
        submit("other.toml")?.expect_code(6)?;
        let jobs: List<Job> = cluster.json(&["ps", "--all"])?;
        ensure!(jobs.items.len() == 1, "{jobs:#?} under leader {leader}");
        Ok(())
    })
}

#[test]
fn no_line_is_lost_and_two_ranks_come_interleaved() -> anyhow::Result<()> {
    const LINES: usize = 10_000;
    on_cluster(Options { workers: 2, slots: 1, ..Options::default() }, |cluster| {
        let script = "i=0; while [ $i -lt 10000 ]; do echo \"rank=$RANK line=$i.\"; \
                      i=$((i+1)); [ $((i % 500)) = 0 ] && sleep 0.1; done; true";
        let job = cluster.submit(&specs::shell(script))?;
        let followed = cluster.run(&["logs", "--follow", &job])?.ok()?.stdout;
        cluster.run(&["wait", &job])?.ok()?;
        let afterwards = cluster.run(&["logs", &job])?.ok()?.stdout;
        for logs in [&followed, &afterwards] {
            let mut next = [0_usize; 2];
            let mut turns = 0;
            let mut last = None;
            for line in logs.lines() {
                let (rank, number) =
                    rank_and_line(line).with_context(|| format!("strange line {line:?}"))?;
                let expected = next.get_mut(rank).context("two ranks")?;
                ensure!(*expected == number, "rank {rank} goes from line {expected} to {number}");
                *expected += 1;
                turns += usize::from(last.replace(rank) != Some(rank));
            }
            ensure!(next == [LINES; 2], "{next:?} lines arrived");
            ensure!(turns > 4, "the ranks spoke in turns only {turns} times");
        }
        Ok(())
    })
}

fn rank_and_line(text: &str) -> Option<(usize, usize)> {
    let (rank, line) = text.split_once("rank=")?.1.split_once(" line=")?;
    Some((rank.parse().ok()?, line.strip_suffix('.')?.parse().ok()?))
}

#[test]
fn what_waits_says_why_and_runs_when_there_is_room() -> anyhow::Result<()> {
    on_cluster(Options::default(), |cluster| {
        let first =
            cluster.submit(&specs::shell("while [ ! -e \"$GO\" ]; do sleep 0.1; done").replace(
                "stop_grace",
                &format!("env = {{ GO = {:?} }}\nstop_grace", cluster.client().join("go")),
            ))?;
        cluster.wait_for_ranks(2, SOON)?;
        let second = cluster.submit(&specs::single("true"))?;
        let why = cluster.run(&["explain", &second])?.ok()?.stdout;
        ensure!(why.contains("queued") && why.contains("slot"), "{why}");
        cluster.write("go", "")?;
        cluster.run(&["wait", &first])?.ok()?;
        cluster.run(&["wait", &second])?.ok()?;
        Ok(())
    })
}

#[test]
fn a_work_directory_travels_without_what_git_ignores() -> anyhow::Result<()> {
    on_cluster(Options::default(), |cluster| {
        let code = cluster.client().join("code");
        std::fs::create_dir(&code)?;
        std::fs::write(code.join("main.sh"), "cat word; ls -A\n")?;
        std::fs::write(code.join("word"), "semaphore\n")?;
        std::fs::write(code.join(".gitignore"), "secret\n")?;
        std::fs::write(code.join("secret"), "signal-box\n")?;
        let spec = specs::single("").replace(
            "command = [\"sh\", \"-c\", \"\"]",
            "command = [\"sh\", \"main.sh\"]\nworkdir = \"code\"",
        );
        let job = cluster.submit(&spec)?;
        cluster.run(&["wait", &job])?.ok()?;
        let logs = cluster.run(&["logs", &job])?.ok()?.stdout;
        ensure!(logs.contains("semaphore") && !logs.contains("secret"), "{logs}");
        Ok(())
    })
}

/// A rank that says which GPUs it sees and stays until there is a file `go`.
fn on_gpu(cluster: &Cluster, wish: &str) -> String {
    let go = cluster.client().join("go");
    let script = format!(
        "echo sees $CUDA_VISIBLE_DEVICES; while [ ! -e {} ]; do sleep 0.1; done",
        go.display()
    );
    specs::single(&script).replace("device = \"cpu\"", wish)
}

fn running_on(cluster: &Cluster, job: &str) -> anyhow::Result<Gpu> {
    cluster.job_when(job, "the job to run", SOON, |job| job.phase == "running")?;
    let gpus: List<Gpu> = cluster.json(&["gpu", "list"])?;
    let of_job = |gpu: &Gpu| gpu.owner.as_ref().is_some_and(|owner| owner.job == job);
    gpus.items.into_iter().find(of_job).context("the job holds no GPU")
}

#[test]
fn small_jobs_share_a_gpu_and_large_ones_wait_for_a_whole_one() -> anyhow::Result<()> {
    let on_two = Options { workers: 2, slots: 0, ..Options::default() };
    let with_gpus = |cluster: &mut Cluster| {
        let library = nvml::library(cluster.folder())?;
        for node in ["node-1", "node-2"] {
            cluster.set(node, "YARD_WORKER_NVML_LIBRARY", &library)?;
        }
        cluster.set("node-1", "YARD_WORKER_GPU_SHARES", Path::new("4"))
    };
    on_prepared_cluster(on_two, with_gpus, |cluster, ()| {
        // Each node has a GPU that is lost, which its agent has to tell before it is offered.
        until("the lost GPUs to be known", SOON, || {
            let gpus: List<Gpu> = cluster.json(&["gpu", "list"])?;
            let lost = gpus.items.iter().filter(|gpu| gpu.problem.is_some()).count();
            let parts = gpus.items.iter().filter(|gpu| gpu.part.is_some()).count();
            Ok(((lost, parts, gpus.items.len()) == (5, 8, 10)).then_some(()))
        })?;
        let quarter = on_gpu(cluster, "gpu_fraction = 0.25");
        let small = [cluster.submit(&quarter)?, cluster.submit(&quarter)?];
        let [one, other] = [running_on(cluster, &small[0])?, running_on(cluster, &small[1])?];
        let part = |gpu: &Gpu| {
            let part = gpu.part.clone()?;
            Some((gpu.node.clone(), part.parent, part.share?))
        };
        ensure!(part(&one) == Some(("node-1".into(), "GPU-good".into(), "1/4".into())), "{one:?}");
        ensure!(part(&one) == part(&other) && one.unit != other.unit, "{one:?}, {other:?}");

        let whole = on_gpu(cluster, "gpu_fraction = 1");
        let first = cluster.submit(&whole)?;
        let gpu = running_on(cluster, &first)?;
        ensure!(gpu.node == "node-2" && gpu.part.is_none(), "{gpu:?}");
        let waits = cluster.submit(&whole)?;
        let why = cluster.run(&["explain", &waits])?.ok()?.stdout;
        ensure!(why.contains("2 parts are free, but the job asks for whole GPUs"), "{why}");
        ensure!(cluster.job(&waits)?.phase == "queued", "{why}");
        let half = on_gpu(cluster, "gpu_fraction = 0.5");
        cluster.write("half.toml", &half)?;
        let refused = cluster.run(&["submit", "half.toml"])?.expect_code(6)?.stderr;
        ensure!(refused.contains("needs 1 GPU parts"), "{refused}");

        cluster.write("go", "")?;
        for job in small.iter().chain([&first, &waits]) {
            cluster.run(&["wait", job])?.ok()?;
            let logs = cluster.run(&["logs", job])?.ok()?.stdout;
            ensure!(logs.contains("sees GPU-good"), "{logs}");
        }
        Ok(())
    })
}
