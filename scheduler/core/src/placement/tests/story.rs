//! What is told of jobs that wait, word for word: each thing that may be in one's way, and each
//! change that would start one.

use std::collections::BTreeMap;

use trainyard_jobs::{
    AttemptRef, JobId, JobSpec, Millis, Policy, Purpose, Quota, Timestamp, UnitId,
};

use super::super::{Change, Delta, PATIENCE};
use crate::world::{World, gpus, hosted, inventory, node_id, ranks, shares, spec};

const HOUR: u64 = 3_600_000;

fn ask(resources: &str) -> JobSpec {
    spec(&format!("[resources]\n{resources}\n"))
}

/// A job that says how many hours it takes.
fn hours(resources: &str, hours: u64) -> JobSpec {
    spec(&format!("[resources]\n{resources}\n[schedule]\nest_duration = \"{hours}h\"\n"))
}

/// All that there is to say of a job, with ids in the order of submission.
fn story(world: &mut World, job: &JobId) -> String {
    let explanation = world.planner.explain(job, Timestamp(world.now)).unwrap();
    let blockers = explanation.blockers.iter().map(|blocker| blocker.message.clone());
    let changes = explanation.counterfactuals.iter().flat_map(|found| {
        let notes = found.notes.iter().map(|note| format!("  {note}"));
        std::iter::once(found.to_string()).chain(notes).collect::<Vec<_>>()
    });
    let changes: Vec<String> = changes.collect();
    assert!(changes.iter().all(|line| line.len() <= 78), "wider than a terminal: {changes:?}");
    let blockers = blockers.collect::<Vec<_>>().join("\n");
    let mut text = format!("{blockers}\n\n{}", changes.join("\n")).trim_end().to_owned();
    let mut jobs: Vec<_> = world.state.jobs().values().map(|job| (job.sequence, &job.id)).collect();
    jobs.sort_unstable();
    for (n, (_, id)) in jobs.iter().enumerate() {
        text =
            text.replace(&id.to_string(), &format!("J{n}")).replace(id.short(), &format!("J{n}"));
    }
    text
}

fn offers(world: &mut World, job: &JobId) -> Vec<Change> {
    let explanation = world.planner.explain(job, Timestamp(world.now)).unwrap();
    explanation.counterfactuals.into_iter().map(|found| found.change).collect()
}

fn start(world: &mut World, spec: JobSpec) -> AttemptRef {
    let job = world.submit(spec);
    let attempt = world.plan().into_iter().find(|attempt| attempt.job == job).unwrap();
    world.started(&attempt);
    attempt
}

fn limits(queue: &str, world: &mut World, quotas: &[(Option<&str>, u32)]) {
    let quota = |(gpu_type, limit): &(Option<&str>, u32)| Quota {
        gpu_type: gpu_type.map(str::to_owned),
        guaranteed: 0,
        limit: Some(*limit),
    };
    world.queue(queue, |spec| spec.quotas = quotas.iter().map(quota).collect());
}

fn of(project: &str, spec: JobSpec) -> JobSpec {
    JobSpec { project: project.parse().unwrap(), ..spec }
}

fn urgent(priority: i32, spec: JobSpec) -> JobSpec {
    JobSpec { priority, ..spec }
}

#[test]
fn without_a_worker() {
    let mut world = World::new();
    let job = world.submit(ranks(1));
    insta::assert_snapshot!(story(&mut world, &job), @"no worker is up: start one with `yard worker`");
}

