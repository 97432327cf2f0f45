//! What units cost and what time is worth: who waits for cheaper ones, who moves to them, and for
//! how long.

use trainyard_jobs::{JobId, Millis, Policy, ProjectName, QueueSpec, StopCause, Timestamp};

use super::super::{BlockerKind, Plan, WorkBudget};
use crate::{
    Command,
    command::{PLACES_LEVEL, SetQueue},
    world::{World, gpus, node_id, spec},
};

const MINUTE: u64 = 60_000;

/// One GPU a node, at such prices.
fn world(prices: &[&str]) -> World {
    let mut world = World::new();
    world.queue("root", |queue| queue.notice = Some(Millis(MINUTE)));
    for (n, price) in (1..).zip(prices) {
        offer(&mut world, n, "h100", price);
    }
    world
}

fn offer(world: &mut World, n: u64, model: &str, price: &str) {
    let labels = [("usd_per_unit_hour", price)];
    world.register_node(n, gpus(&format!("n{n}"), model, 1, &labels));
}

fn submit(world: &mut World, seconds: u64, more: &str) -> JobId {
    let text = format!(
        "[resources]\ngpus = 1\n{more}\n[checkpoint]\non_request = true\n\
         [schedule]\nest_duration = \"{seconds}s\"\n"
    );
    world.submit(spec(&text))
}

fn hours(world: &mut World, hours: u64) -> JobId {
    submit(world, hours * 3600, "")
}

fn look(world: &mut World) -> Plan {
    world.planner.plan(Timestamp(world.now), WorkBudget::UNLIMITED)
}

/// A cheap unit is busy for an hour, a dear one is idle.
fn dear_is_idle(change: impl FnOnce(&mut QueueSpec)) -> World {
    let mut world = world(&["1", "9"]);
    world.queue("root", change);
    let first = hours(&mut world, 1);
    let attempt = world.plan().remove(0);
    assert_eq!((&attempt.job, world.nodes_of(&attempt)), (&first, vec![node_id(1)]));
    world
}

#[test]
fn a_job_waits_for_cheaper_units_as_long_as_that_pays() {
    let mut world = dear_is_idle(|_| ());
    // Ten hours cost 80 dollars less an hour later, and an hour is worth two.
    let long = hours(&mut world, 10);
    let plan = look(&mut world);
    assert_eq!((plan.starts.len(), plan.stops.len()), (0, 0));
    assert_eq!(plan.again, Some(Timestamp(world.now + 60 * MINUTE)));
    let why = world.planner.reasons(Timestamp(world.now))[&long].to_vec();
    assert_eq!((why.len(), why[0].kind), (1, BlockerKind::Cheaper));
    insta::assert_snapshot!(
        why[0].message,
        @"waits for cheaper h100: about $10.00 instead of $90.00 in all, expected in 1h"
    );
    // Who has little to do does not wait for so long, and has the dear one.
    let short = submit(&mut world, 720, "");
    let started = world.plan();
    assert_eq!((started.len(), &started[0].job), (1, &short));
    assert_eq!(world.nodes_of(&started[0]), [node_id(2)]);
    let cheap = world.state.node(&node_id(1)).unwrap().owners.values().next().unwrap().clone();
    world.exit_all(&cheap, 0);
    let started = world.plan();
    assert_eq!((&started[0].job, world.nodes_of(&started[0])), (&long, vec![node_id(1)]));
}

#[test]
fn nobody_waits_for_a_cheaper_unit_that_others_before_it_wait_for() {
    let mut world = dear_is_idle(|_| ());
    let first = hours(&mut world, 10);
    let second = hours(&mut world, 10);
    let plan = look(&mut world);
    assert_eq!(plan.starts.iter().map(|start| &start.job).collect::<Vec<_>>(), [&second]);
    assert!(world.planner.reasons(Timestamp(world.now)).contains_key(&first));
}

#[test]
fn who_waits_for_cheaper_units_does_not_wait_without_end() {
    let mut world = dear_is_idle(|_| ());
    let long = hours(&mut world, 10);
    let begin = world.now;
    for minutes in [0, 30, 59] {
        world.now = begin + minutes * MINUTE;
        assert_eq!(look(&mut world).starts, [], "after {minutes} minutes");
    }
    // What runs goes on, and is now expected to run for as long again and again: that ends once
    // the wait as a whole is worth no more than it saves.
    let hours = (1..).find(|hours| {
        world.now = begin + hours * 60 * MINUTE;
        look(&mut world).starts.iter().any(|start| start.job == long)
    });
    assert!(hours.is_some_and(|hours| (2..=20).contains(&hours)), "{hours:?}");
    let mut world = dear_is_idle(|queue| queue.patience = Some(Millis(50 * MINUTE)));
    self::hours(&mut world, 10);
    assert_eq!(look(&mut world).starts.len(), 1, "nobody waits for longer than is patient");
}

