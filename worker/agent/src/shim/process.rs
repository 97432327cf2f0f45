//! Starts the ranks, sends them signals, and reaps them. A rank leads a session and a process
//! group of its own; it dies with the shim, and what it leaves behind dies with it.

use std::{
    fs::File,
    io::{self, Write as _},
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
};

use nix::{
    errno::Errno,
    sys::{
        signal::{SigSet, Signal, killpg},
        wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid},
    },
    unistd::{Pid, getppid, setsid},
};
use trainyard_jobs::RankExit;

use super::plan::{Plan, RankPlan};

/// How much the ranks yield to the daemons.
const NICE: libc::c_int = 5;

/// Starts one rank; its standard output and error are pipes. Must be called from a thread that
/// lives as long as the shim: the rank is killed when that thread ends.
pub(super) fn spawn(plan: &Plan, rank: &RankPlan, cgroup: Option<&File>) -> io::Result<Child> {
    let (program, arguments) =
        rank.argv.split_first().ok_or_else(|| io::Error::other("the command is empty"))?;
    let cgroup = cgroup.map(File::try_clone).transpose()?;
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
    let prepare = move || prepare_child(shim, cgroup.as_ref());
    // SAFETY: between fork and exec `prepare` makes system calls only; it allocates nothing and
    // takes no lock, so the state of the shim's other threads does not matter.
    #[expect(unsafe_code, reason = "a rank's session and death signal are set after fork")]
    unsafe {
        command.pre_exec(prepare);
    }
    command.spawn()
}

fn prepare_child(shim: Pid, mut cgroup: Option<&File>) -> io::Result<()> {
    setsid()?;
    // The shim waits for its signals with them blocked, and what is blocked is inherited.
    SigSet::empty().thread_set_mask()?;
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    if getppid() != shim {
        return Err(Errno::ESRCH.into());
    }
    // SAFETY: plain system call without pointers. It fails only where the priority may not be
    // changed, and then the rank runs with the shim's.
    #[expect(unsafe_code, reason = "nix has no nice()")]
    let _ = unsafe { libc::nice(NICE) };
    if let Some(group) = cgroup.as_mut() {
        // A group that may not be joined is done without.
        let _ = group.write_all(b"0");
    }
    Ok(())
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
