//! Quotas, shares, what is lent and taken back, and what is kept for whom.

use trainyard_jobs::{JobId, JobSpec, Millis, Policy, Quota, StopCause, Timestamp};

use super::super::{BlockerKind, PATIENCE, Plan, WorkBudget};
use crate::{
    Command, Refusal,
    world::{World, spec},
};

const HOUR: u64 = 3_600_000;

fn of(project: &str, gpus: u32, hours: u64) -> JobSpec {
    let mut spec = spec(&format!(
        "[resources]\ngpus = {gpus}\ndevice = \"cpu\"\n[checkpoint]\non_request = true\n\
         [schedule]\nest_duration = \"{hours}h\"\n"
    ));
    spec.project = project.parse().unwrap();
    spec
}

fn world(slots: u32) -> World {
    let mut world = World::new();
    world.queue("root", |queue| queue.notice = Some(Millis(0)));
    world.register(1, 1, slots, &[]);
    world
}

fn any(guaranteed: u32, limit: Option<u32>) -> Vec<Quota> {
    vec![Quota { gpu_type: None, guaranteed, limit }]
}

fn look(world: &mut World) -> Plan {
    world.planner.plan(Timestamp(world.now), WorkBudget::UNLIMITED)
}

fn running(world: &World, project: &str) -> u32 {
    let of = |job: &&crate::state::Job| job.spec.project.as_str() == project;
    let open = world.state.live_jobs().filter(of).filter_map(|job| {
        let attempt = job.current()?;
        attempt.ended.is_none().then(|| attempt.world_size())
    });
    open.sum()
}

/// Plans, and lets all that is stopped exit, until nothing changes.
fn settle(world: &mut World) {
    for _ in 0..20 {
        let plan = look(world);
        if plan.starts.is_empty() && plan.stops.is_empty() {
            return;
        }
        let stopped: Vec<JobId> = plan.stops.iter().map(|stop| stop.job.clone()).collect();
        world.plan();
        for id in stopped {
            let job = world.job(&id);
            let attempt = job.attempt_ref(job.current().unwrap());
            world.exit_all(&attempt, 143);
        }
    }
    panic!("a plan leads to another without end");
}

#[test]
fn queues_take_turns_by_what_they_have_for_their_weight() {
    let mut world = world(9);
    world.queue("a", |queue| queue.weight = Some(2));
    for project in ["a", "b"] {
        for _ in 0..9 {
            world.submit(of(project, 1, 1));
        }
    }
    world.plan();
    assert_eq!((running(&world, "a"), running(&world, "b")), (6, 3));
}

#[test]
fn what_was_used_lately_counts() {
    let mut world = world(1);
    world.submit(of("a", 1, 10));
    let attempt = world.plan().remove(0);
    world.now += 10 * HOUR;
    world.exit_all(&attempt, 0);
    world.submit(of("a", 1, 1));
    let other = world.submit(of("b", 1, 9));
    assert_eq!(world.plan()[0].job, other, "though it is longer and came later");
}

#[test]
fn a_limit_binds_however_much_is_idle() {
    let mut world = world(8);
    world.queue("lab", |queue| queue.quotas = any(0, Some(3)));
    world.queue("a", |queue| queue.parent = Some("lab".parse().unwrap()));
    for project in ["a", "a", "b"] {
        world.submit(of(project, 2, 1));
    }
    assert_eq!(world.plan().len(), 2);
    assert_eq!((running(&world, "a"), running(&world, "b")), (2, 2));
    let reasons = world.planner.reasons(Timestamp(world.now));
    let why: Vec<_> = reasons.values().flat_map(|why| why.iter()).collect();
    assert_eq!(why.iter().map(|b| b.kind).collect::<Vec<_>>(), [BlockerKind::Quota]);
    insta::assert_snapshot!(why[0].message, @"queue lab may have 3 units and has 2 in use");
}

