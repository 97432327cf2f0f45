//! Reserved nodes: who keeps off them, who gets in, who leaves when, and that it is told.

use std::collections::BTreeSet;

use proptest::prelude::*;
use trainyard_jobs::{
    Backfill, JobId, JobPhase, JobSpec, Millis, NodeId, Policy, Purpose, StopCause, Timestamp,
};

use super::{
    super::{BlockerKind, Change, Plan, WorkBudget},
    Tap as _,
};
use crate::{
    Planner, State,
    world::{World, node_id, ranks, spec},
};

const MINUTE: u64 = 60_000;
const HOUR: u64 = 3_600_000;

/// A job of so many ranks that says it takes so many minutes. It is believed within its double.
fn minutes(gpus: u32, minutes: u64) -> JobSpec {
    spec(&format!(
        "[resources]\ngpus = {gpus}\ndevice = \"cpu\"\n[checkpoint]\non_request = true\n\
         [schedule]\nest_duration = \"{minutes}m\"\n"
    ))
}

fn hours(begins: u64, lasts: u64) -> (Millis, Millis) {
    (Millis(begins * HOUR), Millis(lasts * HOUR))
}

fn projects(names: &[&str]) -> Purpose {
    let projects = names.iter().map(|name| name.parse().unwrap()).collect();
    Purpose::For { projects, users: BTreeSet::new() }
}

/// Two nodes of two slots.
fn world() -> World {
    let mut world = World::new();
    world.register(1, 1, 2, &[]);
    world.register(2, 1, 2, &[]);
    world
}

fn look(world: &mut World) -> Plan {
    world.planner.plan(Timestamp(world.now), WorkBudget::UNLIMITED)
}

fn story(world: &mut World, job: &JobId) -> String {
    let explanation = world.planner.explain(job, Timestamp(world.now)).unwrap();
    let blockers: Vec<String> = explanation.blockers.into_iter().map(|b| b.message).collect();
    format!("{}\n\n{}", blockers.join("\n"), explanation.suggestions.join("\n"))
}

#[test]
fn a_long_job_keeps_off_a_node_that_a_short_one_still_uses() {
    let mut world = world();
    world.reserve("upgrade", &["n1"], hours(1, 2), Purpose::Maintenance).unwrap();
    let long = world.submit(minutes(2, 60));
    let started = world.plan();
    assert_eq!(world.nodes_of(&started[0]), [node_id(2)]);
    let waits = world.submit(minutes(2, 31));
    assert!(world.plan().is_empty(), "it may take 62 minutes");
    let short = world.submit(minutes(2, 30));
    let started = world.plan();
    assert_eq!(started.len(), 1);
    assert_eq!((&started[0].job, world.nodes_of(&started[0])), (&short, vec![node_id(1)]));
    assert_eq!((world.phase(&long), world.phase(&waits)), (JobPhase::Running, JobPhase::Queued));
}

#[test]
fn a_shorter_job_of_the_same_line_goes_round_a_longer_one() {
    let mut world = World::new();
    world.queue("root", |queue| queue.policy = Some(Policy::Fifo));
    world.register(1, 1, 2, &[]);
    world.reserve("upgrade", &["n1"], hours(1, 2), Purpose::Maintenance).unwrap();
    for _ in 0..3 {
        world.submit(minutes(1, 600));
    }
    let short = world.submit(minutes(1, 10));
    assert_eq!(look(&mut world).starts.iter().map(|s| &s.job).collect::<Vec<_>>(), [&short]);
}

