//! Finds processes by what `/proc` says: the descendants of a process, and those that carry an
//! attempt's mark in their environment. So no process of an attempt is left without an owner.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::plan::ProcessId;

/// What `/proc/<pid>/stat` says of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    parent: i32,
    state: char,
    start_ticks: u64,
}

fn stat(pid: i32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The command's name stands in parentheses and may hold anything, so fields count from the
/// last one.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    let start_ticks = fields.nth(17)?.parse().ok()?;
    Some(Stat { parent, state, start_ticks })
}

fn all_pids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Names a live process so that a later one with the same number is told apart.
#[must_use]
pub(crate) fn identify(pid: i32) -> Option<ProcessId> {
    let stat = stat(pid).filter(|stat| stat.state != 'Z')?;
    Some(ProcessId { pid, start_ticks: stat.start_ticks })
}

/// The processes below any of `roots`, without the roots.
#[must_use]
pub fn descendants(roots: &BTreeSet<i32>) -> BTreeSet<i32> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for pid in all_pids() {
        if let Some(stat) = stat(pid) {
            children.entry(stat.parent).or_default().push(pid);
        }
    }
    let mut found = BTreeSet::new();
    let mut open: Vec<i32> = roots.iter().copied().collect();
    while let Some(pid) = open.pop() {
        for child in children.get(&pid).into_iter().flatten() {
            if found.insert(*child) {
                open.push(*child);
            }
        }
    }
    found
}

/// Kills what is left below the calling process, which is their subreaper, until nothing is or
/// patience ends.
pub(super) fn kill_descendants(patience: Duration) {
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let deadline = Instant::now() + patience;
    loop {
        while nix::sys::wait::waitpid(Pid::from_raw(-1), Some(nix::sys::wait::WaitPidFlag::WNOHANG))
            .is_ok_and(|status| status.pid().is_some())
        {}
        let left = descendants(&BTreeSet::from([own]));
        if left.is_empty() || Instant::now() >= deadline {
            return;
        }
        for pid in left {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Kills every process whose environment carries `YARD_CONTROL=<control>`: what a killed shim
/// may have left behind. Gives how many there were.
#[must_use]
pub fn kill_marked(control: &Path) -> usize {
    let mark = format!("YARD_CONTROL={}", control.display()).into_bytes();
    let carries = |pid: &i32| -> io::Result<bool> {
        let environment = fs::read(format!("/proc/{pid}/environ"))?;
        Ok(environment.split(|byte| *byte == 0).any(|entry| entry == mark))
    };
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let marked: Vec<i32> =
        all_pids().filter(|pid| *pid != own && carries(pid).unwrap_or(false)).collect();
    for pid in &marked {
        let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
    }
    marked.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_confuse() {
        let line = "42 (a) b) S 7 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 10 11";
        let expected = Stat { parent: 7, state: 'S', start_ticks: 987_654 };
        assert_eq!(parse_stat(line), Some(expected));
    }

    #[test]
    fn this_process_is_a_descendant_of_its_parent() {
        let own = i32::try_from(std::process::id()).unwrap();
        let parent = stat(own).unwrap().parent;
        assert!(descendants(&BTreeSet::from([parent])).contains(&own));
        assert_eq!(identify(own), identify(own));
        assert!(identify(own).is_some());
    }
}
