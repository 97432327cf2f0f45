//! Quotas of single types of GPUs: what is guaranteed of a type is lent, kept and taken back of
//! that type alone, and a full type has room made on it.

use std::collections::BTreeMap;

use trainyard_jobs::{JobId, Millis, Policy, Quota, StopCause, Timestamp};

use super::super::{BlockerKind, Plan, WorkBudget};
use crate::world::{World, gpus, spec};

const HOUR: u64 = 3_600_000;

/// Nodes with so many GPUs of each type.
fn world(h100: u32, v100: u32) -> World {
    let mut world = World::new();
    world.queue("root", |queue| queue.notice = Some(Millis(0)));
    world.register_node(1, gpus("n1", "h100", h100, &[]));
    world.register_node(2, gpus("n2", "v100", v100, &[]));
    world
}

/// A job of one GPU, of these types or of any.
fn submit(world: &mut World, project: &str, types: &[&str], hours: u64) -> JobId {
    let types = if types.is_empty() { String::new() } else { format!("gpu_type = {types:?}\n") };
    let mut spec = spec(&format!(
        "[resources]\n{types}[checkpoint]\non_request = true\n\
         [schedule]\nest_duration = \"{hours}h\"\n"
    ));
    spec.project = project.parse().unwrap();
    world.submit(spec)
}

fn quota(gpu_type: Option<&str>, guaranteed: u32, limit: Option<u32>) -> Quota {
    Quota { gpu_type: gpu_type.map(str::to_owned), guaranteed, limit }
}

fn look(world: &mut World) -> Plan {
    let now = Timestamp(world.now);
    let plan = world.planner.plan(now, WorkBudget::UNLIMITED);
    assert_eq!(plan, world.made_anew().plan(now, WorkBudget::UNLIMITED), "as from scratch");
    plan
}

/// Plans, and lets all that is stopped exit, until nothing changes. Says who was stopped.
fn settle(world: &mut World) -> Vec<JobId> {
    let mut gone = Vec::new();
    for _ in 0..20 {
        let plan = look(world);
        if plan.starts.is_empty() && plan.stops.is_empty() {
            return gone;
        }
        let stopped: Vec<JobId> = plan.stops.iter().map(|stop| stop.job.clone()).collect();
        world.plan();
        for id in &stopped {
            let job = world.job(id);
            let attempt = job.attempt_ref(job.current().unwrap());
            world.exit_all(&attempt, 143);
        }
        gone.extend(stopped);
    }
    panic!("a plan leads to another without end");
}

/// The types of GPUs that a project's running jobs have.
fn has(world: &World, project: &str) -> BTreeMap<String, u32> {
    let mut types = BTreeMap::new();
    for job in world.state.live_jobs().filter(|job| job.spec.project.as_str() == project) {
        let open = job.current().filter(|attempt| attempt.ended.is_none());
        for (model, units) in open.into_iter().flat_map(|attempt| &attempt.gpu_types) {
            *types.entry(model.clone()).or_default() += units;
        }
    }
    types
}

fn types(h100: u32, v100: u32) -> BTreeMap<String, u32> {
    let all = [("h100", h100), ("v100", v100)].into_iter().filter(|(_, units)| *units > 0);
    all.map(|(model, units)| (model.to_owned(), units)).collect()
}

/// Queue `a` is guaranteed two H100, and beside that has next to nothing.
fn guaranteed(h100: u32, v100: u32) -> World {
    let mut world = world(h100, v100);
    world.queue("a", |queue| queue.quotas = vec![quota(Some("h100"), 2, None)]);
    world.queue("b", |queue| queue.weight = Some(1000));
    world
}

#[test]
fn what_is_guaranteed_of_a_type_is_lent_and_taken_back_of_that_type_only() {
    for asked in [&["h100"][..], &["h100", "v100"], &[]] {
        let mut world = guaranteed(4, 4);
        for _ in 0..8 {
            submit(&mut world, "b", &[], 100);
        }
        assert_eq!(world.plan().len(), 8, "what is idle is lent");
        world.now += HOUR;
        for _ in 0..3 {
            submit(&mut world, "a", asked, 100);
        }
        let plan = look(&mut world);
        assert_eq!(plan.stops.len(), 2, "{asked:?}");
        assert!(plan.stops.iter().all(|stop| stop.why == StopCause::Reclaim));
        settle(&mut world);
        assert_eq!((has(&world, "a"), has(&world, "b")), (types(2, 0), types(2, 4)), "{asked:?}");
        for _ in 0..3 {
            world.now += HOUR;
            assert!(settle(&mut world).is_empty(), "and stays so");
        }
    }
}

