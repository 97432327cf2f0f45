//! The machines: which group each node is of, how much of its GPUs is taken, what it costs, and
//! when it fails.

use std::collections::{BTreeMap, BTreeSet};

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rand_distr::Exp1;
use trainyard_jobs::{
    BitRate, Bytes, Inventory, JobName, NodeId, SessionId, WHOLE_GPU,
    spec::{Fraction, Speed, Speeds},
};
use uuid::Uuid;

use crate::{
    Cluster, NodeGroup, Tariff, TraceJob,
    num::{count, float, whole},
};

/// All nodes, up or not.
#[derive(Debug)]
pub(super) struct Machines {
    groups: Vec<NodeGroup>,
    /// What a node of each group costs.
    tariffs: Vec<Tariff>,
    nodes: BTreeMap<NodeId, Machine>,
    types: BTreeSet<String>,
    /// Speeds of jobs whose names no group tells apart.
    speeds: Speeds,
    /// Names that some group does.
    named: BTreeSet<JobName>,
    /// The nodes by their place among all.
    ids: Vec<NodeId>,
}

#[derive(Debug)]
struct Machine {
    group: usize,
    /// Its place in its group.
    place: u32,
    gpus: u32,
    /// Thousandths of its GPUs.
    taken: u64,
    lives: u64,
    up: bool,
    /// Draws when it fails, whatever happens elsewhere.
    rng: ChaCha8Rng,
}

