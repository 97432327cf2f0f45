//! Who may pass jobs that wait, as a queue has it: nobody, who does not delay the first, or who
//! delays none of those before.

use std::collections::BTreeMap;

use proptest::prelude::*;
use trainyard_jobs::{AttemptRef, Backfill, JobId, JobSpec, Millis, Policy, Purpose, Timestamp};

use super::super::{BlockerKind, PATIENCE, Plan, WorkBudget};
use crate::{
    Command, Planner,
    command::SetQueue,
    world::{World, gpus, spec},
};

const MINUTE: u64 = 60_000;

/// A gang that runs for so many minutes, and is known to.
fn gang(ranks: u32, minutes: u64) -> JobSpec {
    gang_with(ranks, minutes, "device = \"cpu\"")
}

fn gang_with(ranks: u32, minutes: u64, more: &str) -> JobSpec {
    spec(&format!(
        "[resources]\ngpus = {ranks}\n{more}\n[limits]\ntime = \"{minutes}m\"\n\
         [schedule]\nest_duration = \"{minutes}m\"\n"
    ))
}

fn world(backfill: Backfill) -> World {
    let mut world = World::new();
    world.queue("root", |queue| {
        queue.policy = Some(Policy::Fifo);
        queue.backfill = Some(backfill);
    });
    world
}

/// Four slots of which a job has two for ten minutes more. One waits for three, one for all.
fn busy(backfill: Backfill) -> (World, [JobId; 2]) {
    let mut world = world(backfill);
    world.register(1, 1, 4, &[]);
    world.submit(gang(2, 10 + PATIENCE.0 / MINUTE));
    run(&mut world);
    let waits = [world.submit(gang(3, 10)), world.submit(gang(4, 10))];
    assert!(run(&mut world).is_empty());
    world.now += PATIENCE.0;
    assert!(run(&mut world).is_empty());
    (world, waits)
}

fn run(world: &mut World) -> Vec<AttemptRef> {
    let started = world.plan();
    started.iter().for_each(|attempt| world.started(attempt));
    started
}

fn look(world: &mut World) -> Plan {
    world.planner.plan(Timestamp(world.now), WorkBudget::UNLIMITED)
}

fn promised(world: &mut World, job: &JobId) -> Option<u64> {
    let start = world.planner.promised_start(job, Timestamp(world.now))?;
    Some((start.0 - world.now) / MINUTE)
}

fn blockers(world: &mut World, job: &JobId) -> String {
    let reasons = world.planner.reasons(Timestamp(world.now));
    let told = reasons[job].iter().map(|b| format!("{}: {}", b.kind.as_str(), b.message));
    told.collect::<Vec<_>>().join("\n")
}

#[test]
fn easy_lets_through_what_delays_the_second_and_conservative_does_not() {
    for (backfill, starts) in [(Backfill::Easy, true), (Backfill::Conservative, false)] {
        let (mut world, _) = busy(backfill);
        let small = world.submit(gang(1, 30));
        let plan = look(&mut world);
        assert_eq!(plan.starts.iter().any(|s| s.job == small), starts, "{backfill}");
    }
}

#[test]
fn conservative_keeps_a_start_for_each_and_tells_who_waits_for_them() {
    let (mut world, [first, second]) = busy(Backfill::Conservative);
    assert_eq!(promised(&mut world, &first), Some(10));
    assert_eq!(promised(&mut world, &second), Some(20));
    let long = world.submit(gang(1, 30));
    assert_eq!(promised(&mut world, &long), Some(30));
    insta::assert_snapshot!(
        blockers(&mut world, &long),
        @"promised: units are kept for 1 job before it, which it would delay"
    );
    let now = Timestamp(world.now);
    let (likely, latest) = world.planner.expected_start(&long, now).unwrap();
    assert_eq!((likely.0 - now.0, latest >= likely), (30 * MINUTE, true));
    let short = world.submit(gang(1, 20));
    let started: Vec<JobId> = run(&mut world).into_iter().map(|a| a.job).collect();
    assert_eq!(started, [short], "it is gone when the second starts");
    assert_eq!(promised(&mut world, &first), Some(10));
    assert_eq!(promised(&mut world, &second), Some(20));
}

