//! The daemons of a `yard dev` cluster as child processes, each in a process group of its own,
//! so that Ctrl-C reaches `yard dev` alone. A child that dies stays dead: kill experiments are
//! honest.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    process::Command,
    task::JoinSet,
    time::{Instant, timeout_at},
};

use super::{Layout, Sweep};
use crate::{error::CliError, output::table::shorten};

/// How long a daemon may take to stop before it is killed.
const STOP: Duration = Duration::from_secs(10);

/// How many of its last lines a dead child leaves.
const LAST_LINES: usize = 5;

/// The most characters of such a line.
const LINE: usize = 160;

/// A child that ended.
#[derive(Debug)]
pub(crate) struct Died {
    /// `worker-2`, `scheduler-1`.
    pub(crate) name: String,
    how: String,
    lines: Vec<String>,
    again: String,
}

impl Died {
    /// What to tell the user.
    pub(crate) fn report(&self) -> String {
        let mut text = format!("{} ended: {}\n", self.name, self.how);
        text.extend(self.lines.iter().map(|line| format!("  | {line}\n")));
        format!("{text}  start it again: {}", self.again)
    }

    /// The same as an error, when nothing runs yet.
    pub(crate) fn into_error(self) -> CliError {
        let mut text = format!("{} ended at once: {}", self.name, self.how);
        text.extend(self.lines.iter().map(|line| format!("\n{line}")));
        CliError::internal(text).help(format!("to try it alone: {}", self.again))
    }
}

/// The children.
#[derive(Debug)]
pub(crate) struct Fleet<'a> {
    layout: &'a Layout,
    program: PathBuf,
    alive: Vec<(String, Pid)>,
    waits: JoinSet<(String, std::io::Result<ExitStatus>)>,
}

impl<'a> Fleet<'a> {
    /// Runs nothing yet.
    pub(crate) fn new(layout: &'a Layout) -> Result<Self, CliError> {
        let program = std::env::current_exe()
            .map_err(|error| CliError::internal(format!("cannot find this program: {error}")))?;
        Ok(Self { layout, program, alive: Vec::new(), waits: JoinSet::new() })
    }

    /// Starts `yard scheduler` or `yard worker` by its name.
    pub(crate) fn start(&mut self, name: &str) -> Result<(), CliError> {
        let (role, _) = name.split_once('-').unwrap_or((name, ""));
        let path = self.layout.log(name);
        let broken = |error: std::io::Error| CliError::io("write", &path, &error);
        self.layout.make(path.parent().unwrap_or_else(|| self.layout.dir()))?;
        let log = File::options().create(true).append(true).open(&path).map_err(broken)?;
        let mut child = Command::new(&self.program)
            .arg(role)
            .arg("--config")
            .arg(self.layout.config(name))
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(broken)?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .map_err(|error| CliError::io("start", &self.program, &error))?;
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        let pid = id.ok_or_else(|| CliError::internal(format!("{name} ended at once")))?;
        self.layout.write(&self.layout.pid(name), &format!("{pid}\n"))?;
        self.alive.push((name.to_owned(), Pid::from_raw(pid)));
        let name = name.to_owned();
        self.waits.spawn(async move { (name, child.wait().await) });
        Ok(())
    }

    /// The next child that ends; never, when none is left.
    pub(crate) async fn died(&mut self) -> Died {
        loop {
            match self.waits.join_next().await {
                Some(Ok((name, status))) => return self.bury(name, status),
                Some(Err(error)) => tracing::debug!(%error, "a child's waiter ended"),
                None => std::future::pending().await,
            }
        }
    }

    /// Stops workers, then the ranks that they left, then the schedulers.
    pub(crate) async fn stop(&mut self) {
        self.stop_role("worker").await;
        Sweep::new(self.layout.dir()).stop_attempts().await;
        self.stop_role("scheduler").await;
    }

    /// Kills everything at once.
    pub(crate) fn kill(&self) {
        self.signal("", Signal::SIGKILL);
        Sweep::new(self.layout.dir()).kill_all();
    }

    async fn stop_role(&mut self, role: &str) {
        self.signal(role, Signal::SIGTERM);
        let give_up = Instant::now() + STOP;
        while self.alive.iter().any(|(name, _)| name.starts_with(role)) {
            match timeout_at(give_up, self.waits.join_next()).await {
                Ok(Some(Ok((name, status)))) => drop(self.bury(name, status)),
                Ok(Some(Err(_))) => {}
                Ok(None) => break,
                Err(_) => {
                    self.signal(role, Signal::SIGKILL);
                    break;
                }
            }
        }
    }

    fn signal(&self, role: &str, signal: Signal) {
        for (_, pid) in self.alive.iter().filter(|(name, _)| name.starts_with(role)) {
            let _ = kill(*pid, signal);
        }
    }

    fn bury(&mut self, name: String, status: std::io::Result<ExitStatus>) -> Died {
        self.alive.retain(|(other, _)| *other != name);
        let _ = fs::remove_file(self.layout.pid(&name));
        let how = match status {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        let log = fs::read(self.layout.log(&name)).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let all: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
        let from = all.len().saturating_sub(LAST_LINES);
        let lines = all.into_iter().skip(from).map(|line| shorten(line, LINE)).collect();
        let role = name.split('-').next().unwrap_or_default();
        let again = format!("yard {role} --config {}", self.layout.config(&name).display());
        Died { name, how, lines, again }
    }
}
