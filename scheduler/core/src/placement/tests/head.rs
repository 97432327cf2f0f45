//! One idle node more never delays the job at the head of the queue: it starts where it would have
//! started, is helped where it would have been helped, and is expected no later.

use proptest::prelude::*;
use trainyard_jobs::{Backfill, JobId, Millis, Policy, Timestamp};

use super::{
    super::{BlockerKind, WorkBudget},
    bounded::{MINUTE, Replay},
};
use crate::world::{World, gpus, inventory, node_id, spec};

/// A cluster that is used for some time.
#[derive(Debug, Clone)]
struct Scene {
    policy: Policy,
    backfill: Option<Backfill>,
    /// Units of each node, and whether they are GPUs of two types in turn.
    sizes: Vec<u32>,
    typed: bool,
    /// Minutes until the next job comes, its ranks, its minutes of run time, and how many tenths as
    /// fast it runs on the better GPUs.
    jobs: Vec<(u64, u32, u64, u32)>,
    tells: bool,
    /// Units of the node that is added.
    more: u32,
}

fn scene() -> impl Strategy<Value = Scene> {
    let policy = prop::sample::select(Policy::ALL.to_vec());
    let backfill = prop::option::of(prop::sample::select(Backfill::ALL.to_vec()));
    let job = (0u64..15, 1u32..7, 1u64..60, 5u32..40);
    let jobs = prop::collection::vec(job, 2..24);
    let sizes = prop::collection::vec(1u32..5, 1..4);
    (policy, backfill, (sizes, any::<bool>()), jobs, any::<bool>(), 1u32..6).prop_map(
        |(policy, backfill, (sizes, typed), jobs, tells, more)| {
            let all: u32 = sizes.iter().sum();
            let fits = |(wait, ranks, minutes, tenths): (_, u32, _, _)| {
                (wait, ranks.min(all), minutes, tenths)
            };
            let jobs = jobs.into_iter().map(fits).collect();
            // Which job should have which type, and so who is at the head, hangs on what types
            // there are under `gavel`: one more of them makes it another question.
            let typed = typed && policy != Policy::Gavel;
            Scene { policy, backfill, sizes, typed, jobs, tells, more }
        },
    )
}

impl Scene {
    fn node(&self, world: &mut World, n: u64, units: u32) {
        let name = format!("n{n}");
        let model = if n.is_multiple_of(2) { "v100" } else { "h100" };
        let node =
            if self.typed { gpus(&name, model, units, &[]) } else { inventory(&name, units) };
        world.register_node(n, node);
    }

    fn submit(&self, replay: &mut Replay, (ranks, minutes, tenths): (u32, u64, u32)) {
        let kind = if self.typed {
            format!("speed = {{ h100 = {} }}", f64::from(tenths) / 10.0)
        } else {
            "device = \"cpu\"".to_owned()
        };
        let estimate = format!("[schedule]\nest_duration = \"{minutes}m\"\n");
        let text = format!("[resources]\ngpus = {ranks}\n{kind}\n{estimate}");
        let job = replay.world.submit(spec(&text));
        replay.left.insert(job.clone(), minutes * MINUTE);
        replay.total.insert(job, minutes * MINUTE);
    }

    /// The cluster as it is when the last job has come, and nothing was planned for it yet.
    fn play(&self) -> World {
        let mut world = World::new();
        world.checks = false;
        world.queue("root", |queue| {
            (queue.policy, queue.backfill) = (Some(self.policy), self.backfill);
            queue.notice = Some(Millis(0));
        });
        for (n, units) in (1..).zip(&self.sizes) {
            self.node(&mut world, n, *units);
        }
        let mut replay = Replay::new(world, self.tells);
        for (wait, ranks, minutes, tenths) in &self.jobs {
            replay.settle();
            let until = replay.world.now + wait * MINUTE;
            while replay.world.now < until {
                replay.advance(until);
                replay.settle();
            }
            self.submit(&mut replay, (*ranks, *minutes, *tenths));
        }
        replay.world
    }
}

/// What becomes of a job now: it starts, or units are being made free for it, or it waits.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Starts,
    IsHelped,
    Waits,
}

fn fate(world: &mut World, job: &JobId) -> (Fate, Option<(Timestamp, Timestamp)>) {
    let now = Timestamp(world.now);
    let plan = world.planner.plan(now, WorkBudget::UNLIMITED);
    let reasons = world.planner.reasons(now);
    let stopping =
        |why: &super::super::Blockers| why.iter().any(|b| b.kind == BlockerKind::Stopping);
    let fate = if plan.starts.iter().any(|start| start.job == *job) {
        Fate::Starts
    } else if reasons.get(job).is_some_and(stopping) {
        Fate::IsHelped
    } else {
        Fate::Waits
    };
    (fate, world.planner.expected_start(job, now))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn an_idle_node_more_never_delays_the_job_at_the_head(scene in scene()) {
        let mut world = scene.play();
        let waits = |world: &World, id: &JobId| Some(world.planner.waiting(id)?.1);
        let head = world.state.live_jobs().find(|job| waits(&world, &job.id) == Some(1));
        let head = head.expect("the last that came waits at least").id.clone();
        let (before, expected) = fate(&mut world, &head);
        let n = (1..).nth(scene.sizes.len()).expect("few nodes");
        scene.node(&mut world, n, scene.more);
        prop_assert!(world.state.node(&node_id(n)).is_some());
        let (after, sooner) = fate(&mut world, &head);
        // How much is scarce says under `gavel` what jobs have had, and so who is at the head: with
        // more units another may be.
        if scene.policy == Policy::Gavel {
            prop_assert!(after <= before || waits(&world, &head) != Some(1));
            return Ok(());
        }
        prop_assert!(after <= before, "{after:?} after {before:?}");
        if let Some((likely, latest)) = expected {
            let (now_likely, now_latest) = sooner.expect("there are no fewer units");
            prop_assert!(now_likely <= likely && now_latest <= latest, "{sooner:?} after {expected:?}");
        }
    }
}