#[test]
fn none_lets_nobody_of_its_queue_past() {
    let (mut world, _) = busy(Backfill::None);
    let small = world.submit(gang(1, 1));
    assert!(look(&mut world).starts.is_empty());
    insta::assert_snapshot!(
        blockers(&mut world, &small),
        @"promised: 2 jobs before it wait, and queue root lets nobody past"
    );
    world.queue("root", |queue| queue.backfill = None);
    assert_eq!(look(&mut world).starts[0].job, small);
}

#[test]
fn units_that_nobody_before_could_use_are_for_whoever_can() {
    for backfill in [Backfill::None, Backfill::Conservative] {
        let mut world = world(backfill);
        world.register_node(1, gpus("n1", "h100", 2, &[]));
        world.register_node(2, gpus("n2", "v100", 2, &[]));
        world.submit(gang_with(1, 60, "gpu_type = [\"h100\"]"));
        run(&mut world);
        world.submit(gang_with(2, 60, "gpu_type = [\"h100\"]"));
        let any = world.submit(gang_with(1, 600, ""));
        let short = world.submit(gang_with(1, 60, "gpu_type = [\"h100\"]"));
        let plan = look(&mut world);
        let starts: Vec<&JobId> = plan.starts.iter().map(|start| &start.job).collect();
        let v100 = plan.starts[0].placements[0].node == crate::world::node_id(2);
        assert!(v100, "the cheapest place would be as good on the h100: {backfill}");
        match backfill {
            Backfill::None => assert_eq!(starts, [&any]),
            _ => assert_eq!(starts, [&any, &short]),
        }
    }
}

#[test]
fn a_gang_for_one_node_keeps_its_place_there() {
    let mut world = world(Backfill::Conservative);
    world.register(1, 1, 2, &[]);
    world.register(2, 1, 2, &[]);
    world.submit(gang(2, 10));
    world.submit(gang(2, 30));
    let first = run(&mut world).remove(0);
    let compact = "device = \"cpu\"\ncompact = true";
    let whole = world.submit(gang_with(2, 10, compact));
    let next = world.submit(gang_with(2, 10, compact));
    assert_eq!([&whole, &next].map(|job| promised(&mut world, job)), [Some(10), Some(20)]);
    world.now += 10 * MINUTE;
    world.exit_all(&first, 0);
    assert_eq!(run(&mut world)[0].job, whole);
}

#[test]
fn a_promise_is_not_made_for_when_nodes_are_reserved() {
    let mut world = world(Backfill::Conservative);
    world.register(1, 1, 2, &[]);
    world.submit(gang(2, 10));
    run(&mut world);
    let span = (Millis(25 * MINUTE), Millis(60 * MINUTE));
    world.reserve("upgrade", &[], span, Purpose::Maintenance).unwrap();
    let [short, long] = [15, 16].map(|minutes| world.submit(gang(1, minutes)));
    assert_eq!(promised(&mut world, &short), Some(10));
    assert_eq!(promised(&mut world, &long), Some(85));
}

