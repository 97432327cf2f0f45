//! A small cluster for tests: commands with little ceremony, and the invariants that must hold
//! after every one of them.

#![allow(clippy::as_conversions, clippy::cast_possible_truncation, reason = "small test numbers")]

mod parts;
mod quotas;
mod telemetry;
mod tokens;

use std::collections::{BTreeMap, BTreeSet};

pub(crate) use parts::{shares, slices};
use telemetry::Telemetry;
pub(crate) use tokens::secret;
use trainyard_jobs::{
    AttemptPhase, AttemptRef, BitRate, Bytes, CheckpointPart, Device, DeviceKind, Digest,
    FileEntry, GpuPart, IdempotencyKey, Inventory, JobId, JobPhase, JobSpec, Millis, NodeId,
    NodeSelection, Purpose, QueueSpec, RankExit, ReservationSpec, SessionId, Timestamp, TokenId,
    UnitId,
};
use uuid::Uuid;

use crate::{
    Command, Delta, Envelope, Event, Planner, Refusal, Reply, State,
    archive::{Archive, ArchiveHead, Archived},
    command::{CreateReservation, EndedReport, FEATURE_LEVEL, Mutation, SetQueue, Submit},
    placement::WorkBudget,
    state::Job,
};

pub(crate) struct World {
    pub(crate) state: State,
    /// Fed with events alone: must always equal one made from the state.
    pub(crate) planner: Planner,
    pub(crate) now: u64,
    index: u64,
    drawn: u64,
    ended: BTreeMap<JobId, JobPhase>,
    /// Which machine used which token, and which tokens were revoked.
    redeemed: BTreeMap<TokenId, Digest>,
    revoked: BTreeSet<TokenId>,
    pub(crate) records: Records,
    /// Every command with its index.
    pub(crate) log: Vec<(u64, Envelope)>,
    /// What the planner was told beside the state.
    telemetry: Telemetry,
    /// Whether all that must hold is looked at after every command: it takes as long as the state
    /// is large.
    pub(crate) checks: bool,
}

/// The archive as a list in memory.
#[derive(Default, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Records {
    pub(crate) head: ArchiveHead,
    pub(crate) all: Vec<Archived>,
}

impl Records {
    /// Takes in what a command archived; replaying one changes nothing.
    pub(crate) fn keep(&mut self, state: &mut State) {
        for record in state.take_archived() {
            let archived = Archived::decode(&record.bytes).expect("records read back");
            assert_eq!(record.names, archived.names());
            if let Some(known) = self.all.get(record.position as usize) {
                assert_eq!(*known, archived, "the same record at the same position");
                continue;
            }
            assert_eq!(record.position, self.head.count, "without a gap");
            self.head = self.head.after(&record.bytes);
            self.all.push(archived);
        }
    }
}

impl Archive for Records {
    fn by_key(&self, key: IdempotencyKey, count: u64) -> Option<Archived> {
        let mut first = self.all.iter().take(count as usize);
        first.find(|archived| archived.names().key == Some(key)).cloned()
    }

    fn contains(&self, id: &JobId, count: u64) -> bool {
        self.all.iter().take(count as usize).any(|archived| archived.job.id == *id)
    }
}

pub(crate) fn node_id(n: u64) -> NodeId {
    NodeId::from_random(n)
}

pub(crate) fn session(n: u128) -> SessionId {
    SessionId(Uuid::from_u128(n))
}

pub(crate) fn spec(text: &str) -> JobSpec {
    let head = "name = \"j\"\n[run]\ncommand = [\"/bin/true\"]\n";
    JobSpec::read("job.toml", &format!("{head}{text}"), trainyard_jobs::spec::Format::Toml)
        .expect("a valid spec")
}

pub(crate) fn ranks(gpus: u32) -> JobSpec {
    spec(&format!("[resources]\ngpus = {gpus}\ndevice = \"cpu\"\n"))
}

pub(crate) fn inventory(name: &str, slots: u32) -> Inventory {
    let slot = |index| {
        let device = Device {
            kind: DeviceKind::Cpu,
            index,
            model: "cpu".into(),
            memory: Bytes(0),
            part: GpuPart::Whole,
        };
        (UnitId(format!("cpu-{index}")), device)
    };
    Inventory {
        name: name.parse().expect("a name"),
        address: "127.0.0.1".into(),
        devices: (0..slots).map(slot).collect(),
        cpus: slots,
        memory: Bytes(1 << 30),
        ports: (20_000, 20_009),
        labels: BTreeMap::new(),
        version: "0".into(),
        disk: Bytes(0),
        network: BitRate(0),
    }
}

