//! A small cluster's life as commands: two nodes, a gang with a checkpoint that ends well and
//! registers its model, a job that is cancelled, a node that is lost.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, anyhow, ensure};
use trainyard_core::{
    Command, Envelope, Planner, Reply, State,
    archive::NoArchive,
    codec,
    command::{EndedReport, Mutation, Submit},
    placement::WorkBudget,
};
use trainyard_jobs::{
    AttemptRef, BitRate, Bytes, CheckpointId, CheckpointPart, ClusterId, Device, DeviceKind,
    Digest, FileEntry, GpuPart, IdempotencyKey, Inventory, JobId, JobSpec, NodeId, RankExit,
    SessionId, Timestamp, UnitId, spec::Format,
};
use uuid::Uuid;

use super::Seed;
use crate::targets::join;

const SPEC: &str = "name = \"seed\"\n[resources]\ngpus = 2\ndevice = \"cpu\"\n\
                    max_ranks_per_node = 1\n[run]\ncommand = [\"python\", \"train.py\"]\n\
                    [checkpoint]\nevery = \"10m\"\n[register]\nmodel = \"seed\"\nmetric = \"loss\"\n";

/// The state, and the commands that made it.
struct Life {
    state: State,
    commands: Vec<Vec<u8>>,
    replies: Vec<Vec<u8>>,
}

impl Life {
    fn apply(&mut self, command: Command) -> anyhow::Result<Reply> {
        let number = u64::try_from(self.commands.len())?;
        let (level, time) = (command.level(), Timestamp(1_700_000_000_000 + number));
        let envelope = Envelope { level, time, command };
        self.commands.push(codec::encode(&envelope));
        let reply = self.state.apply(number + 2, envelope, &NoArchive, &mut Vec::new());
        self.replies.push(codec::encode(&reply));
        reply.map_err(|refusal| anyhow!("a seed command was refused: {refusal}"))
    }

    fn submit(&mut self, number: u128) -> anyhow::Result<JobId> {
        let spec = JobSpec::read("job.toml", SPEC, Format::Toml).map_err(|e| anyhow!("{e}"))?;
        let submit = Submit {
            mutation: mutation(number),
            job: JobId::from_random(u64::try_from(number)?),
            spec,
            bundle: Some(Digest::of(b"bundle")),
            commit: Some("0123456789abcdef".to_owned()),
        };
        match self.apply(Command::Submit(Box::new(submit)))? {
            Reply::Submitted { job, .. } => Ok(job),
            other => Err(anyhow!("unexpected {other:?}")),
        }
    }

    fn register(&mut self, number: u64, session: u128) -> anyhow::Result<()> {
        let device = |index| Device {
            kind: DeviceKind::Cpu,
            index,
            model: "cpu".into(),
            memory: Bytes(0),
            part: GpuPart::Whole,
        };
        let inventory = Inventory {
            name: format!("node-{number}").parse()?,
            address: "127.0.0.1".into(),
            devices: (0..2).map(|i| (UnitId(format!("cpu-{i}")), device(i))).collect(),
            cpus: 2,
            memory: Bytes(1 << 30),
            ports: (20_000, 20_099),
            labels: BTreeMap::from([("zone".to_owned(), "a".to_owned())]),
            version: "0.1.0".into(),
            disk: Bytes(0),
            network: BitRate(0),
        };
        let (node, session) = (NodeId::from_random(number), SessionId(Uuid::from_u128(session)));
        let running = BTreeSet::new();
        self.apply(Command::RegisterNode { node, session, inventory, running, gone: None })
            .map(drop)
    }

    fn start(&mut self) -> anyhow::Result<AttemptRef> {
        let plan = Planner::of(&self.state).plan(Timestamp(0), WorkBudget::UNLIMITED);
        let start = plan.starts.into_iter().next().context("nothing to start")?;
        match self.apply(Command::StartAttempt(Box::new(start)))? {
            Reply::Started(attempt) => Ok(attempt),
            other => Err(anyhow!("unexpected {other:?}")),
        }
    }
}