#[test]
fn a_queue_that_says_so_needs_level_5() {
    let mut world = World::new();
    let mut level = |backfill| {
        let spec = trainyard_jobs::QueueSpec { backfill, ..Default::default() };
        let (mutation, queue) = (world.mutation(), "root".parse().unwrap());
        let set = SetQueue { mutation, queue, spec: Some(spec), version: None };
        Command::SetQueue(Box::new(set)).level()
    };
    assert_eq!([level(None), level(Some(Backfill::Easy))], [3, 5]);
    let old: trainyard_jobs::QueueSpec = serde_json::from_str(r#"{"policy":"fifo"}"#).unwrap();
    assert_eq!(old.backfill, None);
}

#[test]
fn promises_are_made_to_so_many_and_no_more() {
    let mut world = world(Backfill::Conservative);
    world.register(1, 1, 2, &[]);
    world.submit(gang(1, 10_000));
    run(&mut world);
    let waits: Vec<JobId> = (0..70).map(|_| world.submit(gang(2, 1))).collect();
    assert_eq!(promised(&mut world, &waits[63]), Some(10_000 + 63));
    assert_eq!(promised(&mut world, &waits[64]), None);
    let reasons = world.planner.reasons(Timestamp(world.now));
    assert!(waits.iter().all(|job| reasons[job].iter().any(|b| b.kind == BlockerKind::Busy)));
    let small = world.submit(gang(1, 9_999));
    assert_eq!(look(&mut world).starts[0].job, small, "it is gone before the first");
}

/// Jobs that come: minutes until each, its ranks, its minutes.
type Arrivals = Vec<(u64, u32, u64)>;

/// Everybody runs as long as was predicted. Ends when nobody waits or runs any more.
fn keep_promises(sizes: &[u32], arrivals: &Arrivals) {
    let mut world = world(Backfill::Conservative);
    for (n, slots) in (1..).zip(sizes) {
        world.register(n, 1, *slots, &[]);
    }
    let mut running: Vec<(u64, AttemptRef)> = Vec::new();
    let mut promises: BTreeMap<JobId, Option<u64>> = BTreeMap::new();
    let mut comes = world.now;
    let mut arrivals = arrivals.iter().map(|(wait, ranks, minutes)| {
        comes += wait * MINUTE;
        (comes, *ranks, *minutes)
    });
    let mut next = arrivals.next();
    while next.is_some() || !promises.is_empty() || !running.is_empty() {
        while let Some((_, ranks, minutes)) = next.filter(|(at, ..)| *at <= world.now) {
            promises.insert(world.submit(gang(ranks, minutes)), None);
            next = arrivals.next();
        }
        for (job, before) in &mut promises {
            let start = world.planner.promised_start(job, Timestamp(world.now)).map(|at| at.0);
            let starts = look(&mut world).starts.iter().any(|s| s.job == *job);
            let start = if starts { Some(world.now) } else { start };
            let start = start.expect("each is promised a start that can have one");
            assert!(before.is_none_or(|before| start <= before), "{job}: {start} after {before:?}");
            *before = Some(start);
        }
        let plan = look(&mut world);
        let fresh = Planner::of(&world.state).plan(Timestamp(world.now), WorkBudget::UNLIMITED);
        assert_eq!(plan, fresh, "as from scratch");
        for attempt in run(&mut world) {
            assert_eq!(promises.remove(&attempt.job), Some(Some(world.now)));
            let lasts = world.job(&attempt.job).spec.schedule.est_duration.unwrap();
            running.push((world.now + lasts.0, attempt));
        }
        let ends = running.iter().map(|(end, _)| *end).min();
        world.now = ends.into_iter().chain(next.map(|(at, ..)| at)).min().unwrap_or(world.now);
        let (ended, left) = running.into_iter().partition(|(end, _)| *end <= world.now);
        running = left;
        ended.into_iter().for_each(|(_, attempt): (u64, _)| world.exit_all(&attempt, 0));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nobody_who_comes_later_delays_a_promised_start(
        sizes in prop::collection::vec(1u32..5, 1..4),
        arrivals in prop::collection::vec((0u64..12, 1u32..7, 1u64..40), 1..30),
    ) {
        let all: u32 = sizes.iter().sum();
        let fits = |(wait, ranks, minutes): (u64, u32, u64)| (wait, ranks.min(all), minutes);
        keep_promises(&sizes, &arrivals.into_iter().map(fits).collect());
    }
}
