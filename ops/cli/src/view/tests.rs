//! Tables and documents of a small cluster, as snapshots.

use trainyard_proto::v1;

use super::{
    cluster::{Asked, ClusterView},
    explain::Explanation,
    gpu::DeviceView,
    job::{JobDetail, JobSummary},
    model::VersionView,
    node::NodeView,
};
use crate::output::{Card, Colour, Format, List, Look, Output, Row};

const NOW: u64 = 1_763_860_000_000;

fn out(format: Format) -> (Output, Look) {
    let out = Output::new(format, false, Colour::Never);
    (out, Look { now_ms: NOW, colour: false, wide: format == Format::Wide, id_chars: 8 })
}

fn list<T: Row>(items: Vec<T>, format: Format) -> String {
    let (out, look) = out(format);
    let list = List { items, more: false, stale: false, empty: "nothing".into() };
    let text = out.list(&list, look).unwrap().body;
    if format == Format::Table {
        narrow(&text);
    }
    text
}

fn card<T: Card>(item: &T, format: Format) -> String {
    let (out, look) = out(format);
    let text = out.card(item, look).unwrap().body;
    if format == Format::Table {
        narrow(&text);
    }
    text
}

fn narrow(text: &str) {
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "wider than 80: {line}");
    }
}

fn attempt_ref() -> v1::AttemptRef {
    v1::AttemptRef { job: "3k9v2m7q1d0a".into(), attempt: 2, generation: 1 }
}

fn running() -> v1::Job {
    let placement = |node: &str, rank| v1::Placement {
        node: node.into(),
        units: vec!["cpu-0".into()],
        state: "started".into(),
        exits: vec![],
        first_rank: rank,
    };
    let lost = v1::Placement {
        state: "lost".into(),
        exits: vec![v1::RankExit { rank: 1, how: Some(v1::rank_exit::How::Vanished(true)) }],
        ..placement("worker-2", 1)
    };
    let attempts = vec![
        v1::Attempt {
            number: 1,
            generation: 1,
            phase: "ended".into(),
            placements: vec![placement("worker-1", 0), lost],
            started_ms: NOW - 150_000,
            ended_ms: NOW - 60_000,
            end: "node worker-2 was lost".into(),
            resumed_from: 0,
            master: "127.0.0.1:20000".into(),
        },
        v1::Attempt {
            number: 2,
            generation: 1,
            phase: "active".into(),
            placements: vec![placement("worker-1", 0), placement("worker-3", 1)],
            started_ms: NOW - 58_000,
            resumed_from: 41,
            master: "127.0.0.1:20001".into(),
            ..v1::Attempt::default()
        },
    ];
    let metrics = [("step", 1200.0), ("total_steps", 5000.0), ("loss", 0.345_678)];
    v1::Job {
        id: "3k9v2m7q1d0a".into(),
        name: "fashion-mnist".into(),
        project: "research".into(),
        phase: "running".into(),
        submitted_ms: NOW - 200_000,
        started_ms: NOW - 150_000,
        ranks: 2,
        device: "cpu".into(),
        restarts: 1,
        attempts,
        checkpoints: vec![v1::Checkpoint {
            id: 41,
            step: 1000,
            attempt: 1,
            size: 3_400_000,
            created_ms: NOW - 70_000,
            parts: 2,
        }],
        spec_json: br#"{"name":"fashion-mnist"}"#.to_vec(),
        commit: "0123456789abcdef0123456789abcdef01234567-dirty".into(),
        progress: Some(v1::Progress {
            attempt: Some(attempt_ref()),
            unix_ms: NOW - 500,
            metrics: metrics.map(|(name, value)| (name.to_owned(), value)).into(),
        }),
        run_ms: 148_000,
        ..v1::Job::default()
    }
}

fn queued() -> v1::Job {
    v1::Job {
        id: "9z0000000000".into(),
        name: "a-name-that-is-far-too-long-for-a-column".into(),
        project: "default".into(),
        phase: "queued".into(),
        priority: 5,
        submitted_ms: NOW - 90_000_000,
        ranks: 16,
        device: "gpu".into(),
        reason: "waits for 16 GPUs, 4 are free".into(),
        expected_from_ms: NOW + 300_000,
        expected_to_ms: NOW + 4_800_000,
        ..v1::Job::default()
    }
}

