//! The machines: which group each node is of, how many of its GPUs are taken, when it fails and
//! when it is back.

use std::collections::{BTreeMap, BTreeSet};

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rand_distr::Exp1;
use trainyard_core::Command;
use trainyard_jobs::{
    BitRate, Bytes, Device, DeviceKind, GpuPart, Inventory, NodeId, SessionId, UnitId,
};
use uuid::Uuid;

use super::{Happening, Replay};
use crate::{
    Cluster, NodeGroup, SimError,
    num::{count, float, whole},
};

/// All nodes, up or not.
#[derive(Debug)]
pub(super) struct Machines {
    groups: Vec<NodeGroup>,
    nodes: BTreeMap<NodeId, Machine>,
    types: BTreeSet<String>,
    /// The nodes by their place among all.
    ids: Vec<NodeId>,
}

#[derive(Debug)]
struct Machine {
    group: usize,
    /// Its place in its group.
    place: u32,
    gpus: u32,
    taken: u32,
    lives: u64,
    up: bool,
    /// Draws when it fails, whatever happens elsewhere.
    rng: ChaCha8Rng,
}

/// By how much the number of free GPUs on nodes that are partly taken changed.
pub(super) type FreeOnShared = i64;

impl Machines {
    pub(super) fn of(cluster: &Cluster, seed: u64) -> Self {
        let mut nodes = BTreeMap::new();
        for (group, node) in cluster.nodes.iter().enumerate() {
            for place in 0..node.count {
                let number = count(nodes.len()).saturating_add(1);
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                rng.set_stream(u64::MAX - number);
                let gpus = node.gpus;
                let machine = Machine { group, place, gpus, taken: 0, lives: 0, up: false, rng };
                nodes.insert(NodeId::from_random(number), machine);
            }
        }
        let types = cluster.nodes.iter().map(|group| group.gpu_type.to_ascii_lowercase());
        let ids = nodes.keys().cloned().collect();
        Self { groups: cluster.nodes.clone(), nodes, types: types.collect(), ids }
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
        self.ids.clone()
    }

    /// Whether a node is up.
    pub(super) fn is_up(&self, node: &NodeId) -> bool {
        self.nodes.get(node).is_some_and(|machine| machine.up)
    }

    /// How long a node that is up stays so, and whether it is told before it goes. A node of a
    /// provider who takes it back fails as well.
    fn next_fall(&mut self, node: &NodeId) -> Option<(u64, bool)> {
        let machine = self.nodes.get_mut(node)?;
        let group = self.groups.get(machine.group)?;
        let mut draw = |mean: Option<trainyard_jobs::Millis>| {
            let drawn: f64 = machine.rng.sample(Exp1);
            mean.map(|mean| whole(drawn * float(mean.0)).max(1))
        };
        let fails = draw(group.mtbf).map(|at| (at, false));
        let taken = draw(group.interrupted_every).map(|at| (at, group.notice.0 > 0));
        fails.into_iter().chain(taken).min()
    }

    /// How long a node that fell is away.
    fn away(&self, node: &NodeId, told: bool) -> u64 {
        let Some(group) = self.group(node) else { return 0 };
        let spot = told || (group.mtbf.is_none() && group.interrupted_every.is_some());
        if spot { group.replaced_after.0 } else { group.repair.0 }
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
                part: GpuPart::Whole,
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
            disk: Bytes(0),
            network: BitRate(0),
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
        machine.up = true;
        let session = session(machine.lives);
        let (id, running) = (node.clone(), BTreeSet::new());
        let command = Command::RegisterNode { node: id, session, inventory, running, gone: None };
        self.desk.apply(self.now, "a node", command)?;
        if let (Some((after, told)), Some(place)) =
            (self.machines.next_fall(node), self.machines.ids.iter().position(|id| id == node))
        {
            let at = self.now.saturating_add(after);
            self.agenda.push(at, Happening::Down { node: place, told });
        }
        self.take_in()
    }

    /// A node comes up again.
    pub(super) fn come_up(&mut self, place: usize) -> Result<(), SimError> {
        let Some(node) = self.machines.ids.get(place).cloned() else { return Ok(()) };
        if let Some(gpus) = self.machines.nodes.get(&node).map(|machine| machine.gpus) {
            self.books.there_are(i64::from(gpus));
        }
        self.stirred = true;
        self.register(&node)
    }

    /// A node goes down: what ran on it is gone, and was saved if there was a notice.
    pub(super) fn go_down(&mut self, place: usize, told: bool) -> Result<(), SimError> {
        let Some(node) = self.machines.ids.get(place).cloned() else { return Ok(()) };
        if told {
            self.save_all_on(&node)?;
        }
        let Some(machine) = self.machines.nodes.get_mut(&node) else { return Ok(()) };
        machine.up = false;
        let (session, gpus) = (session(machine.lives), machine.gpus);
        self.books.there_are(-i64::from(gpus));
        let back = self.now.saturating_add(self.machines.away(&node, told));
        self.agenda.push(back, Happening::Up { node: place });
        self.stirred = true;
        self.desk.apply(self.now, "a lost node", Command::MarkLost { node, session })?;
        self.take_in()
    }
}

const fn session(lives: u64) -> SessionId {
    SessionId(Uuid::from_u64_pair(lives, 2))
}
