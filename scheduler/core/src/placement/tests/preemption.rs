//! Who is stopped for whom, and that it is worth it.

use trainyard_jobs::{
    AttemptRef, EndReason, JobId, JobPhase, JobSpec, Millis, Policy, StopCause, Timestamp,
};

use super::super::{Delta, Plan, Progress, WorkBudget};
use crate::{
    Command, Planner,
    world::{World, ranks, spec},
};

const HOUR: u64 = 3_600_000;

/// A job of so many ranks that is expected to take so many hours, and saves when asked to.
fn hours(gpus: u32, hours: u64) -> JobSpec {
    spec(&format!(
        "[resources]\ngpus = {gpus}\ndevice = \"cpu\"\n[checkpoint]\non_request = true\n\
         [schedule]\nest_duration = \"{hours}h\"\n"
    ))
}

/// The same, of a program that does not listen.
fn deaf(gpus: u32, hours: u64) -> JobSpec {
    let mut spec = self::hours(gpus, hours);
    spec.checkpoint.on_request = false;
    spec
}

fn world(policy: Policy, slots: u32) -> World {
    let mut world = World::new();
    world.queue("root", |queue| {
        queue.policy = Some(policy);
        queue.notice = Some(Millis(0));
    });
    world.register(1, 1, slots, &[]);
    world
}

impl World {
    fn look(&mut self) -> Plan {
        self.planner.plan(Timestamp(self.now), WorkBudget::UNLIMITED)
    }

    fn start(&mut self, spec: JobSpec) -> AttemptRef {
        let job = self.submit(spec);
        let mut attempts = self.plan();
        assert_eq!(attempts.len(), 1);
        let attempt = attempts.remove(0);
        assert_eq!(attempt.job, job);
        self.started(&attempt);
        attempt
    }

    fn stops(&mut self) -> Vec<JobId> {
        self.look().stops.into_iter().map(|stop| stop.job).collect()
    }
}

#[test]
fn the_shorter_job_goes_first_and_the_longer_one_goes_on_after_it() {
    let mut world = world(Policy::Srsf, 2);
    let long = world.start(hours(2, 10));
    world.now += HOUR;
    let short = world.submit(hours(1, 1));
    assert_eq!(world.stops(), std::slice::from_ref(&long.job));
    assert!(world.plan().is_empty(), "its units are its own until its ranks are gone");
    assert_eq!(world.phase(&long.job), JobPhase::Stopping);
    assert_eq!(world.look(), Plan { complete: true, again: world.look().again, ..Plan::default() });
    world.exit_all(&long, 143);
    let record = world.job(&long.job);
    let cause = StopCause::Policy;
    assert_eq!(record.attempts[0].end, Some(EndReason::Preempted { cause }));
    assert_eq!((record.restarts, record.phase), (0, JobPhase::Queued), "not its own failure");
    let started = world.plan();
    assert_eq!(started.iter().map(|a| &a.job).collect::<Vec<_>>(), [&short]);
    world.now += HOUR;
    world.exit_all(&started[0], 0);
    assert_eq!(world.plan()[0].job, long.job);
}

#[test]
fn what_is_nearly_done_is_not_stopped_for_a_little_gain() {
    let mut world = world(Policy::Srsf, 1);
    world.start(hours(1, 2));
    world.now += HOUR;
    world.submit(hours(1, 1));
    assert_eq!(world.stops(), [], "an hour is left of both");
    let shorter = spec("[resources]\ndevice = \"cpu\"\n[schedule]\nest_duration = \"58m\"\n");
    world.submit(shorter);
    assert_eq!(world.stops().len(), 1, "two minutes less are more than the restart");
}

#[test]
fn unsaved_work_weighs_on_the_side_of_who_runs() {
    let mut world = world(Policy::Srsf, 1);
    let long = world.start(deaf(1, 10));
    world.now += 5 * HOUR;
    world.submit(hours(1, 1));
    assert_eq!(world.stops(), [], "five hours would be lost for a gain of four");
    world.checkpoint(&long, 1).unwrap();
    assert_eq!(world.stops(), [long.job]);
}

#[test]
fn an_attempt_has_its_least_run() {
    let mut world = world(Policy::Srsf, 1);
    let long = world.start(hours(1, 10));
    world.submit(hours(1, 1));
    world.now += 119_999;
    let plan = world.look();
    assert_eq!(plan.stops, []);
    assert_eq!(plan.again, Some(Timestamp(world.now + 1)));
    world.now += 1;
    assert_eq!(world.stops(), [long.job]);
}

