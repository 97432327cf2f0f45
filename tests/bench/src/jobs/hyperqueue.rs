//! Short jobs on `HyperQueue`: its package from `PyPI` holds server, worker and client, driven by
//! `peers/hyperqueue_jobs.py`. Its server listens on every address, so it gets a network of its
//! own that has a loopback and nothing else.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail};

use super::Queue;
use crate::{cluster::scratch, process};

const SCRIPT: &str = include_str!("../../peers/hyperqueue_jobs.py");

/// A running cluster. Ends with its data when dropped.
pub(super) struct HyperQueue {
    child: Child,
    answers: Option<BufReader<ChildStdout>>,
    version: String,
    _dir: tempfile::TempDir,
}

impl Drop for HyperQueue {
    fn drop(&mut self) {
        // It ends by itself with its input; a signal alone it takes its time over.
        drop(self.child.stdin.take());
        process::stop_group(&mut self.child);
    }
}

#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Answer {
    Version { version: String },
    Seconds { seconds: f64 },
    Error { error: String },
}

impl HyperQueue {
    pub(super) async fn start(python: &Path, data: &Path, slots: u32) -> anyhow::Result<Self> {
        process::output(Command::new(python).args(["-c", "import hyperqueue"]))
            .context("no Python with the package `hyperqueue` of PyPI: set YARD_HQ_PYTHON")?;
        let dir = scratch(data, "hyperqueue-")?;
        let log = File::create(dir.path().join("hyperqueue.log"))?;
        let mut child = Command::new("unshare")
            .args(["--net", "sh", "-c", "ip link set lo up && exec \"$0\" \"$@\""])
            .arg(python)
            .args(["-c", SCRIPT])
            .arg(dir.path())
            .arg(slots.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .process_group(0)
            .spawn()
            .context("`unshare` is not installed (Debian package util-linux)")?;
        let answers = child.stdout.take().map(BufReader::new);
        let mut queue = Self { child, answers, version: String::new(), _dir: dir };
        match queue.answer().await? {
            Answer::Version { version } => queue.version = version,
            _ => bail!("it did not say its version"),
        }
        Ok(queue)
    }

    /// The next answer. Reads off the runtime's threads, so that an interrupt is still heard.
    async fn answer(&mut self) -> anyhow::Result<Answer> {
        let mut answers = self.answers.take().context("it has ended")?;
        let read = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            answers.read_line(&mut line).map(|_| (line, answers))
        });
        let (line, answers) = tokio::time::timeout(super::LIMIT, read)
            .await
            .with_context(|| format!("no answer after {:?}", super::LIMIT))???;
        if line.is_empty() {
            let status = self.child.wait()?;
            bail!("it ended with {status}: a network namespace of its own needs root and iproute2");
        }
        self.answers = Some(answers);
        Ok(serde_json::from_str(&line)?)
    }
}

#[async_trait::async_trait(?Send)]
impl Queue for HyperQueue {
    async fn run(&mut self, jobs: u32) -> anyhow::Result<Duration> {
        let input = self.child.stdin.as_mut().context("it takes no input")?;
        writeln!(input, "{jobs}").context("it has ended")?;
        match self.answer().await? {
            Answer::Seconds { seconds } => Ok(Duration::try_from_secs_f64(seconds)?),
            Answer::Error { error } => bail!(error),
            Answer::Version { .. } => bail!("it gave no time"),
        }
    }

    fn version(&self) -> String {
        format!("version {}", self.version)
    }
}