/// The same node with so many processors and GiB of memory.
pub(crate) fn hosted(inventory: Inventory, cpus: u32, gib: u64) -> Inventory {
    Inventory { cpus, memory: Bytes(gib << 30), ..inventory }
}

/// A node of GPUs.
pub(crate) fn gpus(name: &str, model: &str, count: u32, labels: &[(&str, &str)]) -> Inventory {
    let device = |index| {
        let memory = Bytes(if model == "h100" { 80 } else { 40 } << 30);
        let device = Device {
            kind: DeviceKind::Gpu,
            index,
            model: model.into(),
            memory,
            part: GpuPart::Whole,
        };
        (UnitId(format!("{name}-{index}")), device)
    };
    let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    let devices = (0..count).map(device).collect();
    Inventory { devices, labels: labels.collect(), ..inventory(name, 0) }
}

impl World {
    pub(crate) fn new() -> Self {
        Self::of(State::new(trainyard_jobs::ClusterId(Uuid::from_u128(1))))
    }

    /// Goes on from a state.
    pub(crate) fn of(state: State) -> Self {
        Self {
            planner: Planner::of(&state),
            now: state.time.0.max(1_000_000_000_000),
            index: state.index,
            // No key of the commands so far is drawn again.
            drawn: state.index,
            state,
            ended: BTreeMap::new(),
            redeemed: BTreeMap::new(),
            revoked: BTreeSet::new(),
            records: Records::default(),
            log: Vec::new(),
            telemetry: Telemetry::default(),
            checks: true,
        }
    }

    pub(crate) fn apply(&mut self, command: Command) -> Result<Reply, Refusal> {
        self.index += 1;
        let envelope = Envelope { level: FEATURE_LEVEL, time: Timestamp(self.now), command };
        if !self.checks {
            let mut events = Vec::new();
            let applied = self.state.apply(self.index, envelope, &self.records, &mut events);
            self.feed(&events);
            return applied;
        }
        let bytes = crate::codec::encode(&envelope);
        let envelope = crate::codec::decode_envelope(&bytes).expect("commands read back");
        self.log.push((self.index, envelope.clone()));
        let starts = matches!(envelope.command, Command::StartAttempt(_));
        let before = self.state.clone();
        let mut events = Vec::new();
        let applied = self.state.apply(self.index, envelope, &self.records, &mut events);
        self.records.keep(&mut self.state);
        assert_eq!(self.records.head, self.state.archive(), "the state vouches for its archive");
        if applied.is_err() {
            let unchanged = State { index: self.index, time: self.state.time, ..before.clone() };
            assert_eq!(self.state, unchanged, "a refused command changes nothing");
            assert!(events.is_empty());
        }
        self.feed(&events);
        if starts && applied.is_ok() {
            self.limits_bind(&before);
        }
        self.check();
        applied
    }

    fn feed(&mut self, events: &[Event]) {
        for event in events {
            if let Event::Node(node) = event {
                self.telemetry.of_node(&self.state, node);
            }
            if let Some(delta) = Delta::of_event(&self.state, event) {
                self.planner.update(delta);
            }
        }
    }

    pub(crate) fn mutation(&mut self) -> Mutation {
        self.drawn += 1;
        // A UUIDv7 of now: its time, and a counter for the random part. Who asks has a clock that
        // is right, whatever the leader thinks.
        let at = self.now.max(self.state.time.0);
        let key = u128::from(at) << 80 | 0x7 << 76 | 0x8 << 60 | u128::from(self.drawn);
        Mutation {
            key: IdempotencyKey(Uuid::from_u128(key)),
            request: Digest::of(b"request"),
            principal: "local".into(),
        }
    }

    pub(crate) fn try_submit(&mut self, spec: JobSpec) -> Result<Reply, Refusal> {
        let mutation = self.mutation();
        let job = JobId::from_random(self.drawn);
        let submit = Submit { mutation, job, spec, bundle: None, commit: None };
        self.apply(Command::Submit(Box::new(submit)))
    }

    pub(crate) fn submit(&mut self, spec: JobSpec) -> JobId {
        match self.try_submit(spec) {
            Ok(Reply::Submitted { job, .. }) => job,
            other => panic!("{other:?}"),
        }
    }