#[test]
fn a_start_over_a_limit_is_refused_whoever_planned_it() {
    let mut world = world(8);
    let first = world.submit(of("a", 2, 1));
    world.submit(of("a", 2, 1));
    let starts = look(&mut world).starts;
    world.queue("a", |queue| queue.quotas = any(0, Some(3)));
    let mut start = |n: usize| world.apply(Command::StartAttempt(Box::new(starts[n].clone())));
    assert!(start(0).is_ok());
    assert!(matches!(start(1), Err(Refusal::Queue(_))));
    assert_eq!(running(&world, "a"), 2);
    assert_eq!(world.job(&first).attempts.len(), 1);
}

#[test]
fn a_limit_on_a_type_leaves_the_other_types() {
    let mut world = World::new();
    let mut inventory = crate::world::inventory("n1", 4);
    for (n, device) in inventory.devices.values_mut().enumerate() {
        device.model = if n < 2 { "fast".into() } else { "slow".into() };
    }
    let (node, session) = (crate::world::node_id(1), crate::world::session(1));
    let running = Default::default();
    world.apply(Command::RegisterNode { node, session, inventory, running, gone: None }).unwrap();
    world.queue("a", |queue| {
        let gpu_type = Some("fast".into());
        queue.quotas = vec![Quota { gpu_type, guaranteed: 0, limit: Some(1) }];
    });
    for _ in 0..4 {
        world.submit(of("a", 1, 1));
    }
    assert_eq!(world.plan().len(), 3, "one of the fast and both of the slow");
    world.submit(of("b", 1, 1));
    assert_eq!(world.plan().len(), 1);
}

#[test]
fn a_guarantee_is_lent_and_taken_back() {
    let mut world = world(4);
    world.queue("a", |queue| queue.quotas = any(3, None));
    for _ in 0..4 {
        world.submit(of("b", 1, 100));
    }
    assert_eq!(world.plan().len(), 4, "what is idle is lent");
    world.now += HOUR;
    for _ in 0..4 {
        world.submit(of("a", 1, 100));
    }
    let plan = look(&mut world);
    assert_eq!(plan.stops.len(), 3);
    assert!(plan.stops.iter().all(|stop| stop.why == StopCause::Reclaim));
    settle(&mut world);
    assert_eq!((running(&world, "a"), running(&world, "b")), (3, 1));
    world.now += HOUR;
    settle(&mut world);
    assert_eq!((running(&world, "a"), running(&world, "b")), (3, 1), "and stays so");
}

#[test]
fn a_fair_share_is_taken_back_too_and_no_more() {
    let mut world = world(4);
    for _ in 0..6 {
        world.submit(of("b", 1, 100));
    }
    world.plan();
    world.now += HOUR;
    for _ in 0..6 {
        world.submit(of("a", 1, 100));
    }
    settle(&mut world);
    assert_eq!((running(&world, "a"), running(&world, "b")), (2, 2));
    for _ in 0..5 {
        world.now += HOUR;
        settle(&mut world);
        assert_eq!((running(&world, "a"), running(&world, "b")), (2, 2), "no thrash");
    }
}

#[test]
fn who_loses_least_gives_back_first() {
    let mut world = world(2);
    world.queue("a", |queue| queue.quotas = any(1, None));
    let mut deaf = of("b", 1, 100);
    deaf.checkpoint.on_request = false;
    world.submit(deaf.clone());
    let saver = world.submit(deaf);
    let attempts = world.plan();
    world.now += 10 * HOUR;
    let saved = attempts.iter().find(|attempt| attempt.job == saver).unwrap();
    world.checkpoint(saved, 1).unwrap();
    world.submit(of("a", 1, 1));
    let stops: Vec<JobId> = look(&mut world).stops.into_iter().map(|stop| stop.job).collect();
    assert_eq!(stops, [saver], "its work is saved");
}

