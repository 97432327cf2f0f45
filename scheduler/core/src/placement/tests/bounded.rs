//! Under a load that the nodes can bear, every job ends under every policy, whatever else is
//! stopped for it; and what the planner plans always applies.

use std::collections::BTreeMap;

use proptest::prelude::*;
use trainyard_jobs::{AttemptRef, Backfill, JobId, Millis, Policy, Timestamp};

use super::super::{Delta, Progress, WorkBudget};
use crate::{
    Command,
    world::{World, gpus, hosted, inventory, spec},
};

pub(super) const MINUTE: u64 = 60_000;

/// Processors for each unit, as long as every unit is in use.
const CPUS: u32 = 4;

#[derive(Debug, Clone)]
struct Load {
    /// Minutes until the next job comes, its ranks, its minutes of run time, how many tenths as fast
    /// it runs on the better GPUs, and the processors that each of its ranks counts on.
    jobs: Vec<(u64, u32, u64, u32, u32)>,
    /// Whether they run on GPUs of two types.
    typed: bool,
    policy: Policy,
    backfill: Option<Backfill>,
    /// Of a hundred units, how many may be stopped for others within an hour.
    budget: Option<u32>,
    /// Whether jobs say in their spec how long they take, and whether they tell their progress.
    estimates: bool,
    tells: bool,
}

fn load() -> impl Strategy<Value = Load> {
    let ranks = prop_oneof![4 => 1u32..3, 1 => 3u32..5];
    let cpus = prop_oneof![2 => Just(0u32), 1 => 1..=CPUS];
    let job = (0u64..40, ranks, 1u64..300, 1u32..50, cpus);
    let jobs = proptest::collection::vec(job, 1..40);
    let policy = proptest::sample::select(Policy::ALL.to_vec());
    let backfill = proptest::option::of(proptest::sample::select(Backfill::ALL.to_vec()));
    let budget = proptest::option::of(0u32..101);
    (jobs, any::<bool>(), (policy, backfill, budget), any::<bool>(), any::<bool>()).prop_map(
        |(jobs, typed, (policy, backfill, budget), estimates, tells)| Load {
            jobs,
            typed,
            policy,
            backfill,
            budget,
            estimates,
            tells,
        },
    )
}

pub(super) struct Replay {
    pub(super) world: World,
    /// Run time that each job still needs, in milliseconds.
    pub(super) left: BTreeMap<JobId, u64>,
    pub(super) total: BTreeMap<JobId, u64>,
    running: BTreeMap<JobId, (AttemptRef, u64)>,
    tells: bool,
    stops: usize,
}

impl Replay {
    pub(super) fn new(world: World, tells: bool) -> Self {
        let (left, total, running) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { world, left, total, running, tells, stops: 0 }
    }

    /// Plans, stops and starts until nothing more is to be done now.
    pub(super) fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 100, "a plan leads to another without end");
            let now = self.world.now;
            let plan = self.world.planner.plan(Timestamp(now), WorkBudget::UNLIMITED);
            if plan.starts.is_empty() && plan.stops.is_empty() {
                return;
            }
            for stop in plan.stops {
                let job = stop.job.clone();
                self.world.apply(Command::Preempt(Box::new(stop.into()))).expect("feasible");
                let (attempt, since) = self.running.remove(&job).expect("only what runs");
                let left = self.left.get_mut(&job).expect("known");
                *left = left.saturating_sub(now - since).max(1);
                self.stops += 1;
                self.world.exit_all(&attempt, 143);
            }
            for start in plan.starts {
                let job = start.job.clone();
                // A node's version moves on with the exits above.
                if let Ok(crate::Reply::Started(attempt)) =
                    self.world.apply(Command::StartAttempt(Box::new(start)))
                {
                    self.world.started(&attempt);
                    self.running.insert(job, (attempt, now));
                    super::host::check(&self.world.state);
                }
            }
        }
    }

    /// Time goes on to `until`, or to the first end before it.
    pub(super) fn advance(&mut self, until: u64) {
        let end = |(job, (_, since)): (&JobId, &(AttemptRef, u64))| since + self.left[job];
        let first = self.running.iter().map(end).min().unwrap_or(u64::MAX);
        self.world.now = first.min(until).max(self.world.now);
        let now = self.world.now;
        let ended: Vec<JobId> = self
            .running
            .iter()
            .filter(|(job, (_, since))| since + self.left[*job] <= now)
            .map(|(job, _)| job.clone())
            .collect();
        for job in ended {
            let (attempt, _) = self.running.remove(&job).expect("runs");
            self.left.remove(&job);
            self.world.exit_all(&attempt, 0);
        }
        if self.tells {
            for (job, (_, since)) in &self.running {
                let left = self.left[job].saturating_sub(now - since);
                let total = self.total[job];
                let done = total.saturating_sub(left);
                let at = Timestamp(now);
                let progress = Progress { done, total: Some(total), at };
                self.world.planner.update(Delta::Progress(job.clone(), progress));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn no_job_starves_under_a_load_that_can_be_borne(load in load()) {
        let mut world = World::new();
        world.queue("root", |queue| {
            queue.policy = Some(load.policy);
            queue.backfill = load.backfill;
            queue.disruption_budget = load.budget;
            queue.notice = Some(Millis(0));
            queue.patience = Some(Millis(24 * 60 * MINUTE));
        });
        if load.typed {
            world.register_node(1, hosted(gpus("n1", "h100", 3, &[]), 3 * CPUS - 1, 1));
            world.register_node(2, hosted(gpus("n2", "v100", 1, &[]), CPUS, 1));
        } else {
            world.register_node(1, hosted(inventory("n1", 3), 3 * CPUS - 1, 1));
            world.register_node(2, hosted(inventory("n2", 1), CPUS, 1));
        }
        let mut replay = Replay::new(world, load.tells);
        let mut arrivals = load.jobs.iter();
        let mut next = arrivals.next();
        let mut arrives = replay.world.now;
        for _ in 0..4000 {
            if let Some((wait, ranks, minutes, tenths, cpus)) = next.filter(|_| replay.world.now >= arrives) {
                let estimate = if load.estimates {
                    format!("[schedule]\nest_duration = \"{minutes}m\"\n")
                } else {
                    String::new()
                };
                let kind = if load.typed {
                    format!("speed = {{ h100 = {} }}", f64::from(*tenths) / 10.0)
                } else {
                    "device = \"cpu\"".to_owned()
                };
                // All four ranks of the largest gang find theirs.
                let cpus = if *ranks < 4 { *cpus } else { (*cpus).min(CPUS - 1) };
                let host = if cpus > 0 { format!("cpus_per_rank = {cpus}") } else { String::new() };
                let text = format!("[resources]\ngpus = {ranks}\n{kind}\n{host}\n{estimate}");
                let job = replay.world.submit(spec(&text));
                replay.left.insert(job.clone(), minutes * MINUTE);
                replay.total.insert(job, minutes * MINUTE);
                arrives = replay.world.now + wait * MINUTE;
                next = arrivals.next();
            }
            replay.settle();
            if replay.left.is_empty() && next.is_none() {
                return Ok(());
            }
            let soon = replay.world.now + 10 * MINUTE;
            let until = if next.is_some() { arrives.min(soon) } else { soon };
            replay.advance(until);
        }
        let waiting: Vec<_> = replay.left.keys().collect();
        prop_assert!(false, "{waiting:?} never ended, {} stops", replay.stops);
    }
}