#[test]
fn a_guarantee_of_one_type_is_none_of_another() {
    let mut world = guaranteed(2, 2);
    for _ in 0..4 {
        submit(&mut world, "b", &[], 100);
    }
    world.plan();
    world.now += HOUR;
    submit(&mut world, "a", &["v100"], 100);
    assert!(look(&mut world).stops.is_empty());
}

#[test]
fn what_is_guaranteed_of_a_type_is_not_taken_away_for_other_guarantees() {
    let mut world = guaranteed(2, 2);
    for _ in 0..4 {
        submit(&mut world, "a", &[], 100);
    }
    world.plan();
    assert_eq!(has(&world, "a"), types(2, 2));
    world.now += HOUR;
    world.queue("b", |queue| queue.quotas = vec![quota(None, 4, None)]);
    for _ in 0..4 {
        submit(&mut world, "b", &[], 100);
    }
    settle(&mut world);
    assert_eq!((has(&world, "a"), has(&world, "b")), (types(2, 0), types(0, 2)));
}

#[test]
fn below_its_guarantee_of_a_type_a_queue_goes_first_for_that_type_alone() {
    for (free, first) in [("h100", "a"), ("v100", "b")] {
        let mut world = guaranteed(0, 2);
        submit(&mut world, "a", &["v100"], 100);
        submit(&mut world, "a", &["v100"], 100);
        assert_eq!(world.plan().len(), 2, "it has much for its weight");
        for project in ["a", "b"] {
            submit(&mut world, project, &[free], 1);
        }
        world.register_node(3, gpus("n3", free, 1, &[]));
        let starts = look(&mut world).starts;
        let of = |job: &JobId| world.job(job).spec.project.as_str().to_owned();
        assert_eq!(starts.iter().map(|start| of(&start.job)).collect::<Vec<_>>(), [first]);
    }
}

#[test]
fn jobs_of_other_types_get_no_turns_by_a_guarantee() {
    let mut world = guaranteed(1, 2);
    submit(&mut world, "b", &["h100"], 100);
    submit(&mut world, "a", &["v100"], 100);
    world.plan();
    // The one that goes first in its queue asks for the other type.
    for types in [&["v100"][..], &["h100"]] {
        submit(&mut world, "a", types, 1);
    }
    let other = submit(&mut world, "b", &["v100"], 50);
    let plan = look(&mut world);
    let starts: Vec<&JobId> = plan.starts.iter().map(|start| &start.job).collect();
    assert_eq!(starts, [&other], "its share is the smaller one");
}

#[test]
fn a_type_that_is_full_has_room_made_on_it() {
    let mut world = world(2, 2);
    world.queue("a", |queue| {
        queue.policy = Some(Policy::Srsf);
        queue.quotas = vec![quota(Some("h100"), 0, Some(1))];
    });
    let long = submit(&mut world, "a", &["h100"], 100);
    let other = submit(&mut world, "a", &["v100"], 200);
    world.plan();
    world.now += HOUR;
    let short = submit(&mut world, "a", &["h100"], 1);
    let plan = look(&mut world);
    let stops: Vec<&JobId> = plan.stops.iter().map(|stop| &stop.job).collect();
    assert_eq!(stops, [&long], "not {other}, which is worth less and has none of that type");
    // While that one is on its way out, nobody else is stopped.
    for stop in plan.stops.clone() {
        world.apply(crate::Command::Preempt(Box::new(stop.into()))).unwrap();
    }
    assert!(look(&mut world).stops.is_empty());
    let now = Timestamp(world.now);
    let why = world.planner.reasons(now)[&short].clone();
    assert_eq!(why.iter().map(|b| b.kind).collect::<Vec<_>>(), [BlockerKind::Stopping]);
    let attempt = world.job(&long).attempt_ref(world.job(&long).current().unwrap());
    world.exit_all(&attempt, 143);
    settle(&mut world);
    assert_eq!(world.phase(&short), trainyard_jobs::JobPhase::Running);
    assert_eq!(has(&world, "a"), types(1, 1));
}
