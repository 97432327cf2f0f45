//! Processes that a benchmark starts: each leads its own process group, writes its output to a
//! file, and ends with the value that holds it. Nothing else is ever signalled.

use std::{
    fs,
    net::TcpListener,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};

const POLL: Duration = Duration::from_millis(20);
const STOP_GRACE: Duration = Duration::from_secs(5);

/// A running daemon.
#[derive(Debug)]
pub(crate) struct Daemon {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts `command` with its output in `dir`.
    pub(crate) fn start(name: &str, command: &mut Command, dir: &Path) -> anyhow::Result<Self> {
        let log = dir.join(format!("{name}.log"));
        let file = fs::File::create(&log).with_context(|| format!("cannot write {log:?}"))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {:?}", command.get_program()))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// An error with its last words if it has ended.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended with {status}: {}", self.name, tail(&self.log)),
        }
    }

    /// Seconds of processor time that it has used.
    pub(crate) fn cpu(&self) -> f64 {
        cpu(&self.child.id().to_string())
    }
}

impl Daemon {
    /// Kills it without a warning, with its group.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        let _ = killpg(self.leader_of_group()?, Signal::SIGKILL);
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to end, and does not wait.
    pub(crate) fn terminate(&self) -> anyhow::Result<()> {
        Ok(kill(self.leader_of_group()?, Signal::SIGTERM)?)
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn leader_of_group(&self) -> anyhow::Result<Pid> {
        Ok(Pid::from_raw(i32::try_from(self.child.id())?))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        stop_group(&mut self.child);
    }
}

/// Seconds of processor time that a process (`self` for this one) has used, user and system.
pub(crate) fn cpu(process: &str) -> f64 {
    let line = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The name in parentheses may hold anything; the 14th and 15th fields are the 12th and 13th
    // after it. A tick is 10 ms wherever Linux has run for long.
    let fields = line.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let ticks = fields.split(' ').skip(11).take(2).filter_map(|n| n.parse::<u32>().ok());
    ticks.map(f64::from).sum::<f64>() / 100.0
}

/// Runs a program to its end in a group of its own and gives what it printed. Dropped, it ends
/// the group, so that ranks do not outlive an interrupted benchmark.
pub(crate) async fn run(name: &str, command: &mut Command, dir: &Path) -> anyhow::Result<String> {
    let mut running = Daemon::start(name, command, dir)?;
    let status = loop {
        match running.child.try_wait()? {
            Some(status) => break status,
            None => tokio::time::sleep(POLL).await,
        }
    };
    if !status.success() {
        bail!("{name} ended with {status}: {}", tail(&running.log));
    }
    fs::read_to_string(&running.log).with_context(|| format!("cannot read {:?}", running.log))
}

/// Ends a process that leads its group, with the group.
pub(crate) fn stop_group(child: &mut Child) {
    let Ok(pid) = i32::try_from(child.id()) else { return };
    let group = Pid::from_raw(pid);
    // The leader is not reaped yet, so the number is still its own.
    if matches!(child.try_wait(), Ok(None)) {
        let _ = killpg(group, Signal::SIGTERM);
        let deadline = Instant::now() + STOP_GRACE;
        while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(POLL);
        }
    }
    let _ = killpg(group, Signal::SIGKILL);
    let _ = child.wait();
}

/// Ends the shims below `dir`, a folder of this run alone: they outlive their agent by design.
pub(crate) fn stop_shims(dir: &Path) {
    let dir = dir.as_os_str().as_encoded_bytes();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let mut arguments = line.split(|byte| *byte == 0).skip(1);
        let ours = arguments.next() == Some(b"shim".as_slice())
            && arguments.next().is_some_and(|place| place.starts_with(dir));
        if ours {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// Waits until `ready` gives a value; an error after `limit`, or when `ready` gives one.
pub(crate) async fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut ready: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = ready().await? {
            return Ok(value);
        }
        if Instant::now() > deadline {
            bail!("{what} took more than {limit:?}");
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Loopback ports that were free a moment ago, all different.
pub(crate) fn free_ports(count: usize) -> anyhow::Result<Vec<u16>> {
    let held: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    held.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}

/// Runs a short command and gives its standard output.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let program = command.get_program().to_owned();
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot start {program:?}"))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        bail!("{program:?} ended with {}: {}", output.status, words.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The absolute path of a program of the system, or a clear error.
pub(crate) fn find_program(name: &str, package: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Daemons stand in sbin, which is not on every PATH.
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/bin".into()]);
    let found = places.map(|place| place.join(name)).find(|file| file.is_file());
    found.with_context(|| format!("`{name}` is not installed (Debian package {package})"))
}

/// The last words of a log.
fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(3).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
}
