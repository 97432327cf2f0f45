//! One node of the yard: its units in the order in which they are handed out, and what is free
//! of them and beside them.

use std::collections::{BTreeMap, BTreeSet};

use trainyard_jobs::{Device, NodeId, UnitId};

use super::{
    Condition, Load, Part,
    domains::DomainId,
    host::Spare,
    kinds::{KindId, Kinds},
    parts,
};
use crate::placement::{
    fit::{Host, Request, WHOLE},
    score::Terms,
    topology::{Span, group},
    view::PlanNode,
    windows::Covers,
};

/// A node as the yard sees it.
#[derive(Debug, Clone)]
pub(super) struct Spot {
    pub(super) id: NodeId,
    /// Sorts as the id does, and is compared in one step.
    pub(super) key: u64,
    /// The node's version, for the precondition.
    pub(super) version: u64,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) units: Vec<Unit>,
    /// The units by kind.
    pub(super) pools: Vec<Pool>,
    /// What it has beside them, and what of that nobody has taken.
    pub(super) host: Host,
    pub(super) spare: Spare,
    /// Nodes that look alike serve a request alike: a digest of what is free.
    pub(super) look: u64,
    ports: (u16, u16),
    ports_taken: BTreeSet<u16>,
    /// Held for a job that has waited too long, against everybody after it.
    pub(super) held: bool,
    /// Its rack, fabric and zone.
    pub(super) domains: Vec<DomainId>,
    /// All units have direct links to each other, as far as anybody said.
    pub(super) one_island: bool,
    /// Some units are parts of GPUs.
    pub(super) split: bool,
}

/// A device unit.
#[derive(Debug, Clone)]
pub(super) struct Unit {
    pub(super) id: UnitId,
    pub(super) kind: KindId,
    /// Units with direct links to each other.
    pub(super) island: u32,
    pub(super) numa: u32,
    /// Parts of one GPU, by a number of its own on the node; of no meaning for a whole one.
    pub(super) gpu: u16,
    /// Thousandths that attempts have.
    pub(super) used: u16,
    /// It cannot be used now, whoever has it.
    pub(super) out: bool,
}

/// A node's units of one kind.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    pub(super) kind: KindId,
    /// How many there are.
    pub(super) total: u16,
    /// How many of them attempts have, and how many of the others cannot be used, before anything
    /// is planned.
    pub(super) busy: u16,
    pub(super) out: u16,
    /// Units of which all is free, as positions among the node's, lowest first.
    pub(super) free: Vec<u16>,
    /// Units of which a part is free.
    pub(super) parts: Vec<u16>,
}

impl Spot {
    /// The node as it is offered, without the units in `out`.
    pub(super) fn new(
        node: &PlanNode,
        out: Option<&BTreeMap<UnitId, String>>,
        (condition, covers): (&Condition, &Covers),
        kinds: &mut Kinds,
        domains: Vec<DomainId>,
    ) -> Self {
        let terms = condition.terms.unwrap_or_else(|| Terms::of(&node.labels));
        let strained = |unit: &UnitId| condition.doubted || condition.strained.contains(unit);
        let mut devices: Vec<_> = node.devices.iter().collect();
        devices.sort_by_key(|(unit, device)| (device.index, *unit));
        // Positions are 16 bits wide: no machine has as many units.
        devices.truncate(usize::from(u16::MAX));
        let gpus = parts::gpus(&devices);
        let unit = |(id, device): (&UnitId, &Device)| Unit {
            id: id.clone(),
            kind: kinds.id(device, terms, strained(id), covers),
            island: group(&node.labels, "nvlink", device.index),
            numa: group(&node.labels, "numa", device.index),
            gpu: device.part.parent().and_then(|gpu| gpus.get(gpu)).copied().unwrap_or(u16::MAX),
            used: if node.owners.contains_key(id) { WHOLE } else { 0 },
            out: out.is_some_and(|out| out.contains_key(id)),
        };
        let mut spot = Self {
            id: node.id.clone(),
            key: sort_key(&node.id),
            version: node.version,
            labels: node.labels.clone(),
            units: devices.iter().copied().map(unit).collect(),
            pools: Vec::new(),
            host: node.host,
            spare: Spare::of(node.host, node.taken),
            look: 0,
            ports: node.ports,
            ports_taken: node.ports_in_use.clone(),
            held: false,
            domains,
            one_island: false,
            split: !gpus.is_empty(),
        };
        let first = spot.units.first().map(|unit| unit.island);
        spot.one_island = spot.units.iter().all(|unit| Some(unit.island) == first);
        for (at, unit) in (0_u16..).zip(&spot.units) {
            let known = spot.pools.iter_mut().position(|pool| pool.kind == unit.kind);
            let known = known.unwrap_or_else(|| {
                spot.pools.push(Pool::empty(unit.kind));
                spot.pools.len() - 1
            });
            let Some(pool) = spot.pools.get_mut(known) else { continue };
            pool.total += 1;
            pool.busy += u16::from(unit.used > 0);
            pool.out += u16::from(unit.out && unit.used == 0);
            if unit.free() == WHOLE {
                pool.free.push(at);
            }
        }
        spot.pools.sort_by_key(|pool| kinds.digest(pool.kind));
        spot.look = spot.digest(kinds);
        spot
    }

