//! Bad input: each gets one clear error with a hint, and the right exit code. The snapshots are the
//! texts as a user sees them.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use redb::{Database, TableDefinition};
use trainyard_tests::{
    Answer, Cluster, Options, Pki, Yard,
    cluster::CLUSTER,
    on_cluster, specs, text,
    view::{List, Node},
    wait::until,
};

const SOON: Duration = Duration::from_secs(20);

/// What a user sees, made comparable.
fn seen(answer: &Answer, cluster: &Cluster) -> String {
    let code = answer.code.map_or("none".to_owned(), |code| code.to_string());
    format!("exit {code}\n{}", text::steady(&answer.stderr, cluster.folder()))
}

/// Waits until node-1 has joined the cluster, and gives the file that says so. The scheduler
/// knows a worker before the worker is welcomed.
fn joined(cluster: &Cluster) -> anyhow::Result<PathBuf> {
    let identity = cluster.folder().join("node-1/data/identity.json");
    until("node-1 to join", SOON, || {
        Ok(fs::read_to_string(&identity)?.contains(CLUSTER).then(|| identity.clone()))
    })
}

/// A configuration with another value of `key`.
fn with(config: &str, key: &str, value: &str) -> String {
    let is_key = |line: &&str| line.starts_with(&format!("{key} = "));
    let lines = config.lines().filter(|line| !is_key(line));
    let lines: Vec<&str> = lines.collect();
    format!("{key} = \"{value}\"\n{}\n", lines.join("\n"))
}

const GOOD: &str = "name = \"job\"\n[resources]\ndevice = \"cpu\"\n[run]\ncommand = [\"true\"]\n";

/// Specs that are wrong in themselves: nobody has to be asked, so no scheduler runs.
#[test]
fn a_wrong_spec_is_refused_where_it_is_wrong() -> anyhow::Result<()> {
    let cluster = Cluster::new(Options::default())?;
    let two = format!("{GOOD}recipe = \"image-classifier\"\n");
    let cases = [
        ("unknown_key", GOOD.replace("device", "devise")),
        ("wrong_type", GOOD.replace("device", "gpus = \"two\"\ndevice")),
        ("no_ranks", GOOD.replace("device", "gpus = 0\ndevice")),
        ("bad_name", GOOD.replace("\"job\"", "\"my job\"")),
        ("nothing_to_run", GOOD.replace("command = [\"true\"]", "")),
        ("command_and_recipe", two),
        ("no_such_workdir", format!("{GOOD}workdir = \"codee\"\n")),
        ("not_toml", GOOD.replace("[run]", "[run")),
    ];
    for (name, spec) in cases {
        cluster.write("job.toml", &spec)?;
        let answer = cluster.run(&["submit", "job.toml"])?.expect_code(2).context(name)?;
        insta::assert_snapshot!(format!("spec_{name}"), seen(&answer, &cluster));
    }
    let answer = cluster.run(&["submit", "jobb.toml"])?;
    insta::assert_snapshot!("spec_no_such_file", seen(&answer, &cluster));
    Ok(())
}

#[test]
fn nobody_answers() -> anyhow::Result<()> {
    let cluster = Cluster::new(Options::default())?;
    let answer = cluster.run(&["ps"])?.expect_code(5)?;
    // What the last try met, a refusal or the end of the time, is not always the same.
    let said = seen(&answer, &cluster);
    for words in
        ["no leading scheduler answered in 10 s", "tried 127.0.0.1:[port]", "is the cluster up?"]
    {
        ensure!(said.contains(words), "no {words:?} in {said}");
    }
    Ok(())
}

#[test]
fn what_a_cluster_refuses() -> anyhow::Result<()> {
    on_cluster(Options::default(), |cluster| {
        cluster.write("job.toml", &GOOD.replace("device", "gpus = 64\ndevice"))?;
        let answer = cluster.run(&["submit", "job.toml"])?.expect_code(6)?;
        insta::assert_snapshot!("impossible_resources", seen(&answer, cluster));
        let many = "cpus_per_rank = 1000000\ndevice";
        cluster.write("cpus.toml", &GOOD.replace("device", many))?;
        let answer = cluster.run(&["submit", "cpus.toml"])?.expect_code(6)?;
        let text = seen(&answer, cluster);
        assert!(text.contains("with 1000000 CPUs"), "{text}");
        assert!(text.contains("none of them has more than"), "{text}");
        for (name, arguments) in [
            ("no_such_job", ["job", "get", "0190ffff"]),
            ("no_such_model", ["model", "get", "nothing"]),
        ] {
            let answer = cluster.run(&arguments)?.expect_code(3)?;
            insta::assert_snapshot!(name, seen(&answer, cluster));
        }
        Ok(())
    })
}