    /// Changes a queue's settings.
    pub(crate) fn queue(&mut self, name: &str, change: impl FnOnce(&mut QueueSpec)) {
        let (mutation, queue) = (self.mutation(), name.parse().expect("a name"));
        let mut spec = self.state.queues().get(&queue).map(|q| q.spec.clone()).unwrap_or_default();
        change(&mut spec);
        let set = SetQueue { mutation, queue, spec: Some(spec), version: None };
        self.apply(Command::SetQueue(Box::new(set))).expect("sets");
    }

    /// Reserves nodes, those of these names or all, so long from now and for so long.
    pub(crate) fn reserve(
        &mut self,
        name: &str,
        nodes: &[&str],
        (begins, lasts): (Millis, Millis),
        purpose: Purpose,
    ) -> Result<Reply, Refusal> {
        let names = nodes.iter().map(|name| name.parse().expect("a name")).collect();
        let nodes = if nodes.is_empty() { NodeSelection::All } else { NodeSelection::Names(names) };
        let from = Timestamp(self.now + begins.0);
        let until = Timestamp(from.0 + lasts.0);
        let spec = ReservationSpec { from, until, nodes, purpose, reason: String::new() };
        let (mutation, name) = (self.mutation(), name.parse().expect("a name"));
        self.apply(Command::CreateReservation(Box::new(CreateReservation { mutation, name, spec })))
    }

    /// Ends a reservation.
    pub(crate) fn unreserve(&mut self, name: &str) -> Result<Reply, Refusal> {
        let (mutation, name) = (self.mutation(), name.parse().expect("a name"));
        self.apply(Command::DeleteReservation { mutation, name })
    }

    pub(crate) fn cancel(&mut self, job: &JobId) {
        let mutation = self.mutation();
        self.apply(Command::Cancel { mutation, job: job.clone() }).expect("cancels");
    }

    pub(crate) fn register(&mut self, n: u64, life: u128, slots: u32, running: &[&AttemptRef]) {
        self.register_with(n, life, inventory(&format!("n{n}"), slots), running);
    }

    /// A new node.
    pub(crate) fn register_node(&mut self, n: u64, inventory: Inventory) {
        self.register_with(n, u128::from(n), inventory, &[]);
    }

    pub(crate) fn register_with(
        &mut self,
        n: u64,
        life: u128,
        inventory: Inventory,
        running: &[&AttemptRef],
    ) {
        let (node, session) = (node_id(n), session(life));
        let running = running.iter().map(|a| (*a).clone()).collect();
        let command = Command::RegisterNode { node, session, inventory, running, gone: None };
        self.apply(command).expect("registers");
    }

    pub(crate) fn lose(&mut self, n: u64) -> Result<Reply, Refusal> {
        let session = self.state.node(&node_id(n)).map_or(session(0), |node| node.session);
        self.apply(Command::MarkLost { node: node_id(n), session })
    }

    /// Plans and starts whatever fits.
    pub(crate) fn plan(&mut self) -> Vec<AttemptRef> {
        let plan = self.planner.plan(Timestamp(self.now), WorkBudget::UNLIMITED);
        for stop in plan.stops {
            self.apply(Command::Preempt(Box::new(stop.into()))).expect("stops what was planned");
        }
        let start = |command| match self.apply(Command::StartAttempt(Box::new(command))) {
            Ok(Reply::Started(attempt)) => attempt,
            other => panic!("what was planned from the state applies to it: {other:?}"),
        };
        plan.starts.into_iter().map(start).collect()
    }

    pub(crate) fn phase(&self, job: &JobId) -> JobPhase {
        self.job(job).phase
    }

    /// A job, archived or not.
    pub(crate) fn job(&self, id: &JobId) -> &Job {
        let archived = || self.records.all.iter().map(|a| &a.job).find(|job| job.id == *id);
        self.state.job(id).or_else(archived).expect("known")
    }

    fn all_jobs(&self) -> impl Iterator<Item = &Job> {
        self.state.jobs().values().chain(self.records.all.iter().map(|archived| &archived.job))
    }

    pub(crate) fn started(&mut self, attempt: &AttemptRef) {
        for node in self.nodes_of(attempt) {
            let attempt = attempt.clone();
            let _ = self.apply(Command::ReportStarted { node, attempt });
        }
    }

    pub(crate) fn nodes_of(&self, attempt: &AttemptRef) -> Vec<NodeId> {
        let job = self.job(&attempt.job);
        let found = job.attempts.iter().find(|a| a.number == attempt.attempt).expect("known");
        found.placements.iter().map(|p| p.node.clone()).collect()
    }