    /// The units of one kind.
    pub(super) fn pool(&self, kind: KindId) -> Option<&Pool> {
        self.pools.iter().find(|pool| pool.kind == kind)
    }

    /// Thousandths of units that are free, of whatever kind.
    pub(super) fn free_milli(&self) -> u64 {
        let of_pool = |pool: &Pool| {
            let parts: u64 = pool.parts.iter().map(|at| u64::from(self.free_of(*at))).sum();
            let whole = u64::try_from(pool.free.len()).unwrap_or(u64::MAX);
            whole.saturating_mul(u64::from(WHOLE)).saturating_add(parts)
        };
        self.pools.iter().map(of_pool).sum()
    }

    /// Whether any of its units answers to the request, free or not.
    pub(super) fn serves(&self, request: &Request, kinds: &Kinds) -> bool {
        request.allows(&self.labels)
            && (request.share == 0
                || self.pools.iter().any(|pool| kinds.answers(pool.kind, request)))
    }

    /// How many ranks what it has beside its units is enough for.
    pub(super) fn room(&self, request: &Request) -> usize {
        self.spare.room(request)
    }

    /// Takes what a part of a gang needs, or gives it back.
    pub(super) fn charge(&mut self, part: &Part, load: Load, take: bool, kinds: &Kinds) {
        self.spare.charge(load, part.ranks, take);
        if load.share == WHOLE {
            self.charge_whole(&part.units, take);
        } else {
            for at in &part.units {
                self.charge_unit(*at, load.share, take);
            }
        }
        self.look = self.digest(kinds);
    }

    /// Most ranks take whole units, several at a time.
    fn charge_whole(&mut self, units: &[u16], take: bool) {
        let Self { units: all, pools, .. } = self;
        for at in units {
            if let Some(unit) = all.get_mut(usize::from(*at)) {
                unit.used = if take { WHOLE } else { 0 };
            }
        }
        let kind = |at: &u16| all.get(usize::from(*at)).map(|unit| unit.kind);
        for pool in pools.iter_mut().filter(|p| units.iter().any(|at| kind(at) == Some(p.kind))) {
            if take {
                pool.free.retain(|at| !units.contains(at));
                pool.parts.retain(|at| !units.contains(at));
                continue;
            }
            let free = |at: &&u16| {
                let unit = all.get(usize::from(**at));
                unit.is_some_and(|unit| unit.kind == pool.kind && unit.free() == WHOLE)
            };
            pool.free.extend(units.iter().filter(free));
            pool.free.sort_unstable();
            pool.free.dedup();
        }
    }

    fn charge_unit(&mut self, at: u16, share: u16, take: bool) {
        let Some(unit) = self.units.get_mut(usize::from(at)) else { return };
        unit.used = if take {
            unit.used.saturating_add(share).min(WHOLE)
        } else {
            unit.used.saturating_sub(share)
        };
        let (kind, free) = (unit.kind, unit.free());
        let Some(pool) = self.pools.iter_mut().find(|pool| pool.kind == kind) else { return };
        note(&mut pool.free, at, free == WHOLE);
        note(&mut pool.parts, at, free > 0 && free < WHOLE);
    }

    /// Whether attempts have at least this share of the unit.
    pub(super) fn is_used(&self, at: u16, share: u16) -> bool {
        self.units.get(usize::from(at)).is_some_and(|unit| unit.used >= share)
    }

    /// Thousandths of a unit that can be handed out.
    pub(super) fn free_of(&self, at: u16) -> u16 {
        self.units.get(usize::from(at)).map_or(0, Unit::free)
    }

    /// How far apart these units are.
    pub(super) fn span(&self, units: &[u16]) -> Span {
        let all = |of: fn(&Unit) -> u32| {
            let mut found = units.iter().filter_map(|at| self.units.get(usize::from(*at))).map(of);
            let first = found.next();
            found.all(|one| Some(one) == first)
        };
        if all(|unit| unit.island) {
            Span::Island
        } else if all(|unit| unit.numa) {
            Span::Numa
        } else {
            Span::Node
        }
    }

