//! What a machine's processors and GPUs are like, as Linux tells it under `/sys`. What it does not
//! tell is one NUMA node, and each processor a core.

use std::{
    fs,
    path::{Path, PathBuf},
};

use nix::{
    sched::{CpuSet, sched_getaffinity},
    unistd::Pid,
};

use super::Processor;
use crate::network::{self, Place};

/// The machine's view of itself.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    sysfs: PathBuf,
}

impl Machine {
    pub(crate) fn new(sysfs: &Path) -> Self {
        Self { sysfs: sysfs.to_owned() }
    }

    /// The processors on which the agent, and so its ranks, may run.
    pub(crate) fn processors(&self) -> Vec<Processor> {
        let Ok(allowed) = sched_getaffinity(Pid::from_raw(0)) else { return Vec::new() };
        let allowed = (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap_or(false));
        let allowed: Vec<u32> = allowed.filter_map(|cpu| u32::try_from(cpu).ok()).collect();
        let nodes = self.nodes();
        let processor = |cpu: &u32| {
            let path = format!("devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
            let siblings = self.read(&path).map_or_else(Vec::new, |text| list(&text));
            let numa = nodes.iter().find(|(_, cpus)| cpus.contains(cpu)).map(|(numa, _)| *numa);
            let core = siblings.iter().copied().min().unwrap_or(*cpu);
            Processor { numa: numa.unwrap_or(0), core, cpu: *cpu }
        };
        let mut all: Vec<Processor> = allowed.iter().map(processor).collect();
        all.sort_unstable();
        all
    }

    /// Where a device stands, by NVML's name for its place on the PCI bus, such as
    /// `00000000:3B:00.0`.
    pub(crate) fn place_of(&self, bus_id: &str) -> Option<Place> {
        let (domain, place) = bus_id.split_once(':')?;
        let domain = u32::from_str_radix(domain, 16).ok()?;
        let place = place.to_ascii_lowercase();
        let known = |c: char| c.is_ascii_hexdigit() || ":.".contains(c);
        if !place.chars().all(known) {
            return None;
        }
        Some(network::place(&self.sysfs.join(format!("bus/pci/devices/{domain:04x}:{place}"))))
    }

    /// The processors of each NUMA node.
    fn nodes(&self) -> Vec<(u32, Vec<u32>)> {
        let Ok(entries) = fs::read_dir(self.sysfs.join("devices/system/node")) else {
            return Vec::new();
        };
        let number = |entry: fs::DirEntry| {
            entry.file_name().to_str()?.strip_prefix("node")?.parse::<u32>().ok()
        };
        let numbers = entries.filter_map(Result::ok).filter_map(number);
        let node = |numa| {
            let text = self.read(&format!("devices/system/node/node{numa}/cpulist"))?;
            Some((numa, list(&text)))
        };
        numbers.filter_map(node).collect()
    }

    fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.sysfs.join(path)).ok()
    }
}

/// The numbers of a list such as `0-3,8`, as far as processors can be bound to.
fn list(text: &str) -> Vec<u32> {
    let most = u32::try_from(CpuSet::count()).unwrap_or(u32::MAX);
    let range = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.trim().parse::<u32>().ok()?, last.trim().parse::<u32>().ok()?);
        Some(first..=last.min(most))
    };
    text.split(',').filter_map(range).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_the_kernel_writes_them() {
        assert_eq!(list("0-2,8\n"), [0, 1, 2, 8]);
        assert_eq!(list("5\n"), [5]);
        assert!(list("\n").is_empty());
        assert_eq!(list("x,3,4-,-9,7-6"), [3], "what is nonsense says nothing");
        assert!(list("0-4294967295").len() <= CpuSet::count() + 1);
    }

    #[test]
    fn this_machines_processors_are_known() {
        let all = Machine::new(Path::new("/sys")).processors();
        assert!(!all.is_empty());
        assert!(all.iter().all(|p| p.core <= p.cpu), "{all:?}");
    }

    #[test]
    fn a_machine_that_tells_nothing_is_one_node_of_single_cores() {
        let dir = tempfile::tempdir().unwrap();
        let all = Machine::new(dir.path()).processors();
        assert!(all.iter().all(|p| p.numa == 0 && p.core == p.cpu), "{all:?}");
    }

    #[test]
    fn a_gpu_is_found_by_its_place_on_the_bus() {
        let dir = tempfile::tempdir().unwrap();
        let machine = Machine::new(dir.path());
        let device = dir.path().join("bus/pci/devices/0000:3b:00.0");
        fs::create_dir_all(&device).unwrap();
        fs::write(device.join("numa_node"), "1\n").unwrap();
        let numa = |bus_id| machine.place_of(bus_id).and_then(|place| place.numa);
        assert_eq!(numa("00000000:3B:00.0"), Some(1));
        fs::write(device.join("numa_node"), "-1\n").unwrap();
        assert_eq!(numa("00000000:3B:00.0"), None);
        for nonsense in ["", "3b", "x:y", "0:../../etc", "00000000:00:00.0"] {
            assert_eq!(numa(nonsense), None, "{nonsense}");
        }
    }
}
