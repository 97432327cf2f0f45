//! Jobs that run faster on some types than on others: where they go, and how long they are expected
//! to take there.

use trainyard_jobs::{JobId, Millis, Policy, StopCause, Timestamp, spec::Speed};

use super::{
    super::{Delta, Progress, WorkBudget},
    Tap as _,
};
use crate::world::{World, gpus, spec};

const HOUR: u64 = 3_600_000;

/// A job that runs three times as fast on an h100 as on a v100.
const FAST: &str = "[resources]\nspeed = { h100 = 3, v100 = 1 }\n";

/// A node of each type, with so many GPUs, the h100s at twice the v100s' price.
fn world(h100: u32, v100: u32) -> World {
    let mut world = World::new();
    world.queue("root", |queue| {
        queue.notice = Some(Millis(0));
        queue.policy = Some(Policy::Fifo);
    });
    for (n, model, count, price) in [(1, "h100", h100, "6"), (2, "v100", v100, "2")] {
        let price = ("usd_per_unit_hour", price);
        world.register_node(n, gpus(&format!("n{n}"), model, count, &[price]));
    }
    world
}

fn models(world: &World, job: &JobId) -> Vec<String> {
    let attempt = world.job(job).current();
    attempt.into_iter().flat_map(|attempt| attempt.gpu_types.keys().cloned()).collect()
}

/// When the planner expects a running job to end, in hours.
fn left(world: &World, job: &JobId) -> f64 {
    let running = world.planner.running().get(job).expect("runs");
    let left = world.planner.end_of(running, Timestamp(world.now)).since(Timestamp(world.now));
    f64::from(u32::try_from(left.0).unwrap()) / 3_600_000.0
}

#[test]
fn a_job_goes_where_its_work_costs_least() {
    let mut world = world(4, 4);
    // An hour's work costs (6 + 2) / 3 dollars on an h100 for the one, and 8 for the other, where
    // 2 dollars are what the unit is worth beside its price.
    let fast = world.submit(spec(FAST));
    let slow = world.submit(spec("[resources]\nspeed = { h100 = 1.5 }\n"));
    let plain = world.submit(spec("[resources]\ngpus = 1\n"));
    world.plan();
    assert_eq!(models(&world, &fast), ["h100"]);
    assert_eq!(models(&world, &slow), ["v100"]);
    assert_eq!(models(&world, &plain), ["v100"]);
}

#[test]
fn a_job_rather_runs_slowly_than_waits() {
    let mut world = world(1, 1);
    let jobs = [world.submit(spec(FAST)), world.submit(spec(FAST))];
    assert_eq!(world.plan().len(), 2);
    assert_eq!(jobs.map(|job| models(&world, &job)), [["h100"], ["v100"]]);
}

#[test]
fn an_estimate_is_for_speed_one() {
    let mut world = world(1, 1);
    let text = format!("{FAST}[schedule]\nest_duration = \"6h\"\n");
    let (fast, slow) = (world.submit(spec(&text)), world.submit(spec(&text)));
    world.plan();
    assert_eq!((left(&world, &fast), left(&world, &slow)), (2.0, 6.0));
}

#[test]
fn what_a_job_said_on_one_type_holds_on_another_at_its_pace() {
    let mut world = world(1, 1);
    let first = world.submit(spec(FAST));
    let job = world.submit(spec(FAST));
    let running = world.plan();
    world.now += HOUR;
    let says = |world: &mut World, done| {
        let progress = Progress { done, total: Some(100), at: Timestamp(world.now) };
        world.planner.update(Delta::Progress(job.clone(), progress));
    };
    says(&mut world, 25);
    assert_eq!(left(&world, &job), 3.0);
    // The h100 is free, and the job starts again there.
    world.exit_all(&running[0], 0);
    assert_eq!(running[0].job, first);
    world.exit_all(&running[1], 1);
    world.now += HOUR;
    world.plan();
    assert_eq!(models(&world, &job), ["h100"]);
    // A minute of its hour was lost to the restart that the planner counts.
    assert!((left(&world, &job) - 1.0).abs() < 0.03, "{}", left(&world, &job));
    world.now += HOUR / 2;
    says(&mut world, 62);
    assert!((left(&world, &job) - 0.5).abs() < 0.03, "{}", left(&world, &job));
}

#[test]
fn an_elastic_job_grows_only_if_more_ranks_are_faster() {
    let grows = |speeds: &str| {
        let mut world = world(2, 0);
        let text = "[checkpoint]\non_request = true\n[schedule]\nest_duration = \"30h\"\n";
        let job = format!("[resources]\ngpus = 4\nmin_gpus = 2\nspeed = {speeds}\n{text}");
        let job = world.submit(spec(&job));
        world.plan();
        assert_eq!(models(&world, &job), ["h100"]);
        world.register_node(3, gpus("n3", "v100", 2, &[]));
        world.now += HOUR;
        let plan = world.planner.plan(Timestamp(world.now), WorkBudget::UNLIMITED);
        plan.stops.iter().any(|stop| stop.why == StopCause::Resize)
    };
    assert!(grows("{ h100 = 1.5 }"), "four at 1 are faster than two at 1.5");
    assert!(!grows("{ h100 = 3 }"));
}

