//! The planner on a large state: 10,000 nodes × 8 GPUs, 100,000 queued jobs of 50 projects. Every
//! change goes through the state machine, as in production.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use serde_json::{Value, json};
use trainyard_core::{
    Command, Delta, Envelope, Event, Planner, Refusal, Reply, State,
    archive::NoArchive,
    command::{EndedReport, FEATURE_LEVEL, Mutation, Submit},
    placement::{Plan, WorkBudget},
    state::Job,
};
use trainyard_jobs::{
    AttemptPhase, AttemptRef, BitRate, Bytes, ClusterId, Device, DeviceKind, Digest, GpuPart,
    IdempotencyKey, Inventory, JobId, JobSpec, NodeId, RankExit, SessionId, Timestamp, UnitId,
    spec::Format,
};
use uuid::Uuid;

use crate::{memory, rng::Rng};

const NODES: u64 = 10_000;
const JOBS: u64 = 100_000;
const PROJECTS: u64 = 50;
const CHANGES: usize = 400;
/// Jobs that end, and arrive, in each minute of an hour that passes.
const A_MINUTE: usize = 80;

pub(crate) struct Large {
    pub(crate) state: State,
    pub(crate) now: Timestamp,
    index: u64,
    drawn: u64,
    rng: Rng,
    template: JobSpec,
}

impl Large {
    pub(crate) fn new() -> Self {
        let text = "name = \"train\"\n[run]\ncommand = [\"python\", \"train.py\"]\n";
        let mut large = Self {
            state: State::new(ClusterId(Uuid::from_u128(1))),
            now: Timestamp(1_700_000_000_000),
            index: 0,
            drawn: 0,
            rng: Rng(11),
            template: JobSpec::read("job.toml", text, Format::Toml).expect("a valid spec"),
        };
        for n in 0..NODES {
            large.register(n);
        }
        for _ in 0..JOBS {
            large.submit();
        }
        large
    }

    fn apply(&mut self, command: Command) -> (Result<Reply, Refusal>, Vec<Event>) {
        self.index += 1;
        let envelope = Envelope { level: FEATURE_LEVEL, time: self.now, command };
        let mut events = Vec::new();
        let reply = self.state.apply(self.index, envelope, &NoArchive, &mut events);
        (reply, events)
    }

