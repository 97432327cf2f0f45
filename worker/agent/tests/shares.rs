//! Ranks on shares of a GPU, with real processes and a library that has NVML's interface: what they
//! are told of it, and what comes of taking more of its memory than belongs to the share.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod support;

use std::fs;

use support::{Node, Scheduler, attempt, desired, nvml};
use trainyard_proto::v1::{self, DesiredAttempt, RankSlot};

fn on_share(script: &str) -> DesiredAttempt {
    let spec = serde_json::json!({
        "name": "test",
        "resources": { "gpus": 1, "gpu_fraction": 0.25 },
        "run": { "command": ["sh", "-c", script], "stop_grace": "2s" },
    });
    DesiredAttempt {
        spec_json: spec.to_string().into(),
        ranks: vec![RankSlot { rank: 0, unit: "GPU-good/1-of-4".into() }],
        ..desired(&attempt(1), script)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rank_that_takes_more_than_its_share_is_ended_and_told_so() {
    let (node, scheduler, first) = (Node::new(), Scheduler::start().await, attempt(1));
    let processes = node.dir.path().join("processes");
    fs::write(&processes, "").unwrap();
    let mut config = node.config(&[scheduler.address]);
    config.nvml_library = Some(nvml(node.dir.path(), Some(&processes)));
    config.gpu_shares = Some(4);
    let agent = node.agent_with(config);
    let offered = |t: &support::Told| {
        let devices = &t.hellos.first()?.inventory.as_ref()?.devices;
        devices.iter().find(|device| device.unit == "GPU-good/1-of-4").cloned()
    };
    let share = scheduler.wait("the inventory", offered).await;
    assert_eq!(share.memory, 20 << 30);
    let part = share.part.unwrap();
    assert_eq!((part.parent.as_str(), part.nth, part.of), ("GPU-good", 1, 4));

    // First all that belongs to it, and once that was seen a byte more.
    let table = processes.display();
    let (all, more) = (20_u64 << 30, (20_u64 << 30) + 1);
    let go = node.dir.path().join("go");
    let script = format!(
        "echo sees $CUDA_VISIBLE_DEVICES; echo $$ {all} > {table}; \
         while [ ! -e {} ]; do sleep 0.02; done; echo $$ {more} > {table}; sleep 1000",
        go.display()
    );
    scheduler.send(1, 10, vec![on_share(&script)]);
    scheduler.started(&first).await;
    let uses_all = |t: &support::Told| {
        let samples = t.heartbeats.iter().filter_map(|beat| beat.sample.as_ref());
        let mut devices = samples.flat_map(|sample| &sample.devices);
        let full = |d: &v1::DeviceSample| d.memory_used == Some(all);
        devices.any(|d| d.unit == "GPU-good/1-of-4" && full(d)).then_some(())
    };
    scheduler.wait("its memory in the figures", uses_all).await;
    assert!(scheduler.told.lock().unwrap().ended.is_empty(), "all of its share is its own");
    fs::write(&go, "").unwrap();
    let ended = scheduler.ended(&first).await;
    let over = ended.over_memory.unwrap();
    assert_eq!((over.rank, over.used, over.share), (0, more, all));
    assert_eq!(node.log(&first).await, ["sees GPU-good"]);
    agent.stop().await;
}
