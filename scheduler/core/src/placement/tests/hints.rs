//! What jobs and nodes say of themselves, and when it is passed over.

use trainyard_jobs::{JobId, NodeId};

use super::*;
use crate::placement::{Condition, Progress};

/// A job that runs alone on the only slot, and one that waits for it.
fn stage() -> (World, JobId, JobId) {
    let mut world = World::new();
    world.register(1, 1, 1, &[]);
    let runs = world.submit(ranks(1));
    world.plan();
    let waits = world.submit(ranks(1));
    (world, runs, waits)
}

/// When the running job is expected to end, as the one that waits is told.
fn expected(world: &mut World, waits: &JobId) -> String {
    let explanation = world.planner.explain(waits, Timestamp(world.now)).unwrap();
    let text = explanation.suggestions.iter().find_map(|text| text.split_once("expected in "));
    text.expect("it waits for the other to end").1.to_owned()
}

fn say(world: &mut World, job: &JobId, done: u64, total: Option<u64>, at: u64) {
    let progress = Progress { done, total, at: Timestamp(at) };
    world.planner.update(Delta::Progress(job.clone(), progress));
}

#[test]
fn progress_older_than_its_attempt_is_not_its_own() {
    let (mut world, runs, waits) = stage();
    let begun = world.now;
    let unknown = expected(&mut world, &waits);
    world.now += 600_000;
    say(&mut world, &runs, 90, Some(100), begun - 1);
    assert_eq!(expected(&mut world, &waits), unknown, "of the attempt before, late");
    say(&mut world, &runs, 50, Some(100), begun + 600_000);
    assert_eq!(expected(&mut world, &waits), "10m");
    say(&mut world, &runs, 90, Some(100), begun - 1);
    assert_eq!(expected(&mut world, &waits), "10m");
}

#[test]
fn progress_that_makes_no_sense_tells_nothing() {
    let (mut world, runs, waits) = stage();
    world.now += 600_000;
    let now = world.now;
    let unknown = expected(&mut world, &waits);
    for (done, total) in
        [(0, Some(0)), (0, Some(100)), (7, Some(3)), (u64::MAX, Some(1)), (5, None)]
    {
        say(&mut world, &runs, done, total, now);
        assert_eq!(expected(&mut world, &waits), unknown, "{done} of {total:?}");
    }
    for (done, total) in [(1, u64::MAX), (u64::MAX, u64::MAX), (u64::MAX - 1, u64::MAX)] {
        say(&mut world, &runs, done, Some(total), now);
        assert!(world.planner.explain(&waits, Timestamp(now)).is_some(), "{done} of {total}");
    }
    say(&mut world, &runs, 50, Some(100), u64::MAX);
    assert!(world.planner.explain(&waits, Timestamp(now)).is_some(), "of the end of time");
    let stranger = JobId::from_random(77);
    say(&mut world, &stranger, 50, Some(100), now);
    assert_eq!(world.planner, crate::Planner::of(&world.state), "of a job that nobody knows");
}

#[test]
fn what_is_said_of_a_node_is_taken_back() {
    let mut world = World::new();
    world.register(1, 1, 1, &[]);
    world.register(2, 1, 1, &[]);
    world.submit(ranks(1));
    let mut place = |condition: &Condition| {
        let known = |n| Delta::Condition(node_id(n), condition.clone());
        world.planner.update(known(1));
        let plan = world.planner.plan(Timestamp(world.now), WorkBudget::UNLIMITED);
        plan.starts[0].placements[0].node.clone()
    };
    let (first, second): (NodeId, NodeId) = (node_id(1), node_id(2));
    let usual = place(&Condition::default());
    let (n, other) = if usual == first { (1, second) } else { (2, first) };
    assert_eq!(n, 1, "the first is as good as the second");
    assert_eq!(place(&Condition { doubted: true, ..Condition::default() }), other);
    assert_eq!(place(&Condition::default()), usual);
    let strained = [UnitId("cpu-0".into())].into();
    assert_eq!(place(&Condition { strained, ..Condition::default() }), other);
    assert_eq!(place(&Condition::default()), usual);
}
