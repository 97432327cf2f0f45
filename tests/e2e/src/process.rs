//! Processes as `/proc` shows them: which belong to a folder, which are ranks, and how to end them.
//!
//! A daemon's shim and ranks outlive it and are not the test's children, so they are known by the
//! folder that their command line or environment names.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::until;

/// One running process.
#[derive(Debug, Clone)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// Its parent's.
    pub parent: i32,
    /// Its command line.
    pub arguments: Vec<String>,
    environment: Vec<String>,
}

impl Process {
    /// Reads process `pid`; none when it is gone or has ended and only waits to be reaped.
    fn read(pid: i32) -> Option<Self> {
        let folder = Path::new("/proc").join(pid.to_string());
        let words = |name| {
            let bytes = fs::read(folder.join(name)).ok()?;
            let text = String::from_utf8_lossy(&bytes).into_owned();
            Some(text.split_terminator('\0').map(str::to_owned).collect::<Vec<_>>())
        };
        let status = fs::read_to_string(folder.join("stat")).ok()?;
        // The name in brackets may hold anything; the state and the parent follow its last bracket.
        let mut fields = status.rsplit_once(") ")?.1.split(' ');
        if matches!(fields.next()?, "Z" | "X") {
            return None;
        }
        let parent = fields.next()?.parse().ok()?;
        Some(Self { pid, parent, arguments: words("cmdline")?, environment: words("environ")? })
    }

    /// The value of a variable in the environment that it was started with.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.environment.iter().find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))
    }

    fn names(&self, folder: &str) -> bool {
        self.arguments.iter().chain(&self.environment).any(|word| word.contains(folder))
    }

    fn is_shim(&self) -> bool {
        self.arguments.get(1).is_some_and(|word| word == "shim")
    }
}

/// Whether process `pid` runs.
#[must_use]
pub fn is_running(pid: i32) -> bool {
    Process::read(pid).is_some()
}

/// Every process whose command line or environment names something in `folder`.
#[must_use]
pub fn of_folder(folder: &Path) -> Vec<Process> {
    let folder = folder.display().to_string();
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != own)
        .filter_map(Process::read)
        .filter(|process| process.names(&folder))
        .collect()
}

/// The ranks that run under shims of `folder`: the process id of each, by rank.
#[must_use]
pub fn ranks(folder: &Path) -> BTreeMap<u32, i32> {
    ranks_that(folder, |_| true)
}

/// The ranks of one job that run under shims of `folder`.
#[must_use]
pub fn ranks_of(folder: &Path, job: &str) -> BTreeMap<u32, i32> {
    ranks_that(folder, |rank| rank.variable("YARD_JOB") == Some(job))
}

fn ranks_that(folder: &Path, wanted: impl Fn(&Process) -> bool) -> BTreeMap<u32, i32> {
    let all = of_folder(folder);
    let shims: Vec<i32> = all.iter().filter(|p| p.is_shim()).map(|p| p.pid).collect();
    all.iter()
        .filter(|process| shims.contains(&process.parent) && !process.is_shim())
        .filter(|process| wanted(process))
        .filter_map(|process| Some((process.variable("RANK")?.parse().ok()?, process.pid)))
        .collect()
}

/// Sends SIGKILL to `pid`; one that is gone is as wanted.
pub fn kill_one(pid: i32) {
    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
}

/// Kills every process of `folder`, also those that are started meanwhile.
pub fn kill_all(folder: &Path) -> anyhow::Result<()> {
    until("processes to be gone", Duration::from_secs(10), || {
        let left = of_folder(folder);
        left.iter().for_each(|process| kill_one(process.pid));
        Ok(left.is_empty().then_some(()))
    })
}