#[test]
fn an_attempt_knows_its_gpus() {
    let mut world = world(2, 2);
    let job = world.submit(spec("[resources]\ngpus = 4\nspeed = { h100 = 3 }\n"));
    world.plan();
    let attempt = world.job(&job).current().unwrap();
    assert_eq!(
        attempt.gpu_types.iter().map(|(t, n)| (t.as_str(), *n)).collect::<Vec<_>>(),
        [("h100", 2), ("v100", 2)]
    );
    assert_eq!(world.planner.running()[&job].speed, Speed::ONE, "as its slowest rank");
    // In a cluster of an older level nobody knows, and no replica differs.
    let mut old = self::world(1, 0);
    old.state.feature_level = 3;
    let job = old.submit(spec("[resources]\ngpus = 1\n"));
    old.plan();
    assert!(models(&old, &job).is_empty());
    assert_eq!(old.job(&job).attempts.len(), 1);
}

#[test]
fn speeds_need_members_that_know_them() {
    let mut world = world(1, 0);
    world.submit(spec(FAST));
    world.submit(spec("[resources]\ngpus = 1\n"));
    let levels: Vec<u16> = world.log.iter().rev().map(|(_, e)| e.command.level()).take(2).collect();
    assert_eq!(levels, [1, 4]);
}

/// A worker of each type with one GPU, alike in price.
fn alike() -> World {
    let mut world = World::new();
    world.queue("root", |queue| queue.policy = Some(Policy::Fifo));
    world.register_node(1, gpus("n1", "h100", 1, &[]));
    world.register_node(2, gpus("n2", "v100", 1, &[]));
    world
}

/// A job on each type says twice how far it is: one does three steps where the other does one.
fn measured(world: &mut World, text: &str) -> [JobId; 2] {
    let jobs = [world.submit(spec(text)), world.submit(spec(text))];
    world.plan();
    let begin = world.now;
    for minutes in [1, 5, 15] {
        world.now = begin + minutes * 60_000;
        for job in &jobs {
            let steps = if models(world, job) == ["h100"] { 30 } else { 10 };
            let at = Timestamp(world.now);
            let progress = Progress { done: minutes * steps, total: Some(3600), at };
            world.planner.update(Delta::Progress(job.clone(), progress));
        }
    }
    jobs
}

#[test]
fn what_runs_show_of_types_decides_where_the_next_go() {
    let one = "[resources]\ngpus = 1\n[schedule]\nest_duration = \"1h\"\n";
    let mut world = alike();
    let jobs = measured(&mut world, one);
    let on = |world: &World, model: &str| {
        let on = jobs.iter().find(|job| models(world, job) == [model]);
        world.planner.running()[on.unwrap()].speed.milli()
    };
    let ratio = on(&world, "h100") * 100 / on(&world, "v100");
    assert!((290..310).contains(&ratio), "{ratio}");
    // Dear, but for its work it is cheap; one that runs something else goes where units are cheap.
    let price = |world: &mut World, n: u64, model: &str, usd: &str| {
        world.register_node(n, gpus(&format!("n{n}"), model, 2, &[("usd_per_unit_hour", usd)]));
    };
    price(&mut world, 3, "h100", "4");
    price(&mut world, 4, "v100", "1");
    let same = world.submit(spec(one));
    let other = world.submit(spec(&format!("{one}[checkpoint]\n").replace("gpus = 1", "gpus = 2")));
    world.plan();
    assert_eq!(models(&world, &same), ["h100"]);
    assert_eq!(models(&world, &other), ["v100"]);
}

#[test]
fn a_job_that_waits_is_told_of_what_was_measured_meanwhile() {
    let text = "[resources]\ngpus = 1\nspeed = { v100 = 2, a100 = 5 }\n";
    let mut world = alike();
    let waits = world.submit(spec(text).tap(|spec| spec.priority = -1));
    measured(&mut world, text);
    let (job, _) = world.planner.waiting(&waits).unwrap();
    let speeds = job.resources.speed.0.iter().map(|(model, s)| (model.as_str(), s.milli()));
    let speeds: Vec<_> = speeds.collect();
    // In the terms of the one of which enough was known first, as its spec has it.
    assert!(matches!(speeds[..], [("a100", 5000), ("h100", _), ("v100", _)]), "{speeds:?}");
    let ratio = speeds[1].1 * 100 / speeds[2].1;
    assert!((290..310).contains(&ratio), "{speeds:?}");
    assert_eq!(job.said.as_ref().unwrap().on("v100").milli(), 2000);
    let from_state = super::super::Planner::of(&world.state);
    assert_eq!(from_state.waiting(&waits).unwrap().0.resources.speed.on("v100").milli(), 2000);
}

#[test]
fn whole_runs_on_two_types_are_known_to_a_new_planner() {
    let mut world = alike();
    for _ in 0..3 {
        let jobs = [0, 1].map(|_| world.submit(spec("[resources]\ngpus = 1\n")));
        let started = world.plan();
        world.now += HOUR / 3;
        for (n, attempt) in (0..).zip([("h100", 0), ("v100", 1)].map(|(model, _)| {
            let of = jobs.iter().find(|job| models(&world, job) == [model]).unwrap();
            started.iter().find(|attempt| attempt.job == *of).unwrap()
        })) {
            world.now += n * HOUR * 2 / 3;
            world.exit_all(attempt, 0);
        }
    }
    let job = world.submit(spec("[resources]\ngpus = 1\n"));
    let speeds = |planner: &super::super::Planner| {
        let resources = planner.waiting(&job).unwrap().0.resources.clone();
        let [h100, v100] = ["h100", "v100"].map(|model| resources.speed.on(model).milli());
        h100 * 100 / v100
    };
    assert!((290..310).contains(&speeds(&world.planner)), "{}", speeds(&world.planner));
    let anew = super::super::Planner::of(&world.state);
    assert_eq!(speeds(&anew), speeds(&world.planner));
    assert_eq!(anew, world.planner);
}
