//! A small cluster for the tests of decisions: the state machine alone, with little ceremony.

use std::collections::BTreeMap;

use trainyard_core::{
    Command, Envelope, Event, Reply, State,
    archive::NoArchive,
    command::{EndedReport, FEATURE_LEVEL, Mutation, StartAttempt, Submit},
};
use trainyard_jobs::{
    AttemptRef, BitRate, Bytes, ClusterId, Device, DeviceKind, Digest, GpuPart, IdempotencyKey,
    Inventory, JobId, JobSpec, NodeId, RankExit, SessionId, Timestamp, UnitId, spec::Format,
};
use uuid::Uuid;

/// The state, and what changed since somebody took it.
pub(super) struct Stage {
    pub(super) state: State,
    pub(super) now: u64,
    index: u64,
    events: Vec<Event>,
}

pub(super) fn node(n: u64) -> NodeId {
    NodeId::from_random(n)
}

pub(super) fn session(n: u64) -> SessionId {
    SessionId(Uuid::from_u128(u128::from(n)))
}

/// The unit of that number of a node.
pub(super) fn unit(n: u64, index: u32) -> UnitId {
    UnitId(format!("gpu-{n}-{index}"))
}

impl Stage {
    /// A cluster whose members know no more than that level.
    pub(super) fn new(level: u16) -> Self {
        let state = State::new(ClusterId(Uuid::from_u128(1)));
        let mut state = serde_json::to_value(&state).expect("writes");
        state["feature_level"] = level.into();
        let state: State = serde_json::from_value(state).expect("reads back");
        Self { state, now: 1_000_000_000_000, index: 0, events: Vec::new() }
    }

    pub(super) fn apply(&mut self, command: Command) -> Reply {
        self.index += 1;
        let envelope = Envelope { level: FEATURE_LEVEL, time: Timestamp(self.now), command };
        let applied = self.state.apply(self.index, envelope, &NoArchive, &mut self.events);
        applied.expect("applies")
    }

    /// What changed since this was asked last.
    pub(super) fn events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    fn mutation(&self) -> Mutation {
        let drawn = u128::from(self.now) << 80 | 0x7 << 76 | 0x8 << 60 | u128::from(self.index);
        let key = IdempotencyKey(Uuid::from_u128(drawn));
        Mutation { key, request: Digest::of(b"request"), principal: "local".into() }
    }

    pub(super) fn raise(&mut self, to: u16) {
        self.apply(Command::RaiseFeatureLevel { to });
    }

    /// A node with so many GPUs.
    pub(super) fn register(&mut self, n: u64, gpus: u32) {
        let device = |index| {
            let (kind, part) = (DeviceKind::Gpu, GpuPart::Whole);
            let memory = Bytes(80 << 30);
            (unit(n, index), Device { kind, index, model: "h100".into(), memory, part })
        };
        let inventory = Inventory {
            name: format!("n{n}").parse().expect("a name"),
            address: "127.0.0.1".into(),
            devices: (0..gpus).map(device).collect(),
            cpus: 8,
            memory: Bytes(1 << 40),
            disk: Bytes(0),
            network: BitRate(0),
            ports: (20_000, 20_099),
            labels: BTreeMap::new(),
            version: "0".into(),
        };
        let (node, session, running) = (node(n), session(n), std::collections::BTreeSet::new());
        self.apply(Command::RegisterNode { node, session, inventory, running, gone: None });
    }

    pub(super) fn submit(&mut self, gpus: u32, more: &str) -> JobId {
        self.submit_spec(&format!("{more}\n[resources]\ngpus = {gpus}\n"))
    }

    pub(super) fn submit_elastic(&mut self, gpus: u32, min_gpus: u32) -> JobId {
        self.submit_spec(&format!("[resources]\ngpus = {gpus}\nmin_gpus = {min_gpus}\n"))
    }

    fn submit_spec(&mut self, text: &str) -> JobId {
        let text = format!("name = \"j\"\n{text}[run]\ncommand = [\"/bin/true\"]\n");
        let spec = JobSpec::read("job.toml", &text, Format::Toml).expect("a valid spec");
        let (mutation, job) = (self.mutation(), JobId::from_random(self.index));
        let submit = Submit { mutation, job, spec, bundle: None, commit: None };
        match self.apply(Command::Submit(Box::new(submit))) {
            Reply::Submitted { job, .. } => job,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn start(&mut self, start: StartAttempt) -> AttemptRef {
        match self.apply(Command::StartAttempt(Box::new(start))) {
            Reply::Started(attempt) => attempt,
            other => panic!("{other:?}"),
        }
    }

    /// Plans from scratch and starts what fits.
    pub(super) fn start_all(&mut self) -> Vec<AttemptRef> {
        let mut planner = trainyard_core::Planner::of(&self.state);
        let unlimited = trainyard_core::placement::WorkBudget::UNLIMITED;
        let plan = planner.plan(Timestamp(self.now), unlimited);
        plan.starts.into_iter().map(|start| self.start(start)).collect()
    }

    /// The nodes of an attempt, in order.
    pub(super) fn nodes_of(&self, attempt: &AttemptRef) -> Vec<NodeId> {
        let job = self.state.job(&attempt.job).expect("known");
        let found = job.attempts.iter().find(|a| a.is(attempt)).expect("known");
        found.placements.iter().map(|placement| placement.node.clone()).collect()
    }

    /// All ranks of an attempt exit with `code`.
    pub(super) fn exit(&mut self, attempt: &AttemptRef, code: i32) {
        let job = self.state.job(&attempt.job).expect("known");
        let found = job.attempts.iter().find(|a| a.is(attempt)).expect("known");
        let placements = found.placements.clone();
        for placement in placements {
            let ranks = u32::try_from(placement.units.len()).expect("few");
            let ranks = placement.first_rank..placement.first_rank + ranks;
            self.apply(Command::ReportEnded(Box::new(EndedReport {
                node: placement.node.clone(),
                attempt: attempt.clone(),
                exits: ranks.map(|rank| (rank, RankExit::Code { code })).collect(),
                first_failure: None,
                start_error: None,
                time_limit: false,
                over_memory: None,
                artifacts: Vec::new(),
                metrics: BTreeMap::new(),
            })));
        }
    }
}
