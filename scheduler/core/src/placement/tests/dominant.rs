//! Processors and memory that jobs ask for are shares of the cluster as well as units are, those in
//! use and those that were used lately.

use trainyard_jobs::{JobSpec, Millis, Timestamp};

use super::super::{Plan, WorkBudget};
use crate::{
    codec,
    command::PLACES_LEVEL,
    state::Usage,
    world::{World, hosted, inventory, spec},
};

const HOUR: u64 = 3_600_000;

/// A node of so many slots, processors and GiB.
fn world(slots: u32, cpus: u32, gib: u64) -> World {
    let mut world = World::new();
    world.queue("root", |queue| queue.notice = Some(Millis(0)));
    world.register_node(1, hosted(inventory("n1", slots), cpus, gib));
    world
}

/// A job of one slot, with that beside it.
fn of(project: &str, beside: &str, hours: u64) -> JobSpec {
    let mut spec = spec(&format!(
        "[resources]\ndevice = \"cpu\"\n{beside}\n[checkpoint]\non_request = true\n\
         [schedule]\nest_duration = \"{hours}h\"\n"
    ));
    spec.project = project.parse().unwrap();
    spec
}

fn look(world: &mut World) -> Plan {
    world.planner.plan(Timestamp(world.now), WorkBudget::UNLIMITED)
}

fn running(world: &World, project: &str) -> usize {
    let of = |job: &&crate::state::Job| job.spec.project.as_str() == project;
    let runs = |job: &crate::state::Job| job.current().is_some_and(|a| a.ended.is_none());
    world.state.live_jobs().filter(of).filter(|job| runs(job)).count()
}

#[test]
fn who_takes_more_of_anything_has_fewer_turns() {
    for (beside, ran) in [
        ("", (4, 4)),
        ("cpus_per_rank = 4", (3, 5)),
        ("memory_per_rank = \"4GiB\"", (3, 5)),
        ("cpus_per_rank = 1\nmemory_per_rank = \"4GiB\"", (3, 5)),
        ("cpus_per_rank = 2", (4, 4)),
    ] {
        // A slot is an eighth of all, and so are two processors or two GiB.
        let mut world = world(8, 16, 16);
        for _ in 0..8 {
            world.submit(of("a", beside, 1));
            world.submit(of("b", "", 1));
        }
        world.plan();
        assert_eq!((running(&world, "a"), running(&world, "b")), ran, "{beside}");
    }
}

#[test]
fn what_was_taken_beside_units_lately_counts() {
    for (level, first) in [(PLACES_LEVEL, "b"), (PLACES_LEVEL - 1, "a")] {
        let mut world = world(2, 8, 16);
        world.state.feature_level = level;
        world.submit(of("a", "cpus_per_rank = 8", 10));
        world.submit(of("b", "", 10));
        let attempts = world.plan();
        assert_eq!(attempts.len(), 2);
        world.now += 10 * HOUR;
        for attempt in &attempts {
            world.exit_all(attempt, 0);
        }
        world.submit(of("c", "", 10));
        assert_eq!(world.plan().len(), 1);
        for project in ["a", "b"] {
            world.submit(of(project, "", 1));
        }
        let started = world.plan().remove(0).job;
        assert_eq!(world.job(&started).spec.project.as_str(), first, "at level {level}");
    }
}

#[test]
fn use_is_counted_and_halves_in_the_state() {
    let mut world = world(2, 8, 16);
    world.queue("a", |queue| queue.half_life = Some(Millis(HOUR)));
    let project = "a".parse().unwrap();
    let run = |world: &mut World| {
        world.submit(of("a", "cpus_per_rank = 3\nmemory_per_rank = \"2GiB\"", 1));
        let attempt = world.plan().remove(0);
        world.now += HOUR;
        world.exit_all(&attempt, 0);
        world.state.usage()[&project]
    };
    let first = run(&mut world);
    let at = Timestamp(world.now);
    assert_eq!(first, Usage { unit_ms: HOUR, at, cpu_ms: 3 * HOUR, memory_ms: 2048 * HOUR });
    let second = run(&mut world);
    assert_eq!(second.unit_ms, HOUR + HOUR / 2, "half of what was an hour ago");
    assert_eq!((second.cpu_ms, second.memory_ms), (3 * second.unit_ms, 2048 * second.unit_ms));
    let restored = codec::restore(&codec::snapshot(&world.state)).unwrap();
    assert_eq!(restored, world.state);
}

#[test]
fn a_queue_takes_no_units_back_with_which_it_would_have_too_much_else() {
    for (beside, stops) in [("", 1), ("cpus_per_rank = 1", 0)] {
        let mut world = world(4, 4, 16);
        world.submit(of("a", "cpus_per_rank = 2", 100));
        for _ in 0..3 {
            world.submit(of("b", "", 100));
        }
        assert_eq!(world.plan().len(), 4);
        world.now += HOUR;
        world.submit(of("a", beside, 100));
        assert_eq!(look(&mut world).stops.len(), stops, "{beside}: half of the CPUs is its share");
    }
}