    /// So many of a pool's free units, as near to each other as can be: of the smallest island
    /// that has enough, or the smallest NUMA node, or else of the largest islands.
    pub(super) fn nearest(&self, pool: &Pool, count: usize) -> Option<Vec<u16>> {
        if pool.free.len() < count {
            return None;
        }
        let by = |of: fn(&Unit) -> u32| {
            let mut groups: BTreeMap<u32, Vec<u16>> = BTreeMap::new();
            for at in &pool.free {
                if let Some(unit) = self.units.get(usize::from(*at)) {
                    groups.entry(of(unit)).or_default().push(*at);
                }
            }
            groups
        };
        let first = pool.free.get(..count).map(<[u16]>::to_vec);
        if first.as_deref().is_some_and(|units| units.len() == pool.free.len() || self.one_island) {
            return first;
        }
        let islands = by(|unit| unit.island);
        let fitting = |groups: &BTreeMap<u32, Vec<u16>>| {
            let enough = groups.values().filter(|units| units.len() >= count);
            let best = enough.min_by_key(|units| units.len())?;
            best.get(..count).map(<[u16]>::to_vec)
        };
        fitting(&islands).or_else(|| fitting(&by(|unit| unit.numa))).or_else(|| {
            let mut groups: Vec<Vec<u16>> = islands.into_values().collect();
            groups.sort_by_key(|units| std::cmp::Reverse(units.len()));
            let mut units: Vec<u16> = groups.into_iter().flatten().take(count).collect();
            units.sort_unstable();
            Some(units)
        })
    }

    /// Where a unit stands among the node's.
    pub(super) fn position(&self, unit: &UnitId) -> Option<u16> {
        let found = self.units.iter().position(|known| known.id == *unit)?;
        u16::try_from(found).ok()
    }

    /// A port that rank 0 may use, beginning at the `turn`-th.
    pub(super) fn port(&self, turn: u64) -> Option<u16> {
        let (first, last) = self.ports;
        let count = u64::from(last.checked_sub(first)?) + 1;
        let turn = turn % count;
        (0..count)
            .filter_map(|i| u16::try_from(u64::from(first) + (turn + i) % count).ok())
            .find(|port| !self.ports_taken.contains(port))
    }

    /// Marks a port as taken or free again.
    pub(super) fn set_port(&mut self, port: u16, taken: bool) {
        if taken {
            self.ports_taken.insert(port);
        } else {
            self.ports_taken.remove(&port);
        }
    }

    fn digest(&self, kinds: &Kinds) -> u64 {
        // Hardly two disks are equally full: who asks for room there or for bandwidth is asked of each
        // node, so that nodes look alike to all others.
        let free = self.spare.free();
        let mut look = mixed(mixed(0, free.cpu_milli), free.memory.0);
        if !self.one_island {
            for unit in &self.units {
                look = mixed(look, u64::from(unit.island) << 32 | u64::from(unit.numa));
            }
        }
        if self.split {
            look = self.units.iter().fold(look, |look, unit| mixed(look, u64::from(unit.gpu)));
        }
        for pool in &self.pools {
            look = mixed(mixed(look, kinds.digest(pool.kind)), u64::from(pool.total));
            for four in pool.free.chunks(4) {
                let word = four.iter().fold(0, |word, at| word << 16 | (u64::from(*at) + 1));
                look = mixed(look, word);
            }
            for at in &pool.parts {
                look = mixed(look, u64::from(*at) << 16 | u64::from(self.free_of(*at)) | 1 << 63);
            }
        }
        look
    }

    /// Whether both offer the same, whatever their kinds are called.
    pub(super) fn is_like(&self, kinds: &Kinds, other: &Self, others: &Kinds) -> bool {
        let like = |(a, b): (&Unit, &Unit)| {
            (&a.id, a.used, a.out, kinds.get(a.kind)) == (&b.id, b.used, b.out, others.get(b.kind))
        };
        (&self.id, self.version, &self.labels, self.host, self.spare, self.look)
            == (&other.id, other.version, &other.labels, other.host, other.spare, other.look)
            && (self.ports, &self.ports_taken, self.held)
                == (other.ports, &other.ports_taken, other.held)
            && self.units.len() == other.units.len()
            && self.units.iter().zip(&other.units).all(like)
    }
}

impl Pool {
    const fn empty(kind: KindId) -> Self {
        Self { kind, total: 0, busy: 0, out: 0, free: Vec::new(), parts: Vec::new() }
    }
}

impl Unit {
    /// Whether it cannot be used now, whoever has it.
    pub(super) const fn is_out(&self) -> bool {
        self.out
    }

    pub(super) const fn free(&self) -> u16 {
        if self.out { 0 } else { WHOLE - self.used }
    }
}

/// Adds a word to a digest: a multiplication spreads each bit, a rotation brings it back down.
const fn mixed(digest: u64, word: u64) -> u64 {
    (digest.rotate_left(26) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_right(29)
}

/// Keeps a sorted list in step with whether `at` belongs into it.
fn note(list: &mut Vec<u16>, at: u16, belongs: bool) {
    match (list.binary_search(&at), belongs) {
        (Ok(found), false) => {
            list.remove(found);
        }
        (Err(place), true) => list.insert(place, at),
        _ => {}
    }
}

/// An id is twelve digits of a base below 36, in the order of their characters.
fn sort_key(id: &NodeId) -> u64 {
    u64::from_str_radix(id.as_str(), 36).unwrap_or_default()
}
