//! The host's figures: processors and memory by sysinfo, disk space of the data directory.

use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;
use sysinfo::System;
use trainyard_jobs::Bytes;

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
}
