//! Plans on small clusters: who goes first, where, and what those who wait are told.

mod backfill;
mod bounded;
mod budget;
mod dominant;
mod elastic;
mod exact;
mod expect;
mod gavel;
mod head;
mod hints;
mod host;
mod migrate;
mod money;
mod parts;
mod preemption;
mod shares;
mod shrink;
mod speeds;
mod starve;
mod story;
mod types;
mod whatif;
mod windows;

use std::collections::BTreeMap;

use trainyard_jobs::{Millis, Policy, Timestamp, UnitId};

use super::{BlockerKind, Delta, PATIENCE, WorkBudget};
use crate::world::{World, node_id, ranks, spec};

#[test]
fn priority_first_then_age() {
    let mut world = World::new();
    world.register(1, 1, 1, &[]);
    let old = world.submit(ranks(1));
    let urgent = world.submit(spec("[resources]\ndevice = \"cpu\"\n").tap(|s| s.priority = 5));
    let first = world.plan().remove(0);
    assert_eq!(first.job, urgent);
    world.exit_all(&first, 0);
    assert_eq!(world.plan().remove(0).job, old);
}

#[test]
fn priorities_below_nothing_go_last_and_starve_no_more_than_others() {
    for policy in Policy::ALL {
        let mut world = World::new();
        world.queue("root", |queue| {
            queue.policy = Some(policy);
            queue.patience = Some(Millis(HOUR));
            queue.notice = Some(Millis(0));
        });
        world.register(1, 1, 1, &[]);
        let brief = "[resources]\ndevice = \"cpu\"\n[schedule]\nest_duration = \"1m\"\n";
        let mut of = |priority| world.submit(spec(brief).tap(|s| s.priority = priority));
        let jobs = [i32::MIN, -1, i32::MIN + 1, 0, i32::MAX].map(&mut of);
        let order: Vec<_> = [4, 3, 1, 2, 0].map(|n: usize| jobs[n].clone()).into();
        let mut ran = Vec::new();
        for _ in 0..5 {
            let attempt = world.plan().remove(0);
            world.exit_all(&attempt, 0);
            ran.push(attempt.job);
        }
        assert_eq!(ran, order, "{policy}");
        // One that has waited too long goes first, however little it is wanted.
        let least = world.submit(spec(brief).tap(|s| s.priority = i32::MIN));
        world.now += HOUR;
        world.submit(spec(brief).tap(|s| s.priority = i32::MAX));
        assert_eq!(world.plan().remove(0).job, least, "{policy}");
    }
}

const HOUR: u64 = 3_600_000;

