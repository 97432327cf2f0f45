//! Jobs that are alike to the program, and the units that there are for them.

use std::collections::BTreeMap;

use trainyard_jobs::{
    Bytes, DeviceKind,
    spec::{Resources, Speeds},
};

use crate::placement::{fit::Request, view::PlanNode};

/// Units that are alike to the program. What they cost and where they stand is the yard's to weigh.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::placement) struct UnitType {
    pub(super) device: DeviceKind,
    pub(super) model: String,
    pub(super) memory: Bytes,
}

/// How many units of each type there are.
pub(in crate::placement) type Capacity = BTreeMap<UnitType, u64>;

/// The units of all nodes.
pub(in crate::placement) fn capacity<'a>(nodes: impl Iterator<Item = &'a PlanNode>) -> Capacity {
    let mut capacity = Capacity::new();
    for device in nodes.flat_map(|node| node.devices.values()) {
        let (model, memory) = (device.model.to_ascii_lowercase(), device.memory);
        *capacity.entry(UnitType { device: device.kind, model, memory }).or_default() += 1;
    }
    capacity
}

/// Jobs that ask for as many units of the same types and run as fast on each.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::placement) struct Class {
    pub(super) device: DeviceKind,
    pub(super) gpus: u32,
    types: Vec<String>,
    unit_memory: Bytes,
    pub(super) speeds: Speeds,
}

impl From<&Resources> for Class {
    fn from(asked: &Resources) -> Self {
        let Request { ranks, device, types, unit_memory, .. } = asked.into();
        Self { device, gpus: ranks, types, unit_memory, speeds: asked.speed.clone() }
    }
}

impl Class {
    /// Whether its jobs may run on such units, of which there are so many.
    pub(super) fn takes(&self, unit: &UnitType, count: f64) -> bool {
        unit.device == self.device
            && f64::from(self.gpus) <= count
            && unit.memory >= self.unit_memory
            && (self.types.is_empty() || self.types.contains(&unit.model))
    }
}