#[test]
fn a_second_worker_of_the_same_name_is_refused() -> anyhow::Result<()> {
    on_cluster(Options::default(), |cluster| {
        let config = fs::read_to_string(cluster.worker_config("node-1")?)?;
        let config = config.replace("/node-1/data", "/impostor/data");
        let own = cluster.pki().worker("impostor")?.display().to_string();
        let config = with(&config, "pki_dir", &own);
        let config = cluster.write("impostor.toml", &config)?;
        let answer = cluster.daemon("worker", &config)?.expect_code(2)?;
        let nodes: List<Node> = cluster.json(&["node", "list"])?;
        let first = &nodes.items.first().context("the first worker")?.id;
        insta::assert_snapshot!(
            "duplicate_worker",
            seen(&answer, cluster).replace(first, "[node]")
        );
        // The first one is none the worse.
        cluster.wait_for_workers(1)?;
        let job = cluster.submit(&specs::single("true"))?;
        cluster.run(&["wait", &job])?.ok()?;
        Ok(())
    })
}

#[test]
fn a_taken_port_is_named() -> anyhow::Result<()> {
    let cluster = Cluster::new(Options::default())?;
    let config = cluster.scheduler_config(0)?;
    let address = fs::read_to_string(&config)?
        .lines()
        .find_map(|line| Some(line.strip_prefix("listen = \"")?.trim_end_matches('"').to_owned()))
        .context("a listen address")?;
    let _taken = TcpListener::bind(&address)?;
    let answer = cluster.daemon("scheduler", &config)?;
    insta::assert_snapshot!("port_taken", seen(&answer, &cluster));
    ensure!(answer.code != Some(0), "it ran");
    Ok(())
}

#[test]
fn a_data_directory_of_another_cluster_is_refused() -> anyhow::Result<()> {
    on_cluster(Options::default(), |cluster| {
        cluster.kill_agent("node-1")?;
        cluster.kill_schedulers()?;
        let config = fs::read_to_string(cluster.scheduler_config(0)?)?;
        let other = CLUSTER.replace("0001", "0002");
        let config = config.replace(CLUSTER, &other);
        // The certificate is of this cluster, and nothing is opened with it.
        let theirs = cluster.write("other.toml", &config)?;
        let answer = cluster.daemon("scheduler", &theirs)?;
        insta::assert_snapshot!("certificate_of_another_cluster", seen(&answer, cluster));
        let pki = Pki::new(&cluster.folder().join("other"), &other)?.scheduler(1)?;
        let config = with(&config, "pki_dir", &pki.display().to_string());
        let theirs = cluster.write("other.toml", &config)?;
        let answer = cluster.daemon("scheduler", &theirs)?;
        insta::assert_snapshot!("scheduler_of_another_cluster", seen(&answer, cluster));
        ensure!(answer.code != Some(0), "it ran");
        Ok(())
    })
}

#[test]
fn a_worker_of_another_cluster_is_refused() -> anyhow::Result<()> {
    let other = Options { id: "0190c0de-0000-7000-8000-000000000002", ..Options::default() };
    on_cluster(Options::default(), |cluster| {
        joined(cluster)?;
        cluster.kill_agent("node-1")?;
        on_cluster(other, |second| {
            let address = |cluster: &Cluster| cluster.yard().endpoint().to_owned();
            let config = fs::read_to_string(cluster.worker_config("node-1")?)?;
            let config = config.replace(&address(cluster), &address(second));
            let config = cluster.write("wrong.toml", &config)?;
            let answer = cluster.daemon("worker", &config)?;
            insta::assert_snapshot!("worker_of_another_cluster", seen(&answer, cluster));
            ensure!(answer.code != Some(0), "it ran");
            Ok(())
        })
    })
}

#[test]
fn a_data_directory_of_a_newer_version_is_left_alone() -> anyhow::Result<()> {
    on_cluster(Options::default(), |cluster| {
        let identity = joined(cluster)?;
        cluster.kill_agent("node-1")?;
        let now = fs::read_to_string(&identity)?;
        let newer =
            now.replace("\"format\": 1", "\"format\": 99").replace("\"format\":1", "\"format\":99");
        ensure!(newer != now, "no format in {now}");
        fs::write(&identity, &newer)?;
        let config = cluster.worker_config("node-1")?;
        let answer = cluster.daemon("worker", &config)?;
        insta::assert_snapshot!("worker_of_a_newer_format", seen(&answer, cluster));
        ensure!(answer.code != Some(0), "it ran");
        ensure!(fs::read_to_string(&identity)? == newer, "it was written to");
        Ok(())
    })
}

