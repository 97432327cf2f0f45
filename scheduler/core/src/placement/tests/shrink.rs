//! Elastic gangs that give way give no more than they must, and go on with the rest at once.

use proptest::prelude::*;
use trainyard_jobs::{
    AttemptRef, EndReason, JobId, JobPhase, JobSpec, Millis, Policy, StopCause, Timestamp,
};

use super::super::{Plan, Stop, WorkBudget};
use crate::{
    Command, Planner, State,
    world::{World, spec},
};

const MINUTE: u64 = 60_000;
const HOUR: u64 = 3_600_000;

fn job(gpus: u32, least: Option<u32>, minutes: u64) -> JobSpec {
    let mut spec = spec(&format!(
        "[resources]\ngpus = {gpus}\ndevice = \"cpu\"\n[checkpoint]\non_request = true\n\
         [schedule]\nest_duration = \"{minutes}m\"\n"
    ));
    spec.resources.min_gpus = least;
    spec
}

fn world(slots: u32, notice: u64) -> World {
    let mut world = World::new();
    world.queue("root", |queue| {
        queue.policy = Some(Policy::Srsf);
        queue.notice = Some(Millis(notice));
    });
    world.register(1, 1, slots, &[]);
    world
}

fn look(world: &mut World) -> Plan {
    world.planner.plan(Timestamp(world.now), WorkBudget::UNLIMITED)
}

/// Who is stopped, for what, and the ranks with which it goes on.
fn stops(plan: &Plan) -> Vec<(JobId, StopCause, Option<u32>)> {
    let stop = |stop: &Stop| {
        (stop.job.clone(), stop.why, stop.goes_on.as_ref().map(crate::state::GoesOn::ranks))
    };
    plan.stops.iter().map(stop).collect()
}

fn start(world: &mut World, spec: JobSpec) -> AttemptRef {
    let job = world.submit(spec);
    let attempt = world.plan().remove(0);
    assert_eq!(attempt.job, job);
    world.started(&attempt);
    attempt
}

fn size(world: &World, job: &JobId) -> u32 {
    world.job(job).current().map_or(0, |attempt| attempt.world_size())
}

#[test]
fn a_gang_gives_what_it_can_and_resumes_ahead_of_the_queue() {
    let mut world = world(8, MINUTE);
    let large = start(&mut world, job(8, Some(3), 6000));
    world.now += HOUR;
    let short = world.submit(job(4, None, 60));
    assert_eq!(stops(&look(&mut world)), [(large.job.clone(), StopCause::Shrink, Some(4))]);
    world.plan();
    assert_eq!(world.phase(&large.job), JobPhase::Running, "it is asked to save its state first");
    let others: Vec<JobId> = (0..4).map(|_| world.submit(job(2, None, 300))).collect();
    world.checkpoint(&large, 7).unwrap();
    world.exit_all(&large, 143);
    let record = world.job(&large.job);
    let cause = StopCause::Shrink;
    assert_eq!(record.attempts[0].end, Some(EndReason::Preempted { cause }));
    assert_eq!((record.restarts, record.phase), (0, JobPhase::Queued), "not its own failure");
    let why = record.attempts[0].why_ended().unwrap();
    let why = why.replace(short.to_string().as_str(), "SHORT");
    insta::assert_snapshot!(why, @"gave 4 of its 8 units to job SHORT, goes on with 4");
    let started: Vec<JobId> = world.plan().into_iter().map(|attempt| attempt.job).collect();
    assert_eq!(started, [large.job.clone(), short], "{others:?} wait");
    assert_eq!(size(&world, &large.job), 4);
    let record = world.job(&large.job);
    let resumed = record.checkpoint(record.current().unwrap().resume.unwrap()).unwrap();
    assert_eq!(resumed.step, 7);
    assert_eq!(record.attained(), 8 * HOUR);
}

#[test]
fn nobody_gets_what_is_kept_while_nodes_report_one_by_one() {
    let mut world = world(4, 0);
    world.register(2, 1, 4, &[]);
    let large = start(&mut world, job(8, Some(4), 6000));
    world.now += HOUR;
    let short = world.submit(job(4, None, 60));
    world.plan();
    let kept = world.job(&large.job).current().unwrap().goes_on().unwrap().clone();
    assert_eq!(kept.units.len(), 1, "one node of the two");
    let keeps = kept.units[0].0.clone();
    world.submit(job(2, None, 30));
    world.exit(&large, &keeps, 143).unwrap();
    assert!(world.plan().is_empty(), "its other node still has ranks");
    let other = world.nodes_of(&large).into_iter().find(|node| *node != keeps).unwrap();
    world.exit(&large, &other, 143).unwrap();
    let started = world.plan();
    assert_eq!(started[0].job, large.job);
    assert_eq!(world.nodes_of(&started[0]), [keeps]);
    assert!(started.len() > 1 && world.phase(&short) != JobPhase::Succeeded);
}

