//! Parts of GPUs in the small cluster: nodes that offer them, and what always holds of them.

use std::collections::{BTreeMap, BTreeSet};

use trainyard_jobs::{Bytes, GpuPart, Inventory, UnitId};

use super::World;

/// The same node with each GPU split into so many shares.
pub(crate) fn shares(mut inventory: Inventory, of: u16) -> Inventory {
    let whole = std::mem::take(&mut inventory.devices);
    for (parent, device) in whole {
        for nth in 0..of {
            let part = GpuPart::Share { parent: parent.clone(), nth, of };
            let memory = Bytes(device.memory.0 / u64::from(of));
            let share = trainyard_jobs::Device { part, memory, ..device.clone() };
            inventory.devices.insert(parent.share(nth, of), share);
        }
    }
    inventory
}

/// The same node with each GPU in MIG mode, in slices of so many sevenths.
pub(crate) fn slices(mut inventory: Inventory, sevenths: &[u16]) -> Inventory {
    let whole = std::mem::take(&mut inventory.devices);
    for (parent, device) in whole {
        for (n, slices) in sevenths.iter().copied().enumerate() {
            let memory = Bytes(device.memory.0 / 8 * u64::from(slices));
            let profile = format!("{slices}g.{}gb", memory.0 >> 30);
            let part = GpuPart::Slice { parent: parent.clone(), profile, slices };
            let slice = trainyard_jobs::Device { part, memory, ..device.clone() };
            inventory.devices.insert(UnitId(format!("MIG-{parent}-{n}-{slices}g")), slice);
        }
    }
    inventory
}

impl World {
    /// A GPU is had by one attempt, or by several in equal shares of which each is had once; and
    /// whoever asks for parts has such parts, on GPUs that differ.
    pub(super) fn parts_are_as_asked(&self) {
        for node in self.state.nodes().values() {
            let mut layouts: BTreeMap<&str, BTreeSet<Option<u16>>> = BTreeMap::new();
            for unit in node.owners.keys() {
                let of = unit.as_share().map(|(_, of)| of);
                layouts.entry(unit.gpu()).or_default().insert(of);
            }
            let one = |layout: &BTreeSet<_>| layout.len() == 1;
            assert!(layouts.values().all(one), "a GPU is had in one layout: {layouts:?}");
        }
        for job in self.state.jobs().values() {
            let asked = job.spec.resources.part_milli();
            let current = job.current().into_iter().flat_map(|attempt| &attempt.placements);
            for placement in current.filter(|p| !p.state.is_settled()) {
                let devices = &self.state.node(&placement.node).expect("node").inventory.devices;
                let parts: Vec<_> =
                    placement.units.iter().filter_map(|unit| devices.get(unit)).collect();
                for device in &parts {
                    let part = device.part.milli();
                    let good =
                        if asked < 1000 { part < 1000 && part >= asked } else { part == 1000 };
                    assert!(good, "{part} for {asked}");
                }
                let parents: Vec<_> = parts.iter().filter_map(|d| d.part.parent()).collect();
                let different: BTreeSet<_> = parents.iter().collect();
                assert_eq!(different.len(), parents.len(), "one rank a GPU");
            }
        }
    }
}