fn mutation(number: u128) -> Mutation {
    // A UUIDv7: its time, and a counter for the random part.
    let key = 1_700_000_000_000_u128 << 80 | 0x7 << 76 | 0x8 << 60 | number;
    Mutation {
        key: IdempotencyKey(Uuid::from_u128(key)),
        request: Digest::of(b"request"),
        principal: "local".into(),
    }
}

pub(super) fn file(attempt: &AttemptRef, name: &str) -> FileEntry {
    FileEntry {
        path: name.into(),
        key: format!("{attempt}/{name}"),
        size: Bytes(8),
        digest: Digest::of(name.as_bytes()),
    }
}

fn live() -> anyhow::Result<Life> {
    let state = State::new(ClusterId(Uuid::from_u128(7)));
    let mut life = Life { state, commands: Vec::new(), replies: Vec::new() };
    life.register(1, 11)?;
    life.register(2, 12)?;
    let job = life.submit(1)?;
    let attempt = life.start()?;
    let nodes = [NodeId::from_random(1), NodeId::from_random(2)];
    for node in nodes.clone() {
        life.apply(Command::ReportStarted { node, attempt: attempt.clone() })?;
    }
    for part in 0..2 {
        let part = CheckpointPart {
            attempt: attempt.clone(),
            step: 100,
            part,
            parts: 2,
            manifest: file(&attempt, &format!("manifest-{part}")),
            size: Bytes(8),
        };
        let node = nodes.get(usize::try_from(part.part)?).cloned().context("a node")?;
        life.apply(Command::ReportCheckpoint { node, part })?;
    }
    for (rank, node) in (0..).zip(nodes.clone()) {
        let report = EndedReport {
            node,
            attempt: attempt.clone(),
            exits: BTreeMap::from([(rank, RankExit::Code { code: 0 })]),
            first_failure: None,
            start_error: None,
            time_limit: false,
            over_memory: None,
            artifacts: if rank == 0 { vec![file(&attempt, "model")] } else { Vec::new() },
            metrics: BTreeMap::from([("loss".to_owned(), "0.5".to_owned())]),
        };
        life.apply(Command::ReportEnded(Box::new(report)))?;
    }
    life.apply(Command::Complete { job: job.clone(), attempt: attempt.attempt })?;
    let checkpoint = life.state.job(&job).and_then(|j| j.checkpoints.last()).map(|c| c.id);
    let checkpoint: CheckpointId = checkpoint.context("a checkpoint")?;
    life.apply(Command::RetireCheckpoint { job: job.clone(), checkpoint })?;
    life.apply(Command::ForgetCheckpoint { job, checkpoint })?;
    let cancelled = life.submit(2)?;
    life.apply(Command::Cancel { mutation: mutation(3), job: cancelled })?;
    life.submit(4)?;
    life.start()?;
    let session = SessionId(Uuid::from_u128(11));
    life.apply(Command::MarkLost { node: NodeId::from_random(1), session })?;
    Ok(life)
}

pub(super) fn seeds() -> anyhow::Result<Vec<Seed>> {
    let life = live()?;
    let mut seeds = Vec::new();
    for (number, command) in life.commands.iter().enumerate() {
        seeds.push(("command", format!("{number:02}"), command.clone()));
    }
    for (number, reply) in life.replies.iter().enumerate().take(4) {
        seeds.push(("command", format!("reply-{number}"), reply.clone()));
    }
    let history = join(life.commands.iter().map(Vec::as_slice));
    seeds.push(("history", "life".to_owned(), history));
    let snapshot = codec::snapshot(&life.state);
    ensure!(snapshot.len() < 64 << 10, "the seed is larger than an input may be");
    seeds.push(("snapshot", "life".to_owned(), snapshot));
    let empty = State::new(ClusterId(Uuid::from_u128(7)));
    seeds.push(("snapshot", "empty".to_owned(), codec::snapshot(&empty)));
    Ok(seeds)
}
