//! Starts the ranks, sends them signals, and reaps them. A rank leads a session and a process
//! group of its own; it dies with the shim, and what it leaves behind dies with it.

use std::{
    io::{self, PipeReader, PipeWriter, Read as _, Write as _},
    os::unix::process::CommandExt as _,
    process::{ChildStderr, ChildStdout, Command, Stdio},
};

use nix::{
    errno::Errno,
    sched::{CpuSet, sched_setaffinity},
    sys::{
        signal::{SigSet, Signal, killpg},
        wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid},
    },
    unistd::{Pid, getppid, setsid},
};
use trainyard_jobs::RankExit;

use super::{
    cgroup::{Entrance, Side},
    plan::{Plan, RankPlan},
};

/// How much the ranks yield to the daemons.
const NICE: libc::c_int = 5;

/// A rank that has started.
#[derive(Debug)]
pub(super) struct Rank {
    pub(super) pid: i32,
    pub(super) stdout: Option<ChildStdout>,
    pub(super) stderr: Option<ChildStderr>,
}

/// Starts one rank; its standard output and error are pipes. Must be called from a thread that
/// lives as long as the shim: the rank is killed when that thread ends.
pub(super) fn spawn(plan: &Plan, rank: &RankPlan, cgroup: Option<&Entrance>) -> io::Result<Rank> {
    let (program, arguments) =
        rank.argv.split_first().ok_or_else(|| io::Error::other("the command is empty"))?;
    let cgroup = cgroup.map(Entrance::try_clone).transpose()?;
    let (twin, report) = io::pipe()?;
    let shim = Pid::this();
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .envs(&rank.env)
        .current_dir(&plan.workdir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let cpus = bound_to(rank)?;
    let prepare = move || prepare_child(shim, cgroup.as_ref(), cpus.as_ref(), &report);
    // SAFETY: between fork and exec `prepare` makes system calls only; it allocates nothing and
    // takes no lock, so the state of the shim's other threads does not matter.
    #[expect(unsafe_code, reason = "a rank's session and death signal are set after fork")]
    unsafe {
        command.pre_exec(prepare);
    }
    let mut child = command.spawn()?;
    // Else the pipe would never end.
    drop(command);
    let pid = match read_twin(twin)? {
        Some(twin) => twin,
        None => i32::try_from(child.id()).map_err(io::Error::other)?,
    };
    Ok(Rank { pid, stdout: child.stdout.take(), stderr: child.stderr.take() })
}

/// The processors that a rank is bound to, if it is to any.
fn bound_to(rank: &RankPlan) -> io::Result<Option<CpuSet>> {
    if rank.cpus.is_empty() {
        return Ok(None);
    }
    let mut set = CpuSet::new();
    for cpu in &rank.cpus {
        set.set(usize::try_from(*cpu).map_err(io::Error::other)?)?;
    }
    Ok(Some(set))
}

/// Makes the forked child ready to become the rank. Where its twin in the cgroup does that, the
/// child names it and ends.
fn prepare_child(
    shim: Pid,
    cgroup: Option<&Entrance>,
    cpus: Option<&CpuSet>,
    mut report: &PipeWriter,
) -> io::Result<()> {
    match cgroup.map(Entrance::rebirth) {
        Some(Ok(Side::Caller(twin))) => {
            let told = report.write_all(&twin.to_ne_bytes());
            // SAFETY: ends this process at once, with nothing of the shim's run again.
            #[expect(unsafe_code, reason = "the libraries' exit runs what the shim registered")]
            unsafe {
                libc::_exit(i32::from(told.is_err()));
            }
        }
        // A group that may not be joined is done without.
        Some(Err(_)) => drop(cgroup.map(Entrance::enter)),
        Some(Ok(Side::Twin)) | None => {}
    }
    setsid()?;
    // The shim waits for its signals with them blocked, and what is blocked is inherited.
    SigSet::empty().thread_set_mask()?;
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    if getppid() != shim {
        return Err(Errno::ESRCH.into());
    }
    if let Some(cpus) = cpus {
        // Processors that were taken away meanwhile are done without.
        let _ = sched_setaffinity(Pid::from_raw(0), cpus);
    }
    // SAFETY: plain system call without pointers. It fails only where the priority may not be
    // changed, and then the rank runs with the shim's.
    #[expect(unsafe_code, reason = "nix has no nice()")]
    let _ = unsafe { libc::nice(NICE) };
    Ok(())
}

/// The process id of the twin that became the rank, if there is one.
fn read_twin(mut report: PipeReader) -> io::Result<Option<i32>> {
    let mut bytes = Vec::new();
    report.read_to_end(&mut bytes)?;
    let Ok(bytes) = <[u8; size_of::<libc::c_long>()]>::try_from(bytes) else { return Ok(None) };
    i32::try_from(libc::c_long::from_ne_bytes(bytes)).map(Some).map_err(io::Error::other)
}

/// Sends `signal` to the group that process `leader` leads.
pub(super) fn signal_group(leader: i32, signal: Signal) {
    let _ = killpg(Pid::from_raw(leader), signal);
}

/// A child that ended: its process id, and how.
pub(super) type Reaped = (i32, RankExit);

/// Reaps one ended child, if there is one. The rest of a rank's group is killed first, while
/// its number cannot have passed to another process.
pub(super) fn reap(is_rank: impl Fn(i32) -> bool) -> Option<Reaped> {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    let pid = waitid(Id::All, flags).ok()?.pid()?;
    if is_rank(pid.as_raw()) {
        signal_group(pid.as_raw(), Signal::SIGKILL);
    }
    match waitpid(pid, Some(WaitPidFlag::WNOHANG)).ok()? {
        WaitStatus::Exited(_, code) => Some((pid.as_raw(), RankExit::Code { code })),
        WaitStatus::Signaled(_, signal, _) => {
            let signal = libc::c_int::from(SignalNumber(signal));
            Some((pid.as_raw(), RankExit::Signal { signal }))
        }
        _ => None,
    }
}

struct SignalNumber(Signal);

impl From<SignalNumber> for libc::c_int {
    #[expect(clippy::as_conversions, reason = "the enum's values are the signals' numbers")]
    fn from(signal: SignalNumber) -> Self {
        signal.0 as Self
    }
}