fn jobs() -> Vec<JobSummary> {
    [running(), queued()].map(JobSummary::from).into()
}

fn node() -> v1::Node {
    let gpu = v1::Device {
        unit: "GPU-8f1c2a".into(),
        kind: "gpu".into(),
        index: 0,
        model: "h100".into(),
        memory: 80 << 30,
        part: None,
    };
    let slot = |index: u32| v1::Device {
        unit: format!("cpu-{index}"),
        kind: "cpu".into(),
        index,
        model: "cpu".into(),
        memory: 0,
        part: None,
    };
    v1::Node {
        held: Vec::new(),
        reservation: None,
        used_last: Vec::new(),
        id: "7d0000000000".into(),
        inventory: Some(v1::Inventory {
            name: "worker-1".into(),
            address: "127.0.0.1".into(),
            devices: vec![slot(1), slot(0), gpu],
            cpus: 2,
            memory: 16 << 30,
            version: "0.1.0".into(),
            disk: 3 << 40,
            network: 100_000_000_000,
            ..v1::Inventory::default()
        }),
        state: "up".into(),
        owners: vec![v1::UnitOwner { unit: "GPU-8f1c2a".into(), attempt: Some(attempt_ref()) }],
        sample: Some(v1::NodeSample {
            cpu_percent: Some(43.7),
            memory_used: Some(5 << 30),
            disk_free: Some(100 << 30),
            devices: vec![v1::DeviceSample {
                unit: "GPU-8f1c2a".into(),
                utilisation_percent: Some(97.4),
                memory_used: Some(61 << 30),
                power_watts: Some(612.0),
                temperature_celsius: Some(64.0),
                ..v1::DeviceSample::default()
            }],
            telemetry: "nvml".into(),
            ..v1::NodeSample::default()
        }),
        seen_ms_ago: 700,
        registered_ms: NOW - 3_600_000,
    }
}

fn version() -> v1::Version {
    v1::Version {
        metric: "val_loss".into(),
        goal: "minimize".into(),
        model: "fashion-mnist".into(),
        version: 1,
        project: "research".into(),
        created_ms: NOW - 4000,
        files: vec![v1::File {
            path: "model.safetensors".into(),
            key: "jobs/3k9v2m7q1d0a/attempts/2.1/artifacts/model.safetensors".into(),
            size: 1_200_000,
            digest: format!("sha256:{}", "ab".repeat(32)),
        }],
        size: 1_200_000,
        digest: format!("sha256:{}", "cd".repeat(32)),
        metrics: [("test_accuracy".to_owned(), "0.8912345".to_owned())].into(),
        job: "3k9v2m7q1d0a".into(),
        attempt: 2,
        spec_digest: format!("sha256:{}", "ef".repeat(32)),
        resumed_from: 41,
        last_checkpoint: 52,
        nodes: vec!["worker-1".into(), "worker-3".into()],
        ..v1::Version::default()
    }
}

fn cluster() -> ClusterView {
    let scheduler = |id, role: &str, applied| v1::ClusterStatusAnswer {
        cluster: "0192f0c4-0000-7000-8000-000000000001".into(),
        id,
        role: role.into(),
        term: 7,
        leader: 2,
        commit: 1500,
        applied,
        first_index: 1001,
        last_index: 1500,
        log_bytes: 180_000,
        snapshot_index: 1000,
        state_hash: format!("{applied:064x}"),
        state_hash_index: applied,
        nodes: 3,
        running: 1,
        queued: 1,
        version: "0.1.0".into(),
        ..v1::ClusterStatusAnswer::default()
    };
    let asked = |port: u16, id, answer| Asked {
        address: format!("127.0.0.1:{port}"),
        id: Some(id),
        answer,
    };
    ClusterView::new(vec![
        asked(7403, 3, Err("connection refused".to_owned())),
        asked(7402, 2, Ok(scheduler(2, "leader", 1500))),
        asked(7401, 1, Ok(scheduler(1, "follower", 1498))),
    ])
}

