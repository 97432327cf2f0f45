//! Each rule refuses what breaks it, at the right key, and nothing else.

use super::*;
use crate::spec::{Fraction, Param, Speed};

fn good() -> JobSpec {
    let bytes = br#"{"name":"a","run":{"command":["true"]},"resources":{"gpus":4}}"#;
    JobSpec::from_canonical(bytes).unwrap()
}

fn blamed(change: impl FnOnce(&mut JobSpec)) -> Vec<String> {
    let mut spec = good();
    change(&mut spec);
    match spec.check() {
        Ok(()) => Vec::new(),
        Err(invalid) => invalid.problems.into_iter().map(|problem| problem.path).collect(),
    }
}

#[test]
fn a_plain_job_passes() {
    assert_eq!(good().check(), Ok(()));
    assert_eq!(blamed(|spec| spec.resources.gpus = MAX_GPUS), [""; 0]);
    assert_eq!(blamed(|spec| spec.run.workdir = Some("../code".into())), [""; 0]);
    assert_eq!(blamed(|spec| spec.run.command = vec!["a".into(), String::new()]), [""; 0]);
}

#[test]
fn resources_lie_within_bounds() {
    assert_eq!(blamed(|spec| spec.resources.gpus = 0), ["resources.gpus"]);
    assert_eq!(blamed(|spec| spec.resources.gpus = MAX_GPUS + 1), ["resources.gpus"]);
    for least in [0, 5] {
        let paths = blamed(|spec| spec.resources.min_gpus = Some(least));
        assert_eq!(paths, ["resources.min_gpus"]);
    }
    let paths = blamed(|spec| spec.resources.max_ranks_per_node = Some(0));
    assert_eq!(paths, ["resources.max_ranks_per_node"]);
    for kind in ["H100", "", " h100"] {
        let paths = blamed(|spec| spec.resources.gpu_type = vec![kind.into()]);
        assert_eq!(paths, ["resources.gpu_type"], "{kind}");
    }
}

fn speeds(types: impl IntoIterator<Item = String>) -> Speeds {
    Speeds(types.into_iter().map(|kind| (kind, Speed::ONE)).collect())
}

#[test]
fn speeds_are_of_few_types_that_exist() {
    for kind in ["H100", "", " h100"] {
        let paths = blamed(|spec| spec.resources.speed = speeds([kind.to_owned()]));
        assert_eq!(paths, [format!("resources.speed.{kind}")]);
    }
    let many =
        |n: usize| blamed(|spec| spec.resources.speed = speeds((0..n).map(|n| n.to_string())));
    assert_eq!(many(Speeds::MOST), [""; 0]);
    assert_eq!(many(Speeds::MOST + 1), ["resources.speed"]);
}

#[test]
fn cpu_slots_have_no_gpus() {
    let paths = blamed(|spec| {
        spec.resources.device = DeviceKind::Cpu;
        spec.resources.gpu_type = vec!["h100".into()];
        spec.resources.speed = speeds(["h100".into()]);
        spec.resources.min_gpu_memory = Some(crate::Bytes(1));
    });
    assert_eq!(paths, ["resources.gpu_type", "resources.speed", "resources.min_gpu_memory"]);
}

#[test]
fn a_rank_has_some_of_its_node_or_says_nothing_of_it() {
    let paths = blamed(|spec| {
        spec.resources.cpus_per_rank = Some(0);
        spec.resources.memory_per_rank = Some(Bytes(0));
        spec.resources.disk_per_rank = Some(Bytes(0));
        spec.resources.network_per_rank = Some(BitRate(0));
    });
    let entries = ["cpus", "memory", "disk", "network"];
    assert_eq!(paths, entries.map(|entry| format!("resources.{entry}_per_rank")));
    let paths = blamed(|spec| {
        spec.resources.device = DeviceKind::Cpu;
        spec.resources.cpus_per_rank = Some(u32::MAX);
        spec.resources.memory_per_rank = Some(Bytes(u64::MAX));
        spec.resources.disk_per_rank = Some(Bytes(u64::MAX));
        spec.resources.network_per_rank = Some(BitRate(u64::MAX));
    });
    assert_eq!(paths, [""; 0], "what no node has is refused by the scheduler, with the reason");
}