#[test]
fn two_shrink_where_one_would_wait_and_one_waits_where_that_is_cheaper() {
    let of = |minutes| {
        let mut world = world(16, 0);
        let large =
            [start(&mut world, job(8, Some(4), 6000)), start(&mut world, job(8, Some(4), 6000))];
        world.now += HOUR;
        world.submit(job(6, None, minutes));
        let found = stops(&look(&mut world));
        assert!(found.iter().all(|(job, ..)| large.iter().any(|one| one.job == *job)));
        found.into_iter().map(|(_, why, keeps)| (why, keeps)).collect::<Vec<_>>()
    };
    let hour = of(60);
    assert!(hour.iter().all(|(why, _)| *why == StopCause::Shrink), "{hour:?}");
    assert_eq!(hour.iter().filter_map(|(_, keeps)| *keeps).sum::<u32>(), 10, "of sixteen");
    assert_eq!(of(2), [(StopCause::Policy, None)], "two restarts are dearer than a short wait");
}

#[test]
fn a_shrink_needs_level_5_and_before_it_gangs_go_whole() {
    let mut state = State::new(trainyard_jobs::ClusterId(uuid::Uuid::from_u128(1)));
    state.feature_level = 4;
    let mut old = World::of(state);
    old.queue("root", |queue| queue.policy = Some(Policy::Srsf));
    old.register(1, 1, 8, &[]);
    for (mut world, level, why) in
        [(old, 3, StopCause::Policy), (world(8, MINUTE), 5, StopCause::Shrink)]
    {
        start(&mut world, job(8, Some(4), 6000));
        world.now += HOUR;
        world.submit(job(4, None, 60));
        let stop = look(&mut world).stops.remove(0);
        assert_eq!(stop.why, why);
        let due = Stop { checkpoint_by: None, goes_on: None, ..stop.clone() };
        for stop in [stop, due] {
            assert_eq!(Command::Preempt(Box::new(stop.into())).level(), level);
        }
    }
}

#[test]
fn what_goes_on_with_too_few_or_the_same_unit_twice_is_refused() {
    let mut world = world(8, MINUTE);
    start(&mut world, job(8, Some(4), 6000));
    world.now += HOUR;
    world.submit(job(4, None, 60));
    let stop = look(&mut world).stops.remove(0);
    let units = stop.goes_on.as_ref().unwrap().units[0].1.clone();
    let twice = units.iter().map(|_| units[0].clone()).collect();
    for bad in [units[1..].to_vec(), twice] {
        let mut stop = stop.clone();
        stop.goes_on.as_mut().unwrap().units[0].1 = bad;
        assert!(world.apply(Command::Preempt(Box::new(stop.into()))).is_err());
    }
}

#[test]
fn deaf_gangs_and_rigid_ones_go_whole() {
    for listens in [true, false] {
        let mut world = world(8, 0);
        let mut large = job(8, (!listens).then_some(4), 6000);
        large.checkpoint.on_request = listens;
        let large = start(&mut world, large);
        world.checkpoint(&large, 1).unwrap();
        world.submit(job(4, None, 60));
        world.now += 3 * MINUTE;
        assert_eq!(stops(&look(&mut world)), [(large.job.clone(), StopCause::Policy, None)]);
    }
}

#[test]
fn what_was_lost_meanwhile_is_not_waited_for() {
    let mut world = world(4, 0);
    world.register(2, 1, 4, &[]);
    let large = start(&mut world, job(8, Some(4), 6000));
    world.now += HOUR;
    world.submit(job(4, None, 60));
    world.plan();
    let kept = world.job(&large.job).current().unwrap().goes_on().unwrap().units[0].0.clone();
    world.exit_all(&large, 143);
    let n = if kept == crate::world::node_id(1) { 1 } else { 2 };
    world.lose(n).unwrap();
    let started = world.plan();
    assert_eq!(started.len(), 1);
    assert_ne!(world.nodes_of(&started[0]), [kept]);
}

