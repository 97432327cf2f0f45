//! Which nodes are doubted, and for what not.

use std::collections::BTreeMap;

use trainyard_jobs::AttemptRef;

use super::*;
use crate::{
    Delta, Planner,
    placement::{Condition, WorkBudget},
    world::{World, gpus, node_id, spec},
};

/// Two nodes for two jobs each. The first is the cheaper one: who may choose takes it.
fn world() -> World {
    let mut world = World::new();
    let price = |usd| [("usd_per_unit_hour", usd)];
    world.register_node(1, gpus("n1", "h100", 2, &price("1")));
    world.register_node(2, gpus("n2", "h100", 2, &price("1.1")));
    world
}

fn start(world: &mut World) -> AttemptRef {
    world.submit(spec("[resources]\ngpus = 1\n[limits]\nmax_restarts = 3\n"));
    world.plan().remove(0)
}

/// Runs a job on the node where it is placed for a while; it ends with `code` and is not tried
/// again. Gives the node.
fn run(world: &mut World, lemons: &mut Lemons, code: i32) -> NodeId {
    let attempt = start(world);
    let node = world.nodes_of(&attempt).remove(0);
    world.now += 300_000;
    world.exit_all(&attempt, code);
    close(world, lemons, &attempt);
    node
}

/// The job is not tried again.
fn close(world: &mut World, lemons: &mut Lemons, attempt: &AttemptRef) {
    if !world.phase(&attempt.job).is_final() {
        world.cancel(&attempt.job);
    }
    lemons.learn(world.job(&attempt.job));
}

/// Where the next job is placed by a planner that is told what is known.
fn next(world: &World, lemons: &Lemons) -> NodeId {
    let mut planner = Planner::of(&world.state);
    for n in [1, 2] {
        let doubted = lemons.doubt(&node_id(n)).is_some();
        let condition = Condition { doubted, ..Condition::default() };
        planner.update(Delta::Condition(node_id(n), condition));
    }
    let plan = planner.plan(Timestamp(world.now), WorkBudget::UNLIMITED);
    plan.starts[0].placements[0].node.clone()
}

/// The first node fails every job, the second none, until the first is doubted. Gives how many
/// jobs it had.
fn spoil(world: &mut World, lemons: &mut Lemons) -> usize {
    for round in 0..20 {
        if lemons.judge(Timestamp(world.now)) == [node_id(1)] {
            return round;
        }
        assert_eq!(run(world, lemons, 1), node_id(1));
        // A job on each keeps the first busy, so that the second is tried as well.
        let other = (start(world), start(world), start(world));
        let elsewhere = world.nodes_of(&other.2).remove(0);
        assert_eq!(elsewhere, node_id(2));
        world.now += 300_000;
        for attempt in [other.0, other.1, other.2] {
            let code = i32::from(world.nodes_of(&attempt) == [node_id(1)]);
            world.exit_all(&attempt, code);
            close(world, lemons, &attempt);
        }
    }
    panic!("never doubted");
}

#[test]
fn a_node_where_jobs_keep_failing_is_used_last_until_that_is_forgotten() {
    let (mut world, mut lemons) = (world(), Lemons::default());
    let rounds = spoil(&mut world, &mut lemons);
    assert!((2..=4).contains(&rounds), "it takes several jobs, and not many: {rounds}");
    let doubt = lemons.doubt(&node_id(1)).unwrap();
    insta::assert_snapshot!(doubt, @"12 of 12 jobs failed here lately, and few elsewhere");
    assert_eq!(lemons.doubt(&node_id(2)), None);
    let job = world.submit(spec("[resources]\ngpus = 1\n"));
    assert_eq!(next(&world, &lemons), node_id(2), "the dearer one");
    world.now += 600_000;
    assert_eq!(lemons.judge(Timestamp(world.now)), [], "once doubted it stays so for a while");
    assert_eq!(lemons, Lemons::of(&world.state), "a new leader comes to the same");
    world.now += 24 * 3_600_000;
    assert_eq!(lemons.judge(Timestamp(world.now)), [node_id(1)]);
    assert_eq!(next(&world, &lemons), node_id(1));
    world.cancel(&job);
}