trait Tap: Sized {
    fn tap(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

impl Tap for trainyard_jobs::JobSpec {}

#[test]
fn a_gang_prefers_the_node_that_it_fills() {
    let mut world = World::new();
    world.register(1, 1, 4, &[]);
    world.register(2, 1, 2, &[]);
    world.submit(ranks(2));
    let attempt = world.plan().remove(0);
    assert_eq!(world.nodes_of(&attempt), [node_id(2)]);
}

#[test]
fn a_gang_starts_whole_or_not_at_all() {
    let mut world = World::new();
    world.register(1, 1, 2, &[]);
    let job = world.submit(ranks(3));
    assert!(world.plan().is_empty());
    let why = &world.planner.reasons(Timestamp(world.now))[&job][0];
    assert_eq!(why.kind, BlockerKind::TooFew);
    insta::assert_snapshot!(why.message, @"needs 3 CPU slots; there are 2 CPU slots on 1 node up");
    world.register(2, 1, 1, &[]);
    assert_eq!(world.plan().len(), 1);
}

#[test]
fn ranks_spread_when_a_node_may_take_few() {
    let mut world = World::new();
    world.register(1, 1, 4, &[]);
    world.register(2, 1, 4, &[]);
    world.submit(spec("[resources]\ngpus = 2\ndevice = \"cpu\"\nmax_ranks_per_node = 1\n"));
    let attempt = world.plan().remove(0);
    assert_eq!(world.nodes_of(&attempt).len(), 2);
}

#[test]
fn several_starts_on_one_node_apply_in_order() {
    let mut world = World::new();
    world.register(1, 1, 8, &[]);
    for _ in 0..8 {
        world.submit(ranks(1));
    }
    assert_eq!(world.plan().len(), 8, "each applies on top of the one before");
    let ports: std::collections::BTreeSet<u16> =
        world.state.live_jobs().filter_map(|j| Some(j.current()?.master_port)).collect();
    assert_eq!(ports.len(), 8, "each rank 0 has a port of its own");
}

#[test]
fn a_unit_that_cannot_be_used_is_not_handed_out() {
    let mut world = World::new();
    world.register(1, 1, 1, &[]);
    let job = world.submit(ranks(1));
    let out = BTreeMap::from([(UnitId("cpu-0".into()), "in use by a foreign process".into())]);
    world.planner.update(Delta::Unusable(node_id(1), out));
    let plan = world.planner.plan(Timestamp(world.now), WorkBudget::UNLIMITED);
    assert!(plan.starts.is_empty());
    let why = &world.planner.reasons(Timestamp(world.now))[&job];
    assert!(why.iter().any(|b| b.kind == BlockerKind::Unusable));
}

#[test]
fn a_large_job_is_not_starved_by_small_ones() {
    let mut world = World::new();
    world.queue("root", |queue| queue.policy = Some(Policy::Fifo));
    world.register(1, 1, 2, &[]);
    let small = world.submit(ranks(1));
    let running = world.plan().remove(0);
    assert_eq!(running.job, small);
    let large = world.submit(ranks(2));
    world.submit(ranks(1));
    assert_eq!(world.plan().len(), 1, "young small jobs go round it");
    world.now += PATIENCE.0;
    let late = world.submit(ranks(1));
    world.exit_all(&running, 0);
    assert!(world.plan().is_empty(), "the free slot is held for the large one");
    let reasons = world.planner.reasons(Timestamp(world.now));
    assert!(reasons[&late].iter().any(|b| b.kind == BlockerKind::Held));
    assert!(reasons.contains_key(&large));
}

#[test]
fn a_job_that_cannot_fit_at_all_holds_nothing() {
    let mut world = World::new();
    world.register(1, 1, 2, &[]);
    world.submit(ranks(3));
    world.now += PATIENCE.0;
    world.submit(ranks(1));
    assert_eq!(world.plan().len(), 1, "idle units do not wait for units that do not exist");
}

#[test]
fn an_explanation_offers_only_what_would_work() {
    let mut world = World::new();
    world.register(1, 1, 2, &[]);
    let first = world.submit(ranks(1));
    world.plan();
    let job = world.submit(ranks(2));
    let explanation = world.planner.explain(&job, Timestamp(world.now)).unwrap();
    assert_eq!(explanation.position, 1);
    assert_eq!(explanation.blockers[0].message, "needs 2 CPU slots; 1 of 2 are busy");
    let by_end = format!("it would start when job {} ends, expected in 1h", first.short());
    let fewer = "with `gpus = 1` it would start now".to_owned();
    let more = "with 1 more node like n1 (2 CPU slots) it would start now".to_owned();
    assert_eq!(explanation.suggestions, [fewer, by_end, more]);
}

#[test]
fn a_cut_budget_is_said_and_repeatable() {
    let mut world = World::new();
    world.register(1, 1, 4, &[]);
    for _ in 0..4 {
        world.submit(ranks(1));
    }
    let plan = world.planner.plan(Timestamp(world.now), WorkBudget(2));
    assert!(!plan.complete);
    assert_eq!(plan.starts.len(), 2);
    assert_eq!(plan, world.planner.plan(Timestamp(world.now), WorkBudget(2)));
}
