//! Which nodes are slow, by what their jobs say.

use super::*;
use crate::world::{World, gpus, node_id, spec};

/// Nodes of one GPU each, the lower the cheaper.
fn world(nodes: u64) -> World {
    let mut world = World::new();
    for n in 1..=nodes {
        let price = format!("{n}");
        let labels = [("usd_per_unit_hour", price.as_str())];
        world.register_node(n, gpus(&format!("n{n}"), "h100", 1, &labels));
    }
    world
}

/// An attempt runs for ten minutes and reports so many steps a minute. The first minute it is
/// slower, whichever it is.
fn run(world: &mut World, stragglers: &mut Stragglers, attempt: &AttemptRef, steps: u64) {
    for minute in 0..10_u64 {
        let done = minute.saturating_sub(1) * steps;
        let said = Progress { done, total: Some(10_000), at: Timestamp(world.now) };
        stragglers.steps(attempt, said);
        world.now += 60_000;
    }
}

/// A job fails on the first node and goes on on the second; it reports so many steps a minute
/// there and there.
fn moves(world: &mut World, stragglers: &mut Stragglers, steps: [u64; 2]) {
    let job = world.submit(spec("[resources]\ngpus = 1\n"));
    let mut nodes = Vec::new();
    for steps in steps {
        let attempt = world.plan().remove(0);
        assert_eq!(attempt.job, job);
        nodes.extend(world.nodes_of(&attempt));
        run(world, stragglers, &attempt, steps);
        stragglers.judge(&world.state, Timestamp(world.now));
        world.exit_all(&attempt, 1);
        world.now += 10_000;
    }
    assert_eq!(nodes, [node_id(1), node_id(2)]);
    world.cancel(&job);
}

#[test]
fn a_node_where_jobs_make_fewer_steps_than_elsewhere_is_slow() {
    let (mut world, mut stragglers) = (world(2), Stragglers::default());
    moves(&mut world, &mut stragglers, [60, 100]);
    assert_eq!(stragglers.slowness(&node_id(1)), None, "one job may have reasons of its own");
    moves(&mut world, &mut stragglers, [62, 100]);
    let slow = stragglers.slowness(&node_id(1)).unwrap();
    insta::assert_snapshot!(slow, @"2 jobs reached 62 % here of their pace elsewhere");
    assert_eq!(stragglers.slowness(&node_id(2)), None);
    world.now += 20 * 3_600_000;
    assert_eq!(stragglers.judge(&world.state, Timestamp(world.now)), [], "for a while");
    world.now += 10 * 3_600_000;
    assert_eq!(stragglers.judge(&world.state, Timestamp(world.now)), [node_id(1)], "forgotten");
    assert_eq!(stragglers.slowness(&node_id(1)), None);
}

#[test]
fn what_jobs_differ_by_themselves_is_no_slowness() {
    let (mut world, mut stragglers) = (world(2), Stragglers::default());
    for steps in [[90, 100], [95, 100], [100, 98]] {
        moves(&mut world, &mut stragglers, steps);
    }
    assert_eq!(stragglers.slowness(&node_id(1)), None, "a little");
    let mut stragglers = Stragglers::default();
    for steps in [[60, 100], [100, 60], [100, 55], [70, 100], [100, 90]] {
        moves(&mut world, &mut stragglers, steps);
    }
    assert!(stragglers.slow.is_empty(), "much, but now the one and now the other");
}

#[test]
fn attempts_on_another_type_are_not_compared() {
    let mut world = world(1);
    world.register_node(2, gpus("n2", "b200", 1, &[("usd_per_unit_hour", "2")]));
    let mut stragglers = Stragglers::default();
    for _ in 0..3 {
        moves(&mut world, &mut stragglers, [50, 100]);
    }
    assert!(stragglers.slow.is_empty());
}

/// A gang runs on all nodes; each is so busy, the first first.
fn gang(world: &mut World, stragglers: &mut Stragglers, busy: &[u32]) {
    let job = world.submit(spec(&format!("[resources]\ngpus = {}\n", busy.len())));
    let attempt = world.plan().remove(0);
    for _ in 0..FIGURES {
        for (n, percent) in (1..).zip(busy) {
            stragglers.busy(&attempt, &node_id(n), *percent);
        }
    }
    stragglers.judge(&world.state, Timestamp(world.now));
    world.now += 600_000;
    world.cancel(&job);
    world.exit_all(&attempt, 1);
}

#[test]
fn a_node_for_which_its_gangs_wait_is_slow() {
    let (mut world, mut stragglers) = (world(3), Stragglers::default());
    gang(&mut world, &mut stragglers, &[60, 95, 97]);
    assert!(stragglers.slow.is_empty(), "rank 0 may have more to do than others");
    gang(&mut world, &mut stragglers, &[65, 99, 95]);
    let slow = stragglers.slow.keys().collect::<Vec<_>>();
    assert_eq!(slow, [&node_id(1)]);
    let mut idle = Stragglers::default();
    for _ in 0..3 {
        gang(&mut world, &mut idle, &[0, 30, 30]);
    }
    assert!(idle.slow.is_empty(), "those that do little themselves are no measure");
}

#[test]
fn numbers_beyond_all_measure_are_borne() {
    let (mut world, mut stragglers) = (world(2), Stragglers::default());
    for steps in [[u64::MAX / 20, 1], [1, u64::MAX / 20], [0, 0]] {
        moves(&mut world, &mut stragglers, steps);
    }
    let job = world.submit(spec("[resources]\ngpus = 1\n"));
    let attempt = world.plan().remove(0);
    for (done, at) in [(5, 100), (3, 200), (9, u64::MAX), (u64::MAX, 0)] {
        let said = Progress { done, total: None, at: Timestamp(at) };
        stragglers.steps(&attempt, said);
    }
    stragglers.judge(&world.state, Timestamp(world.now));
    world.cancel(&job);
    world.exit_all(&attempt, 1);
    stragglers.judge(&world.state, Timestamp(world.now));
    assert!(stragglers.runs.is_empty(), "of jobs that have ended nothing is measured");
}
