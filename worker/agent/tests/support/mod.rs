//! A scheduler for the agent's tests: the real service over a real connection, which records
//! what it is told and sends the sets that it is given.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    unreachable_pub,
    dead_code,
    unused_imports,
    reason = "tests fail by panicking, and not every test uses everything"
)]

mod node;
pub mod pki;
mod scheduler;

use std::{
    future::Future,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

pub use node::{Node, kill_shim};
pub use scheduler::{CLUSTER, Scheduler, Told};
use trainyard_jobs::{AttemptNo, AttemptRef, Generation, JobId};
use trainyard_proto::v1::{self, DesiredAttempt, EndedReport, RankSlot, Revision};

/// Builds a library with NVML's interface in `dir`. It reads who has how much memory from
/// `processes`, if that is given.
pub fn nvml(dir: &Path, processes: Option<&Path>) -> PathBuf {
    let path = dir.join("libnvidia-ml.so.1");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/nvml.rs");
    let mut rustc = Command::new("rustc");
    rustc.args(["--crate-type", "cdylib", "--edition", "2024", "-o"]).arg(&path).arg(source);
    rustc.args(["-A", "warnings"]).envs(processes.map(|path| ("PROCESSES", path)));
    let output = rustc.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    path
}

const DEADLINE: Duration = Duration::from_secs(30);

/// Waits for a condition, with a deadline.
pub async fn wait<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub fn attempt(number: u32) -> AttemptRef {
    AttemptRef {
        job: JobId::from_random(77),
        attempt: AttemptNo(number),
        generation: Generation(1),
    }
}

/// An attempt that runs `script` as its only rank, started at index 10.
pub fn desired(attempt: &AttemptRef, script: &str) -> DesiredAttempt {
    let spec = serde_json::json!({
        "name": "test",
        "resources": { "gpus": 1, "device": "cpu" },
        "run": { "command": ["sh", "-c", script], "stop_grace": "2s" },
    });
    DesiredAttempt {
        attempt: Some(attempt.into()),
        started: Some(Revision { epoch: 1, index: 10 }),
        spec_json: spec.to_string().into(),
        ranks: vec![RankSlot { rank: 0, unit: "cpu-0".into() }],
        world_size: 1,
        group_rank: 0,
        group_world_size: 1,
        master_addr: "127.0.0.1".into(),
        master_port: 20_000,
        ..DesiredAttempt::default()
    }
}

/// The exit of the only rank.
pub fn how(report: &EndedReport) -> v1::rank_exit::How {
    assert_eq!(report.ranks.len(), 1, "{report:?}");
    report.ranks[0].how.unwrap()
}

/// Waits until a task ends, with a deadline.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let ended = tokio::time::timeout(DEADLINE, future).await;
    ended.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}
