//! Ranks as `/proc` shows them: children of the shims that run below a folder.

use std::{collections::BTreeMap, fs, path::Path};

/// The process ids of the ranks below `folder`, by job and rank.
pub(super) fn running(folder: &Path) -> BTreeMap<(String, String), i32> {
    let pids: Vec<i32> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    let shims: Vec<i32> = pids.iter().copied().filter(|pid| is_shim(*pid, folder)).collect();
    let ranks = pids.iter().filter(|pid| parent(**pid).is_some_and(|of| shims.contains(&of)));
    ranks.filter_map(|pid| Some((named(*pid)?, *pid))).collect()
}

fn is_shim(pid: i32, folder: &Path) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut words = line.split(|byte| *byte == 0).skip(1);
    words.next() == Some(b"shim".as_slice())
        && words
            .next()
            .is_some_and(|place| place.starts_with(folder.as_os_str().as_encoded_bytes()))
}

/// The parent of a process that runs.
fn parent(pid: i32) -> Option<i32> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in brackets may hold anything; state and parent follow its last bracket.
    let mut fields = line.rsplit_once(") ")?.1.split(' ');
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.next()?.parse().ok()
}

/// The job and the rank that a process was started as.
fn named(pid: i32) -> Option<(String, String)> {
    let bytes = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let variable = |name: &str| {
        text.split('\0').find_map(|v| v.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
    };
    Some((variable("YARD_JOB")?, variable("RANK")?))
}
