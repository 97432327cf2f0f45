//! Ranks as processes, with the folders that an agent would give them.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longer than anything here takes, also on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(90);

/// One attempt: its folder, and its ranks. Ranks that still run are killed when it is dropped.
pub(crate) struct Attempt {
    pub(crate) folder: PathBuf,
    pub(crate) children: Vec<Child>,
}

/// How to start an attempt.
pub(crate) struct Start<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) world: usize,
    pub(crate) params: Value,
    pub(crate) extra_env: Vec<(&'a str, String)>,
    pub(crate) extra_args: Vec<String>,
}

impl<'a> Start<'a> {
    pub(crate) fn new(folder: &'a Path, world: usize, params: Value) -> Self {
        Self { folder, world, params, extra_env: Vec::new(), extra_args: Vec::new() }
    }

    pub(crate) fn env(mut self, name: &'a str, value: impl ToString) -> Self {
        self.extra_env.push((name, value.to_string()));
        self
    }

    pub(crate) fn go(self) -> Attempt {
        let folder = self.folder.to_owned();
        for name in ["artifacts", "control", "logs"] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        let port = free_port();
        let params = self.params.to_string();
        let children = (0..self.world)
            .map(|rank| {
                let mut command = Command::new(env!("CARGO_BIN_EXE_yard-train"));
                command
                    .args(["--recipe", "image-classifier", "--params-json", &params])
                    .args(&self.extra_args);
                torchrun_env(&mut command, rank, self.world, port);
                for (name, path) in [("CHECKPOINT", "spool"), ("ARTIFACT", "artifacts")] {
                    command.env(format!("YARD_{name}_DIR"), folder.join(path));
                }
                command.env("YARD_CONTROL", folder.join("control"));
                command.env("YARD_METRICS", folder.join(format!("metrics-{rank}.jsonl")));
                command.envs(self.extra_env.iter().map(|(name, value)| (name, value)));
                log_to(&mut command, &folder, rank);
                command.spawn().unwrap()
            })
            .collect();
        Attempt { folder, children }
    }
}

pub(crate) fn torchrun_env(command: &mut Command, rank: usize, world: usize, port: u16) {
    command.env("RANK", rank.to_string()).env("LOCAL_RANK", rank.to_string());
    command.env("WORLD_SIZE", world.to_string()).env("LOCAL_WORLD_SIZE", world.to_string());
    command.env("MASTER_ADDR", "127.0.0.1").env("MASTER_PORT", port.to_string());
    command.env("OMP_NUM_THREADS", "1").env("CUDA_VISIBLE_DEVICES", "");
}

pub(crate) fn log_to(command: &mut Command, folder: &Path, rank: usize) {
    let log = fs::File::create(folder.join(format!("logs/{rank}.log"))).unwrap();
    command.stdin(Stdio::null()).stderr(log.try_clone().unwrap()).stdout(log);
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

impl Attempt {
    /// Waits for every rank and gives their exit codes; a signal counts as -1.
    pub(crate) fn wait(&mut self) -> Vec<i32> {
        let started = Instant::now();
        let mut codes = Vec::new();
        for rank in 0..self.children.len() {
            let status: ExitStatus = loop {
                if let Some(status) = self.children[rank].try_wait().unwrap() {
                    break status;
                }
                assert!(
                    started.elapsed() < DEADLINE,
                    "rank {rank} did not end: {}",
                    self.log(rank)
                );
                std::thread::sleep(Duration::from_millis(10));
            };
            codes.push(status.code().unwrap_or(-1));
        }
        codes
    }

    /// Waits for every rank to end well.
    pub(crate) fn finish(&mut self) {
        let codes = self.wait();
        assert!(
            codes.iter().all(|code| *code == 0),
            "exit codes {codes:?}\n{}\n{}",
            self.log(0),
            self.log(codes.len() - 1)
        );
    }

    /// Waits until `ready` gives something.
    pub(crate) fn until<T>(&mut self, what: &str, mut ready: impl FnMut(&Path) -> Option<T>) -> T {
        let started = Instant::now();
        loop {
            if let Some(found) = ready(&self.folder) {
                return found;
            }
            let ended = self.children[0].try_wait().unwrap();
            assert!(ended.is_none(), "rank 0 ended before {what}: {}", self.log(0));
            assert!(started.elapsed() < DEADLINE, "waited too long for {what}: {}", self.log(0));
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub(crate) fn log(&self, rank: usize) -> String {
        fs::read_to_string(self.folder.join(format!("logs/{rank}.log"))).unwrap_or_default()
    }

    /// The finished checkpoints in the spool, by step.
    pub(crate) fn checkpoints(&self) -> Vec<PathBuf> {
        checkpoints(&self.folder)
    }

    /// The lines of a rank's metrics file.
    pub(crate) fn metrics(&self, rank: usize) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.join(format!("metrics-{rank}.jsonl"))).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

pub(crate) fn checkpoints(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder.join("spool")) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.file_name().unwrap().to_str().unwrap().starts_with("step-"))
        .collect();
    found.sort();
    found
}

pub(crate) fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

impl Drop for Attempt {
    fn drop(&mut self) {
        for child in &mut self.children {
            drop(child.kill());
            drop(child.wait());
        }
    }
}
