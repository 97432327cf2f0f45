//! A cgroup (v2) for an attempt's ranks, where the system allows one: it lets every process of
//! an attempt be found and killed. Without it the ranks run all the same.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    mem,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use trainyard_jobs::AttemptRef;

/// Where the unified hierarchy is mounted: alone, or beside version 1.
const MOUNTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/// How often, and after what pause, a group is looked at whose last processes are dying.
const LOOKS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(2);

/// Makes a cgroup for this shim's share of an attempt, below our own. Several nodes of one
/// attempt may live on one machine, so the shim's process id is part of the name: one share's
/// end must not be the other's.
pub(super) fn create(attempt: &AttemptRef) -> io::Result<PathBuf> {
    let mount = MOUNTS.map(Path::new).into_iter().find(|m| m.join("cgroup.procs").exists());
    let mount = mount.ok_or_else(|| io::Error::other("no unified cgroup hierarchy"))?;
    let memberships = fs::read_to_string("/proc/self/cgroup")?;
    let own = memberships.lines().find_map(|line| line.strip_prefix("0::/"));
    let own = own.ok_or_else(|| io::Error::other("not in a unified cgroup"))?;
    let path = mount.join(own).join(format!("yard-{attempt}-{}", std::process::id()));
    match fs::create_dir(&path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(path),
    }
}

/// The ways into a group.
#[derive(Debug)]
pub(super) struct Entrance {
    folder: File,
    members: File,
}

/// On which side of a [`Entrance::rebirth`] the caller is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// The twin, a member of the group.
    Twin,
    /// Whoever called, with the twin's process id.
    Caller(libc::c_long),
}

impl Entrance {
    pub(super) fn of(cgroup: &Path) -> io::Result<Self> {
        let members = File::options().write(true).open(cgroup.join("cgroup.procs"))?;
        Ok(Self { folder: File::open(cgroup)?, members })
    }

    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { folder: self.folder.try_clone()?, members: self.members.try_clone()? })
    }

    /// Forks a twin of the calling process that is born in the group, and is a child of the same
    /// parent. To move a process there later takes the system several milliseconds, because it
    /// waits for all processors to take notice.
    ///
    /// # Errors
    /// When the system cannot (Linux before 5.7), or may not.
    pub(super) fn rebirth(&self) -> io::Result<Side> {
        const INTO_CGROUP: u64 = 0x2_0000_0000;
        let arguments = CloneArguments {
            flags: INTO_CGROUP | u64::from(libc::CLONE_PARENT.unsigned_abs()),
            cgroup: u64::from(self.folder.as_raw_fd().unsigned_abs()),
            ..CloneArguments::default()
        };
        // SAFETY: without shared memory or a stack of its own the twin goes on as after fork, and
        // the system only reads the structure, whose size it is told.
        #[expect(unsafe_code, reason = "no library makes this system call")]
        let twin = unsafe {
            libc::syscall(libc::SYS_clone3, &raw const arguments, mem::size_of_val(&arguments))
        };
        match twin {
            0 => Ok(Side::Twin),
            twin if twin > 0 => Ok(Side::Caller(twin)),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Moves the calling process into the group.
    ///
    /// # Errors
    /// When the system refuses it.
    pub(super) fn enter(&self) -> io::Result<()> {
        (&self.members).write_all(b"0")
    }
}

/// The arguments of `clone3`, as far as Linux 5.7 knows them.
#[repr(C)]
#[derive(Default)]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Kills all that is left in the group and removes it, as far as the system lets us.
pub(crate) fn kill_all(cgroup: &Path) {
    let _ = fs::write(cgroup.join("cgroup.kill"), "1");
    for _ in 0..LOOKS {
        match fs::remove_dir(cgroup) {
            // Somebody is still dying.
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => thread::sleep(PAUSE),
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use trainyard_jobs::{AttemptNo, Generation, JobId};

    use super::*;

    #[test]
    fn a_group_is_gone_once_all_in_it_are_killed() {
        let attempt = AttemptRef {
            job: JobId::from_random(u64::from(std::process::id())),
            attempt: AttemptNo(7),
            generation: Generation(1),
        };
        // Not every machine lets us make one.
        let Ok(group) = create(&attempt) else { return };
        let mut sleepers: Vec<_> =
            (0..20).map(|_| Command::new("sleep").arg("600").spawn().unwrap()).collect();
        for sleeper in &sleepers {
            fs::write(group.join("cgroup.procs"), sleeper.id().to_string()).unwrap();
        }
        kill_all(&group);
        assert!(!group.exists());
        for sleeper in &mut sleepers {
            sleeper.wait().unwrap();
        }
    }
}
