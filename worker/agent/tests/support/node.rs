//! A node and its agents.

use std::{net::SocketAddr, path::Path};

use super::pki;
use tokio::{sync::oneshot, task::JoinHandle};
use trainyard_jobs::AttemptRef;
use trainyard_store::Store;
use trainyard_worker::{Config, WorkerError};

/// A node: its directories, which outlive its agents.
pub struct Node {
    pub dir: tempfile::TempDir,
}

/// A running agent. Dropping it ends the agent; the ranks run on.
pub struct Agent {
    shutdown: oneshot::Sender<()>,
    pub task: JoinHandle<Result<(), WorkerError>>,
}

impl Agent {
    pub async fn stop(self) {
        self.shutdown.send(()).unwrap();
        self.task.await.unwrap().unwrap();
    }
}

impl Node {
    pub fn new() -> Self {
        let node = Self { dir: tempfile::tempdir().unwrap() };
        pki::worker(&node.pki());
        node
    }

    pub fn pki(&self) -> std::path::PathBuf {
        self.dir.path().join("pki")
    }

    pub fn data(&self) -> std::path::PathBuf {
        self.dir.path().join("data")
    }

    pub fn store(&self) -> Store {
        Store::open(&self.store_url()).unwrap()
    }

    fn store_url(&self) -> String {
        format!("file://{}/store", self.dir.path().display())
    }

    pub fn config(&self, schedulers: &[SocketAddr]) -> Config {
        Config {
            name: "w1".parse().unwrap(),
            data_dir: self.data(),
            pki_dir: Some(self.pki()),
            endpoints: schedulers.iter().map(ToString::to_string).collect(),
            store: self.store_url(),
            slots: Some(2),
            cgroup: false,
            shim_program: Some(env!("CARGO_BIN_EXE_trainyard-shim").into()),
            ..Config::default()
        }
    }

    pub fn agent(&self, schedulers: &[SocketAddr]) -> Agent {
        self.agent_with(self.config(schedulers))
    }

    pub fn agent_with(&self, config: Config) -> Agent {
        let (shutdown, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            trainyard_worker::run(config, async { drop(stopped.await) }).await
        });
        Agent { shutdown, task }
    }

    pub fn attempt_dir(&self, attempt: &AttemptRef) -> std::path::PathBuf {
        self.data().join("attempts").join(attempt.to_string())
    }

    /// The attempt's output, in the order in which the store has it.
    pub async fn log(&self, attempt: &AttemptRef) -> Vec<String> {
        let store = self.store();
        let mut lines = Vec::new();
        let segments = store.list_log_segments(&attempt.job).await.unwrap();
        for segment in segments.iter().filter(|segment| segment.attempt == *attempt) {
            let bytes = store.read_log_segment(&segment.key).await.unwrap();
            lines.extend(trainyard_store::log::parse(&bytes).map(|record| record.unwrap().l));
        }
        lines
    }
}

impl Drop for Node {
    /// Whatever a failed test left running ends.
    fn drop(&mut self) {
        let attempts = std::fs::read_dir(self.data().join("attempts"));
        for entry in attempts.into_iter().flatten().flatten() {
            kill_shim(&entry.path());
        }
    }
}

/// Kills the shim that runs in `dir`, if one does.
pub fn kill_shim(dir: &Path) {
    let shim = trainyard_worker::shim::ShimDir::new(dir);
    let Ok(bytes) = std::fs::read(shim.started()) else { return };
    let started: trainyard_worker::shim::StartedRecord = serde_json::from_slice(&bytes).unwrap();
    if shim.is_alive().unwrap() {
        let pid = nix::unistd::Pid::from_raw(started.shim.pid);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
    }
}