    fn register(&mut self, n: u64) {
        let model = if n.is_multiple_of(2) { "h100" } else { "a100" };
        let device = |index| {
            let unit = UnitId(format!("GPU-{n:08x}-0000-4000-8000-{index:012x}"));
            let memory = Bytes(80 << 30);
            (
                unit,
                Device {
                    kind: DeviceKind::Gpu,
                    index,
                    model: model.into(),
                    memory,
                    part: GpuPart::Whole,
                },
            )
        };
        let labels = [("rack", n / 32), ("fabric", n / 1024)];
        let inventory = Inventory {
            name: format!("node-{n}").parse().expect("a name"),
            address: format!("10.0.{}.{}", n / 250, n % 250),
            devices: (0..8).map(device).collect(),
            cpus: 128,
            memory: Bytes(1 << 40),
            ports: (20_000, 20_099),
            labels: labels.map(|(key, value)| (key.into(), format!("{value}"))).into(),
            version: "0".into(),
            disk: Bytes(0),
            network: BitRate(0),
        };
        let command = Command::RegisterNode {
            node: NodeId::from_random(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            session: SessionId(Uuid::from_u128(1)),
            inventory,
            running: BTreeSet::new(),
            gone: None,
        };
        self.apply(command).0.expect("registers");
    }

    fn submit(&mut self) -> Vec<Event> {
        self.drawn += 1;
        let key = u128::from(self.now.0) << 80 | 0x7 << 76 | 0x8 << 60 | u128::from(self.drawn);
        let mut spec = self.template.clone();
        let project = format!("project-{}", self.rng.below(PROJECTS as usize));
        spec.project = project.parse().expect("a project");
        spec.resources.gpus = match self.rng.below(1000) {
            0..500 => 1,
            500..650 => 2,
            650..780 => 4,
            780..900 => 8,
            900..950 => 16,
            950..975 => 32,
            975..988 => 64,
            988..995 => 128,
            995..998 => 256,
            _ => 512,
        };
        spec.resources.gpu_type = match self.rng.below(10) {
            0..6 => Vec::new(),
            6..8 => vec!["h100".into()],
            _ => vec!["a100".into()],
        };
        let submit = Submit {
            mutation: Mutation {
                key: IdempotencyKey(Uuid::from_u128(key)),
                request: Digest::of(b"request"),
                principal: format!("user-{}", self.rng.below(500)),
            },
            job: JobId::from_random(self.rng.next()),
            spec,
            bundle: None,
            commit: None,
        };
        let (reply, events) = self.apply(Command::Submit(Box::new(submit)));
        reply.expect("submits");
        events
    }

    fn running(&self) -> Vec<JobId> {
        let runs = |job: &&Job| job.current().is_some_and(|a| a.phase != AttemptPhase::Ended);
        self.state.live_jobs().filter(runs).map(|job| job.id.clone()).collect()
    }

    /// One running job's ranks exit.
    fn end_one(&mut self) -> Vec<Event> {
        let running = self.running();
        let job = running[self.rng.below(running.len())].clone();
        self.end(&job, RankExit::Code { code: 0 })
    }

    /// All ranks of a job exit.
    fn end(&mut self, job: &JobId, exit: RankExit) -> Vec<Event> {
        let job = self.state.job(job).expect("it is known");
        let attempt = job.current().expect("it runs");
        let name = job.attempt_ref(attempt);
        let mut first = 0;
        let mut reports = Vec::new();
        for placement in &attempt.placements {
            let count = placement.units.len() as u32;
            reports.push((placement.node.clone(), first, count));
            first += count;
        }
        let mut all = Vec::new();
        for (node, first, count) in reports {
            let report = ended(node, name.clone(), first, count, exit);
            let (reply, events) = self.apply(Command::ReportEnded(Box::new(report)));
            reply.expect("ends");
            all.extend(events);
        }
        all
    }

    fn feed(&self, planner: &mut Planner, events: &[Event]) {
        for event in events {
            if let Some(delta) = Delta::of_event(&self.state, event) {
                planner.update(delta);
            }
        }
    }

    /// Applies what was planned and tells the planner; those that are stopped exit then. Returns
    /// the numbers of starts and stops.
    fn start(&mut self, planner: &mut Planner, plan: Plan) -> (usize, usize) {
        let counts = (plan.starts.len(), plan.stops.len());
        let stopped: Vec<JobId> = plan.stops.iter().map(|stop| stop.job.clone()).collect();
        let stops = plan.stops.into_iter().map(|stop| Command::Preempt(Box::new(stop.into())));
        let starts = plan.starts.into_iter().map(|s| Command::StartAttempt(Box::new(s)));
        for command in stops.chain(starts) {
            let (reply, events) = self.apply(command);
            reply.expect("what is planned from a state applies to it");
            self.feed(planner, &events);
        }
        for job in stopped {
            let events = self.end(&job, RankExit::Signal { signal: 15 });
            self.feed(planner, &events);
        }
        counts
    }
}

fn ended(node: NodeId, attempt: AttemptRef, first: u32, count: u32, exit: RankExit) -> EndedReport {
    EndedReport {
        node,
        attempt,
        exits: (first..first + count).map(|rank| (rank, exit)).collect(),
        first_failure: None,
        start_error: None,
        time_limit: false,
        over_memory: None,
        artifacts: Vec::new(),
        metrics: BTreeMap::new(),
    }
}

pub(crate) fn run() -> Value {
    let before = memory::resident();
    let mut large = Large::new();
    let with_state = memory::resident();
    let start = Instant::now();
    let mut planner = Planner::of(&large.state);
    let build = start.elapsed();
    let start = Instant::now();
    let plan = planner.plan(large.now, WorkBudget::UNLIMITED);
    let full = start.elapsed();
    let with_planner = memory::resident();
    let (started, _) = large.start(&mut planner, plan);
    let start = Instant::now();
    let again = planner.plan(large.now, WorkBudget::UNLIMITED);
    let idle = start.elapsed();
    let start = Instant::now();
    let reasons = planner.reasons(large.now).len();
    let told = start.elapsed();
    let start = Instant::now();
    let expected = planner.expected_starts(large.now).len();
    let walked = start.elapsed();
    let explained = explain(&mut large, &mut planner);
    large.start(&mut planner, again);
    let young = increments(&mut large, &mut planner);
    an_hour(&mut large, &mut planner);
    let rested = increments(&mut large, &mut planner);
    assert_eq!(planner, Planner::of(&large.state), "the increments add up");
    json!({
        "planner_from_state_ms": build.as_secs_f64() * 1e3,
        "first_full_pass_ms": full.as_secs_f64() * 1e3,
        "started": started,
        "pass_over_a_full_cluster_ms": idle.as_secs_f64() * 1e3,
        "reasons_of_all_ms": told.as_secs_f64() * 1e3,
        "reasons": reasons,
        "expected_starts_of_all_ms": walked.as_secs_f64() * 1e3,
        "expected_starts": expected,
        "explain_one_ms": explained,
        "incremental_ms": young,
        "incremental_an_hour_later_ms": rested,
        "resident_mb": {
            "state": (with_state - before) as f64 / 1e6,
            "planner_after_a_pass": (with_planner - with_state) as f64 / 1e6,
            "all": with_planner as f64 / 1e6,
        },
    })
}

/// Jobs end and arrive in turn: how long each takes to be planned for, and how many start and are
/// stopped.
fn increments(large: &mut Large, planner: &mut Planner) -> Value {
    let mut times: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let (mut started, mut stopped) = (0, 0);
    for change in 0..CHANGES {
        large.now.0 += 20;
        let (what, events) = if change.is_multiple_of(2) {
            ("end", large.end_one())
        } else {
            ("arrival", large.submit())
        };
        let start = Instant::now();
        large.feed(planner, &events);
        let plan = planner.plan(large.now, WorkBudget::UNLIMITED);
        times.entry(what).or_default().push(start.elapsed().as_secs_f64() * 1e3);
        let (starts, stops) = large.start(planner, plan);
        started += starts;
        stopped += stops;
    }
    let mut told: BTreeMap<_, _> = times.into_iter().map(|(k, v)| (k, quantiles(v))).collect();
    told.insert("started", json!(started));
    told.insert("stopped", json!(stopped));
    json!(told)
}

/// An hour passes. Every minute some jobs end and as many arrive; after it how long jobs take is
/// known from those that ended, and all that ran from its beginning may be stopped for others.
fn an_hour(large: &mut Large, planner: &mut Planner) {
    for _ in 0..60 {
        large.now.0 += 60_000;
        let mut running = large.running();
        for _ in 0..A_MINUTE {
            let job = running.swap_remove(large.rng.below(running.len()));
            let events = large.end(&job, RankExit::Code { code: 0 });
            large.feed(planner, &events);
            let events = large.submit();
            large.feed(planner, &events);
        }
        let plan = planner.plan(large.now, WorkBudget::UNLIMITED);
        large.start(planner, plan);
    }
}

/// Everything there is to say of jobs all over the queue.
fn explain(large: &mut Large, planner: &mut Planner) -> Value {
    let waiting: Vec<JobId> = planner.reasons(large.now).into_keys().collect();
    let mut times = Vec::new();
    for _ in 0..40 {
        let job = &waiting[large.rng.below(waiting.len())];
        let start = Instant::now();
        let explanation = planner.explain(job, large.now).expect("it waits");
        times.push(start.elapsed().as_secs_f64() * 1e3);
        assert!(!explanation.blockers.is_empty());
    }
    quantiles(times)
}

pub(crate) fn quantiles(mut values: Vec<f64>) -> Value {
    values.sort_by(f64::total_cmp);
    let at = |q: f64| values[((values.len() - 1) as f64 * q) as usize];
    json!({ "p50": at(0.5), "p99": at(0.99), "max": at(1.0) })
}
