//! Nodes and gangs for the benchmarks.

use std::collections::{BTreeMap, BTreeSet};

use trainyard_core::placement::{Host, PlanNode, Request, WHOLE};
use trainyard_jobs::{Bytes, Device, DeviceKind, GpuPart, NodeId, UnitId};

pub(crate) fn node(n: u64, gpus: u32, model: &str) -> PlanNode {
    let device = |index| {
        let unit = UnitId(format!("GPU-{n:08x}-0000-4000-8000-{index:012x}"));
        let memory = Bytes(80 << 30);
        (
            unit,
            Device {
                kind: DeviceKind::Gpu,
                index,
                model: model.into(),
                memory,
                part: GpuPart::Whole,
            },
        )
    };
    PlanNode {
        id: NodeId::from_random(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        name: format!("node-{n}"),
        version: 1,
        devices: (0..gpus).map(device).collect(),
        owners: BTreeMap::new(),
        host: Host { cpu_milli: 128_000, memory: Bytes(1 << 40), ..Host::default() },
        taken: Host::default(),
        labels: BTreeMap::new(),
        ports: (20_000, 20_099),
        ports_in_use: BTreeSet::new(),
    }
}

pub(crate) fn gang(ranks: u32) -> Request {
    Request {
        ranks,
        device: DeviceKind::Gpu,
        types: Vec::new(),
        unit_memory: Bytes(0),
        share: WHOLE,
        part: WHOLE,
        most_per_node: u32::MAX,
        compact: false,
        host: Host::default(),
        labels: BTreeMap::new(),
        entitled: BTreeSet::new(),
    }
}