#[test]
fn units_that_cannot_be_used() {
    let mut world = World::new();
    world.register(1, 1, 2, &[]);
    let job = world.submit(ranks(2));
    let out = BTreeMap::from([(UnitId("cpu-0".into()), "in use by a foreign process".into())]);
    world.planner.update(Delta::Unusable(node_id(1), out));
    insta::assert_snapshot!(story(&mut world, &job), @"
    needs 2 CPU slots; 0 of 2 are busy
    1 CPU slot cannot be used: n1: in use by a foreign process

    with `gpus = 1` it would start now
    with 1 more node like n1 (2 CPU slots) it would start now
    ");
}

#[test]
fn a_back_off() {
    let mut world = World::new();
    world.register(1, 1, 2, &[]);
    let first = start(&mut world, ranks(1));
    world.exit_all(&first, 1);
    let second = world.plan().remove(0);
    world.started(&second);
    world.exit_all(&second, 1);
    insta::assert_snapshot!(story(&mut world, &second.job), @"
    restarts in 1s after its last failure

    it would start in 1s, when its back-off is over
    ");
}

#[test]
fn units_that_are_held_for_another() {
    let mut world = World::new();
    world.queue("root", |queue| queue.policy = Some(Policy::Fifo));
    world.register(1, 1, 2, &[]);
    start(&mut world, ranks(1));
    world.submit(ranks(2));
    world.now += PATIENCE.0;
    let late = world.submit(ranks(1));
    assert!(world.plan().is_empty());
    insta::assert_snapshot!(story(&mut world, &late), @"
    needs 1 CPU slot; 1 of 2 are busy
    free units are held for job J00003, which has waited longer

    with `priority = 1` it would start now
    with 1 more node like n1 (2 CPU slots) it would start now
    ");
}

#[test]
fn ports_that_are_all_in_use() {
    let mut world = World::new();
    let few = trainyard_jobs::Inventory { ports: (20_000, 20_000), ..inventory("n1", 2) };
    world.register_node(1, few);
    start(&mut world, ranks(1));
    let job = world.submit(ranks(1));
    assert!(world.plan().is_empty());
    insta::assert_snapshot!(story(&mut world, &job), @"every port for rank 0 on the node is in use");
}

#[test]
fn units_that_are_becoming_free() {
    let mut world = World::new();
    world.register(1, 1, 1, &[]);
    let attempt = start(&mut world, ranks(1));
    world.cancel(&attempt.job);
    let job = world.submit(ranks(1));
    assert!(world.plan().is_empty());
    insta::assert_snapshot!(story(&mut world, &job), @"
    its units are becoming free: what has them is being stopped

    with 1 more node like n1 (1 CPU slot) it would start now
    ");
}

#[test]
fn a_wish_less() {
    let mut world = World::new();
    world.register_node(1, gpus("n1", "h100", 2, &[("rack", "a")]));
    world.register_node(2, gpus("n2", "a100", 4, &[("rack", "b")]));
    start(&mut world, ask("gpus = 2\ngpu_type = [\"h100\"]"));
    let memory = world.submit(ask("gpus = 1\nmin_gpu_memory = \"60GB\""));
    insta::assert_snapshot!(story(&mut world, &memory), @"
    needs 1 GPU; 2 of 2 are busy

    without `min_gpu_memory` it would start now
    it would start when job J0 ends, expected in 1h
    with 1 more node like n1 (2 GPUs) it would start now
    ");
    let spread = world.submit(ask("gpus = 4\nmax_ranks_per_node = 2"));
    insta::assert_snapshot!(story(&mut world, &spread), @"
    needs 4 GPUs, at most 2 a node; 2 of 6 are busy

    without `max_ranks_per_node` it would start now
    with `gpus = 2` it would start now
    with 1 more node like n2 (4 GPUs) it would start now
    ");
    let label = world.submit(ask("gpus = 1\nnode_labels = { rack = \"a\" }"));
    insta::assert_snapshot!(story(&mut world, &label), @"
    needs 1 GPU; 2 of 2 are busy

    without `node_labels` it would start now
    it would start when job J0 ends, expected in 1h
    with 1 more node like n1 (2 GPUs) it would start now
    ");
}

#[test]
fn whole_gpus_and_parts() {
    let mut world = World::new();
    world.register_node(1, gpus("n1", "h100", 1, &[]));
    world.register_node(2, shares(gpus("n2", "h100", 1, &[]), 2));
    start(&mut world, ask("gpus = 1\ngpu_fraction = 0.5"));
    start(&mut world, ask("gpus = 1\ngpu_fraction = 0.5"));
    let job = world.submit(ask("gpus = 1\ngpu_fraction = 0.5"));
    insta::assert_snapshot!(story(&mut world, &job), @"
    needs 1 GPU part of at least 0.5; 2 of 2 are busy
    1 whole GPU is free, but the job asks for parts

    without `gpu_fraction` it would start now
    it would start when job J0 ends, expected in 1h
    with 1 more node like n2 (2 GPU parts) it would start now
    ");
}

#[test]
fn memory_of_the_node() {
    let mut world = World::new();
    world.register_node(1, hosted(gpus("n1", "h100", 4, &[]), 32, 64));
    start(&mut world, ask("gpus = 2\nmemory_per_rank = \"16GiB\""));
    let job = world.submit(ask("gpus = 2\nmemory_per_rank = \"24GiB\""));
    insta::assert_snapshot!(story(&mut world, &job), @r#"
    needs 2 GPUs, with 24.0 GiB of memory for each rank; 2 of 4 are busy
    1 free unit lacks memory on the node: n1 has 32.0 GiB of 64.0 GiB free

    with `memory_per_rank = "16GiB"` it would start now
    with `gpus = 1` it would start now
    it would start when job J0 ends, expected in 1h
    with 1 more node like n1 (4 GPUs) it would start now
    "#);
}

#[test]
fn the_cheapest_other_type_and_what_it_costs() {
    let mut world = World::new();
    let price = |usd| [("usd_per_unit_hour", usd)];
    world.register_node(1, gpus("n1", "h100", 8, &price("3")));
    world.register_node(2, gpus("n2", "a100", 8, &price("2")));
    world.register_node(3, gpus("n3", "l40s", 8, &price("0.5")));
    world.register_node(4, gpus("n4", "v100", 4, &price("0.1")));
    let wish = "gpus = 8\ngpu_type = [\"h100\"]\nspeed = { h100 = 4, a100 = 2, l40s = 1 }";
    start(&mut world, hours(wish, 8));
    start(&mut world, hours("gpus = 4\ngpu_type = [\"v100\"]", 8));
    let mut dear = hours(wish, 8);
    dear.limits.max_cost_usd =
        Some(trainyard_jobs::spec::CostLimit(trainyard_jobs::Usd(30_000_000)));
    let job = world.submit(dear);
    insta::assert_snapshot!(story(&mut world, &job), @r#"
    needs 8 h100 GPUs; 8 of 8 are busy

    without `gpu_type` it would start now
      about 4h, $16.00 an hour, $64.00 in all; as asked 2h, $48.00
      its `max_cost_usd` would have to be $34.00 higher
    with `gpu_type = ["l40s"]` it would start now
      about 8h, $4.00 an hour, $32.00 in all; as asked 2h, $48.00
      its `max_cost_usd` would have to be $2.00 higher
    it would start when job J0 ends, expected in 2h
      its `max_cost_usd` would have to be $18.00 higher
    with 1 more node like n1 (8 h100 GPUs) it would start now, for $24.00 an hour
      its `max_cost_usd` would have to be $18.00 higher
    "#);
    let asked = world.planner.explain(&job, Timestamp(world.now)).unwrap().asked;
    assert_eq!((asked.micro_usd_per_hour, asked.runs), (24_000_000, Some(Millis(2 * HOUR))));
    assert_eq!(asked.micro_usd(), Some(48_000_000));
}

#[test]
fn fewer_ranks_run_for_longer() {
    let mut world = World::new();
    world.register_node(1, gpus("n1", "h100", 8, &[("usd_per_unit_hour", "2.5")]));
    start(&mut world, hours("gpus = 6", 2));
    let mut long = hours("gpus = 8", 6);
    long.limits.time = Some(Millis(12 * HOUR));
    let job = world.submit(long);
    insta::assert_snapshot!(story(&mut world, &job), @"
    needs 8 GPUs; 6 of 8 are busy

    with `gpus = 2` it would start now
      about 1d, $5.00 an hour, $60.00 in all; as asked 6h, $120.00
      its time limit ends it after 12h, before it is done
    it would start when job J0 ends, expected in 2h
    with 1 more node like n1 (8 GPUs) it would start now, for $20.00 an hour
    ");
}

#[test]
fn fewer_ranks_of_an_elastic_job() {
    let mut world = World::new();
    world.register(1, 1, 4, &[]);
    start(&mut world, ranks(3));
    let job = world.submit(ask("gpus = 4\nmin_gpus = 2\ndevice = \"cpu\""));
    insta::assert_snapshot!(story(&mut world, &job), @"
    needs 4 CPU slots; 3 of 4 are busy

    with `min_gpus = 1` it would start now
    it would start when job J0 ends, expected in 1h
    with 1 more node like n1 (4 CPU slots) it would start now
    ");
}

#[test]
fn the_ends_of_several() {
    let mut world = World::new();
    world.queue("root", |queue| queue.policy = Some(Policy::Fifo));
    world.register(1, 1, 4, &[]);
    for n in 1..=4 {
        start(&mut world, hours("gpus = 1\ndevice = \"cpu\"", n));
    }
    let job = world.submit(hours("gpus = 3\ndevice = \"cpu\"", 1));
    insta::assert_snapshot!(story(&mut world, &job), @"
    needs 3 CPU slots; 4 of 4 are busy

    it would start when the first 3 jobs to end have ended, expected in 3h
    with 1 more node like n1 (4 CPU slots) it would start now
    ");
}

#[test]
fn a_higher_limit() {
    let mut world = World::new();
    world.register_node(1, gpus("n1", "h100", 8, &[]));
    world.register_node(2, gpus("n2", "a100", 8, &[]));
    limits("a", &mut world, &[(None, 6)]);
    start(&mut world, of("a", ask("gpus = 4")));
    let job = world.submit(of("a", ask("gpus = 4")));
    insta::assert_snapshot!(story(&mut world, &job), @"
    queue a may have 6 units and has 4 in use

    with `gpus = 2` it would start now
    with queue a's limit raised from 6 to 8 it would start now
    it would start when job J0 ends, expected in 1h
    ");
}

#[test]
fn a_limit_of_a_type_and_what_those_before_it_take() {
    let mut world = World::new();
    world.queue("root", |queue| queue.policy = Some(Policy::Fifo));
    world.register_node(1, gpus("n1", "h100", 8, &[]));
    limits("a", &mut world, &[(Some("h100"), 1)]);
    world.submit(of("a", ask("gpus = 2\ngpu_type = [\"h100\"]")));
    let second = world.submit(of("a", ask("gpus = 2\ngpu_type = [\"h100\"]")));
    assert!(world.plan().is_empty());
    insta::assert_snapshot!(story(&mut world, &second), @"
    queue a may have 1 h100 unit and has 0 in use

    with `gpus = 1` it would start now
    with queue a's limit of h100 raised from 1 to 4 it would start now
    ");
}

#[test]
fn a_limit_is_not_raised_for_units_that_there_are_not() {
    let mut world = World::new();
    world.register(1, 1, 4, &[]);
    limits("a", &mut world, &[(None, 3)]);
    start(&mut world, of("a", ranks(2)));
    start(&mut world, of("b", ranks(2)));
    let job = world.submit(of("a", ranks(2)));
    assert!(!offers(&mut world, &job).iter().any(|change| matches!(change, Change::Limit(_))));
}

#[test]
fn a_higher_priority_and_what_it_loses() {
    let mut world = World::new();
    world.queue("root", |queue| queue.policy = Some(Policy::Las));
    world.register_node(1, gpus("n1", "h100", 4, &[]));
    start(&mut world, urgent(1, hours("gpus = 2", 20)));
    start(&mut world, urgent(3, hours("gpus = 2", 20)));
    world.now += 2 * HOUR;
    let job = world.submit(hours("gpus = 2", 20));
    insta::assert_snapshot!(story(&mut world, &job), @"
    needs 2 GPUs; 4 of 4 are busy

    with `priority = 2` it would start once job J0 is stopped
      job J0 would lose 4.0 GPU hours
    it would start when job J0 ends, expected in 18h
    with 1 more node like n1 (4 GPUs) it would start now
    ");
    let both = world.submit(hours("gpus = 4", 20));
    insta::assert_snapshot!(story(&mut world, &both), @"
    needs 4 GPUs; 4 of 4 are busy

    with `priority = 4` it would start once 2 jobs are stopped
      2 jobs would lose 8.0 GPU hours
    ");
}

#[test]
fn a_higher_priority_in_the_order_alone() {
    let mut world = World::new();
    world.queue("root", |queue| queue.policy = Some(Policy::Fifo));
    world.register(1, 1, 2, &[]);
    start(&mut world, ranks(1));
    world.submit(urgent(2, ranks(2)));
    world.now += PATIENCE.0;
    let late = world.submit(ranks(1));
    assert!(world.plan().is_empty());
    let offers = offers(&mut world, &late);
    let first = Change::Priority { priority: 3, stops: Vec::new(), lost: 0 };
    assert!(offers.contains(&first), "{offers:?}");
}

#[test]
fn the_end_of_a_reservation() {
    let mut world = World::new();
    world.register(1, 1, 2, &[]);
    let span = (Millis(HOUR), Millis(2 * HOUR));
    world.reserve("upgrade", &[], span, Purpose::Maintenance).unwrap();
    let job = world.submit(hours("gpus = 2\ndevice = \"cpu\"", 3));
    assert!(world.plan().is_empty());
    insta::assert_snapshot!(story(&mut world, &job), @"
    needs 2 CPU slots; 0 of 2 are busy
    2 CPU slots on 1 node are reserved for maintenance (upgrade) in 1h for 2h, and it may run until then

    it would start in 3h, when reservation upgrade is over
    if its limit ended it within 1h it would start now
      its time limit ends it after 1h, before it is done
    without reservation upgrade it would start now
    ");
}

#[test]
fn the_whole_story_in_words() {
    let mut world = World::new();
    let price = ("usd_per_unit_hour", "2.5");
    world.register_node(1, gpus("n1", "h100", 8, &[price]));
    world.register_node(2, gpus("n2", "a100", 8, &[]));
    let text = "[resources]\ngpus = 6\ngpu_type = [\"h100\"]\n";
    world.submit(spec(text));
    assert_eq!(world.plan().len(), 1);
    let job = world.submit(spec(text));
    insta::assert_snapshot!(story(&mut world, &job), @"
    needs 6 h100 GPUs; 6 of 8 are busy

    without `gpu_type` it would start now
    with `gpus = 2` it would start now
      $5.00 an hour
    it would start when job J0 ends, expected in 1h
    with 1 more node like n1 (8 h100 GPUs) it would start now, for $20.00 an hour
    ");
}
