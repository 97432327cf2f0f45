//! Between when jobs are expected to start: types and limits are counted, and one walk tells it of
//! all.

use trainyard_jobs::{JobId, JobSpec, Policy, Quota, Timestamp};

use crate::world::{World, gpus, ranks, spec};

const HOUR: u64 = 3_600_000;

fn job(project: &str, resources: &str, hours: u64) -> JobSpec {
    let text = format!("[resources]\n{resources}\n[schedule]\nest_duration = \"{hours}h\"\n");
    JobSpec { project: project.parse().unwrap(), ..spec(&text) }
}

/// The hours from now between which a job is expected to start.
fn expected(world: &mut World, job: &JobId) -> Option<(u64, u64)> {
    let now = Timestamp(world.now);
    let alone = world.planner.expected_start(job, now);
    assert_eq!(world.planner.expected_starts(now).get(job).copied(), alone, "told of all alike");
    alone.map(|(from, to)| (from.since(now).0 / HOUR, to.since(now).0 / HOUR))
}

#[test]
fn a_job_waits_for_its_own_type() {
    let mut world = World::new();
    world.register_node(1, gpus("n1", "h100", 4, &[]));
    world.register_node(2, gpus("n2", "a100", 4, &[]));
    world.submit(job("a", "gpus = 4\ngpu_type = [\"h100\"]", 5));
    world.submit(job("a", "gpus = 2\ngpu_type = [\"a100\"]", 2));
    assert_eq!(world.plan().len(), 2);
    let h100 = world.submit(job("a", "gpus = 2\ngpu_type = [\"h100\"]", 1));
    assert_eq!(expected(&mut world, &h100), Some((5, 10)));
    let a100 = world.submit(job("a", "gpus = 4\ngpu_type = [\"a100\"]", 1));
    assert_eq!(expected(&mut world, &a100), Some((2, 4)));
    // Six are more than one type has: some of both, once the two before it are gone.
    let both = world.submit(job("a", "gpus = 8", 9));
    assert_eq!(expected(&mut world, &both), Some((6, 12)));
    let many = world.submit(job("a", "gpus = 5\ngpu_type = [\"h100\"]", 1));
    assert_eq!(expected(&mut world, &many), None, "there are not so many");
}

#[test]
fn a_job_waits_for_its_queues_limit() {
    let mut world = World::new();
    world.queue("root", |queue| queue.policy = Some(Policy::Fair));
    world.queue("a", |queue| {
        queue.quotas = vec![Quota { gpu_type: None, guaranteed: 0, limit: Some(2) }];
    });
    world.register(1, 1, 6, &[]);
    world.submit(job("a", "gpus = 2\ndevice = \"cpu\"", 3));
    world.submit(job("b", "gpus = 3\ndevice = \"cpu\"", 8));
    assert_eq!(world.plan().len(), 2);
    let limited = world.submit(job("a", "gpus = 1\ndevice = \"cpu\"", 4));
    assert!(world.plan().is_empty());
    assert_eq!(expected(&mut world, &limited), Some((3, 6)));
    let other = world.submit(job("b", "gpus = 1\ndevice = \"cpu\"", 1));
    assert_eq!(expected(&mut world, &other), Some((0, 0)), "it passes who waits for its queue");
    let never = world.submit(JobSpec { project: "a".parse().unwrap(), ..ranks(3) });
    assert_eq!(expected(&mut world, &never), None, "its queue may never have as much");
}
