//! The machines: which group each node is of, and how many of its GPUs are taken.

use std::collections::{BTreeMap, BTreeSet};

use trainyard_core::Command;
use trainyard_jobs::{Bytes, Device, DeviceKind, Inventory, NodeId, SessionId, UnitId};
use uuid::Uuid;

use super::Replay;
use crate::{Cluster, NodeGroup, SimError};

/// All nodes, up or not.
#[derive(Debug)]
pub(super) struct Machines {
    groups: Vec<NodeGroup>,
    nodes: BTreeMap<NodeId, Machine>,
    types: BTreeSet<String>,
}

#[derive(Debug)]
struct Machine {
    group: usize,
    /// Its place in its group.
    place: u32,
    gpus: u32,
    taken: u32,
    lives: u64,
}

/// By how much the number of free GPUs on nodes that are partly taken changed.
pub(super) type FreeOnShared = i64;

impl Machines {
    pub(super) fn of(cluster: &Cluster) -> Self {
        let mut nodes = BTreeMap::new();
        for (group, node) in cluster.nodes.iter().enumerate() {
            for place in 0..node.count {
                let number = crate::num::count(nodes.len()).saturating_add(1);
                let machine = Machine { group, place, gpus: node.gpus, taken: 0, lives: 0 };
                nodes.insert(NodeId::from_random(number), machine);
            }
        }
        let types = cluster.nodes.iter().map(|group| group.gpu_type.to_ascii_lowercase());
        Self { groups: cluster.nodes.clone(), nodes, types: types.collect() }
    }

    /// Whether any node has GPUs of this type.
    pub(super) fn has_type(&self, kind: &str) -> bool {
        self.types.contains(kind)
    }

    /// What a node is one of.
    pub(super) fn group(&self, node: &NodeId) -> Option<&NodeGroup> {
        self.groups.get(self.nodes.get(node)?.group)
    }

    /// All of them.
    pub(super) fn ids(&self) -> Vec<NodeId> {
        self.nodes.keys().cloned().collect()
    }

    pub(super) fn take(&mut self, node: &NodeId, ranks: u32) -> FreeOnShared {
        self.change(node, |taken| taken.saturating_add(ranks))
    }

    pub(super) fn give_back(&mut self, node: &NodeId, ranks: u32) -> FreeOnShared {
        self.change(node, |taken| taken.saturating_sub(ranks))
    }

    fn change(&mut self, node: &NodeId, to: impl FnOnce(u32) -> u32) -> FreeOnShared {
        let Some(machine) = self.nodes.get_mut(node) else { return 0 };
        let before = machine.free_if_shared();
        machine.taken = to(machine.taken);
        i64::from(machine.free_if_shared()) - i64::from(before)
    }

    /// What a node says when it registers.
    fn inventory(&self, id: &NodeId) -> Option<Inventory> {
        let machine = self.nodes.get(id)?;
        let group = self.groups.get(machine.group)?;
        let device = |index| {
            let device = Device {
                kind: DeviceKind::Gpu,
                index,
                model: group.gpu_type.to_ascii_lowercase(),
                memory: group.gpu_memory,
            };
            (UnitId(format!("gpu-{index:03}")), device)
        };
        let rack = group.rack.iter().map(|rack| ("rack".to_owned(), rack.clone()));
        let ports = u16::try_from(machine.gpus.saturating_mul(2)).unwrap_or(20_000).min(20_000);
        Some(Inventory {
            name: format!("{}-{}", group.name, machine.place).parse().ok()?,
            address: format!("{}-{}", group.name, machine.place),
            devices: (0..machine.gpus).map(device).collect(),
            cpus: group.cpus,
            memory: Bytes(group.memory.0),
            ports: (20_000, 20_000 + ports),
            labels: rack.collect(),
            version: env!("CARGO_PKG_VERSION").into(),
        })
    }
}

impl Machine {
    const fn free_if_shared(&self) -> u32 {
        if self.taken == 0 { 0 } else { self.gpus.saturating_sub(self.taken) }
    }
}

impl Replay<'_> {
    /// Every node registers before the trace begins.
    pub(super) fn register_all(&mut self) -> Result<(), SimError> {
        for node in self.machines.ids() {
            self.register(&node)?;
        }
        Ok(())
    }

    /// A node comes up, with nothing running.
    fn register(&mut self, node: &NodeId) -> Result<(), SimError> {
        let Some(inventory) = self.machines.inventory(node) else { return Ok(()) };
        let Some(machine) = self.machines.nodes.get_mut(node) else { return Ok(()) };
        machine.lives += 1;
        let session = SessionId(Uuid::from_u64_pair(machine.lives, 2));
        let (node, running) = (node.clone(), BTreeSet::new());
        let command = Command::RegisterNode { node, session, inventory, running };
        self.desk.apply(self.now, "a node", command)?;
        self.take_in()
    }
}
