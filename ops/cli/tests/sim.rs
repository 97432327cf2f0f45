//! `yard sim` as people and programs call it: the real binary, files on disk, no cluster.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::{
    path::Path,
    process::{Command, Output},
};

/// Runs `yard sim` in a folder, away from whatever the environment says of clusters.
fn sim(folder: &Path, line: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_yard"));
    command.arg("sim").args(line.split_whitespace()).current_dir(folder);
    command.env_clear().env("HOME", folder).output().unwrap()
}

fn out(output: &Output) -> String {
    assert!(output.status.success(), "{}", said(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).unwrap();
}

#[test]
fn a_drawn_workload_is_replayed_under_each_policy() {
    let folder = tempfile::tempdir().unwrap();
    let line = "--generate 200 --cluster 2x8 --policy fifo,srsf --seed 7";
    let table = out(&sim(folder.path(), line));
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 3, "{table}");
    assert!(lines[0].starts_with("POLICY") && lines[1].starts_with("fifo"), "{table}");

    let text = out(&sim(folder.path(), &format!("{line} -o json")));
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&json["kind"], &json["version"]), (&"simulations".into(), &1.into()));
    let items = json["items"].as_array().unwrap();
    assert_eq!(items.len(), 2);
    for item in items {
        assert_eq!((&item["jobs"], &item["finished"]), (&200.into(), &200.into()), "{item}");
        let (mean, bound) = (&item["avg_jct_s"], &item["bound_avg_jct_s"]);
        assert!(mean.as_f64() >= bound.as_f64() && bound.as_f64() > Some(0.0), "{item}");
    }

    let csv = out(&sim(folder.path(), &format!("{line} -o csv")));
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    assert_eq!(reader.headers().unwrap().iter().next(), Some("policy"));
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.iter().map(|row| &row[0]).collect::<Vec<_>>(), ["fifo", "srsf"]);
}

#[test]
fn equal_seeds_give_equal_answers_and_others_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = "[[nodes]]\ncount = 2\nshares = 4\nmtbf = \"2d\"\ninterrupted_every = \"1d\"\n\
                   prices = [[0, 8.0], [\"1d\", 4.0]]\n[[nodes]]\nname = \"whole\"\ncount = 2\n";
    write(folder.path(), "cluster.toml", cluster);
    let run = |seed| {
        let line = format!(
            "--generate 150 --parts 0.5 --failures 0.1 --cluster cluster.toml --seed {seed} \
             -o json --jobs jobs-{seed}.csv"
        );
        let answer = out(&sim(folder.path(), &line));
        let jobs = std::fs::read_to_string(folder.path().join(format!("jobs-{seed}.csv")));
        (answer, jobs.unwrap())
    };
    let first = run(1);
    assert_eq!(first, run(1));
    assert_ne!(first, run(2));
    assert!(first.1.lines().count() == 151 && first.1.starts_with("id,project,gpus"));
}

#[test]
fn files_say_what_there_is_and_for_whom() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = "[[nodes]]\nprice = 8.0\n[[reservations]]\nname = \"upgrade\"\n\
                   nodes = [\"node-0\"]\nfrom = \"1h\"\nto = \"2h\"\n";
    write(folder.path(), "cluster.toml", cluster);
    write(folder.path(), "trace.csv", "submit_time_s,gpus,duration_s,vc\n0,8,7200,a\n0,4,600,b\n");
    write(
        folder.path(),
        "queues.toml",
        "[root]\npolicy = \"fifo\"\n[b]\n\
          quotas = [{ limit = 2 }]\n",
    );
    let line = "--trace trace.csv --cluster cluster.toml --queues queues.toml --durations known";
    let json = out(&sim(folder.path(), &format!("{line} -o json")));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let item = &json["items"][0];
    assert_eq!(item["policy"], "fifo", "as the file of queues says");
    assert_eq!((&item["finished"], &item["unfinished"]), (&1.into(), &1.into()), "{item}");
    assert_eq!(item["reserved_gpu_h"], 8.0);
    assert_eq!(item["makespan_s"], 14_400.0, "it waited for the end of the window: {item}");
    assert_eq!(item["cost_usd"], 16.0);
}

#[test]
fn what_cannot_be_meant_is_told_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "trace.csv", "submit_time_s,gpus,duration_s\n0,1,60\n0,one,60\n");
    write(folder.path(), "none.csv", "submit_time_s,gpus,duration_s\n0,0,60\n");
    write(folder.path(), "cluster.toml", "[[nodes]]\nprize = 3.0\n");
    write(folder.path(), "empty.toml", "nodes = []\n");
    write(folder.path(), "queues.toml", "[a]\nparent = \"lab\"\n");
    for (line, says) in [
        ("--trace trace.csv --cluster 1x8", "line 3: gpus is `one`"),
        ("--trace none.csv --cluster 1x8", "there is no job to replay"),
        ("--trace gone.csv --cluster 1x8", "cannot read the trace `gone.csv`"),
        ("--generate 5 --cluster gone.toml", "cannot read the cluster `gone.toml`"),
        ("--generate 5 --cluster cluster.toml", "unknown field `prize`"),
        ("--generate 5 --cluster empty.toml", "`count` and `gpus` above 0"),
        ("--generate 5 --cluster 1x8 --queues queues.toml", "add `[lab]`"),
        ("--generate 5 --cluster 1x8 --queues gone.toml", "cannot read the queues"),
        ("--generate 5 --cluster 1x8 --failures often", "a share of runs"),
        ("--generate 5 --cluster 1x8 --load 0", "above 0"),
        ("--generate 5 --cluster 1x8 --parts 2", "from 0 to 1"),
        ("--generate 5 --cluster 1x8 --noise=-1", "--noise"),
        ("--generate 5 --cluster 1x8 --policy best", "write `auto`"),
        ("--cluster 1x8", "--trace"),
    ] {
        let output = sim(folder.path(), line);
        assert_eq!(output.status.code(), Some(2), "{line}: {}", said(&output));
        assert!(said(&output).contains(says), "{line}: {}", said(&output));
        assert!(output.stdout.is_empty(), "{line}");
    }
}

#[test]
fn drawings_are_left_where_they_were_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let line = "--generate 20 --cluster 1x8 --policy fifo,las --plots drawn -q";
    assert_eq!(out(&sim(folder.path(), line)), "fifo\nlas\n");
    for name in ["use", "queue", "completion", "policies"] {
        let text = std::fs::read_to_string(folder.path().join(format!("drawn/{name}.svg")));
        assert!(text.unwrap().contains("las"), "{name}");
    }
}