#[test]
fn a_window_that_has_begun_takes_nobody_and_one_that_is_over_keeps_nobody() {
    let mut world = World::new();
    world.register(1, 1, 2, &[]);
    world.reserve("upgrade", &[], hours(0, 2), Purpose::Maintenance).unwrap();
    let job = world.submit(minutes(1, 1));
    let plan = look(&mut world);
    assert!(plan.starts.is_empty());
    assert_eq!(plan.again, Some(Timestamp(world.now + 2 * HOUR)));
    insta::assert_snapshot!(story(&mut world, &job), @r"
    needs 1 CPU slot; 0 of 2 are busy
    2 CPU slots on 1 node are reserved for maintenance (upgrade) for 2h more

    it would start in 2h, when reservation upgrade is over
    without reservation upgrade it would start now
    ");
    world.now += 2 * HOUR;
    assert_eq!(world.plan().len(), 1);
}

#[test]
fn a_deleted_window_is_in_nobody_s_way() {
    let mut world = World::new();
    world.register(1, 1, 2, &[]);
    world.reserve("upgrade", &[], hours(1, 2), Purpose::Maintenance).unwrap();
    let job = world.submit(minutes(1, 300));
    assert!(world.plan().is_empty());
    let why = story(&mut world, &job);
    insta::assert_snapshot!(why, @r"
    needs 1 CPU slot; 0 of 2 are busy
    2 CPU slots on 1 node are reserved for maintenance (upgrade) in 1h for 2h, and it may run until then

    it would start in 3h, when reservation upgrade is over
    if its limit ended it within 1h it would start now
    without reservation upgrade it would start now
    ");
    world.unreserve("upgrade").unwrap();
    assert_eq!(world.plan()[0].job, job);
}

#[test]
fn who_is_entitled_gets_in_and_others_keep_off() {
    let mut world = World::new();
    world.queue("lab", |queue| queue.weight = Some(1));
    world.queue("vision", |queue| queue.parent = Some("lab".parse().unwrap()));
    world.register(1, 1, 2, &[]);
    world.reserve("course", &["n1"], hours(0, 2), projects(&["lab"])).unwrap();
    let other = world.submit(ranks(1));
    let theirs = world.submit(ranks(1).tap(|s| s.project = "vision".parse().unwrap()));
    let started = world.plan();
    assert_eq!(started.iter().map(|a| &a.job).collect::<Vec<_>>(), [&theirs]);
    let reasons = world.planner.reasons(Timestamp(world.now));
    assert!(reasons[&other].iter().any(|b| b.kind == BlockerKind::Reserved));
    let user = BTreeSet::from(["local".to_owned()]);
    let mine = Purpose::For { projects: BTreeSet::new(), users: user };
    world.unreserve("course").unwrap();
    world.reserve("mine", &["n1"], hours(0, 2), mine).unwrap();
    assert_eq!(world.plan()[0].job, other, "its user is entitled");
}

#[test]
fn an_entitled_job_behind_others_gets_in() {
    let mut world = World::new();
    world.register(1, 1, 1, &[]);
    world.reserve("course", &["n1"], hours(0, 2), projects(&["lab"])).unwrap();
    world.queue("root", |queue| queue.policy = Some(Policy::Fifo));
    for _ in 0..30 {
        world.submit(ranks(1));
    }
    let theirs = world.submit(ranks(1).tap(|s| s.project = "lab".parse().unwrap()));
    let first = world.plan().remove(0);
    assert_eq!(first.job, theirs, "all are of one group");
}

#[test]
fn who_runs_where_a_window_begins_is_asked_as_late_as_it_can_be() {
    let mut world = world();
    world.queue("root", |queue| queue.notice = Some(Millis(5 * MINUTE)));
    let gang = world.submit(minutes(4, 600));
    let attempt = world.plan().remove(0);
    world.started(&attempt);
    world.reserve("upgrade", &["n2"], hours(1, 2), Purpose::Maintenance).unwrap();
    let begins = Timestamp(world.now + HOUR);
    let plan = look(&mut world);
    assert!(plan.stops.is_empty(), "{plan:?}");
    assert_eq!(plan.again, Some(Timestamp(begins.0 - 5 * MINUTE)));
    world.now = begins.0 - 5 * MINUTE - 1;
    assert!(look(&mut world).stops.is_empty());
    world.now += 1;
    let plan = look(&mut world);
    let asked = &plan.stops[0];
    assert_eq!((&asked.job, asked.why), (&gang, StopCause::Reserved));
    assert_eq!((asked.checkpoint_by, plan.stops.len()), (Some(begins), 1));
    world.plan();
    assert!(look(&mut world).stops.is_empty(), "it is asked once");
    world.now = begins.0;
    world.plan();
    assert_eq!(world.phase(&gang), JobPhase::Stopping, "it did not save in time");
    world.exit_all(&attempt, 143);
    assert!(world.plan().is_empty(), "the whole gang waits for the end");
    world.now += 2 * HOUR;
    assert_eq!(world.plan()[0].job, gang);
}

#[test]
fn one_that_saves_in_time_is_gone_before_and_resumes_elsewhere() {
    let mut world = world();
    world.queue("root", |queue| queue.notice = Some(Millis(5 * MINUTE)));
    let job = world.submit(minutes(2, 600));
    let attempt = world.plan().remove(0);
    world.started(&attempt);
    let here = world.nodes_of(&attempt)[0].clone();
    let name = world.state.node(&here).unwrap().inventory.name.to_string();
    world.reserve("upgrade", &[&name], hours(1, 2), Purpose::Maintenance).unwrap();
    world.now += HOUR - 5 * MINUTE;
    world.plan();
    world.checkpoint(&attempt, 7).unwrap();
    assert_eq!(world.phase(&job), JobPhase::Stopping);
    world.exit_all(&attempt, 143);
    let again = world.plan().remove(0);
    assert_eq!(again.job, job);
    assert_ne!(world.nodes_of(&again), [here]);
    let reason = world.job(&job).attempts[0].end.clone().unwrap().to_string();
    insta::assert_snapshot!(reason, @"its units are reserved");
}

#[test]
fn deaf_programs_and_those_on_new_windows_are_stopped_when_it_begins() {
    let mut world = World::new();
    world.register(1, 1, 1, &[]);
    let job = world.submit(minutes(1, 600).tap(|s| s.checkpoint.on_request = false));
    let attempt = world.plan().remove(0);
    world.started(&attempt);
    world.reserve("upgrade", &[], hours(1, 2), Purpose::Maintenance).unwrap();
    world.now += HOUR - 1;
    assert!(look(&mut world).stops.is_empty());
    world.now += 1;
    assert_eq!(look(&mut world).stops[0].checkpoint_by, None);
    world.plan();
    assert_eq!(world.phase(&job), JobPhase::Stopping);
    assert!(look(&mut world).stops.is_empty());
}

#[test]
fn who_is_entitled_stays_and_who_is_about_to_end_is_not_asked() {
    let mut world = world();
    world.queue("root", |queue| queue.notice = Some(Millis(30 * MINUTE)));
    world.submit(ranks(2).tap(|s| s.project = "lab".parse().unwrap()));
    world.submit(minutes(2, 50));
    for attempt in world.plan() {
        world.started(&attempt);
    }
    world.now += 40 * MINUTE;
    world.reserve("course", &[], (Millis(20 * MINUTE), Millis(HOUR)), projects(&["lab"])).unwrap();
    assert!(look(&mut world).stops.is_empty(), "it says 10 minutes: gone in 20");
    world.now += 10 * MINUTE + 1;
    assert_eq!(look(&mut world).stops.len(), 1, "it was wrong");
}

#[test]
fn a_gang_that_shrinks_runs_for_longer() {
    let mut world = World::new();
    world.register(1, 1, 1, &[]);
    world.reserve("upgrade", &[], hours(1, 1), Purpose::Maintenance).unwrap();
    let elastic = |minutes| self::minutes(2, minutes).tap(|s| s.resources.min_gpus = Some(1));
    world.submit(elastic(20));
    assert!(world.plan().is_empty(), "on half of the ranks it may take 80 minutes");
    let short = world.submit(elastic(15));
    assert_eq!(world.plan()[0].job, short);
}

#[test]
fn an_expected_start_is_not_before_the_end_of_a_window() {
    let mut world = World::new();
    world.register(1, 1, 1, &[]);
    world.reserve("upgrade", &[], hours(1, 1), Purpose::Maintenance).unwrap();
    let job = world.submit(minutes(1, 60));
    let now = Timestamp(world.now);
    let after = Timestamp(world.now + 2 * HOUR);
    assert_eq!(world.planner.expected_start(&job, now), Some((after, after)));
}

/// Whether a job may be on a node from `now` on, if it is gone `until` then.
fn may_use(state: &State, job: &JobId, node: &NodeId, now: u64, until: u64) -> bool {
    let job = state.job(job).unwrap();
    let inventory = &state.node(node).unwrap().inventory;
    state.reservations().values().all(|reservation| {
        let spec = &reservation.spec;
        !spec.nodes.covers(inventory.name.as_str(), &inventory.labels)
            || spec.purpose.admits([&job.spec.project].into_iter(), &job.principal)
            || until <= spec.from.0
            || now >= spec.until.0
    })
}

#[derive(Debug, Clone)]
enum Act {
    Submit { gpus: u32, least: Option<u32>, minutes: u64, lab: bool },
    Reserve { n: u8, nodes: Vec<u64>, begins: u64, lasts: u64, lab: bool },
    Unreserve { n: u8 },
    Register { node: u64, slots: u32 },
    Exit,
    Later { minutes: u64 },
}

fn act() -> impl Strategy<Value = Act> {
    let nodes = proptest::sample::subsequence(vec![1u64, 2, 3], 0..=2);
    prop_oneof![
        6 => (1u32..6, proptest::option::of(Just(1u32)), 1u64..200, any::<bool>())
            .prop_map(|(gpus, least, minutes, lab)| Act::Submit { gpus, least, minutes, lab }),
        3 => (0u8..4, nodes, 0u64..300, 1u64..300, any::<bool>()).prop_map(
            |(n, nodes, begins, lasts, lab)| Act::Reserve { n, nodes, begins, lasts, lab }
        ),
        1 => (0u8..4).prop_map(|n| Act::Unreserve { n }),
        1 => (1u64..4, 1u32..4).prop_map(|(node, slots)| Act::Register { node, slots }),
        3 => Just(Act::Exit),
        3 => (1u64..120).prop_map(|minutes| Act::Later { minutes }),
    ]
}

fn step(world: &mut World, act: Act) {
    match act {
        Act::Submit { gpus, least, minutes, lab } => {
            let project = if lab { "lab" } else { "default" };
            world.submit(self::minutes(gpus, minutes).tap(|s| {
                s.project = project.parse().unwrap();
                s.resources.min_gpus = least.filter(|least| *least < gpus);
            }));
        }
        Act::Reserve { n, nodes, begins, lasts, lab } => {
            let names: Vec<String> = nodes.iter().map(|n| format!("n{n}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let purpose = if lab { projects(&["lab"]) } else { Purpose::Maintenance };
            let span = (Millis(begins * MINUTE), Millis(lasts * MINUTE));
            let _ = world.reserve(&format!("r{n}"), &names, span, purpose);
        }
        Act::Unreserve { n } => drop(world.unreserve(&format!("r{n}"))),
        Act::Register { node, slots } => {
            let running: Vec<_> = running(world);
            let running: Vec<_> = running.iter().collect();
            world.register(node, 1, slots, &running);
        }
        Act::Exit => {
            if let Some(attempt) = running(world).first() {
                world.exit_all(attempt, 0);
            }
        }
        Act::Later { minutes } => {
            world.now += minutes * MINUTE;
            // Whatever is asked of the cluster next lets it forget what is over.
            world.queue("other", |_| ());
        }
    }
}

fn running(world: &World) -> Vec<trainyard_jobs::AttemptRef> {
    let current = |job: &crate::state::Job| {
        let attempt = job.current().filter(|a| a.ended.is_none())?;
        Some(job.attempt_ref(attempt))
    };
    world.state.live_jobs().filter_map(current).collect()
}

/// The longest that a job of these tests is believed to take: all of them say it.
fn longest(world: &World, job: &JobId, ranks: usize) -> u64 {
    let job = world.state.job(job).unwrap();
    let said = job.spec.schedule.est_duration.unwrap().0;
    // What it ran already counts; one that ran for longer than it said is expected to go on.
    let left = if job.used.0 == 0 { said } else { return 0 };
    2 * left * u64::from(job.spec.resources.gpus) / u64::try_from(ranks).unwrap()
}

/// A plan keeps off reserved nodes, equals one made from scratch, and lets nobody stay.
fn check(world: &mut World) {
    let now = world.now;
    let plan = look(world);
    let mut fresh = Planner::of(&world.state);
    assert_eq!(plan, fresh.plan(Timestamp(now), WorkBudget::UNLIMITED), "as from scratch");
    for start in &plan.starts {
        let ranks = start.placements.iter().map(|p| p.units.len()).sum();
        let until = now + longest(world, &start.job, ranks).max(1);
        for place in &start.placements {
            assert!(may_use(&world.state, &start.job, &place.node, now, until), "{start:?}");
        }
    }
    for job in world.state.live_jobs() {
        let Some(attempt) = job.current().filter(|a| a.ended.is_none()) else { continue };
        let stays = attempt.phase == trainyard_jobs::AttemptPhase::Active
            && !plan.stops.iter().any(|s| s.job == job.id && s.checkpoint_by.is_none());
        let up = |node: &NodeId| {
            world.state.node(node).is_some_and(|n| n.owners.values().any(|o| o.job == job.id))
        };
        for place in attempt.placements.iter().filter(|p| stays && up(&p.node)) {
            assert!(may_use(&world.state, &job.id, &place.node, now, now + 1), "{} stays", job.id);
        }
    }
    let waiting: Vec<JobId> = world.planner.reasons(Timestamp(now)).into_keys().collect();
    for id in waiting {
        let before = world.planner.clone();
        let explanation = world.planner.explain(&id, Timestamp(now)).unwrap();
        assert_eq!(before, world.planner, "a question changes nothing");
        assert!(!explanation.blockers.is_empty(), "nothing waits without a reason");
        // An end teaches how long jobs take, and counts as use: `whatif` asks for those at a time
        // when nobody has run yet.
        let ends = |change: &Change| matches!(change, Change::Ends(_));
        for found in explanation.counterfactuals.iter().filter(|found| !ends(&found.change)) {
            assert!(super::whatif::starts(world, &id, found), "{found:?} for {id}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn reservations_are_kept_whatever_happens(
        policy in proptest::sample::select(Policy::ALL.to_vec()),
        backfill in proptest::option::of(proptest::sample::select(Backfill::ALL.to_vec())),
        acts in proptest::collection::vec(act(), 1..40),
    ) {
        let mut world = world();
        world.queue("root", |queue| {
            queue.policy = Some(policy);
            queue.backfill = backfill;
            queue.notice = Some(Millis(5 * MINUTE));
        });
        for act in acts {
            step(&mut world, act);
            check(&mut world);
            for attempt in world.plan() {
                world.started(&attempt);
            }
        }
    }
}

#[test]
fn what_would_help_is_said() {
    let mut world = World::new();
    world.register(1, 1, 1, &[]);
    world.reserve("upgrade", &[], hours(1, 1), Purpose::Maintenance).unwrap();
    let job = world.submit(minutes(1, 60));
    let explanation = world.planner.explain(&job, Timestamp(world.now)).unwrap();
    let changes: Vec<&Change> = explanation.counterfactuals.iter().map(|c| &c.change).collect();
    let (within, without) = (Change::Within(Millis(HOUR)), "upgrade".parse().unwrap());
    let more = Change::Unreserved(without);
    assert!(changes.contains(&&within) && changes.contains(&&more), "{changes:?}");
}
