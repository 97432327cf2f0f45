//! Budgets of disruption: so many of a queue's units are stopped for others within an hour and no
//! more, but what one job needs is let through once an hour.

use trainyard_jobs::{JobId, JobSpec, Millis, Policy, QueueSpec, Quota, StopCause, Timestamp};

use super::super::{Plan, WorkBudget};
use crate::{
    Command,
    command::{PLACES_LEVEL, SetQueue},
    world::{World, spec},
};

const HOUR: u64 = 3_600_000;

fn world(slots: u32) -> World {
    let mut world = World::new();
    world.queue("root", |queue| {
        queue.policy = Some(Policy::Srsf);
        queue.notice = Some(Millis(0));
    });
    world.register(1, 1, slots, &[]);
    world
}

fn of(project: &str, gpus: u32, hours: u64) -> JobSpec {
    let mut spec = spec(&format!(
        "[resources]\ngpus = {gpus}\ndevice = \"cpu\"\n[checkpoint]\non_request = true\n\
         [schedule]\nest_duration = \"{hours}h\"\n"
    ));
    spec.project = project.parse().unwrap();
    spec
}

fn look(world: &mut World) -> Plan {
    let now = Timestamp(world.now);
    let plan = world.planner.plan(now, WorkBudget::UNLIMITED);
    assert_eq!(plan, world.made_anew().plan(now, WorkBudget::UNLIMITED), "as from scratch");
    plan
}

/// Plans, and lets all that is stopped exit, until nothing changes. Says whose jobs were stopped.
fn settle(world: &mut World) -> Vec<String> {
    let mut projects = Vec::new();
    for _ in 0..20 {
        let plan = look(world);
        if plan.starts.is_empty() && plan.stops.is_empty() {
            return projects;
        }
        let stopped: Vec<JobId> = plan.stops.iter().map(|stop| stop.job.clone()).collect();
        world.plan();
        for id in &stopped {
            let job = world.job(id);
            projects.push(job.spec.project.as_str().to_owned());
            let attempt = job.attempt_ref(job.current().unwrap());
            world.exit_all(&attempt, 143);
        }
    }
    panic!("a plan leads to another without end");
}

/// Long jobs of one slot everywhere, and short ones that wait.
fn crowd(world: &mut World, long: &[&str], short: &[(u32, u64)]) {
    for project in long {
        world.submit(of(project, 1, 100));
    }
    assert_eq!(world.plan().len(), long.len());
    world.now += HOUR;
    for (gpus, hours) in short {
        world.submit(of("short", *gpus, *hours));
    }
}

#[test]
fn no_more_is_stopped_in_an_hour_than_the_budget_says() {
    // Of ten, and an hour later of those that are left.
    for (percent, stops, more) in [(20, 2, 1), (50, 5, 2), (29, 2, 2), (100, 10, 0)] {
        let mut world = world(10);
        world.queue("long", |queue| queue.disruption_budget = Some(percent));
        crowd(&mut world, &["long"; 10], &[(1, 5); 10]);
        assert_eq!(settle(&mut world).len(), stops, "{percent}");
        let stopped = world.now;
        world.now += HOUR - 1;
        assert_eq!(settle(&mut world).len(), 0, "{percent}: within the hour");
        if more > 0 {
            let again = look(&mut world).again.expect("time alone changes that");
            assert!(again <= Timestamp(stopped + HOUR), "{percent}");
        }
        world.now += 1;
        assert_eq!(settle(&mut world).len(), more, "{percent}: an hour later");
    }
}

#[test]
fn without_a_budget_all_give_way_at_once() {
    let mut world = world(10);
    crowd(&mut world, &["long"; 10], &[(1, 5); 10]);
    assert_eq!(settle(&mut world).len(), 10);
}

#[test]
fn what_one_job_needs_is_let_through_once_an_hour() {
    let mut world = world(10);
    world.queue("long", |queue| queue.disruption_budget = Some(0));
    crowd(&mut world, &["long"; 10], &[(3, 1), (1, 5)]);
    assert_eq!(settle(&mut world).len(), 3, "those of one gang");
    world.now += HOUR;
    assert_eq!(settle(&mut world).len(), 1, "and an hour later of another");
}

#[test]
fn a_budget_is_about_all_queues_below() {
    for queue in ["lab", "root"] {
        let mut world = world(10);
        world.queue("lab", |_| ());
        world.queue(queue, |queue| queue.disruption_budget = Some(30));
        for project in ["a", "b"] {
            world.queue(project, |queue| queue.parent = Some("lab".parse().unwrap()));
        }
        crowd(&mut world, &["a", "b", "a", "b", "a", "b", "a", "b", "a", "b"], &[(1, 5); 10]);
        assert_eq!(settle(&mut world).len(), 3, "{queue}");
    }
}

#[test]
fn who_has_no_budget_gives_way_where_others_do_not() {
    let mut world = world(4);
    world.queue("kept", |queue| queue.disruption_budget = Some(25));
    crowd(&mut world, &["kept", "kept", "kept", "free"], &[(1, 5); 4]);
    let mut stopped = settle(&mut world);
    stopped.sort();
    assert_eq!(stopped, ["free", "kept"], "none of the others twice");
}

#[test]
fn what_is_taken_back_counts_too() {
    let mut world = world(4);
    world.queue("root", |queue| queue.policy = Some(Policy::Auto));
    world.queue("long", |queue| queue.disruption_budget = Some(50));
    world.queue("owed", |queue| {
        queue.quotas = vec![Quota { gpu_type: None, guaranteed: 4, limit: None }];
    });
    crowd(&mut world, &["long"; 4], &[]);
    for _ in 0..4 {
        world.submit(of("owed", 1, 100));
    }
    let plan = look(&mut world);
    assert!(plan.stops.iter().all(|stop| stop.why == StopCause::Reclaim));
    assert_eq!(plan.stops.len(), 2, "of four");
    settle(&mut world);
    world.now += HOUR;
    assert_eq!(settle(&mut world).len(), 1, "and of the two that are left, one");
}

#[test]
fn stops_that_are_under_way_count() {
    let mut world = world(4);
    world.queue("root", |queue| queue.notice = Some(Millis(HOUR)));
    world.queue("long", |queue| queue.disruption_budget = Some(50));
    crowd(&mut world, &["long"; 4], &[(1, 5); 4]);
    let stops = look(&mut world).stops;
    assert_eq!(stops.len(), 2);
    for stop in stops {
        world.apply(Command::Preempt(Box::new(stop.into()))).unwrap();
    }
    assert!(look(&mut world).stops.is_empty(), "two are asked to save their state");
}

#[test]
fn a_budget_and_a_highest_priority_need_level_6() {
    let level = |change: fn(&mut QueueSpec)| {
        let mut spec = QueueSpec::default();
        change(&mut spec);
        let (mutation, queue) = (World::new().mutation(), "a".parse().unwrap());
        let set = SetQueue { mutation, queue, spec: Some(spec), version: None };
        Command::SetQueue(Box::new(set)).level()
    };
    assert_eq!(level(|_| ()), 3);
    assert_eq!(level(|spec| spec.disruption_budget = Some(10)), PLACES_LEVEL);
    assert_eq!(level(|spec| spec.max_priority = Some(10)), PLACES_LEVEL);
}
