//! A cgroup (v2) for an attempt's ranks, where the system allows one: it lets every process of
//! an attempt be found and killed. Without it the ranks run all the same.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use trainyard_jobs::AttemptRef;

/// Where the unified hierarchy is mounted: alone, or beside version 1.
const MOUNTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

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

/// The file by which a process enters the group, by writing `0`.
pub(super) fn entrance(cgroup: &Path) -> io::Result<File> {
    File::options().write(true).open(cgroup.join("cgroup.procs"))
}

/// Kills all that is left in the group and removes it, as far as the system lets us.
pub(crate) fn kill_all(cgroup: &Path) {
    let _ = fs::write(cgroup.join("cgroup.kill"), "1");
    let _ = fs::remove_dir(cgroup);
}
