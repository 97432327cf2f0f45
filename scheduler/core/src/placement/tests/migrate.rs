//! Small gangs move out of the way of a large one where that pays, and nowhere else.

use std::collections::BTreeMap;

use proptest::prelude::*;
use trainyard_jobs::{AttemptRef, JobId, JobSpec, Millis, Policy, StopCause, Timestamp};

use super::super::{Plan, WorkBudget};
use crate::{
    Command, Planner, Reply,
    world::{World, inventory, spec},
};

const MINUTE: u64 = 60_000;
const HOUR: u64 = 3_600_000;

fn job(gpus: u32, minutes: u64, compact: bool) -> JobSpec {
    let mut spec = spec(&format!(
        "[resources]\ngpus = {gpus}\ndevice = \"cpu\"\n[checkpoint]\non_request = true\n\
         [schedule]\nest_duration = \"{minutes}m\"\n"
    ));
    spec.resources.compact = compact;
    spec
}

fn world(policy: Policy, nodes: u64, notice: u64) -> World {
    let mut world = World::new();
    world.queue("root", |queue| {
        queue.policy = Some(policy);
        queue.notice = Some(Millis(notice));
    });
    for node in 1..=nodes {
        world.register(node, 1, 4, &[]);
    }
    world
}

fn look(world: &mut World) -> Plan {
    world.planner.plan(Timestamp(world.now), WorkBudget::UNLIMITED)
}

/// Two nodes of four, on each of which half is free.
fn fragmented(minutes: u64, listens: bool) -> (World, Vec<AttemptRef>) {
    let mut world = world(Policy::Fifo, 2, MINUTE);
    for _ in 0..4 {
        let mut small = job(2, minutes, false);
        small.checkpoint.on_request = listens;
        world.submit(small);
    }
    let mut all = world.plan();
    all.iter().for_each(|attempt| world.started(attempt));
    let first = world.nodes_of(&all[0]);
    let beside = all.iter().position(|a| *a != all[0] && world.nodes_of(a) == first).unwrap();
    let gone = all.remove(beside);
    world.exit_all(&gone, 0);
    let other = all.iter().position(|a| world.nodes_of(a) != first).unwrap();
    let gone = all.remove(other);
    world.exit_all(&gone, 0);
    world.now += 5 * MINUTE;
    (world, all)
}

#[test]
fn a_compact_gang_starts_once_a_small_one_has_moved() {
    let (mut world, small) = fragmented(600, true);
    let large = world.submit(job(4, 300, true));
    let plan = look(&mut world);
    assert_eq!((plan.starts.len(), plan.stops.len()), (0, 1));
    assert_eq!(plan.stops[0].why, StopCause::Migration);
    let moved = plan.stops[0].job.clone();
    let attempt = small.iter().find(|attempt| attempt.job == moved).unwrap().clone();
    world.plan();
    assert!(look(&mut world).stops.is_empty(), "it is asked once");
    world.submit(job(1, 10, false));
    assert!(world.plan().is_empty(), "what is free is kept for the two");
    world.checkpoint(&attempt, 3).unwrap();
    world.exit_all(&attempt, 143);
    let started: Vec<JobId> = world.plan().into_iter().map(|attempt| attempt.job).collect();
    assert_eq!(started, [moved.clone(), large.clone()]);
    let record = world.job(&moved);
    assert_eq!((record.restarts, record.attempts.len()), (0, 2));
    let why = record.attempts[0].why_ended().unwrap().replace(&large.to_string(), "LARGE");
    insta::assert_snapshot!(why, @"moved to other units to make room for job LARGE");
}

#[test]
fn nobody_moves_for_less_than_it_costs_nor_who_does_not_listen() {
    let (mut world, _) = fragmented(6, true);
    world.submit(job(4, 300, true));
    assert_eq!(look(&mut world).stops, [], "in a minute it has its place");
    let (mut world, _) = fragmented(600, true);
    world.submit(job(4, 1, true));
    assert_eq!(look(&mut world).stops, [], "a minute of four is no more than two restarts of two");
    let (mut world, _) = fragmented(600, false);
    world.submit(job(4, 300, true));
    assert_eq!(look(&mut world).stops, [], "its work would be lost");
}

#[test]
fn nobody_moves_before_its_least_run_is_over_nor_where_too_little_is_free() {
    let (mut world, _) = fragmented(600, true);
    world.now -= 4 * MINUTE;
    world.submit(job(4, 300, true));
    let plan = look(&mut world);
    assert_eq!(plan.stops, []);
    assert_eq!(plan.again, Some(Timestamp(world.now + MINUTE)));
    world.now += 4 * MINUTE;
    assert_eq!(look(&mut world).stops.len(), 1);
}

#[derive(Debug, Clone)]
struct Load {
    /// Minutes until the next job comes, its ranks, its minutes of run time, whether it is compact.
    jobs: Vec<(u64, u32, u64, bool)>,
    policy: Policy,
    /// Of a unit's hour on each node.
    prices: [u8; 2],
}