#[test]
fn ranks_on_parts_are_neither_compact_nor_on_processors() {
    let half = Fraction::from_milli(500);
    let paths = blamed(|spec| {
        spec.resources.gpu_fraction = half;
        spec.resources.compact = true;
    });
    assert_eq!(paths, ["resources.compact"]);
    let paths = blamed(|spec| {
        spec.resources.gpu_fraction = half;
        spec.resources.device = DeviceKind::Cpu;
    });
    assert_eq!(paths, ["resources.gpu_fraction"]);
    let paths = blamed(|spec| {
        spec.resources.gpu_fraction = Fraction::from_milli(1000);
        spec.resources.compact = true;
    });
    assert_eq!(paths, [""; 0], "whole GPUs");
}

#[test]
fn a_job_runs_one_thing() {
    assert_eq!(blamed(|spec| spec.run.command.clear()), ["run"]);
    assert_eq!(blamed(|spec| spec.run.recipe = Some("gpt".into())), ["run.recipe"]);
    assert_eq!(blamed(|spec| spec.run.command = vec![" ".into()]), ["run.command"]);
    assert_eq!(blamed(|spec| spec.run.command.push("a\0".into())), ["run.command"]);
    assert_eq!(blamed(|spec| spec.run.workdir = Some(String::new())), ["run.workdir"]);
    let paths = blamed(|spec| {
        spec.run.params.insert("lr".into(), Param::Int(1));
    });
    assert_eq!(paths, ["run.params"]);
    let paths = blamed(|spec| {
        spec.run.command.clear();
        spec.run.recipe = Some("../gpt".into());
    });
    assert_eq!(paths, ["run.recipe"]);
}

#[test]
fn the_ranks_own_variables_are_theirs() {
    for name in ["RANK", "MASTER_ADDR", "YARD_JOB", "TORCHELASTIC_RUN_ID", "1A", "", "A B", "Ä"] {
        let paths = blamed(|spec| {
            spec.run.env.insert(name.into(), String::new());
        });
        assert_eq!(paths, [format!("run.env.{name}")], "{name}");
    }
    for name in ["RANKS", "_A", "PYTHONPATH", "YARDS"] {
        let paths = blamed(|spec| {
            spec.run.env.insert(name.into(), String::new());
        });
        assert_eq!(paths, [""; 0], "{name}");
    }
}

#[test]
fn times_make_sense() {
    assert_eq!(blamed(|spec| spec.checkpoint.every = Millis(999)), ["checkpoint.every"]);
    assert_eq!(blamed(|spec| spec.checkpoint.keep = 0), ["checkpoint.keep"]);
    assert_eq!(blamed(|spec| spec.limits.time = Some(Millis(0))), ["limits.time"]);
    for (text, valid) in [
        ("2026-12-24T08:00:00+01:00", true),
        ("2026-12-24T08:00:00Z", true),
        ("2026-12-24T08:00:00", false),
        ("2026-12-24", false),
        ("tomorrow", false),
    ] {
        let paths = blamed(|spec| spec.schedule.finish_by = Some(text.into()));
        assert_eq!(paths.is_empty(), valid, "{text}");
    }
}

#[test]
fn the_wire_is_not_trusted() {
    let unknown = br#"{"name":"a","run":{"command":["true"]},"x":1}"#;
    assert!(matches!(JobSpec::from_canonical(unknown), Err(InvalidCanonical::Shape(_))));
    let empty = br#"{"name":"a","run":{}}"#;
    let error = JobSpec::from_canonical(empty).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the job spec cannot be meant like this: the job says nothing to run: \
         write `command`, such as [\"python\", \"train.py\"], or `recipe`"
    );
    let large = vec![b' '; MAX_CANONICAL + 1];
    assert!(matches!(JobSpec::from_canonical(&large), Err(InvalidCanonical::TooLarge(_))));
}