#[test]
fn a_full_queue_still_runs_its_own_shortest_first() {
    let mut world = world(4);
    world.queue("a", |queue| {
        queue.quotas = any(0, Some(2));
        queue.policy = Some(Policy::Srsf);
    });
    let long = world.submit(of("a", 2, 100));
    world.plan();
    world.now += HOUR;
    let short = world.submit(of("a", 1, 1));
    settle(&mut world);
    assert_eq!(world.phase(&long), trainyard_jobs::JobPhase::Queued);
    assert_eq!(world.phase(&short), trainyard_jobs::JobPhase::Running);
}

#[test]
fn one_policy_above_orders_all_below_as_one() {
    let mut world = world(1);
    world.queue("root", |queue| queue.policy = Some(Policy::Srsf));
    let long = world.submit(of("a", 1, 9));
    let short = world.submit(of("b", 1, 1));
    let attempt = world.plan().remove(0);
    assert_eq!(attempt.job, short);
    world.exit_all(&attempt, 0);
    assert_eq!(world.plan()[0].job, long);
}

#[test]
fn short_jobs_go_on_what_is_kept_for_a_large_one() {
    let mut world = world(4);
    world.queue("root", |queue| queue.policy = Some(Policy::Fifo));
    world.submit(of("a", 3, 10));
    let first = world.plan().remove(0);
    let large = world.submit(of("a", 4, 1));
    world.now += PATIENCE.0;
    let long = world.submit(of("a", 1, 9));
    let short = world.submit(of("a", 1, 2));
    let started: Vec<JobId> = world.plan().into_iter().map(|attempt| attempt.job).collect();
    assert_eq!(started, [short], "it is gone before the large one can start");
    let reasons = world.planner.reasons(Timestamp(world.now));
    assert!(reasons[&long].iter().any(|b| b.kind == BlockerKind::Held));
    world.exit_all(&first, 0);
    assert!(world.plan().is_empty(), "three are kept");
    assert!(world.state.job(&large).is_some());
}

#[test]
fn a_queue_cannot_be_below_itself_nor_below_nothing() {
    let mut world = world(1);
    let set = |world: &mut World, name: &str, parent: &str| {
        let spec = trainyard_jobs::QueueSpec {
            parent: Some(parent.parse().unwrap()),
            ..Default::default()
        };
        let (mutation, queue) = (world.mutation(), name.parse().unwrap());
        let set = crate::command::SetQueue { mutation, queue, spec: Some(spec), version: None };
        world.apply(Command::SetQueue(Box::new(set)))
    };
    assert!(matches!(set(&mut world, "a", "b"), Err(Refusal::Queue(_))));
    assert!(set(&mut world, "b", "root").is_ok());
    assert!(set(&mut world, "a", "b").is_ok());
    assert!(matches!(set(&mut world, "b", "a"), Err(Refusal::Queue(_))), "a circle");
    assert!(matches!(set(&mut world, "b", "b"), Err(Refusal::Queue(_))));
    assert!(matches!(set(&mut world, "root", "a"), Err(Refusal::Queue(_))));
}

#[test]
fn a_priority_above_what_a_queue_allows_is_refused_at_submit() {
    let mut world = world(1);
    world.queue("lab", |queue| queue.max_priority = Some(5));
    world.queue("a", |queue| queue.parent = Some("lab".parse().unwrap()));
    let submit = |world: &mut World, project: &str, priority: i32| {
        let mut spec = of(project, 1, 1);
        spec.priority = priority;
        world.try_submit(spec)
    };
    for priority in [i32::MIN, -1, 0, 5] {
        assert!(submit(&mut world, "a", priority).is_ok(), "{priority}");
    }
    let refused = submit(&mut world, "a", 6).unwrap_err();
    insta::assert_snapshot!(
        refused.to_string(),
        @"jobs of queue lab have a priority of 5 at most, and this one 6: write `priority = 5` or less, or submit it to another project"
    );
    assert!(submit(&mut world, "b", i32::MAX).is_ok(), "of another queue");
    world.queue("root", |queue| queue.max_priority = Some(0));
    for (project, priority, may) in [("b", 1, false), ("b", 0, true), ("a", 5, false)] {
        assert_eq!(submit(&mut world, project, priority).is_ok(), may, "{project} {priority}");
    }
}