    pub(crate) fn exit(
        &mut self,
        attempt: &AttemptRef,
        node: &NodeId,
        code: i32,
    ) -> Result<Reply, Refusal> {
        let job = self.job(&attempt.job);
        let placement = job
            .attempts
            .iter()
            .find(|a| a.number == attempt.attempt)
            .and_then(|a| a.placement(node).cloned());
        let (first, count) = placement.map_or((0, 0), |p| (p.first_rank, p.units.len() as u32));
        let exits = (first..first + count).map(|r| (r, RankExit::Code { code })).collect();
        let artifacts = if first == 0 { vec![file(attempt, "model")] } else { Vec::new() };
        self.apply(Command::ReportEnded(Box::new(EndedReport {
            node: node.clone(),
            attempt: attempt.clone(),
            exits,
            first_failure: None,
            start_error: None,
            time_limit: false,
            over_memory: None,
            artifacts,
            metrics: BTreeMap::new(),
        })))
    }

    /// All nodes of an attempt say that its ranks exited with `code`.
    pub(crate) fn exit_all(&mut self, attempt: &AttemptRef, code: i32) {
        for node in self.nodes_of(attempt) {
            self.exit(attempt, &node, code).expect("confirmed");
        }
    }

    pub(crate) fn checkpoint(&mut self, attempt: &AttemptRef, step: u64) -> Result<Reply, Refusal> {
        let node = self.nodes_of(attempt).first().cloned().expect("a gang has nodes");
        let part = CheckpointPart {
            attempt: attempt.clone(),
            step,
            part: 0,
            parts: 1,
            manifest: file(attempt, &format!("{step}/{}", self.index)),
            size: Bytes(8),
        };
        self.apply(Command::ReportCheckpoint { node, part })
    }

    /// What must hold whatever happened.
    fn check(&mut self) {
        self.units_belong_to_one_attempt();
        self.parts_are_as_asked();
        self.jobs_are_owned_by_their_last_attempt();
        self.tokens_are_used_once();
        let mut rebuilt = self.state.clone();
        rebuilt.rebuild();
        assert_eq!(rebuilt, self.state, "what is derived is up to date");
        assert_eq!(self.planner, self.made_anew(), "incremental equals from scratch");
    }

    fn units_belong_to_one_attempt(&self) {
        for node in self.state.nodes().values() {
            for (unit, owner) in &node.owners {
                let job = self.state.job(&owner.job).expect("owners exist");
                let attempt = job.attempts.iter().find(|a| a.number == owner.attempt);
                let placement = attempt.and_then(|a| a.placement(&node.id)).expect("placed");
                assert!(placement.units.contains(unit), "the owner was given the unit");
            }
        }
        let open = self.state.jobs().values().flat_map(|j| j.attempts.iter().map(move |a| (j, a)));
        for (job, attempt) in open {
            for p in attempt.placements.iter().filter(|p| !p.state.is_settled()) {
                let owners = &self.state.node(&p.node).expect("node").owners;
                let own = job.attempt_ref(attempt);
                assert!(p.units.iter().all(|u| owners.get(u) == Some(&own)), "units are held");
            }
        }
    }

    fn jobs_are_owned_by_their_last_attempt(&mut self) {
        let mut registered = BTreeSet::new();
        let mut ended = std::mem::take(&mut self.ended);
        for job in self.all_jobs() {
            for attempt in &job.attempts {
                let asked = &job.spec.resources;
                let least = asked.min_gpus.unwrap_or(asked.gpus);
                let whole = least..=asked.gpus;
                assert!(whole.contains(&attempt.world_size()), "gangs are whole");
            }
            let open = job.attempts.iter().filter(|a| a.phase != AttemptPhase::Ended).count();
            let runs = matches!(job.phase, JobPhase::Running | JobPhase::Stopping);
            assert_eq!(open, usize::from(runs), "{} {}", job.id, job.phase);
            if let Some(version) = &job.registered {
                assert!(registered.insert(version.clone()), "a version is of one run");
            }
            if job.phase.is_final() {
                let first = ended.entry(job.id.clone()).or_insert(job.phase);
                assert_eq!(*first, job.phase, "ended is ended");
            }
        }
        self.ended = ended;
        let versions: usize = self.state.models().values().map(BTreeMap::len).sum();
        assert_eq!(versions, registered.len(), "a run registers once");
    }
}

pub(crate) fn file(attempt: &AttemptRef, name: &str) -> FileEntry {
    FileEntry {
        path: name.into(),
        key: format!("{attempt}/{name}"),
        size: Bytes(8),
        digest: Digest::of(name.as_bytes()),
    }
}
