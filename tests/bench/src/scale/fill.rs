//! Writes the data directory of a cluster that has been busy for days: the scheduler's own state
//! machine under its own raft driver, fed with the commands of real clients and workers in batches,
//! one fsync a batch. Only the network and the waiting are left out.
//!
//! Every finished job was submitted, ran an attempt on a node, ended and was archived; every live
//! one was submitted, failed once, and waits. Specs have about 1 KiB and no two are equal.

use std::{path::Path, sync::mpsc};

use anyhow::{Context as _, bail};
use serde_json::json;
use trainyard_core::{
    Command, Envelope, Refusal, Reply, codec,
    command::{Assignment, EndedReport, Mutation, StartAttempt, Submit},
};
use trainyard_jobs::{
    AttemptNo, AttemptRef, BitRate, Bytes, ClusterId, Device, DeviceKind, Digest, Generation,
    GpuPart, IdempotencyKey, Inventory, JobId, JobSpec, NodeId, RankExit, SessionId, Timestamp,
    UnitId,
};
use trainyard_raft::{Config, Driver, Input, Transport};
use uuid::Uuid;

use super::Scale;
use crate::progress;

pub(super) const CLUSTER: &str = "0190c0de-0000-7000-8000-0000000000ff";

/// Commands that share an fsync.
const BATCH: usize = 1024;

/// Jobs archived by one command.
const ARCHIVED_AT_ONCE: usize = 100;

