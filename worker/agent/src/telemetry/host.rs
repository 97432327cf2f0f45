//! The host's figures: processors and memory by sysinfo, disk space of the data directory.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use nix::sys::statvfs::statvfs;
use sysinfo::System;
use trainyard_jobs::Bytes;

use crate::attempt::attempts;

/// Reads the host's figures; the load of processors is counted between two readings.
pub(super) struct Host {
    system: Option<System>,
    data_dir: PathBuf,
}

impl Host {
    pub(super) fn new(data_dir: &Path) -> Self {
        let system = System::new().map(|mut system| {
            system.refresh_cpu_usage();
            system.refresh_memory();
            system
        });
        Self { system: system.ok(), data_dir: data_dir.to_owned() }
    }

    pub(super) fn refresh(&mut self) {
        if let Some(system) = &mut self.system {
            system.refresh_cpu_usage();
            system.refresh_memory();
        }
    }

    /// Load of all processors together, 0 to 100.
    pub(super) fn cpu_percent(&self) -> Option<f64> {
        let percent = f64::from(self.system.as_ref()?.global_cpu_usage());
        percent.is_finite().then_some(percent.clamp(0.0, 100.0))
    }

    /// Bytes of memory in use.
    pub(super) fn memory_used(&self) -> Option<u64> {
        self.system.as_ref().map(System::used_memory)
    }

    /// All memory.
    pub(super) fn memory(&self) -> Bytes {
        Bytes(self.system.as_ref().map_or(0, System::total_memory))
    }

    /// Bytes that can still be written to the data directory.
    pub(super) fn disk_free(&self) -> Option<u64> {
        let stat = statvfs(&self.data_dir).ok()?;
        stat.blocks_available().checked_mul(stat.fragment_size())
    }

    /// What attempts may have of the disk all together: what is free, and what they have already, so
    /// that an agent that starts among them offers no less.
    pub(super) fn disk(&self) -> Bytes {
        let own = occupied(&attempts(&self.data_dir));
        Bytes(self.disk_free().map_or(0, |free| free.saturating_add(own)))
    }
}

/// Bytes on disk of all files below a folder.
fn occupied(folder: &Path) -> u64 {
    let mut folders = vec![folder.to_owned()];
    let mut bytes: u64 = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            // Of a link what it is itself, not what it leads to.
            let Ok(metadata) = entry.metadata() else { continue };
            bytes = bytes.saturating_add(metadata.blocks().saturating_mul(512));
            if metadata.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_attempts_have_written_is_theirs_to_offer() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::new(dir.path());
        let free = host.disk();
        assert!(free.0 > 0);
        let work = attempts(dir.path()).join("one/work");
        fs::create_dir_all(&work).unwrap();
        assert!(occupied(dir.path()) < 1 << 20);
        fs::write(work.join("data"), vec![1; 4 << 20]).unwrap();
        std::os::unix::fs::symlink(&work, work.join("again")).unwrap();
        let own = occupied(&attempts(dir.path()));
        assert!((4 << 20..5 << 20).contains(&own), "{own}");
        assert_eq!(occupied(&dir.path().join("none")), 0);
    }
}
