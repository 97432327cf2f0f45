//! Jobs that are fast on different types, over days, under one policy and another.

#![allow(clippy::as_conversions, reason = "small test numbers")]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use trainyard_jobs::{AttemptRef, JobId, JobSpec, Millis, Policy, Timestamp, spec::Resources};

use super::super::{Planner, WorkBudget};
use crate::{
    Command, Reply,
    world::{World, gpus, spec},
};

const MINUTE: u64 = 60_000;

/// Four of each.
fn world(policy: Policy) -> World {
    let mut world = World::new();
    world.queue("root", |queue| {
        queue.policy = Some(policy);
        (queue.notice, queue.min_run) = (Some(Millis(0)), Some(Millis(0)));
        queue.restart_cost = Some(Millis(0));
    });
    world.register_node(1, gpus("n1", "h100", 4, &[]));
    world.register_node(2, gpus("n2", "v100", 4, &[]));
    world
}

/// A job that loses nothing when it is stopped.
fn job(resources: &str) -> JobSpec {
    spec(&format!("[checkpoint]\non_request = true\n[resources]\n{resources}\n"))
}

/// Plans, stops and starts until nothing more is to be done now.
fn settle(world: &mut World, running: &mut BTreeMap<JobId, AttemptRef>) {
    for round in 0.. {
        assert!(round < 100, "a plan leads to another without end");
        let plan = world.planner.plan(Timestamp(world.now), WorkBudget::UNLIMITED);
        if plan.starts.is_empty() && plan.stops.is_empty() {
            return;
        }
        for stop in plan.stops {
            let attempt = running.remove(&stop.job).expect("runs");
            world.apply(Command::Preempt(Box::new(stop.into()))).expect("feasible");
            world.exit_all(&attempt, 143);
        }
        for start in plan.starts {
            if let Ok(Reply::Started(attempt)) = world.apply(Command::StartAttempt(Box::new(start)))
            {
                world.started(&attempt);
                running.insert(attempt.job.clone(), attempt);
            }
        }
    }
}

/// What jobs get over their equal split in so many hours: the least class, and the least job.
fn gains(policy: Policy, kinds: &[(&str, f64)], hours: u64) -> (f64, f64) {
    let mut world = world(policy);
    let mut jobs: BTreeMap<JobId, (Resources, f64)> = BTreeMap::new();
    for (text, equal) in kinds {
        for _ in 0..8 {
            let job = world.submit(job(text));
            let asked = world.job(&job).spec.resources.clone();
            jobs.insert(job, (asked, *equal));
        }
    }
    let (mut running, mut work) = (BTreeMap::new(), BTreeMap::<JobId, f64>::new());
    let steps = hours * 6;
    for _ in 0..steps {
        settle(&mut world, &mut running);
        for job in running.keys() {
            let speed = world.job(job).current().unwrap().speed(&jobs[job].0);
            *work.entry(job.clone()).or_default() += speed.milli() as f64 / 1e3 / steps as f64;
        }
        world.now += 10 * MINUTE;
    }
    let gain = |(job, (_, equal)): (&JobId, &(Resources, f64))| {
        (equal.to_bits(), work.get(job).copied().unwrap_or_default() / equal / 8.0)
    };
    let mut classes: BTreeMap<u64, f64> = BTreeMap::new();
    for (class, gain) in jobs.iter().map(gain) {
        *classes.entry(class).or_default() += gain;
    }
    let least = classes.values().copied().fold(f64::INFINITY, f64::min);
    let jobs_least = jobs.iter().map(gain).map(|(_, gain)| gain * 8.0);
    (least, jobs_least.fold(f64::INFINITY, f64::min))
}

/// Crossed speeds, and an equal split of each: see `gavel::tests`, where the optimum of the least
/// is worked out to be 24/17 of it.
const CROSSED: [(&str, f64); 2] = [("speed = { h100 = 4 }", 1.25), ("speed = { v100 = 2 }", 0.75)];

