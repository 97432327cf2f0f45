//! Parts of GPUs: who gets which, which GPU is begun first, and what those who wait are told.

use trainyard_jobs::{
    AttemptRef, Bytes, EndReason, JobId, JobSpec, OverMemory, RankExit, Timestamp, UnitId,
};

use super::super::{BlockerKind, WorkBudget};
use crate::{
    Command, Refusal,
    command::{Assignment, EndedReport, StartAttempt},
    world::{World, gpus, node_id, shares, slices, spec},
};

fn job(resources: &str) -> JobSpec {
    spec(&format!("[resources]\n{resources}\n"))
}

fn part(fraction: &str) -> JobSpec {
    job(&format!("gpu_fraction = {fraction}"))
}

/// The units of an attempt.
fn units(world: &World, attempt: &AttemptRef) -> Vec<String> {
    let placements = &world.job(&attempt.job).current().unwrap().placements;
    placements.iter().flat_map(|p| &p.units).map(|unit| unit.0.clone()).collect()
}

fn start(world: &mut World, spec: JobSpec) -> Vec<String> {
    world.submit(spec);
    let attempt = world.plan().remove(0);
    units(world, &attempt)
}

fn story(world: &mut World, job: &JobId) -> String {
    let explanation = world.planner.explain(job, Timestamp(world.now)).unwrap();
    let blockers = explanation.blockers.into_iter().map(|blocker| blocker.message);
    blockers.chain(explanation.suggestions).collect::<Vec<_>>().join("\n")
}