#[test]
fn a_job_bears_so_many_disruptions_a_day() {
    let mut world = world(Policy::Srsf, 1);
    world.queue("root", |queue| queue.max_disruptions = Some(1));
    let long = world.start(hours(1, 100));
    world.now += HOUR;
    let short = world.submit(hours(1, 1));
    world.plan();
    world.exit_all(&long, 143);
    let attempt = world.plan().remove(0);
    assert_eq!(attempt.job, short);
    world.exit_all(&attempt, 0);
    world.plan();
    world.now += HOUR;
    world.submit(hours(1, 1));
    assert_eq!(world.stops(), [], "it was stopped today");
    world.now += 24 * HOUR;
    assert_eq!(world.stops(), [long.job]);
}

#[test]
fn whole_gangs_go_and_no_more_of_them_than_needed() {
    let mut world = world(Policy::Srsf, 6);
    let large = world.start(hours(4, 20));
    let small = world.start(hours(2, 30));
    world.now += HOUR;
    world.submit(hours(2, 1));
    assert_eq!(
        world.stops(),
        std::slice::from_ref(&large.job),
        "the one with the most service left"
    );
    world.submit(hours(4, 2));
    let stops = world.stops();
    assert_eq!(stops, [large.job, small.job], "what the first leaves over goes to the second");
}

#[test]
fn least_attained_service_goes_first() {
    let mut world = world(Policy::Las, 1);
    let old = world.start(hours(1, 100));
    world.submit(ranks(1));
    world.now += HOUR - 1;
    let plan = world.look();
    assert_eq!(plan.stops, [], "both in the first bucket");
    assert_eq!(plan.again, Some(Timestamp(world.now + 1)), "which the one leaves in a moment");
    world.now += 1;
    assert_eq!(world.stops(), [old.job]);
}

#[test]
fn by_age_nobody_is_stopped() {
    let mut world = world(Policy::Fifo, 1);
    world.start(hours(1, 100));
    world.now += 100 * HOUR;
    world.submit(spec("[resources]\ndevice = \"cpu\"\n[schedule]\nest_duration = \"1m\"\n"));
    assert_eq!(world.stops(), []);
}

#[test]
fn a_job_tells_how_long_it_will_take() {
    let mut world = world(Policy::Auto, 1);
    let first = world.start(hours(1, 100));
    world.now += HOUR;
    let progress = |done| Progress { done, total: Some(100), at: Timestamp(world.now) };
    let (fast, slow) = (progress(99), progress(10));
    world.submit(hours(1, 1));
    assert_eq!(world.stops(), std::slice::from_ref(&first.job));
    world.planner.update(Delta::Progress(first.job.clone(), fast));
    assert_eq!(world.stops(), [], "its spec was wrong: a minute is left");
    world.planner.update(Delta::Progress(first.job.clone(), slow));
    assert_eq!(world.stops(), [first.job]);
}

#[test]
fn a_job_that_listens_saves_its_state_first() {
    let mut world = world(Policy::Srsf, 1);
    world.queue("root", |queue| queue.notice = Some(Millis(60_000)));
    let long = world.start(hours(1, 10));
    world.now += HOUR;
    let short = world.submit(hours(1, 1));
    world.plan();
    assert_eq!(world.phase(&long.job), JobPhase::Running, "it has a minute");
    assert!(world.look().stops.is_empty(), "and is not asked again");
    world.checkpoint(&long, 7).unwrap();
    assert_eq!(world.phase(&long.job), JobPhase::Stopping, "it has saved: no need to wait");
    world.exit_all(&long, 143);
    let attempt = world.plan().remove(0);
    assert_eq!(attempt.job, short);
    world.exit_all(&attempt, 0);
    let again = world.plan().remove(0);
    let record = world.job(&again.job);
    let resumed = record.checkpoint(record.current().unwrap().resume.unwrap()).unwrap();
    assert_eq!(resumed.step, 7);
}

#[test]
fn a_job_that_does_not_save_in_time_is_stopped_without() {
    let mut world = world(Policy::Srsf, 1);
    world.queue("root", |queue| queue.notice = Some(Millis(60_000)));
    let long = world.start(hours(1, 10));
    world.now += HOUR;
    world.submit(hours(1, 1));
    world.plan();
    world.now += 59_999;
    assert_eq!(world.look().again, Some(Timestamp(world.now + 1)));
    world.now += 1;
    world.plan();
    assert_eq!(world.phase(&long.job), JobPhase::Stopping);
}