#[test]
fn jobs_in_every_format() {
    insta::assert_snapshot!("jobs_table", list(jobs(), Format::Table));
    insta::assert_snapshot!("jobs_wide", list(jobs(), Format::Wide));
    insta::assert_snapshot!("jobs_json", list(jobs(), Format::Json));
    insta::assert_snapshot!("jobs_jsonl", list(jobs(), Format::Jsonl));
    insta::assert_snapshot!("jobs_yaml", list(jobs(), Format::Yaml));
}

#[test]
fn a_job_at_length() {
    insta::assert_snapshot!("job_json", card(&JobDetail::from(running()), Format::Json));
    let text = card(&JobDetail::from(running()), Format::Table);
    // The instant depends on the machine's time zone.
    let text: Vec<&str> = text.lines().filter(|line| !line.starts_with("submitted")).collect();
    insta::assert_snapshot!("job_table", text.join("\n"));
}

#[test]
fn an_explanation() {
    let blocker =
        |kind: &str, message: &str| v1::Blocker { kind: kind.into(), message: message.into() };
    let explanation = Explanation::from(v1::ExplainAnswer {
        job: Some(queued()),
        summary: "waits for 16 GPUs, 4 are free".into(),
        blockers: vec![blocker("capacity", "3 of 4 nodes have no GPU")],
        suggestions: vec!["set resources.gpus to 4".into()],
        position: 2,
        expected_from_ms: NOW + 300_000,
        expected_to_ms: NOW + 4_800_000,
        changes: vec![],
        asked: None,
    });
    insta::assert_snapshot!("explain_table", card(&explanation, Format::Table));
    insta::assert_snapshot!("explain_json", card(&explanation, Format::Json));
}

#[test]
fn an_explanation_with_numbers() {
    let cost = |usd: u64, hours: u64| v1::Cost {
        micro_usd_per_hour: usd * 1_000_000,
        run_ms: hours * 3_600_000,
        micro_usd: usd * hours * 1_000_000,
        cut_ms: 0,
    };
    let change = |kind: &str, text: &str| v1::Change {
        kind: kind.into(),
        text: text.into(),
        starts_ms: NOW,
        ..v1::Change::default()
    };
    let limit = |queue: &str| v1::LimitRaised {
        queue: queue.into(),
        gpu_type: String::new(),
        from: 8,
        to: 16,
    };
    let changes = vec![
        v1::Change {
            notes: vec!["about 12h, $10.00 an hour, $120.00 in all; as asked 6h, $120.00".into()],
            cost: Some(cost(10, 12)),
            over_micro_usd: 20_000_000,
            gpus: Some(4),
            ..change("gpus", "with `gpus = 4` it would start now")
        },
        v1::Change {
            limits: vec![limit("research")],
            ..change("limit", "with queue research's limit raised from 8 to 16 it would start now")
        },
        v1::Change {
            priority: Some(5),
            jobs: vec!["3k9v2m7q1d0a".into()],
            lost_unit_ms: 7_200_000,
            ..change("priority", "with `priority = 5` it would start once job 3k9v2m7q is stopped")
        },
    ];
    let explanation = Explanation::from(v1::ExplainAnswer {
        job: Some(queued()),
        summary: "waits for 16 GPUs, 4 are free".into(),
        suggestions: changes.iter().map(|change| change.text.clone()).collect(),
        changes,
        asked: Some(cost(20, 6)),
        position: 2,
        ..v1::ExplainAnswer::default()
    });
    insta::assert_snapshot!("explain_numbers_table", card(&explanation, Format::Table));
    insta::assert_snapshot!("explain_numbers_json", card(&explanation, Format::Json));
}

#[test]
fn nodes_and_units() {
    insta::assert_snapshot!("nodes_table", list(vec![NodeView::from(node())], Format::Table));
    insta::assert_snapshot!("nodes_wide", list(vec![NodeView::from(node())], Format::Wide));
    insta::assert_snapshot!("nodes_json", list(vec![NodeView::from(node())], Format::Json));
    insta::assert_snapshot!("gpus_table", list(DeviceView::all_of(&node()), Format::Table));
    insta::assert_snapshot!("gpus_wide", list(DeviceView::all_of(&node()), Format::Wide));
}