#[test]
fn one_job_that_keeps_failing_says_nothing_of_its_node() {
    let (mut world, mut lemons) = (world(), Lemons::default());
    for _ in 0..3 {
        let well: Vec<_> = (0..4).map(|_| start(&mut world)).collect();
        world.now += 300_000;
        for attempt in well {
            world.exit_all(&attempt, 0);
            lemons.learn(world.job(&attempt.job));
        }
    }
    // The other node stays full: it is tried on the first alone.
    let (mut attempt, _full) = (start(&mut world), [0; 3].map(|_| start(&mut world)));
    for _ in 0..3 {
        world.now += 700_000;
        world.exit_all(&attempt, 1);
        lemons.learn(world.job(&attempt.job));
        assert_eq!(lemons.judge(Timestamp(world.now)), []);
        world.now += 700_000;
        attempt = world.plan().remove(0);
        assert_eq!(world.nodes_of(&attempt), [node_id(1)]);
    }
}

#[test]
fn what_fails_everywhere_doubts_nobody() {
    let (mut world, mut lemons) = (world(), Lemons::default());
    for _ in 0..20 {
        // The second attempt keeps off the first's node, and fails there too.
        let first = start(&mut world);
        let mut nodes = world.nodes_of(&first);
        world.now += 300_000;
        world.exit_all(&first, 1);
        world.now += 300_000;
        let second = world.plan().remove(0);
        nodes.extend(world.nodes_of(&second));
        assert_eq!(nodes, [node_id(1), node_id(2)]);
        world.exit_all(&second, 1);
        close(&mut world, &mut lemons, &first);
        assert_eq!(lemons.judge(Timestamp(world.now)), []);
    }
}

#[test]
fn without_anything_to_compare_with_nobody_is_doubted() {
    let mut world = World::new();
    world.register_node(1, gpus("n1", "h100", 2, &[]));
    let mut lemons = Lemons::default();
    for _ in 0..20 {
        run(&mut world, &mut lemons, 1);
        assert_eq!(lemons.judge(Timestamp(world.now)), [], "it is the only one");
    }
}

#[test]
fn a_node_that_is_lost_with_many_jobs_failed_once() {
    let mut world = World::new();
    world.register_node(1, gpus("n1", "h100", 8, &[]));
    world.register_node(2, gpus("n2", "h100", 8, &[]));
    let mut lemons = Lemons::default();
    let attempts: Vec<_> = (0..16).map(|_| start(&mut world)).collect();
    world.now += 3_600_000;
    world.lose(1).unwrap();
    for attempt in attempts {
        if world.nodes_of(&attempt) == [node_id(2)] {
            world.exit_all(&attempt, 0);
        }
        lemons.learn(world.job(&attempt.job));
    }
    assert_eq!(lemons.judge(Timestamp(world.now)), []);
    let tally = lemons.tallies(Timestamp(world.now)).remove(&node_id(1)).unwrap();
    let sum = tally.sum();
    assert_eq!((sum.incidents, sum.failed, sum.doubt.failed), (1, WHOLE, 8));
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut lemons = Lemons::default();
    let nodes: BTreeMap<_, _> = (0..10).map(|n| (node_id(n), Timestamp(0))).collect();
    for n in 0..20_000_u64 {
        let well = nodes.clone();
        let record = Record { at: Timestamp(n), failed: BTreeMap::new(), well };
        lemons.entries += record.len();
        lemons.records.insert(JobId::from_random(n), record);
    }
    lemons.news = true;
    lemons.judge(Timestamp(20_000));
    assert_eq!((lemons.records.len(), lemons.entries), (4000, ENTRIES));
    let youngest = lemons.records.values().map(|record| record.at).min();
    assert_eq!(youngest, Some(Timestamp(16_000)), "the oldest went");
}