#[test]
fn who_has_waited_too_long_goes_first() {
    let mut world = world(Policy::Srsf, 1);
    world.queue("root", |queue| queue.patience = Some(Millis(24 * HOUR)));
    let mut attempt = world.start(hours(1, 1));
    let long = world.submit(hours(1, 2));
    for _ in 0..23 {
        world.now += HOUR;
        world.submit(hours(1, 1));
        world.exit_all(&attempt, 0);
        attempt = world.plan().remove(0);
        assert_ne!(attempt.job, long);
    }
    world.now += HOUR;
    world.submit(hours(1, 1));
    world.exit_all(&attempt, 0);
    assert_eq!(world.plan()[0].job, long);
}

#[test]
fn those_that_have_waited_too_long_get_a_part_of_the_cluster_and_no_more() {
    let mut world = world(Policy::Srsf, 16);
    world.queue("root", |queue| queue.patience = Some(Millis(24 * HOUR)));
    let all = world.start(hours(16, 1));
    let large = world.submit(hours(4, 2));
    let old: Vec<JobId> = (0..4).map(|_| world.submit(hours(2, 2))).collect();
    world.now += 30 * HOUR;
    let short: Vec<JobId> = (0..8).map(|_| world.submit(hours(2, 1))).collect();
    world.exit_all(&all, 0);
    let started: Vec<JobId> = world.plan().into_iter().map(|attempt| attempt.job).collect();
    assert_eq!(started[0], old[0], "an eighth for the one that has waited longest");
    assert_eq!(started[1..], short[..7]);
    assert!(!started.contains(&large), "it needs two such parts, and waits twice as long");
    let again = world.look().again.unwrap();
    assert!(again <= Timestamp(world.now + 3 * HOUR), "the next may have its turn then: {again:?}");
    world.now += 3 * HOUR;
    let others = world.look();
    assert!(!others.stops.is_empty() && !others.stops.iter().any(|stop| stop.job == old[1]));
}

#[test]
fn those_that_have_waited_too_long_go_on_with_a_part_of_the_cluster_and_no_more() {
    let mut world = world(Policy::Srsf, 16);
    world.queue("root", |queue| queue.patience = Some(Millis(24 * HOUR)));
    let all = world.start(hours(16, 1));
    let old: Vec<JobId> = (0..8).map(|_| world.submit(hours(2, 10))).collect();
    world.now += 110 * HOUR;
    world.exit_all(&all, 0);
    assert_eq!(world.plan().len(), 8, "nobody else wants anything");
    world.now += HOUR;
    let short: Vec<JobId> = (0..8).map(|_| world.submit(hours(2, 1))).collect();
    let stopped: Vec<JobId> = world.look().stops.into_iter().map(|stop| stop.job).collect();
    assert_eq!(stopped.len(), short.len() - 1, "an eighth goes on");
    assert!(!stopped.contains(&old[0]), "the one that had waited longest");
}

#[test]
fn a_stop_that_was_planned_from_what_is_not_so_any_more_is_refused() {
    let mut world = world(Policy::Srsf, 1);
    let long = world.start(hours(1, 10));
    world.now += HOUR;
    world.submit(hours(1, 1));
    let stop = world.look().stops.remove(0);
    world.checkpoint(&long, 1).unwrap();
    let stale = world.apply(Command::Preempt(Box::new(stop.into())));
    assert!(stale.is_err(), "{stale:?}");
    assert_eq!(world.phase(&long.job), JobPhase::Running);
}

#[test]
fn an_increment_plans_what_a_planner_made_from_scratch_plans() {
    for policy in Policy::ALL {
        let mut world = world(policy, 3);
        for (n, gpus) in (1..=12).zip([1, 2, 3].into_iter().cycle()) {
            world.submit(hours(gpus, 1 + (n * 7) % 5));
            for attempt in world.plan() {
                world.started(&attempt);
            }
            world.now += HOUR / 3;
            let fresh = Planner::of(&world.state).plan(Timestamp(world.now), WorkBudget::UNLIMITED);
            assert_eq!(world.look(), fresh, "{policy}");
            assert_eq!(world.look(), fresh, "the same again");
        }
    }
}

#[test]
fn a_few_that_end_at_once_make_nobody_else_look_long() {
    let mut world = World::new();
    for node in 1..=16 {
        world.register(node, 1, 4, &[]);
    }
    for _ in 0..200 {
        world.submit(ranks(1));
    }
    let mut running = world.plan();
    world.now += 2000;
    for attempt in running.drain(..10) {
        world.exit_all(&attempt, 0);
    }
    running.extend(world.plan());
    for minutes in 1..=30 {
        world.now += 60_000;
        world.plan();
        assert_eq!(running.len(), 64);
        assert_eq!(world.planner.leaving().count(), 0, "after {minutes} min");
    }
}
