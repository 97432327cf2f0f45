//! Ranks bound to processors of their own, with real processes: near their GPU, beside those that run
//! already, and as before under the next agent.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod support;

use std::{collections::BTreeSet, fs, path::Path};

use nix::{
    sched::{CpuSet, sched_getaffinity},
    unistd::Pid,
};
use support::{Node, Scheduler, attempt, desired, nvml};
use trainyard_jobs::AttemptRef;
use trainyard_proto::v1::{DesiredAttempt, RankSlot};
use trainyard_worker::Config;

/// What the machine would say of itself if its last processor were on a NUMA node of its own, and a
/// GPU with it.
fn sysfs(root: &Path) -> (Vec<usize>, usize) {
    let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap();
    let mut all: Vec<usize> =
        (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap()).collect();
    let last = all.pop().unwrap();
    let list = |cpus: &[usize]| cpus.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    for (node, cpus) in [("node0", list(&all)), ("node1", last.to_string())] {
        let dir = root.join("devices/system/node").join(node);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("cpulist"), cpus).unwrap();
    }
    let gpu = root.join("bus/pci/devices/0000:3b:00.0");
    fs::create_dir_all(&gpu).unwrap();
    fs::write(gpu.join("numa_node"), "1\n").unwrap();
    (all, last)
}

/// Says which processors it may use, and stays until it is told to end.
fn on_gpu(attempt: &AttemptRef, end: &Path) -> DesiredAttempt {
    let script = format!(
        "grep Cpus_allowed_list /proc/self/status; while [ ! -e {} ]; do sleep 0.02; done",
        end.display()
    );
    let spec = serde_json::json!({
        "name": "test",
        "resources": { "gpus": 1, "cpus_per_rank": 1 },
        "run": { "command": ["sh", "-c", script], "stop_grace": "2s" },
    });
    DesiredAttempt {
        spec_json: spec.to_string().into(),
        ranks: vec![RankSlot { rank: 0, unit: "GPU-good".into() }],
        ..desired(attempt, &script)
    }
}

fn config(node: &Node, scheduler: &Scheduler, root: &Path) -> Config {
    let mut config = node.config(&[scheduler.address]);
    config.nvml_library = Some(nvml(node.dir.path(), None));
    config.sysfs = root.to_owned();
    config
}

async fn allowed(node: &Node, attempt: &AttemptRef) -> BTreeSet<usize> {
    let log = node.log(attempt).await;
    let list = log[0].trim_start_matches("Cpus_allowed_list:").trim();
    let range = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        first.parse::<usize>().unwrap()..=last.parse().unwrap()
    };
    list.split(',').flat_map(range).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn ranks_have_processors_of_their_own_near_their_gpu() {
    let (node, scheduler) = (Node::new(), Scheduler::start().await);
    let root = node.dir.path().join("sys");
    let (others, near) = sysfs(&root);
    let end = node.dir.path().join("end");
    let [first, second] = [attempt(1), attempt(2)];
    let agent = node.agent_with(config(&node, &scheduler, &root));
    scheduler.send(1, 10, vec![on_gpu(&first, &end)]);
    scheduler.started(&first).await;

    // The next agent knows what it has, and gives the second what is left.
    agent.stop().await;
    let agent = node.agent_with(config(&node, &scheduler, &root));
    scheduler.send(1, 11, vec![on_gpu(&first, &end), on_gpu(&second, &end)]);
    scheduler.started(&second).await;
    fs::write(&end, "").unwrap();
    scheduler.ended(&first).await;
    scheduler.ended(&second).await;
    assert_eq!(allowed(&node, &first).await, BTreeSet::from([near]));
    let own = allowed(&node, &second).await;
    if others.is_empty() {
        assert_eq!(own, BTreeSet::from([near]), "with one processor in all nobody is bound");
    } else {
        assert!(own.len() == 1 && others.contains(own.first().unwrap()), "{own:?} of {others:?}");
    }

    // What both had is free again.
    let third = attempt(3);
    scheduler.send(1, 12, vec![on_gpu(&third, &end)]);
    scheduler.ended(&third).await;
    assert_eq!(allowed(&node, &third).await, BTreeSet::from([near]));
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_bind_ranks_leaves_them_all_processors() {
    let (node, scheduler, first) = (Node::new(), Scheduler::start().await, attempt(1));
    let root = node.dir.path().join("sys");
    let (others, near) = sysfs(&root);
    let end = node.dir.path().join("end");
    fs::write(&end, "").unwrap();
    let agent = node.agent_with(Config { pin_cpus: false, ..config(&node, &scheduler, &root) });
    scheduler.send(1, 10, vec![on_gpu(&first, &end)]);
    scheduler.ended(&first).await;
    let all: BTreeSet<usize> = others.into_iter().chain([near]).collect();
    assert_eq!(allowed(&node, &first).await, all);
    agent.stop().await;
}
