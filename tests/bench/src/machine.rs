//! What the figures were taken on, read from /proc. A figure without its machine says little.

use std::{fs, path::Path};

/// The machine that measured.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory: String,
    pub(crate) kernel: String,
    /// The file system below the systems' data.
    pub(crate) disk: String,
    /// One-minute load average before the first round: what else the machine did.
    pub(crate) load_before: String,
}

impl Machine {
    pub(crate) fn read(data: &Path) -> Self {
        let memory = field("/proc/meminfo", "MemTotal")
            .and_then(|text| text.trim_end_matches("kB").trim().parse::<u64>().ok())
            .map_or_else(unknown, |kib| trainyard_jobs::Bytes(kib << 10).to_string());
        let first = |file: &str| {
            let text = fs::read_to_string(file).ok();
            text.and_then(|t| t.split_whitespace().next().map(str::to_owned))
                .unwrap_or_else(unknown)
        };
        Self {
            cpu: field("/proc/cpuinfo", "model name").unwrap_or_else(unknown),
            cores: std::thread::available_parallelism().map_or(0, Into::into),
            memory,
            kernel: first("/proc/sys/kernel/osrelease"),
            disk: file_system(data).unwrap_or_else(unknown),
            load_before: first("/proc/loadavg"),
        }
    }
}

fn unknown() -> String {
    "unknown".to_owned()
}

fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let (_, value) =
        text.lines().filter_map(|line| line.split_once(':')).find(|(key, _)| key.trim() == name)?;
    Some(value.trim().to_owned())
}

/// The type of the mount that holds `path`.
fn file_system(path: &Path) -> Option<String> {
    let path = path.canonicalize().ok()?;
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    let holder = mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            Some((fields.next()?, fields.next()?))
        })
        .filter(|(point, _)| path.starts_with(point))
        .max_by_key(|(point, _)| point.len())?;
    Some(holder.1.to_owned())
}
