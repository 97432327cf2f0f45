//! One node of the yard: its units in the order in which they are handed out, and what of them
//! is free.

use std::collections::{BTreeMap, BTreeSet};

use trainyard_jobs::{NodeId, UnitId};

use super::kinds::{KindId, Kinds};
use crate::placement::{fit::Request, view::PlanNode};

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
    ports: (u16, u16),
    ports_taken: BTreeSet<u16>,
    /// Held for a job that has waited too long, against everybody after it.
    pub(super) held: bool,
}

/// A device unit.
#[derive(Debug, Clone)]
pub(super) struct Unit {
    pub(super) id: UnitId,
    pub(super) kind: KindId,
    /// An attempt has it.
    owned: bool,
    /// It cannot be used now, whoever has it.
    out: bool,
}

/// A node's units of one kind.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    pub(super) kind: KindId,
    /// Units that are free, as positions among the node's, lowest first.
    pub(super) free: Vec<u16>,
}

impl Spot {
    /// The node as it is offered, without the units in `out`.
    pub(super) fn new(
        node: &PlanNode,
        out: Option<&BTreeMap<UnitId, String>>,
        kinds: &mut Kinds,
    ) -> Self {
        let mut devices: Vec<_> = node.devices.iter().collect();
        devices.sort_by_key(|(unit, device)| (device.index, *unit));
        // Positions are 16 bits wide: no machine has as many units.
        devices.truncate(usize::from(u16::MAX));
        let unit = |(id, device): (&UnitId, _)| Unit {
            id: id.clone(),
            kind: kinds.id(device),
            owned: node.owners.contains_key(id),
            out: out.is_some_and(|out| out.contains_key(id)),
        };
        let mut spot = Self {
            id: node.id.clone(),
            key: sort_key(&node.id),
            version: node.version,
            labels: node.labels.clone(),
            units: devices.into_iter().map(unit).collect(),
            pools: Vec::new(),
            ports: node.ports,
            ports_taken: node.ports_in_use.clone(),
            held: false,
        };
        let mut free: BTreeMap<KindId, Vec<u16>> = BTreeMap::new();
        for (at, unit) in (0_u16..).zip(&spot.units) {
            let list = free.entry(unit.kind).or_default();
            if unit.is_free() {
                list.push(at);
            }
        }
        spot.pools = free.into_iter().map(|(kind, free)| Pool { kind, free }).collect();
        spot
    }

    /// The units of one kind.
    pub(super) fn pool(&self, kind: KindId) -> Option<&Pool> {
        self.pools.iter().find(|pool| pool.kind == kind)
    }

    /// Units that are free, of whatever kind.
    pub(super) fn free(&self) -> usize {
        self.pools.iter().map(|pool| pool.free.len()).sum()
    }

    /// Whether any of its units answers to the request, free or not.
    pub(super) fn serves(&self, request: &Request, kinds: &Kinds) -> bool {
        request.allows(&self.labels)
            && self.pools.iter().any(|pool| kinds.answers(pool.kind, request))
    }

    /// Marks a unit as taken or given back.
    pub(super) fn set_owned(&mut self, at: u16, owned: bool) {
        let Some(unit) = self.units.get_mut(usize::from(at)) else { return };
        unit.owned = owned;
        let (kind, free) = (unit.kind, unit.is_free());
        let Some(pool) = self.pools.iter_mut().find(|pool| pool.kind == kind) else { return };
        match (pool.free.binary_search(&at), free) {
            (Ok(found), false) => {
                pool.free.remove(found);
            }
            (Err(place), true) => pool.free.insert(place, at),
            _ => {}
        }
    }

    /// Whether an attempt has the unit.
    pub(super) fn is_owned(&self, at: u16) -> bool {
        self.units.get(usize::from(at)).is_some_and(|unit| unit.owned)
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
        (0..count)
            .filter_map(|i| u16::try_from(u64::from(first) + turn.wrapping_add(i) % count).ok())
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
}

impl Spot {
    /// Whether both offer the same, whatever their kinds are called.
    pub(super) fn is_like(&self, kinds: &Kinds, other: &Self, others: &Kinds) -> bool {
        let like = |(a, b): (&Unit, &Unit)| {
            (&a.id, a.owned, a.out, kinds.get(a.kind))
                == (&b.id, b.owned, b.out, others.get(b.kind))
        };
        self.id == other.id
            && self.version == other.version
            && self.labels == other.labels
            && self.ports == other.ports
            && self.ports_taken == other.ports_taken
            && self.held == other.held
            && self.units.len() == other.units.len()
            && self.units.iter().zip(&other.units).all(like)
    }
}

impl Unit {
    const fn is_free(&self) -> bool {
        !self.owned && !self.out
    }
}

/// An id is twelve digits of a base below 36, in the order of their characters.
fn sort_key(id: &NodeId) -> u64 {
    u64::from_str_radix(id.as_str(), 36).unwrap_or_default()
}
