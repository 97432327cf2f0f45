//! What the node offers: its GPUs, or CPU slots.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    thread,
};

use trainyard_jobs::{Bytes, Device, DeviceKind, GpuPart, Inventory, UnitId};

use super::{Gpus, host::Host};
use crate::config::Config;

/// The label that says which GPUs share a NUMA node.
const NUMA: &str = "numa";

/// The label that says which GPUs have direct links to each other.
const NVLINK: &str = "nvlink";

/// The node's inventory. CPU slots are offered as configured, else where there are no GPUs. Which
/// GPUs share a NUMA node or have direct links is told in the labels `numa` and `nvlink`, unless an
/// operator did.
pub(crate) fn inventory(
    config: &Config,
    (gpus, near): (&Gpus, &BTreeMap<UnitId, u32>),
    data_dir: &Path,
) -> Inventory {
    let cpus = thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1));
    let mut devices = gpus.devices();
    let slots = config.slots.unwrap_or(if devices.is_empty() { cpus } else { 0 });
    let mut labels = config.labels.clone();
    let found = [
        (NUMA, numa_groups(&devices, near)),
        (NVLINK, gpus.islands().and_then(|islands| grouped(&islands))),
    ];
    for (label, groups) in found {
        if let Some(groups) = groups {
            labels.entry(label.to_owned()).or_insert(groups);
        }
    }
    devices.extend(cpu_slots(slots));
    let host = Host::new(data_dir);
    Inventory {
        name: config.name.clone(),
        address: config.reachable_address(),
        devices,
        cpus,
        memory: host.memory(),
        ports: config.ports,
        labels,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        disk: config.disk.unwrap_or_else(|| host.disk()),
        // What network there is hangs on where the GPUs are, so the caller knows it.
        network: config.network.unwrap_or_default(),
    }
}

/// The GPUs' numbers by NUMA node, such as `0,1;2,3`; nothing where they are all on one, or where
/// the machine does not tell of each.
fn numa_groups(devices: &BTreeMap<UnitId, Device>, near: &BTreeMap<UnitId, u32>) -> Option<String> {
    let mut groups: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
    for (unit, device) in devices {
        let numa = near.get(device.part.parent().unwrap_or(unit))?;
        groups.entry(*numa).or_default().insert(device.index);
    }
    grouped(&groups.into_values().collect::<Vec<_>>())
}

/// Groups as a label has them; nothing where all are in one.
fn grouped(groups: &[BTreeSet<u32>]) -> Option<String> {
    let list =
        |group: &BTreeSet<u32>| group.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    (groups.len() > 1).then(|| groups.iter().map(list).collect::<Vec<_>>().join(";"))
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
    use trainyard_jobs::BitRate;

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
        let all = inventory(&Config::default(), (&gpus, &BTreeMap::new()), dir.path());
        assert_eq!(all.devices.len(), usize::try_from(all.cpus).unwrap());
        assert!(all.memory.0 > 0);
        assert!(all.disk.0 > 0 && all.network.is_zero());
        let (disk, network) = (Bytes(1 << 40), BitRate(1 << 30));
        let said = Config { disk: Some(disk), network: Some(network), ..Config::default() };
        let said = inventory(&said, (&gpus, &BTreeMap::new()), dir.path());
        assert_eq!((said.disk, said.network), (disk, network));
        let config = Config { slots: Some(3), ..Config::default() };
        let three = inventory(&config, (&gpus, &BTreeMap::new()), dir.path());
        assert_eq!(three.devices.len(), 3);
    }

    #[test]
    fn gpus_are_grouped_by_numa_node_where_each_tells_its_own() {
        let unit = |index: u32| UnitId(format!("GPU-{index}"));
        let gpu = |index: u32| {
            let (kind, memory, part) = (DeviceKind::Gpu, Bytes(1), GpuPart::Whole);
            (unit(index), Device { kind, index, model: "h100".into(), memory, part })
        };
        let devices: BTreeMap<_, _> = (0..4).map(gpu).collect();
        let near = |nodes: [u32; 4]| (0..).map(unit).zip(nodes).collect::<BTreeMap<_, _>>();
        assert_eq!(numa_groups(&devices, &near([0, 0, 1, 1])).as_deref(), Some("0,1;2,3"));
        assert_eq!(numa_groups(&devices, &near([1, 0, 1, 0])).as_deref(), Some("1,3;0,2"));
        assert_eq!(numa_groups(&devices, &near([1; 4])), None, "all alike");
        let mut some = near([0, 0, 1, 1]);
        some.remove(&unit(2));
        assert_eq!(numa_groups(&devices, &some), None);
        assert_eq!(numa_groups(&BTreeMap::new(), &some), None);
    }
}
