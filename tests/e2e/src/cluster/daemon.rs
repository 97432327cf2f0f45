//! One daemon: its configuration file, its process, its log.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::Context as _;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{network, programs, until, yard::without_settings};

/// How long a daemon may take to stop when asked.
const STOP: Duration = Duration::from_secs(10);

/// How many lines of a daemon's log an error carries.
const LAST_WORDS: usize = 25;

/// A `yard scheduler` or a `yard worker`.
#[derive(Debug)]
pub(super) struct Daemon {
    kind: &'static str,
    config: PathBuf,
    log: PathBuf,
    environment: Vec<(&'static str, PathBuf)>,
    namespace: Option<String>,
    child: Option<Child>,
}

impl Daemon {
    /// A daemon of `kind`, configured by `toml`, that keeps its files in `folder`.
    pub(super) fn new(kind: &'static str, folder: &Path, toml: &str) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)?;
        let config = folder.join(format!("{kind}.toml"));
        fs::write(&config, toml)?;
        Ok(Self {
            kind,
            config,
            log: folder.join("log"),
            environment: Vec::new(),
            namespace: None,
            child: None,
        })
    }

    pub(super) fn config(&self) -> &Path {
        &self.config
    }

    pub(super) fn is_up(&self) -> bool {
        self.child.is_some()
    }

    /// Sets a variable for when it is started next.
    pub(super) fn set(&mut self, variable: &'static str, value: &Path) {
        self.environment.push((variable, value.to_owned()));
    }

    /// Has it run in a network namespace when it is started next.
    pub(super) fn live_in(&mut self, namespace: String) {
        self.namespace = Some(namespace);
    }

    /// Adds lines to its configuration.
    pub(super) fn configure(&self, toml: &str) -> anyhow::Result<()> {
        let text = fs::read_to_string(&self.config)?;
        // Before what there is, which may end in a table.
        Ok(fs::write(&self.config, format!("{toml}{text}"))?)
    }

    /// Starts it, unless it runs.
    pub(super) fn start(&mut self) -> anyhow::Result<()> {
        if self.child.is_some() {
            return Ok(());
        }
        let log = File::options().create(true).append(true).open(&self.log)?;
        let program = programs::yard()?;
        let mut command = match &self.namespace {
            None => Command::new(program),
            // Becomes the daemon itself, so that signals reach that.
            Some(namespace) => {
                let mut command = Command::new(network::program()?);
                command.args(["netns", "exec", namespace]).arg(program);
                command
            }
        };
        without_settings(&mut command);
        command
            .args([self.kind, "--config"])
            .arg(&self.config)
            .env("NO_COLOR", "1")
            .env("PATH", programs::search_path())
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = command.spawn().with_context(|| format!("could not start {}", self.kind))?;
        self.child = Some(child);
        Ok(())
    }

    /// Kills it without a warning, if it runs.
    pub(super) fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill().with_context(|| format!("could not kill {}", self.kind))?;
            child.wait()?;
        }
        Ok(())
    }

    /// Asks it to stop and waits until it has.
    pub(super) fn terminate(&mut self) -> anyhow::Result<()> {
        if self.child.is_some() {
            self.signal(Signal::SIGTERM)?;
            self.wait_for_end(STOP)?;
        }
        Ok(())
    }

    /// Waits until it has ended, and gives its exit code.
    pub(super) fn wait_for_end(&mut self, limit: Duration) -> anyhow::Result<Option<i32>> {
        let child = self.child.as_mut().with_context(|| format!("{} does not run", self.kind))?;
        let status = until(&format!("{} to end", self.kind), limit, || Ok(child.try_wait()?))?;
        self.child = None;
        Ok(status.code())
    }

    /// Whether it has ended, by itself or by [`Self::kill`].
    pub(super) fn ended(&mut self) -> anyhow::Result<bool> {
        match &mut self.child {
            Some(child) => Ok(child.try_wait()?.is_some()),
            None => Ok(true),
        }
    }

    /// Sends it a signal.
    pub(super) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let child = self.child.as_ref().context("it does not run")?;
        kill(Pid::from_raw(i32::try_from(child.id())?), signal)?;
        Ok(())
    }

    /// All that it has said since the folder was made.
    pub(super) fn words(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(super) fn last_words(&self) -> String {
        let text = self.words();
        let lines: Vec<&str> = text.lines().collect();
        let last = lines.split_at(lines.len().saturating_sub(LAST_WORDS)).1;
        format!("--- {}\n{}\n", self.log.display(), last.join("\n"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}