#[derive(Debug, Clone)]
enum Act {
    Submit { gpus: u32, least: Option<u32>, minutes: u64, listens: bool },
    Plan,
    Save,
    Gone { code: i32 },
    Lose { node: u64 },
    Register { node: u64 },
    Later { minutes: u64 },
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (1u32..9, proptest::option::of(1u32..5), 1u64..600, any::<bool>()).prop_map(
            |(gpus, least, minutes, listens)| Act::Submit { gpus, least, minutes, listens }
        ),
        6 => Just(Act::Plan),
        3 => Just(Act::Save),
        5 => prop_oneof![3 => Just(143), 1 => Just(0)].prop_map(|code| Act::Gone { code }),
        1 => (1u64..4).prop_map(|node| Act::Lose { node }),
        2 => (1u64..4).prop_map(|node| Act::Register { node }),
        5 => (1u64..90).prop_map(|minutes| Act::Later { minutes }),
    ]
}

/// The attempts that run, or of these those that are to go.
fn running(world: &World, leave: bool) -> Vec<AttemptRef> {
    let current = |job: &crate::state::Job| {
        let attempt = job.current().filter(|a| a.ended.is_none())?;
        let goes = attempt.leaving.is_some() || job.phase == JobPhase::Stopping;
        (!leave || goes).then(|| job.attempt_ref(attempt))
    };
    world.state.live_jobs().filter_map(current).collect()
}

fn step(world: &mut World, lives: &mut u128, act: Act) {
    match act {
        Act::Submit { gpus, least, minutes, listens } => {
            let mut spec = job(gpus, least.filter(|least| *least < gpus), minutes);
            spec.checkpoint.on_request = listens;
            world.submit(spec);
        }
        Act::Plan => {
            for attempt in world.plan() {
                world.started(&attempt);
            }
        }
        Act::Save => {
            for attempt in running(world, true) {
                let _ = world.checkpoint(&attempt, 1);
            }
        }
        Act::Gone { code } => {
            let goes = running(world, code != 0);
            for attempt in goes.iter().take(2) {
                let stopping = world.phase(&attempt.job) == JobPhase::Stopping;
                if code == 0 || stopping {
                    for node in world.nodes_of(attempt) {
                        let _ = world.exit(attempt, &node, code);
                    }
                }
            }
        }
        Act::Lose { node } => drop(world.lose(node)),
        Act::Register { node } => {
            *lives += 1;
            let running = running(world, false);
            let running: Vec<_> = running.iter().collect();
            world.register(node, *lives, 4, &running);
        }
        Act::Later { minutes } => world.now += minutes * MINUTE,
    }
}

/// The plan is that of a planner from scratch, and what goes on is whole and on its own units or on
/// such as nobody has.
fn check(world: &mut World) {
    let plan = look(world);
    let fresh = Planner::of(&world.state).plan(Timestamp(world.now), WorkBudget::UNLIMITED);
    assert_eq!(plan, fresh, "as from scratch");
    for stop in &plan.stops {
        let Some(kept) = &stop.goes_on else { continue };
        let job = world.job(&stop.job);
        let asked = &job.spec.resources;
        let least = asked.min_gpus.unwrap_or(asked.gpus);
        assert!((least..=asked.gpus).contains(&kept.ranks()), "{stop:?}");
        for (node, units) in &kept.units {
            let owners = &world.state.node(node).unwrap().owners;
            let free = |unit| owners.get(unit).is_none_or(|owner| owner.job == stop.job);
            assert!(units.iter().all(free), "{stop:?}");
        }
    }
    for start in &plan.starts {
        let goes_on = world.job(&start.job).current().and_then(|a| a.goes_on());
        for other in running(world, true).iter().filter(|other| other.job != start.job) {
            let record = world.job(&other.job);
            let Some(kept) = record.current().and_then(|a| a.goes_on()) else { continue };
            for (node, units) in &kept.units {
                let of_node = start.placements.iter().filter(|part| part.node == *node);
                let meets = of_node.flat_map(|p| &p.units).any(|unit| units.contains(unit));
                assert!(!meets, "{start:?} takes what is kept for {other:?}, and has {goes_on:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn what_goes_on_is_whole_and_its_units_are_kept(
        notice in prop_oneof![Just(0), Just(5 * MINUTE)],
        acts in proptest::collection::vec(act(), 1..60),
    ) {
        let mut world = world(4, notice);
        world.register(2, 1, 4, &[]);
        world.register(3, 1, 4, &[]);
        let mut lives = 1;
        for act in acts {
            step(&mut world, &mut lives, act);
            check(&mut world);
        }
    }
}
