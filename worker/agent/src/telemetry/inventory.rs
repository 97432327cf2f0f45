//! What the node offers: its GPUs, or CPU slots.

use std::{collections::BTreeMap, path::Path, thread};

use trainyard_jobs::{Bytes, Device, DeviceKind, GpuPart, Inventory, UnitId};

use super::{Gpus, host::Host};
use crate::config::Config;

/// The node's inventory. CPU slots are offered as configured, else where there are no GPUs.
pub(crate) fn inventory(config: &Config, gpus: &Gpus, data_dir: &Path) -> Inventory {
    let cpus = thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1));
    let mut devices = gpus.devices();
    let slots = config.slots.unwrap_or(if devices.is_empty() { cpus } else { 0 });
    devices.extend(cpu_slots(slots));
    Inventory {
        name: config.name.clone(),
        address: config.reachable_address(),
        devices,
        cpus,
        memory: Host::new(data_dir).memory(),
        ports: config.ports,
        labels: config.labels.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

fn cpu_slots(slots: u32) -> BTreeMap<UnitId, Device> {
    let slot = |index| {
        let device = Device {
            kind: DeviceKind::Cpu,
            index,
            model: "cpu".into(),
            memory: Bytes(0),
            part: GpuPart::Whole,
        };
        (UnitId(format!("cpu-{index}")), device)
    };
    (0..slots).map(slot).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_named_by_number() {
        let names: Vec<String> = cpu_slots(2).into_keys().map(|unit| unit.0).collect();
        assert_eq!(names, ["cpu-0", "cpu-1"]);
    }

    #[test]
    fn a_node_without_gpus_offers_its_processors() {
        let gpus = Gpus::open(Some(Path::new("/nonexistent")), None);
        let dir = tempfile::tempdir().unwrap();
        let all = inventory(&Config::default(), &gpus, dir.path());
        assert_eq!(all.devices.len(), usize::try_from(all.cpus).unwrap());
        assert!(all.memory.0 > 0);
        let config = Config { slots: Some(3), ..Config::default() };
        assert_eq!(inventory(&config, &gpus, dir.path()).devices.len(), 3);
    }
}