#[test]
fn a_node_that_is_used_last_says_why() {
    assert_eq!(NodeView::from(node()).why_last(), None);
    let used_last = vec!["GPU-8f1c2a: it is 91 °C hot".into(), "jobs fail here".into()];
    let view = NodeView::from(v1::Node { used_last, ..node() });
    insta::assert_snapshot!(view.why_last().unwrap(), @"worker-1 is used last: GPU-8f1c2a: it is 91 °C hot; jobs fail here");
}

#[test]
fn models() {
    insta::assert_snapshot!(
        "models_table",
        list(vec![VersionView::from(version())], Format::Table)
    );
    insta::assert_snapshot!("model_json", card(&VersionView::from(version()), Format::Json));
    let text = card(&VersionView::from(version()), Format::Wide);
    let text: Vec<&str> = text.lines().filter(|line| !line.starts_with("created")).collect();
    insta::assert_snapshot!("model_wide", text.join("\n"));
}

#[test]
fn a_cluster_with_one_scheduler_down() {
    let view = cluster();
    assert!(view.has_leader());
    assert_eq!(view.divergence(), None);
    insta::assert_snapshot!("cluster_table", card(&view, Format::Table));
    insta::assert_snapshot!("cluster_wide", card(&view, Format::Wide));
    insta::assert_snapshot!("cluster_json", card(&view, Format::Json));
}

#[test]
fn equal_index_and_other_state_is_shouted() {
    let asked = |id: u64, hash: &str| Asked {
        address: format!("127.0.0.1:{id}"),
        id: Some(id),
        answer: Ok(v1::ClusterStatusAnswer {
            id,
            applied: 9,
            state_hash_index: 9,
            state_hash: hash.into(),
            ..v1::ClusterStatusAnswer::default()
        }),
    };
    assert_eq!(ClusterView::new(vec![asked(1, "a"), asked(2, "a")]).divergence(), None);
    let view = ClusterView::new(vec![asked(1, "a"), asked(2, "b")]);
    assert!(!view.has_leader());
    assert!(view.divergence().unwrap().contains("index 9"));
}

#[test]
fn no_document_has_a_key_twice() {
    let texts = [
        list(vec![NodeView::from(node())], Format::Jsonl),
        list(vec![VersionView::from(version())], Format::Jsonl),
        list(DeviceView::all_of(&node()), Format::Jsonl),
        card(&cluster(), Format::Jsonl),
    ];
    for line in texts.iter().flat_map(|text| text.lines()) {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        // A key that comes twice is kept once, so the text would be longer than its reading.
        assert_eq!(value.to_string().len(), line.len(), "{line}");
    }
}

#[test]
fn parts_of_gpus_are_shown_as_what_they_are() {
    let part = |unit: &str, part: v1::GpuPart| v1::Device {
        unit: unit.into(),
        kind: "gpu".into(),
        index: 1,
        model: "h100".into(),
        memory: 20 << 30,
        part: Some(part),
    };
    let (parent, empty) = ("GPU-b".to_owned(), v1::GpuPart::default());
    let profile = "2g.20gb".to_owned();
    let slice = v1::GpuPart { parent: parent.clone(), profile, slices: 2, ..empty.clone() };
    let share = v1::GpuPart { parent, nth: 1, of: 4, ..empty };
    let mut node = node();
    let devices = vec![part("MIG-a", slice), part("GPU-b/1-of-4", share)];
    node.inventory.as_mut().unwrap().devices.extend(devices);
    let nodes = || vec![NodeView::from(node.clone())];
    insta::assert_snapshot!("parts_table", list(DeviceView::all_of(&node), Format::Table));
    insta::assert_snapshot!("parts_wide", list(DeviceView::all_of(&node), Format::Wide));
    insta::assert_snapshot!("parts_json", list(DeviceView::all_of(&node), Format::Jsonl));
    insta::assert_snapshot!("parts_node", list(nodes(), Format::Wide));
}