#[test]
fn parts_are_for_those_who_ask_for_them_and_whole_gpus_for_the_others() {
    let mut world = World::new();
    world.register_node(1, gpus("a", "h100", 1, &[]));
    world.register_node(2, shares(gpus("b", "h100", 1, &[]), 4));
    assert_eq!(start(&mut world, part("0.25")), ["b-0/0-of-4"]);
    assert_eq!(start(&mut world, part("1")), ["a-0"]);
    let whole = world.submit(job("gpus = 1"));
    assert!(world.plan().is_empty());
    insta::assert_snapshot!(story(&mut world, &whole), @"
    needs 1 GPU; 1 of 1 are busy
    3 parts are free, but the job asks for whole GPUs
    it would start when job 00000000 ends, expected in 1h
    with 1 more node like a (1 GPU) it would start now
    ");
}

#[test]
fn a_gpu_that_is_begun_is_filled_before_another_is_opened() {
    let mut world = World::new();
    for (n, name) in [(1, "a"), (2, "b")] {
        world.register_node(n, shares(gpus(name, "h100", 2, &[]), 2));
    }
    let first = start(&mut world, part("0.5"));
    let gpu = UnitId(first[0].clone()).gpu().to_owned();
    let second = start(&mut world, part("0.5"));
    assert_eq!(UnitId(second[0].clone()).gpu(), gpu);
    let third = start(&mut world, part("0.3"));
    assert_ne!(UnitId(third[0].clone()).gpu(), gpu);
    assert_eq!(third[0][..1], first[0][..1], "the node that is begun, too");
}

#[test]
fn the_smallest_slice_that_is_enough_is_taken() {
    let mut world = World::new();
    world.register_node(1, slices(gpus("a", "h100", 1, &[]), &[3, 2, 1, 1]));
    assert_eq!(start(&mut world, part("0.1")), ["MIG-a-0-2-1g"]);
    assert_eq!(start(&mut world, part("0.25")), ["MIG-a-0-1-2g"]);
    let by_memory = "gpu_fraction = 0.1\nmin_gpu_memory = \"20GB\"";
    assert_eq!(start(&mut world, job(by_memory)), ["MIG-a-0-0-3g"], "by its memory");
    let waits = world.submit(part("0.2"));
    assert!(world.plan().is_empty());
    insta::assert_snapshot!(story(&mut world, &waits), @"
    needs 1 GPU part of at least 0.2; 2 of 2 are busy
    1 part is free, but smaller than asked
    with `gpu_fraction = 0.143` it would start now
    it would start when job 00000000 ends, expected in 1h
    with 1 more node like a (2 GPU parts) it would start now
    ");
}

#[test]
fn a_gang_has_one_rank_a_gpu() {
    let mut world = World::new();
    world.register_node(1, shares(gpus("a", "h100", 2, &[]), 4));
    let found = start(&mut world, job("gpus = 2\ngpu_fraction = 0.25"));
    assert_eq!(found, ["a-0/0-of-4", "a-1/0-of-4"]);
    let waits = world.submit(job("gpus = 3\ngpu_fraction = 0.25"));
    assert!(world.plan().is_empty());
    let why = &world.planner.reasons(Timestamp(world.now))[&waits][0];
    assert_eq!(why.kind, BlockerKind::TooFew, "two GPUs, whatever is free of them");
    insta::assert_snapshot!(story(&mut world, &waits), @"
    needs 3 GPU parts of at least 0.25, each on a GPU of its own; there are 8 GPU parts on 1 node up
    with `gpus = 2` it would start now
    with 1 more node like a (2 GPU parts) it would start now
    ");
    world.register_node(2, shares(gpus("b", "h100", 1, &[]), 2));
    assert_eq!(world.plan().len(), 1, "of three GPUs on two nodes");
}

#[test]
fn a_gpu_that_is_split_otherwise_is_free_when_its_old_shares_are() {
    let mut world = World::new();
    world.register_node(1, shares(gpus("a", "h100", 1, &[]), 4));
    world.submit(part("0.25"));
    let old = world.plan().remove(0);
    world.register_with(1, 2, gpus("a", "h100", 1, &[]), &[&old]);
    let next = world.submit(job("gpus = 1"));
    assert!(world.plan().is_empty(), "somebody has a quarter of it");
    let forced = Command::StartAttempt(Box::new(StartAttempt {
        job: next.clone(),
        job_version: world.job(&next).version,
        placements: vec![Assignment {
            node: node_id(1),
            node_version: world.state.node(&node_id(1)).unwrap().version,
            units: vec![UnitId("a-0".into())],
        }],
        master_port: 20_000,
        resume: None,
    }));
    assert!(matches!(world.apply(forced), Err(Refusal::Stale(_))), "whoever planned it");
    world.exit_all(&old, 0);
    assert_eq!(world.plan().remove(0).job, next);
}

#[test]
fn who_has_more_memory_than_its_share_is_told_so() {
    let mut world = World::new();
    world.register_node(1, shares(gpus("a", "h100", 1, &[]), 2));
    let id = world.submit(part("0.5"));
    let attempt = world.plan().remove(0);
    let over = OverMemory { rank: 0, used: Bytes(41 << 30), share: Bytes(40 << 30) };
    let report = EndedReport {
        node: node_id(1),
        attempt,
        exits: [(0, RankExit::Signal { signal: 15 })].into(),
        first_failure: None,
        start_error: None,
        time_limit: false,
        over_memory: Some(over),
        artifacts: Vec::new(),
        metrics: std::collections::BTreeMap::new(),
    };
    world.apply(Command::ReportEnded(Box::new(report))).unwrap();
    let attempt = &world.job(&id).attempts[0];
    assert_eq!(attempt.end, Some(EndReason::OverMemory(over)));
    let text = attempt.end.as_ref().unwrap().to_string();
    insta::assert_snapshot!(text, @"rank 0 had 41.0 GiB of GPU memory, above its share of 40.0 GiB");
    assert_eq!(world.job(&id).restarts, 1, "it counts as the job's own failure");
}

#[test]
fn parts_need_members_that_know_them() {
    let mut world = World::new();
    world.register_node(1, gpus("a", "h100", 1, &[]));
    world.register_node(2, shares(gpus("b", "h100", 1, &[]), 2));
    world.submit(part("0.5"));
    world.submit(job("gpus = 1"));
    let levels: Vec<u16> = world.log.iter().map(|(_, e)| e.command.level()).collect();
    assert_eq!(levels, [1, 5, 5, 1]);
}

#[test]
fn a_mixed_yard_is_filled_to_the_last_part() {
    let mut world = World::new();
    world.register_node(1, shares(gpus("a", "h100", 2, &[]), 4));
    world.register_node(2, slices(gpus("b", "h100", 1, &[]), &[1; 7]));
    for _ in 0..16 {
        world.submit(part("0.1"));
    }
    let now = Timestamp(world.now);
    let plan = world.planner.plan(now, WorkBudget::UNLIMITED);
    assert_eq!(plan.starts.len(), 15);
}