#[test]
fn jobs_that_are_fast_on_different_types_all_get_more_than_by_turns() {
    let hours = 64;
    let (least, job) = gains(Policy::Gavel, &CROSSED, hours);
    let (by_turns, job_by_turns) = gains(Policy::Las, &CROSSED, hours);
    let (first_come, _) = gains(Policy::Fair, &CROSSED, hours);
    let best = 24.0 / 17.0;
    assert!(least >= 0.98 * best && least <= 1.001 * best, "{least} of {best}");
    assert!(least >= 1.35 * by_turns, "{least}, and {by_turns} by turns");
    assert!(job >= 2.0 * job_by_turns, "{job}, and {job_by_turns} by turns");
    assert_eq!(first_come, 0.0, "who comes late gets nothing as long as the others run");
}

#[test]
fn no_unit_is_idle_for_a_targets_sake() {
    let mut world = world(Policy::Gavel);
    for _ in 0..8 {
        world.submit(job("speed = { h100 = 4 }"));
    }
    assert_eq!(world.plan().len(), 8);
}

#[test]
fn a_job_is_stopped_on_the_type_that_another_should_have() {
    let mut world = world(Policy::Gavel);
    let mut running = BTreeMap::new();
    for _ in 0..8 {
        world.submit(job("speed = { h100 = 4 }"));
    }
    settle(&mut world, &mut running);
    world.now += 90 * MINUTE;
    let late: Vec<_> = (0..4).map(|_| world.submit(job("speed = { v100 = 2 }"))).collect();
    settle(&mut world, &mut running);
    for job in &late {
        let attempt = world.job(job).current().expect("starts");
        assert!(attempt.gpu_types.contains_key("v100"), "{attempt:?}");
    }
}

#[test]
fn the_policy_needs_members_that_know_it() {
    let level = |policy| world(policy).log[0].1.command.level();
    assert_eq!((level(Policy::Gavel), level(Policy::Las)), (4, 3));
}

#[derive(Debug, Clone)]
enum Act {
    Submit { gpus: u32, speed: &'static str },
    Node { n: u64, h100: bool, count: u32 },
    End { pick: usize },
    Wait { minutes: u64 },
}

fn act() -> impl Strategy<Value = Act> {
    let speed = prop_oneof![
        Just(""),
        Just("speed = { h100 = 4 }\n"),
        Just("speed = { v100 = 2 }\n"),
        Just("speed = { h100 = 2 }\ngpu_type = [\"h100\"]\n"),
    ];
    prop_oneof![
        4 => (1u32..4, speed).prop_map(|(gpus, speed)| Act::Submit { gpus, speed }),
        2 => (1u64..5, any::<bool>(), 1u32..5)
            .prop_map(|(n, h100, count)| Act::Node { n, h100, count }),
        2 => (0usize..8).prop_map(|pick| Act::End { pick }),
        2 => (1u64..300).prop_map(|minutes| Act::Wait { minutes }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// A planner that was told of everything as it happened plans as one does that sees the state
    /// for the first time, and what it plans applies.
    #[test]
    fn a_plan_by_increments_is_one_from_scratch(acts in prop::collection::vec(act(), 1..40)) {
        let mut world = world(Policy::Gavel);
        let mut running: BTreeMap<JobId, AttemptRef> = BTreeMap::new();
        let mut nodes = BTreeSet::from([1, 2]);
        for act in acts {
            match act {
                Act::Submit { gpus, speed } => {
                    world.submit(job(&format!("gpus = {gpus}\n{speed}")));
                }
                Act::Node { n, h100, count } => {
                    let model = if h100 { "h100" } else { "v100" };
                    if nodes.insert(n) {
                        world.register_node(n, gpus(&format!("n{n}"), model, count, &[]));
                    }
                }
                Act::End { pick } => {
                    if let Some((job, attempt)) = running.iter().nth(pick) {
                        let (job, attempt) = (job.clone(), attempt.clone());
                        running.remove(&job);
                        world.exit_all(&attempt, 1);
                    }
                }
                Act::Wait { minutes } => world.now += minutes * MINUTE,
            }
            let now = Timestamp(world.now);
            let anew = Planner::of(&world.state).plan(now, WorkBudget::UNLIMITED);
            prop_assert_eq!(world.planner.plan(now, WorkBudget::UNLIMITED), anew);
            settle(&mut world, &mut running);
        }
    }
}
