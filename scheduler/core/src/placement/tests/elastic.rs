//! Jobs that do with fewer ranks, jobs that have to be done by a time, and when jobs are expected
//! to start.

use trainyard_jobs::{JobId, JobSpec, Millis, Policy, StopCause, Timestamp};

use super::super::WorkBudget;
use crate::world::{World, spec};

const HOUR: u64 = 3_600_000;

fn job(gpus: u32, least: Option<u32>, hours: u64) -> JobSpec {
    let mut spec = spec(&format!(
        "[resources]\ngpus = {gpus}\ndevice = \"cpu\"\n[checkpoint]\non_request = true\n\
         [schedule]\nest_duration = \"{hours}h\"\n"
    ));
    spec.resources.min_gpus = least;
    spec
}

fn world(slots: u32) -> World {
    let mut world = World::new();
    world.queue("root", |queue| {
        queue.notice = Some(Millis(0));
        queue.policy = Some(Policy::Fifo);
    });
    world.register(1, 1, slots, &[]);
    world
}

fn size(world: &World, job: &JobId) -> u32 {
    world.job(job).current().map_or(0, |attempt| attempt.world_size())
}

#[test]
fn an_elastic_job_starts_with_what_there_is_and_grows() {
    let mut world = world(8);
    let other = world.submit(job(5, None, 1));
    let first = world.plan().remove(0);
    assert_eq!(first.job, other);
    let elastic = world.submit(job(8, Some(2), 10));
    let small = world.plan().remove(0);
    assert_eq!((small.job.clone(), size(&world, &elastic)), (elastic.clone(), 3));
    world.now += HOUR;
    let grows = |world: &mut World| {
        let plan = world.planner.plan(Timestamp(world.now), WorkBudget::UNLIMITED);
        plan.stops.into_iter().map(|stop| (stop.job, stop.why)).collect::<Vec<_>>()
    };
    assert_eq!(grows(&mut world), [], "there is no room");
    world.exit_all(&first, 0);
    assert_eq!(grows(&mut world), [(elastic.clone(), StopCause::Resize)]);
    let waits = world.submit(job(2, None, 1));
    let started = world.plan();
    assert_eq!(started[0].job, waits, "who waits goes first");
    assert_eq!(grows(&mut world), [(elastic.clone(), StopCause::Resize)]);
    world.plan();
    world.exit_all(&small, 143);
    world.plan();
    assert_eq!(size(&world, &elastic), 6);
    let record = world.job(&elastic);
    assert_eq!(record.attained(), 3 * HOUR, "three ranks for an hour");
    assert_eq!(grows(&mut world), [], "and no further");
}

#[test]
fn a_job_does_not_grow_for_less_than_it_costs() {
    let mut world = world(4);
    let other = world.submit(job(2, None, 1));
    world.plan();
    let elastic = world.submit(job(4, Some(1), 10));
    let attempt = world.plan().remove(0);
    assert_eq!(attempt.job, elastic);
    world.now += 10 * HOUR - 120_000;
    let record = world.job(&other);
    let first = record.attempt_ref(record.current().unwrap());
    world.exit_all(&first, 0);
    let plan = world.planner.plan(Timestamp(world.now), WorkBudget::UNLIMITED);
    assert_eq!(plan.stops, [], "two minutes are left of it");
}

#[test]
fn a_rigid_job_does_not_start_with_fewer() {
    let mut world = world(4);
    world.submit(job(3, None, 1));
    world.submit(job(3, None, 1));
    assert_eq!(world.plan().len(), 1);
}

#[test]
fn a_deadline_puts_a_job_first_when_it_is_due_and_within_its_share() {
    // The deadline is in the year 2001, and so is the world.
    let by = "2001-09-10T01:46:40Z";
    let mut world = world(2);
    assert_eq!(world.now, 1_000_000_000_000, "a day less than the deadline");
    let mut running = world.submit(job(2, None, 1));
    world.plan();
    let mut due = job(2, None, 2);
    due.schedule.finish_by = Some(by.into());
    let others: Vec<JobId> = (0..30).map(|_| world.submit(job(2, None, 1))).collect();
    let due = world.submit(due);
    let mut hours = 0;
    while running != due {
        world.now += HOUR;
        hours += 1;
        let record = world.job(&running);
        let attempt = record.attempt_ref(record.current().unwrap());
        world.exit_all(&attempt, 0);
        running = world.plan().remove(0).job;
        assert!(running == due || others.contains(&running));
    }
    assert!(hours <= 22, "it takes two hours: {hours}");
    assert!(hours >= 15, "and was not due before: {hours}");
}

#[test]
fn a_start_is_expected_between_two_times_that_hold() {
    let mut world = world(2);
    let begin = world.now;
    let mut running = world.submit(job(2, None, 3));
    world.plan();
    let jobs: Vec<JobId> = (1..=3).map(|hours| world.submit(job(2, None, hours))).collect();
    let now = Timestamp(world.now);
    let ranges: Vec<_> =
        jobs.iter().map(|job| world.planner.expected_start(job, now).unwrap()).collect();
    for (n, (likely, latest)) in ranges.iter().enumerate() {
        assert!(likely <= latest, "{n}");
    }
    for (job, (likely, latest)) in jobs.iter().zip(&ranges) {
        let took = world.job(&running).spec.schedule.est_duration.unwrap().0;
        world.now += took;
        let record = world.job(&running);
        let attempt = record.attempt_ref(record.current().unwrap());
        world.exit_all(&attempt, 0);
        world.plan();
        running = job.clone();
        let started = world.job(job).current().unwrap().started;
        assert_eq!(started, *likely, "estimates were exact, {begin}");
        assert!(started <= *latest);
    }
    let large = world.submit(job(3, None, 1));
    assert_eq!(world.planner.expected_start(&large, Timestamp(world.now)), None);
}
