//! Launches shims, waits for their end, and stops them. A shim is told apart from a later
//! process with the same number by its start time, and is alive if its lock is held.

use std::{
    env,
    fs::File,
    io,
    os::unix::{fs::MetadataExt as _, process::CommandExt as _},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::sync::oneshot;

use super::{AttemptDir, environment::inherited};
use crate::{
    durable,
    shim::{self, ExitRecord, Plan, ProcessId, ShimDir, StartedRecord},
};

/// How often processes that a dead shim left behind are looked for.
const SWEEPS: u32 = 50;
/// Of what a shim said, how much is read, in bytes.
const MAX_WORDS: u64 = 64 << 10;

/// The program that runs `shim DIR`.
#[derive(Debug, Clone)]
pub(crate) struct ShimProgram(PathBuf);

impl ShimProgram {
    /// `configured`, or this very program: also when its file has been replaced or deleted by
    /// an upgrade, so that agent and shim are of one version.
    pub(crate) fn new(configured: Option<PathBuf>) -> Self {
        const RUNNING: &str = "/proc/self/exe";
        let inode = |path: &str| std::fs::metadata(path).map(|m| (m.dev(), m.ino())).ok();
        let own = env::current_exe()
            .ok()
            .filter(|path| path.to_str().is_some_and(|path| inode(path) == inode(RUNNING)));
        Self(configured.or(own).unwrap_or_else(|| RUNNING.into()))
    }
}

/// Writes the plan and launches the shim. Once the plan is written the attempt counts as
/// started, whatever becomes of the shim.
pub(super) fn launch(dir: &ShimDir, plan: &Plan, program: &ShimProgram) -> io::Result<Child> {
    let lock = dir.try_lock()?.ok_or_else(|| io::Error::other("a shim runs there already"))?;
    let errors = File::options().append(true).create(true).open(dir.errors())?;
    durable::write_json(&dir.plan(), plan)?;
    let mut command = Command::new(&program.0);
    command
        .arg0("yard")
        .arg("shim")
        .arg(dir.path())
        .env_clear()
        .envs(inherited())
        .current_dir("/")
        // The shim holds the lock from before it begins.
        .stdin(Stdio::from(lock))
        .stdout(Stdio::null())
        .stderr(Stdio::from(errors));
    // SAFETY: one system call without pointers between fork and exec.
    #[expect(unsafe_code, reason = "what ends the agent's session must not reach the shim")]
    unsafe {
        command.pre_exec(|| nix::unistd::setsid().map(drop).map_err(Into::into));
    }
    command.spawn()
}

/// Tells when the shim of `dir` is gone: at once if there is none. `child` is the shim if this
/// agent launched it, so that it is reaped.
pub(super) fn watch(dir: &ShimDir, child: Option<Child>) -> io::Result<oneshot::Receiver<()>> {
    let (gone, ends) = oneshot::channel();
    let dir = dir.clone();
    // Not a task of the runtime: its shutdown would wait for the ranks.
    thread::Builder::new().name("shim".into()).spawn(move || {
        if let Some(mut child) = child {
            let _ = child.wait();
        }
        while let Err(error) = durable::lock_file(&dir.lock()).and_then(|lock| lock.lock()) {
            if error.kind() == io::ErrorKind::NotFound {
                break;
            }
            thread::sleep(Duration::from_millis(200));
        }
        let _ = gone.send(());
    })?;
    Ok(ends)
}

/// The live shim of `dir`, if it has said who it is.
pub(super) fn live_shim(dir: &ShimDir) -> Option<ProcessId> {
    let started: StartedRecord = durable::read_json(&dir.started()).ok()??;
    let same = shim::identify(started.shim.pid) == Some(started.shim);
    (same && dir.is_alive().unwrap_or(false)).then_some(started.shim)
}

/// Sends `signal` to the live shim of `dir`; whether there was one.
pub(super) fn signal_shim(dir: &ShimDir, signal: Signal) -> bool {
    live_shim(dir).is_some_and(|shim| kill(Pid::from_raw(shim.pid), signal).is_ok())
}

/// How the ranks of a shim that is gone ended; nothing if nobody saw it, and then what it left
/// behind is killed.
pub(super) fn outcome(dir: &AttemptDir) -> Option<ExitRecord> {
    let shim = dir.shim();
    match durable::read_json(&shim.exit()) {
        Ok(Some(record)) => return Some(record),
        Ok(None) => {}
        Err(error) => tracing::error!(dir = %dir.path().display(), %error, "no exit record"),
    }
    if let Ok(Some(started)) = durable::read_json::<StartedRecord>(&shim.started())
        && let Some(cgroup) = started.cgroup
    {
        shim::kill_cgroup(&cgroup);
    }
    let said = durable::read_bounded(&shim.errors(), MAX_WORDS).ok().flatten().unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    tracing::warn!(dir = %dir.path().display(), said = %said.trim(), "the shim died");
    for _ in 0..SWEEPS {
        let strays = shim::kill_marked(&shim.control());
        if strays == 0 {
            break;
        }
        tracing::warn!(dir = %dir.path().display(), strays, "what it left behind is killed");
        thread::sleep(Duration::from_millis(20));
    }
    None
}
