//! Finds the processes that belong to a `yard dev` directory by what they were started with:
//! daemons of an earlier run or started by hand, shims, and ranks. `yard dev` owns them all.

use std::{
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::time::{Instant, sleep};

/// How long ranks may take to stop after a signal before they are killed.
const GRACE: Duration = Duration::from_secs(10);

const POLL: Duration = Duration::from_millis(50);

/// The variable by which a rank tells whose it is.
const RANK_VARIABLE: &[u8] = b"YARD_CHECKPOINT_DIR=";

/// The processes of one directory.
#[derive(Debug)]
pub(crate) struct Sweep {
    dir: PathBuf,
}

/// What a process is to its directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Daemon,
    Shim,
    Rank,
}

impl Sweep {
    /// Of the processes of `dir`, an absolute path.
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// Stops daemons that an earlier `yard dev` left, and what they ran. Returns how many
    /// processes there were.
    pub(crate) async fn stop_leftovers(&self) -> usize {
        let found = self.find(|_| true).len();
        self.stop(|role| role == Role::Daemon).await;
        self.stop_attempts().await;
        found
    }

    /// Asks the shims to stop their ranks; kills what is left after a grace.
    pub(crate) async fn stop_attempts(&self) {
        for pid in self.find(|role| role == Role::Shim) {
            let _ = kill(pid, Signal::SIGTERM);
        }
        if self.gone(|role| role != Role::Daemon).await {
            return;
        }
        self.signal(|role| role != Role::Daemon, Signal::SIGKILL);
        self.gone(|role| role != Role::Daemon).await;
    }

    /// Kills all at once.
    pub(crate) fn kill_all(&self) {
        self.signal(|_| true, Signal::SIGKILL);
    }

    async fn stop(&self, which: impl Fn(Role) -> bool + Copy) {
        self.signal(which, Signal::SIGTERM);
        if !self.gone(which).await {
            self.signal(which, Signal::SIGKILL);
            self.gone(which).await;
        }
    }

    fn signal(&self, which: impl Fn(Role) -> bool, signal: Signal) {
        for pid in self.find(which) {
            let _ = kill(pid, signal);
        }
    }

    /// Waits until none is left; false when the grace is over.
    async fn gone(&self, which: impl Fn(Role) -> bool + Copy) -> bool {
        let give_up = Instant::now() + GRACE;
        while !self.find(which).is_empty() {
            if Instant::now() >= give_up {
                return false;
            }
            sleep(POLL).await;
        }
        true
    }

    fn find(&self, which: impl Fn(Role) -> bool) -> Vec<Pid> {
        let me = std::process::id();
        let entries = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
        let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        ids.filter(|id| *id != me)
            .filter(|id| self.role(Path::new(&format!("/proc/{id}"))).is_some_and(&which))
            .filter_map(|id| i32::try_from(id).ok().map(Pid::from_raw))
            .collect()
    }

    /// What a process is to the directory; nothing if it is none of ours or a zombie.
    fn role(&self, process: &Path) -> Option<Role> {
        let line = fs::read(process.join("cmdline")).ok().filter(|line| !line.is_empty())?;
        let args: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        match args.as_slice() {
            [_, b"shim", dir, ..] if self.holds(dir) => return Some(Role::Shim),
            [_, b"scheduler" | b"worker", b"--config", file, ..] if self.holds(file) => {
                return Some(Role::Daemon);
            }
            _ => {}
        }
        let environment = fs::read(process.join("environ")).ok()?;
        let mut variables = environment.split(|byte| *byte == 0);
        variables
            .any(|variable| {
                variable.strip_prefix(RANK_VARIABLE).is_some_and(|value| self.holds(value))
            })
            .then_some(Role::Rank)
    }

    fn holds(&self, path: &[u8]) -> bool {
        Path::new(std::ffi::OsStr::from_bytes(path)).starts_with(&self.dir)
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    struct Killed(Child);

    impl Drop for Killed {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn sleeper(checkpoints: &Path) -> Killed {
        let mut command = Command::new("sleep");
        Killed(command.arg("60").env("YARD_CHECKPOINT_DIR", checkpoints).spawn().unwrap())
    }

    #[test]
    fn only_its_own_processes_are_swept() {
        let dir = tempfile::tempdir().unwrap();
        let mut ours = sleeper(&dir.path().join("worker-1/attempts/x"));
        let mut other = sleeper(Path::new("/elsewhere/worker-1"));
        let sweep = Sweep::new(dir.path());
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while sweep.find(|role| role == Role::Rank).is_empty() {
            assert!(std::time::Instant::now() < deadline, "the rank is not found");
            std::thread::yield_now();
        }
        sweep.kill_all();
        assert!(!ours.0.wait().unwrap().success());
        assert!(other.0.try_wait().unwrap().is_none());
    }
}