/// Numbers jobs; multiplied by an odd number, so that ids are spread like random ones.
fn job_id(n: u32) -> JobId {
    JobId::from_random(u64::from(n).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// The live job that was submitted first: everything before it is archived.
pub(super) fn oldest_live() -> JobId {
    job_id(1 << 31)
}

/// A spec as people write them.
pub(super) fn spec(n: u32) -> anyhow::Result<JobSpec> {
    let value = json!({
        "name": format!("sweep-{n}"),
        "project": format!("team-{}", n % 20),
        "priority": n % 3,
        "resources": { "gpus": 1, "gpu_type": ["h100", "a100"], "min_gpu_memory": "40GB" },
        "run": {
            "command": [
                "python", "-m", "lab.train", "--config", format!("configs/ablation/{}.yaml", n % 500),
                "--learning-rate", format!("{}e-6", n % 997 + 1), "--warmup-steps", "2000",
                "--batch-size", "512", "--seed", n.to_string(), "--precision", "bf16",
                "--data", "s3://lab-datasets/tokenised/2026-10/shards-{00000..01023}.bin",
                "--output", format!("s3://lab-runs/ablation/{n}"),
            ],
            "env": {
                "NCCL_DEBUG": "WARN", "OMP_NUM_THREADS": "8", "TOKENIZERS_PARALLELISM": "false",
                "WANDB_PROJECT": "ablation-autumn", "WANDB_RUN_GROUP": format!("group-{}", n % 211),
                "HF_HOME": "/scratch/cache/huggingface", "PYTHONFAULTHANDLER": "1",
                "LAB_NOTE": "a grid over learning rates and data mixtures; see the planning note of the week before the first run",
            },
        },
        "checkpoint": { "every": "10m", "keep": 3 },
        "limits": { "time": "2d", "max_restarts": 20 },
    });
    Ok(serde_json::from_value(value)?)
}

struct Nowhere;

impl Transport for Nowhere {
    fn send(&mut self, _to: u64, _message: Vec<u8>) {}
}

/// A single scheduler that is fed commands as fast as it takes them.
struct Filler {
    driver: Driver,
    replies: (mpsc::Sender<Vec<u8>>, mpsc::Receiver<Vec<u8>>),
    waiting: usize,
    /// The state's clock.
    now: u64,
    node_version: u64,
}

/// Makes the directory.
pub(super) fn run(dir: &Path, scale: Scale) -> anyhow::Result<()> {
    let cluster: ClusterId = CLUSTER.parse()?;
    let mut config = Config::new(1, *cluster.0.as_bytes(), dir, [(1, String::new())].into());
    // A snapshot holds the live jobs alone, but that many need not be taken on the way.
    config.snapshot_every = 250_000;
    config.snapshot_log_bytes = 1 << 40;
    let machine = trainyard_scheduler::state_machine(cluster, dir)?;
    let driver = Driver::open(&config, Box::new(machine))?;
    let mut filler = Filler {
        driver,
        replies: mpsc::channel(),
        waiting: 0,
        // Ten days of finished jobs end now.
        now: now().saturating_sub(10 * 86_400_000),
        node_version: 1,
    };
    filler.propose(register())?;
    let step = 10 * 86_400_000 / u64::from(scale.finished.max(1));
    let mut ended = Vec::new();
    for n in 0..scale.finished {
        filler.now += step;
        filler.ran(n, 0)?;
        ended.push(job_id(n));
        if ended.len() == ARCHIVED_AT_ONCE || n + 1 == scale.finished {
            filler.propose(Command::Archive { jobs: std::mem::take(&mut ended) })?;
        }
        if n % 100_000 == 0 {
            progress(&format!("filling: {n} of {} finished jobs", scale.finished));
        }
    }
    for n in 0..scale.live {
        filler.ran((1 << 31) + n, 1)?;
    }
    progress("filling: live jobs are in");
    // Nobody runs a worker here: the node is gone.
    filler.propose(Command::MarkLost { node: node(), session: session() })?;
    filler.flush()?;
    filler.driver.close();
    // Once more as it will be started: a snapshot is taken of it all.
    config.snapshot_every = 1;
    let machine = trainyard_scheduler::state_machine(cluster, dir)?;
    let mut driver = Driver::open(&config, Box::new(machine))?;
    driver.flush(&mut Nowhere)?;
    driver.close();
    Ok(())
}

impl Filler {
    /// A job that is submitted and runs on the node, until its rank exits with `code`.
    fn ran(&mut self, n: u32, code: i32) -> anyhow::Result<()> {
        let job = job_id(n);
        let random = u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15) & 0x3fff_ffff_ffff_ffff;
        let key = u128::from(self.now) << 80 | 0x7 << 76 | 0x8 << 60 | random;
        let mutation = Mutation {
            key: IdempotencyKey(Uuid::from_u128(key)),
            request: Digest::of(&n.to_be_bytes()),
            principal: "local".into(),
        };
        let (bundle, commit) = (Some(Digest::of(&(n % 1000).to_be_bytes())), None);
        self.propose(Command::Submit(Box::new(Submit {
            mutation,
            job: job.clone(),
            spec: spec(n)?,
            bundle,
            commit,
        })))?;
        let placements =
            vec![Assignment { node: node(), node_version: self.node_version, units: vec![unit()] }];
        self.propose(Command::StartAttempt(Box::new(StartAttempt {
            job: job.clone(),
            job_version: 1,
            placements,
            master_port: 20_000,
            resume: None,
        })))?;
        let attempt = AttemptRef { job, attempt: AttemptNo(1), generation: Generation(1) };
        self.propose(Command::ReportStarted { node: node(), attempt: attempt.clone() })?;
        self.propose(Command::ReportEnded(Box::new(EndedReport {
            node: node(),
            attempt,
            exits: [(0, RankExit::Code { code })].into(),
            first_failure: None,
            start_error: None,
            time_limit: false,
            over_memory: None,
            artifacts: Vec::new(),
            metrics: Default::default(),
        })))?;
        self.node_version += 2;
        Ok(())
    }

    fn propose(&mut self, command: Command) -> anyhow::Result<()> {
        let level = command.level();
        let envelope = Envelope { level, time: Timestamp(self.now), command };
        let sender = self.replies.0.clone();
        let reply = trainyard_raft::Reply::new(move |applied| {
            let response = applied.map(|applied: trainyard_raft::Applied| applied.response);
            // A missing answer is noticed by its count.
            drop(response.map(|response| sender.send(response)));
        });
        self.driver.step(Input::Propose(codec::encode(&envelope), reply));
        self.waiting += 1;
        if self.waiting == BATCH { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        self.driver.flush(&mut Nowhere)?;
        for _ in 0..std::mem::take(&mut self.waiting) {
            let response = self.replies.1.try_recv().context("a command was not applied")?;
            let reply: Result<Reply, Refusal> = codec::decode("a reply", &response)?;
            match reply? {
                Reply::Archived { jobs: 0 } => bail!("nothing was archived"),
                Reply::Submitted { existed: true, .. } => bail!("a job was there already"),
                _ => {}
            }
        }
        Ok(())
    }
}

fn register() -> Command {
    let device = Device {
        kind: DeviceKind::Gpu,
        index: 0,
        model: "H100".into(),
        memory: Bytes(80_000_000_000),
        part: GpuPart::Whole,
    };
    let inventory = Inventory {
        #[expect(clippy::expect_used, reason = "a constant")]
        name: "gpu-node-17".parse().expect("a name"),
        address: "127.0.0.1".into(),
        devices: [(unit(), device)].into(),
        cpus: 96,
        memory: Bytes(1 << 40),
        ports: (20_000, 20_999),
        labels: Default::default(),
        version: env!("CARGO_PKG_VERSION").into(),
        disk: Bytes(0),
        network: BitRate(0),
    };
    Command::RegisterNode {
        node: node(),
        session: session(),
        inventory,
        running: [].into(),
        gone: None,
    }
}

fn node() -> NodeId {
    NodeId::from_random(17)
}

const fn session() -> SessionId {
    SessionId(Uuid::from_u128(17))
}

fn unit() -> UnitId {
    UnitId("GPU-8a56a4bc-e184-a047-2620-be19fdf913d5".into())
}

fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