fn load() -> impl Strategy<Value = Load> {
    let job = (0u64..40, prop_oneof![4 => 1u32..3, 1 => 3u32..9], 1u64..300, any::<bool>());
    let policy = proptest::sample::select(vec![Policy::Fifo, Policy::Srsf, Policy::Auto]);
    let prices = prop_oneof![Just([0, 0]), [0u8..10, 0u8..10]];
    let all = (proptest::collection::vec(job, 1..40), policy, prices);
    all.prop_map(|(jobs, policy, prices)| Load { jobs, policy, prices })
}

/// Two nodes of four at such prices.
fn priced(policy: Policy, prices: [u8; 2]) -> World {
    let mut world = world(policy, 0, 0);
    for (n, price) in (1..).zip(prices) {
        let mut offer = inventory(&format!("n{n}"), 4);
        offer.labels.insert("usd_per_unit_hour".into(), price.to_string());
        world.register_node(n, offer);
    }
    world
}

struct Replay {
    world: World,
    left: BTreeMap<JobId, u64>,
    running: BTreeMap<JobId, (AttemptRef, u64)>,
    moves: BTreeMap<JobId, usize>,
}

impl Replay {
    /// Plans, stops and starts until nothing more is to be done now.
    fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 50, "a plan leads to another without end");
            let now = self.world.now;
            let plan = look(&mut self.world);
            let mut fresh = Planner::of(&self.world.state);
            assert_eq!(plan, fresh.plan(Timestamp(now), WorkBudget::UNLIMITED), "as from scratch");
            if plan.starts.is_empty() && plan.stops.is_empty() {
                return;
            }
            for stop in plan.stops {
                let job = stop.job.clone();
                if stop.why == StopCause::Migration {
                    *self.moves.entry(job.clone()).or_default() += 1;
                }
                self.world.apply(Command::Preempt(Box::new(stop.into()))).expect("feasible");
                let (attempt, since) = self.running.remove(&job).expect("only what runs");
                let left = self.left.get_mut(&job).expect("known");
                // A minute goes with each start.
                *left = left.saturating_sub((now - since).saturating_sub(MINUTE)).max(1);
                self.world.exit_all(&attempt, 143);
            }
            for start in plan.starts {
                let job = start.job.clone();
                // A node's version moves on with the exits above.
                if let Ok(Reply::Started(attempt)) =
                    self.world.apply(Command::StartAttempt(Box::new(start)))
                {
                    self.world.started(&attempt);
                    self.running.insert(job, (attempt, now));
                }
            }
        }
    }

    fn advance(&mut self, until: u64) {
        let end = |(job, (_, since)): (&JobId, &(AttemptRef, u64))| since + self.left[job];
        let first = self.running.iter().map(end).min().unwrap_or(u64::MAX);
        self.world.now = first.min(until).max(self.world.now);
        let now = self.world.now;
        let over =
            |(job, (_, since)): &(&JobId, &(AttemptRef, u64))| since + self.left[*job] <= now;
        let ended: Vec<JobId> =
            self.running.iter().filter(over).map(|(job, _)| job.clone()).collect();
        for job in ended {
            let (attempt, _) = self.running.remove(&job).expect("runs");
            self.left.remove(&job);
            self.world.exit_all(&attempt, 0);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn moves_are_few_and_everybody_ends(load in load()) {
        let world = priced(load.policy, load.prices);
        let (left, running, moves) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut replay = Replay { world, left, running, moves };
        let mut arrivals = load.jobs.iter();
        let (mut next, mut arrives) = (arrivals.next(), replay.world.now);
        let begun = replay.world.now;
        for _ in 0..4000 {
            if let Some((wait, ranks, minutes, compact)) = next.filter(|_| replay.world.now >= arrives) {
                let id = replay.world.submit(job(*ranks, *minutes, *compact));
                replay.left.insert(id, minutes * MINUTE);
                arrives = replay.world.now + wait * MINUTE;
                next = arrivals.next();
            }
            replay.settle();
            if replay.left.is_empty() && next.is_none() {
                break;
            }
            let soon = replay.world.now + 10 * MINUTE;
            let until = if next.is_some() { arrives.min(soon) } else { soon };
            replay.advance(until);
        }
        prop_assert!(replay.left.is_empty(), "{:?} never ended", replay.left.keys());
        let days = usize::try_from((replay.world.now - begun) / (24 * HOUR)).unwrap() + 1;
        for (job, moves) in &replay.moves {
            prop_assert!(*moves <= 4 * days, "{job} moved {moves} times in {days} days");
        }
        let all: usize = replay.moves.values().sum();
        prop_assert!(all <= 2 * load.jobs.len(), "{all} moves of {} jobs", load.jobs.len());
    }
}