#[test]
fn a_log_of_a_newer_version_is_left_alone() -> anyhow::Result<()> {
    on_cluster(Options::default(), |cluster| {
        cluster.kill_schedulers()?;
        let log = cluster.folder().join("scheduler-1/data/log.redb");
        let log = if log.exists() {
            log
        } else {
            cluster.folder().join("scheduler-1/data/raft/log.redb")
        };
        set_format(&log, 99).with_context(|| format!("{}", log.display()))?;
        let config = cluster.scheduler_config(0)?;
        let answer = cluster.daemon("scheduler", &config)?;
        insta::assert_snapshot!("scheduler_of_a_newer_format", seen(&answer, cluster));
        ensure!(answer.code != Some(0), "it ran");
        Ok(())
    })
}

/// Marks a scheduler's log as written in `format`.
fn set_format(log: &Path, format: u32) -> anyhow::Result<()> {
    const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta");
    let write = Database::open(log)?.begin_write()?;
    write.open_table(META)?.insert("format", format.to_le_bytes().as_slice())?;
    write.commit()?;
    Ok(())
}

#[test]
fn daemons_refuse_settings_that_they_do_not_know() -> anyhow::Result<()> {
    let cluster = Cluster::new(Options::default())?;
    for (kind, config) in
        [("scheduler", cluster.scheduler_config(0)?), ("worker", cluster.worker_config("node-1")?)]
    {
        let text = fs::read_to_string(config)?;
        let config = cluster.write("strange.toml", &format!("speed = \"high\"\n{text}"))?;
        let answer = cluster.daemon(kind, &config)?.expect_code(2)?;
        insta::assert_snapshot!(format!("{kind}_unknown_setting"), seen(&answer, &cluster));
    }
    Ok(())
}

#[test]
fn a_libtorch_that_cannot_be_loaded_is_told_before_the_ranks_start() -> anyhow::Result<()> {
    on_cluster(Options::default(), |cluster| {
        let broken = cluster.folder().join("broken");
        fs::create_dir(&broken)?;
        fs::write(broken.join("libtorch_cpu.so"), "of another version")?;
        cluster.kill_agent("node-1")?;
        cluster.set("node-1", "LD_LIBRARY_PATH", &broken)?;
        cluster.start_agent("node-1")?;
        let job = cluster.submit(&specs::classifier("").replace("max_ranks_per_node = 1\n", ""))?;
        cluster.run(&["wait", &job])?.expect_code(100)?;
        let reason = cluster.job(&job)?.reason.context("a reason")?;
        let trainer = trainyard_tests::programs::trainer()?.display().to_string();
        let reason = text::steady(&reason, cluster.folder()).replace(&trainer, "[yard-train]");
        insta::assert_snapshot!("wrong_libtorch", reason);
        Ok(())
    })
}

#[test]
fn a_recipe_that_does_not_exist_fails_with_the_nearest() -> anyhow::Result<()> {
    on_cluster(Options::default(), |cluster| {
        let spec = specs::single("true")
            .replace("command = [\"sh\", \"-c\", \"true\"]", "recipe = \"image-clasifier\"");
        let job = cluster.submit(&spec)?;
        cluster.run(&["wait", &job])?.expect_code(100)?;
        let logs = cluster.run(&["logs", &job])?.ok()?.stdout;
        ensure!(logs.contains("image-classifier"), "no hint in: {logs}");
        cluster.wait_for_ranks(0, SOON)?;
        Ok(())
    })
}

#[test]
fn the_command_line_has_codes_for_scripts() -> anyhow::Result<()> {
    let cluster = Cluster::new(Options::default())?;
    let yard: &Yard = cluster.yard();
    yard.run(&["--version"])?.ok()?;
    yard.run(&["frobnicate"])?.expect_code(2)?;
    yard.run(&["ps", "-o", "runes"])?.expect_code(2)?;
    let schema = yard.run(&["schema", "job"])?.ok()?;
    let schema: serde_json::Value = serde_json::from_str(&schema.stdout)?;
    ensure!(schema.get("properties").is_some(), "{schema}");
    Ok(())
}