/// By how much what is free on nodes that are partly taken changed, in thousandths of a GPU.
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
        let named: BTreeSet<JobName> =
            cluster.nodes.iter().flat_map(|group| group.speeds.keys().cloned()).collect();
        Self {
            groups: cluster.nodes.clone(),
            tariffs: cluster.nodes.iter().map(NodeGroup::tariff).collect(),
            nodes,
            types: types.collect(),
            speeds: speeds(&cluster.nodes, |group| group.speed),
            named,
            ids,
        }
    }

    /// Whether any node has GPUs of this type.
    pub(super) fn has_type(&self, kind: &str) -> bool {
        self.types.contains(kind)
    }

    /// How fast a job is on each type, as its owner has measured it. A spec tells types apart and
    /// not nodes: where those of one type differ, the slowest counts.
    pub(super) fn speeds_of(&self, name: &JobName) -> Speeds {
        if !self.named.contains(name) {
            return self.speeds.clone();
        }
        speeds(&self.groups, |group| group.pace(name))
    }

    /// The part of a GPU that a job asks for: none where no GPU that it may use is split into
    /// parts that are large enough, since its owner would then ask for a whole one.
    pub(super) fn part_for(&self, job: &TraceJob) -> Option<Fraction> {
        let part = job.fraction.filter(|part| part.milli() < WHOLE_GPU)?;
        let kind = job.gpu_type.as_ref().filter(|kind| self.has_type(kind));
        let enough = |group: &NodeGroup| {
            let may = kind.is_none_or(|kind| group.gpu_type.eq_ignore_ascii_case(kind));
            may && group.parts().any(|milli| (part.milli()..WHOLE_GPU).contains(&milli))
        };
        self.groups.iter().any(enough).then_some(part)
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
    pub(super) fn next_fall(&mut self, node: &NodeId) -> Option<(u64, bool)> {
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
    pub(super) fn away(&self, node: &NodeId, told: bool) -> u64 {
        let Some(group) = self.group(node) else { return 0 };
        let spot = told || (group.mtbf.is_none() && group.interrupted_every.is_some());
        if spot { group.replaced_after.0 } else { group.repair.0 }
    }

    /// Thousandths of a node's GPUs are taken.
    pub(super) fn take(&mut self, node: &NodeId, milli: u64) -> FreeOnShared {
        self.change(node, |taken| taken.saturating_add(milli))
    }

    /// And given back.
    pub(super) fn give_back(&mut self, node: &NodeId, milli: u64) -> FreeOnShared {
        self.change(node, |taken| taken.saturating_sub(milli))
    }

    fn change(&mut self, node: &NodeId, to: impl FnOnce(u64) -> u64) -> FreeOnShared {
        let Some(machine) = self.nodes.get_mut(node) else { return 0 };
        let before = machine.free_if_shared();
        machine.taken = to(machine.taken);
        machine.free_if_shared() - before
    }

    /// US dollars for thousandths of a node's GPUs from one instant to a later one.
    pub(super) fn usd(&self, node: &NodeId, milli: u64, from: u64, to: u64) -> f64 {
        let Some(machine) = self.nodes.get(node) else { return 0.0 };
        let gpus = float(milli) / float(u64::from(WHOLE_GPU) * u64::from(machine.gpus.max(1)));
        self.tariffs.get(machine.group).map_or(0.0, |tariff| gpus * tariff.between(from, to))
    }

    /// Every change of a price: when, and of which group.
    pub(super) fn price_changes(&self) -> impl Iterator<Item = (u64, usize)> {
        let tariffs = self.tariffs.iter().enumerate();
        tariffs.flat_map(|(group, tariff)| tariff.changes().map(move |at| (at, group)))
    }

    /// The nodes of a group that are up.
    pub(super) fn up_in(&self, group: usize) -> Vec<NodeId> {
        let of_it = |(_, machine): &(_, &Machine)| machine.up && machine.group == group;
        self.nodes.iter().filter(of_it).map(|(id, _)| id.clone()).collect()
    }

    /// A life of a node's agent begins: what it is called, and what it says.
    pub(super) fn awake(&mut self, id: &NodeId, now: u64) -> Option<(SessionId, Inventory)> {
        let inventory = self.inventory(id, now)?;
        let machine = self.nodes.get_mut(id)?;
        machine.lives += 1;
        machine.up = true;
        Some((session(machine.lives), inventory))
    }

    /// A node goes down: its session, and its GPUs.
    pub(super) fn fall(&mut self, id: &NodeId) -> Option<(SessionId, u32)> {
        let machine = self.nodes.get_mut(id)?;
        machine.up = false;
        Some((session(machine.lives), machine.gpus))
    }

    /// GPUs of a node.
    pub(super) fn gpus(&self, id: &NodeId) -> u32 {
        self.nodes.get(id).map_or(0, |machine| machine.gpus)
    }

    /// A node by its place among all.
    pub(super) fn node_at(&self, place: usize) -> Option<NodeId> {
        self.ids.get(place).cloned()
    }

    /// What a node says when it registers.
    fn inventory(&self, id: &NodeId, now: u64) -> Option<Inventory> {
        let machine = self.nodes.get(id)?;
        let group = self.groups.get(machine.group)?;
        let tariff = self.tariffs.get(machine.group)?;
        let usd = (!tariff.is_free()).then(|| tariff.at(now));
        let devices =
            (0..machine.gpus).flat_map(|index| group.units(index)).collect::<BTreeMap<_, _>>();
        // As many attempts as there are units may each want one.
        let ports = u16::try_from(devices.len().saturating_mul(2)).unwrap_or(20_000).min(20_000);
        Some(Inventory {
            name: group.node_name(machine.place).parse().ok()?,
            address: group.node_name(machine.place),
            devices,
            cpus: group.cpus,
            memory: group.memory,
            disk: Bytes(0),
            network: BitRate(0),
            ports: (20_000, 20_000 + ports),
            labels: group.labels(usd),
            version: env!("CARGO_PKG_VERSION").into(),
        })
    }
}

impl Machine {
    fn free_if_shared(&self) -> i64 {
        let all = u64::from(self.gpus) * u64::from(WHOLE_GPU);
        let free = if self.taken == 0 { 0 } else { all.saturating_sub(self.taken) };
        i64::try_from(free).unwrap_or(i64::MAX)
    }
}

/// What the slowest of each type does at; types on which nothing is to be said are left out.
fn speeds(groups: &[NodeGroup], pace: impl Fn(&NodeGroup) -> f64) -> Speeds {
    let mut slowest: BTreeMap<String, f64> = BTreeMap::new();
    for group in groups {
        let known = slowest.entry(group.gpu_type.to_ascii_lowercase()).or_insert(f64::INFINITY);
        *known = known.min(pace(group));
    }
    let unlike = slowest.into_iter().filter(|(_, speed)| *speed != 1.0);
    let known = |(kind, speed): (_, f64)| Some((kind, Speed::from_milli(whole(speed * 1e3))?));
    Speeds(unlike.filter_map(known).collect())
}

const fn session(lives: u64) -> SessionId {
    SessionId(Uuid::from_u64_pair(lives, 2))
}