#[test]
fn what_time_is_worth_is_the_queues_to_say() {
    let starts = |change: fn(&mut QueueSpec)| {
        let mut world = dear_is_idle(change);
        hours(&mut world, 10);
        look(&mut world).starts.len()
    };
    assert_eq!(starts(|_| ()), 0);
    assert_eq!(starts(|queue| queue.value_per_hour = "39".parse().ok()), 0);
    assert_eq!(starts(|queue| queue.value_per_hour = "41".parse().ok()), 1);
    assert_eq!(starts(|queue| queue.policy = Some(Policy::Fifo)), 1, "who came first goes first");
}

#[test]
fn nobody_waits_where_prices_are_equal_or_not_known() {
    for prices in [["3", "3"], ["?", "?"]] {
        let mut world = world(&prices);
        hours(&mut world, 1);
        world.plan();
        hours(&mut world, 10);
        assert_eq!(look(&mut world).starts.len(), 1, "{prices:?}");
    }
}

#[test]
fn a_queues_value_is_inherited_and_needs_level_6() {
    let mut world = World::new();
    world.queue("root", |queue| queue.value_per_hour = "5".parse().ok());
    world.queue("lab", |_| ());
    world.queue("dear", |queue| {
        queue.parent = "lab".parse().ok();
        queue.value_per_hour = "7.5".parse().ok();
    });
    let queues = world.state.queues().iter().map(|(name, q)| (name.clone(), q.spec.clone()));
    let queues = queues.collect();
    let value = |name: &str| {
        let name: ProjectName = name.parse().unwrap();
        super::super::order::Settings::of(&queues, &name).value.0
    };
    assert_eq!([value("lab"), value("dear"), value("root")], [5_000_000, 7_500_000, 5_000_000]);
    let mut level = |text: &str| {
        let spec = QueueSpec { value_per_hour: text.parse().ok(), ..QueueSpec::default() };
        let (mutation, queue) = (world.mutation(), "root".parse().unwrap());
        let set = SetQueue { mutation, queue, spec: Some(spec), version: None };
        Command::SetQueue(Box::new(set)).level()
    };
    assert_eq!([level("nothing"), level("1")], [3, PLACES_LEVEL]);
}

/// A job has the only unit for ten minutes; then another comes.
fn moves(price: &str, model: &str, seconds: u64, more: &str) -> (World, Plan) {
    let mut world = world(&["9"]);
    let job = submit(&mut world, seconds, more);
    let attempt = world.plan().remove(0);
    world.started(&attempt);
    world.now += 10 * MINUTE;
    offer(&mut world, 2, model, price);
    let plan = look(&mut world);
    assert!(plan.stops.iter().all(|stop| stop.job == job && stop.why == StopCause::Migration));
    (world, plan)
}

#[test]
fn a_job_moves_to_a_cheaper_idle_unit_and_goes_on_there() {
    let (mut world, plan) = moves("1", "h100", 36_000, "");
    assert_eq!(plan.stops.len(), 1);
    let kept = plan.stops[0].goes_on.clone().unwrap();
    assert_eq!((kept.units[0].0.clone(), kept.for_job), (node_id(2), None));
    let job = plan.stops[0].job.clone();
    let attempt = world.state.node(&node_id(1)).unwrap().owners.values().next().unwrap().clone();
    world.plan();
    assert!(look(&mut world).stops.is_empty(), "it is asked once");
    world.checkpoint(&attempt, 3).unwrap();
    world.exit_all(&attempt, 143);
    let started = world.plan();
    assert_eq!((&started[0].job, world.nodes_of(&started[0])), (&job, vec![node_id(2)]));
    world.now += 60 * MINUTE;
    assert!(look(&mut world).stops.is_empty(), "and stays there");
}

#[test]
fn nobody_moves_for_less_than_a_restart_is_worth() {
    let stops = |price, model, seconds, more| moves(price, model, seconds, more).1.stops.len();
    assert_eq!(stops("1", "h100", 630, ""), 0, "half a minute is left");
    assert_eq!(stops("9", "h100", 36_000, ""), 0, "no cheaper");
    assert_eq!(stops("9", "b200", 36_000, "speed = { b200 = 3 }"), 1, "faster");
    assert_eq!(stops("40", "b200", 36_000, "speed = { b200 = 3 }"), 0, "and too dear");
    let (mut world, _) = moves("1", "h100", 36_000, "");
    submit(&mut world, 36_000, "");
    assert_eq!(look(&mut world).stops.len(), 0, "somebody waits for it");
}

#[test]
fn a_job_that_does_not_listen_or_has_just_begun_stays() {
    let mut world = world(&["9"]);
    let text = "[resources]\ngpus = 1\n[schedule]\nest_duration = \"10h\"\n";
    world.submit(spec(text));
    world.plan();
    world.now += 10 * MINUTE;
    offer(&mut world, 2, "h100", "1");
    assert_eq!(look(&mut world).stops, []);
    let mut world = self::world(&["9"]);
    hours(&mut world, 10);
    world.plan();
    offer(&mut world, 2, "h100", "1");
    let plan = look(&mut world);
    assert_eq!((plan.stops.len(), plan.again), (0, Some(Timestamp(world.now + 2 * MINUTE))));
}
