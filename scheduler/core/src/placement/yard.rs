//! The nodes during planning: what is free where, by kind and by count, so that a gang finds its
//! place without a look at every node. What a plan tries is taken back by an undo log: «what if
//! these victims were gone» costs what it changes.

mod census;
mod claim;
mod domains;
#[cfg(test)]
mod exact;
mod expense;
mod host;
mod index;
mod kinds;
mod loose;
mod outlook;
mod parts;
mod place;
mod scope;
mod search;
mod spot;
#[cfg(test)]
mod tests;
mod together;

use std::collections::{BTreeMap, BTreeSet};

use trainyard_jobs::{
    NodeId, ReservationName, UnitId, Usd,
    spec::{Resources, Speed, Speeds},
};

pub use self::census::Census;
pub(super) use self::census::UnitType;
pub(super) use self::expense::Hire;
pub(super) use self::kinds::KindId;
pub(super) use self::scope::Scope;
pub(super) use self::together::{Gang, SITES, Sites};
use self::{index::Index, kinds::Kinds, outlook::Outlook, spot::Spot};
use super::{
    fit::{Host, Request, WHOLE},
    score::{Mix, Terms, VALUE},
    view::PlanNode,
    windows::Covers,
};
use crate::command::Assignment;

/// What a node without reservations has of them.
static NONE: Covers = Covers::new();

/// All nodes that are up.
#[derive(Debug, Clone, Default)]
pub struct Yard {
    slots: Vec<Option<Spot>>,
    vacant: Vec<u32>,
    by_id: BTreeMap<NodeId, u32>,
    kinds: Kinds,
    index: Index,
    /// The jobs that are likely to come, and how the units of each kind meet them.
    mix: Mix,
    outlooks: Vec<Outlook>,
    conditions: BTreeMap<NodeId, Condition>,
    /// The reservations of nodes that have any.
    covers: BTreeMap<NodeId, Covers>,
    /// Nodes with units of several kinds, and with several islands.
    several: usize,
    divided: usize,
    /// Micro-dollars that an hour of a unit is worth that nobody uses, if that was said.
    value: Option<u64>,
    log: Vec<Undo>,
}

/// What is known of a node beside what it says itself: from its telemetry, from those who sell it,
/// and from the jobs that failed there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Condition {
    /// On which terms it can be had, if that is not what its labels say.
    pub terms: Option<Terms>,
    /// Units that are hot or slow: used when nothing better is free.
    pub strained: BTreeSet<UnitId>,
    /// Jobs fail here more often than elsewhere: the whole node is used last.
    pub doubted: bool,
}

/// A gang's place: node by node in the order of ranks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    parts: Vec<Part>,
    load: Load,
}

/// What each rank of a gang takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Load {
    /// Thousandths of its unit.
    share: u16,
    host: Host,
}

/// What a gang gets on one node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Part {
    slot: u32,
    ranks: u32,
    /// The ranks' units, as positions among the node's; one may serve several ranks.
    units: Vec<u16>,
}

/// A point to which the yard can be taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark(usize);

/// What undoes a change.
#[derive(Debug, Clone)]
enum Undo {
    Took(Part, Load),
    Gave(Part, Load),
    Port(u32, u16),
    Held(u32),
}

impl Yard {
    /// Takes in a node, or what has changed of it. `out` names the units that cannot be used.
    pub fn set(&mut self, node: &PlanNode, out: Option<&BTreeMap<UnitId, String>>) {
        debug_assert!(self.log.is_empty(), "nodes change between plans, not within one");
        let none = Condition::default();
        let condition = self.conditions.get(&node.id).unwrap_or(&none);
        let covers = self.covers.get(&node.id).unwrap_or(&NONE);
        let domains = self.index.domains.of(&node.labels);
        let spot = Spot::new(node, out, (condition, covers), &mut self.kinds, domains);
        let slot = match self.by_id.get(&node.id) {
            Some(slot) => *slot,
            None => self.vacant.pop().unwrap_or_else(|| {
                self.slots.push(None);
                u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
            }),
        };
        self.by_id.insert(node.id.clone(), slot);
        let place = usize::try_from(slot).ok().and_then(|at| self.slots.get_mut(at));
        let Some(place) = place else { return };
        // Counted before the old one is not any more: a kind that no node has is forgotten.
        let mut resized = self.kinds.count(&spot, true);
        if let Some(before) = place {
            self.index.remove(slot, before);
            self.index.domains.count(slot, before, false);
            resized |= self.kinds.count(before, false);
            self.several -= usize::from(before.pools.len() > 1);
            self.divided -= usize::from(!before.one_island);
        }
        self.several += usize::from(spot.pools.len() > 1);
        self.divided += usize::from(!spot.one_island);
        self.index.domains.count(slot, &spot, true);
        self.index.add(slot, &spot);
        *place = Some(spot);
        if resized {
            self.outlooks = self.kinds.outlooks(&self.mix);
        }
    }

    /// Forgets a node.
    pub fn remove(&mut self, node: &NodeId) {
        debug_assert!(self.log.is_empty(), "nodes change between plans, not within one");
        self.conditions.remove(node);
        self.covers.remove(node);
        let Some(slot) = self.by_id.remove(node) else { return };
        let place = usize::try_from(slot).ok().and_then(|at| self.slots.get_mut(at));
        if let Some(before) = place.and_then(Option::take) {
            self.index.remove(slot, &before);
            self.index.domains.count(slot, &before, false);
            self.several -= usize::from(before.pools.len() > 1);
            self.divided -= usize::from(!before.one_island);
            if self.kinds.count(&before, false) {
                self.outlooks = self.kinds.outlooks(&self.mix);
            }
            self.vacant.push(slot);
        }
    }

    /// Says which jobs are likely to come: places are chosen so that they find theirs.
    pub fn expect(&mut self, mix: Mix) {
        if mix != self.mix {
            self.outlooks = self.kinds.outlooks(&mix);
            self.mix = mix;
        }
    }

    /// Takes in what an hour of a unit is worth to the cluster.
    pub fn set_value(&mut self, value: Usd) {
        self.value = Some(value.0);
    }

    /// Micro-dollars that an hour of a unit is worth that nobody uses.
    fn value(&self) -> u64 {
        self.value.unwrap_or(VALUE)
    }

    /// Takes in what is known of a node beside what it says; whether that is news. It counts once
    /// the node is set.
    pub fn note(&mut self, node: &NodeId, condition: Condition) -> bool {
        if self.conditions.get(node).cloned().unwrap_or_default() == condition {
            return false;
        }
        if condition == Condition::default() {
            self.conditions.remove(node);
        } else {
            self.conditions.insert(node.clone(), condition);
        }
        true
    }

    /// Says whether a reservation covers a node; whether that is news. It counts once the node is
    /// set.
    pub(super) fn cover(&mut self, node: &NodeId, name: &ReservationName, covered: bool) -> bool {
        if covered {
            return self.covers.entry(node.clone()).or_default().insert(name.clone());
        }
        let Some(covers) = self.covers.get_mut(node) else { return false };
        let was = covers.remove(name);
        if covers.is_empty() {
            self.covers.remove(node);
        }
        was
    }

    /// Says which reservations cover a node. They count once it is set.
    pub(super) fn cover_all(&mut self, node: &NodeId, covers: Covers) {
        if covers.is_empty() {
            self.covers.remove(node);
        } else {
            self.covers.insert(node.clone(), covers);
        }
    }

    fn outlook(&self, kind: KindId) -> Option<&Outlook> {
        self.outlooks.get(usize::from(kind.0)).filter(|outlook| !outlook.is_empty())
    }

    /// Takes a gang's units away.
    pub fn take(&mut self, placement: &Placement) {
        for part in &placement.parts {
            self.charge(part, placement.load, true);
            self.log.push(Undo::Took(part.clone(), placement.load));
        }
    }

    /// Frees what a gang has that would be gone. Units that cannot be used stay out.
    pub fn give_back(&mut self, placement: &Placement) {
        for part in &placement.parts {
            let mut part = part.clone();
            if let Some(spot) = self.spot(part.slot) {
                // Only what somebody has is given back, or undoing it would take it from nobody.
                part.units.retain(|unit| spot.is_used(*unit, placement.load.share));
                if placement.load.share > 0 {
                    part.count();
                }
            }
            self.charge(&part, placement.load, false);
            self.log.push(Undo::Gave(part, placement.load));
        }
    }

    /// What a running gang has, in the yard's terms: of nodes that are not up, nothing. Each rank
    /// has a whole unit, and what the job asks for beside it.
    #[must_use]
    pub fn placement(&self, gang: &[Assignment], resources: &Resources) -> Placement {
        let part = |assignment: &Assignment| {
            let slot = *self.by_id.get(&assignment.node)?;
            let spot = self.spot(slot)?;
            let units: Vec<u16> =
                assignment.units.iter().filter_map(|unit| spot.position(unit)).collect();
            let mut part = Part { slot, ranks: 0, units };
            part.count();
            Some(part)
        };
        let load = Load { share: WHOLE, host: Host::of_rank(resources) };
        Placement { parts: gang.iter().filter_map(part).collect(), load }
    }

    /// The kinds of a gang's units, rank by rank.
    fn kinds_of(&self, placement: &Placement) -> impl Iterator<Item = KindId> {
        placement.parts.iter().flat_map(|part| {
            let units = self.spot(part.slot).map_or(&[][..], |spot| &spot.units);
            part.units.iter().filter_map(|at| Some(units.get(usize::from(*at))?.kind))
        })
    }

    /// How fast a gang would run that runs so fast on units of each type.
    #[must_use]
    pub fn pace(&self, placement: &Placement, speeds: &Speeds) -> Speed {
        let kinds = self.kinds_of(placement).filter_map(|kind| self.kinds.get(kind));
        speeds.of_gang(kinds.map(|kind| kind.model.as_str()))
    }

    /// A gang's place in the terms of the command that starts it.
    #[must_use]
    pub fn assignments(&self, placement: &Placement) -> Vec<Assignment> {
        let assignment = |part: &Part| {
            let spot = self.spot(part.slot)?;
            let unit = |at: &u16| spot.units.get(usize::from(*at)).map(|unit| unit.id.clone());
            Some(Assignment {
                node: spot.id.clone(),
                node_version: spot.version,
                units: part.units.iter().filter_map(unit).collect(),
            })
        };
        placement.parts.iter().filter_map(assignment).collect()
    }

    /// Takes a free port for rank 0 on the gang's first node, beginning at the `turn`-th.
    pub fn take_port(&mut self, placement: &Placement, turn: u64) -> Option<u16> {
        let slot = placement.parts.first()?.slot;
        let spot = self.spot_mut(slot)?;
        let port = spot.port(turn)?;
        spot.set_port(port, true);
        self.log.push(Undo::Port(slot, port));
        Some(port)
    }

    /// Keeps the nodes that could serve `request` for it.
    pub fn hold(&mut self, request: &Request) {
        let Self { slots, kinds, index, log, .. } = self;
        for (slot, place) in (0..).zip(slots) {
            let Some(spot) = place else { continue };
            if !spot.held && spot.serves(request, kinds) {
                index.remove(slot, spot);
                spot.held = true;
                log.push(Undo::Held(slot));
            }
        }
    }

    /// Whether no unit is left to hand out.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.index.free() == 0
    }

    /// Where the yard stands now, to come back to.
    #[must_use]
    pub const fn mark(&self) -> Mark {
        Mark(self.log.len())
    }

    /// Undoes all that was done since.
    pub fn rewind(&mut self, mark: Mark) {
        while self.log.len() > mark.0 {
            match self.log.pop() {
                Some(Undo::Took(part, load)) => self.charge(&part, load, false),
                Some(Undo::Gave(part, load)) => self.charge(&part, load, true),
                Some(Undo::Port(slot, port)) => {
                    if let Some(spot) = self.spot_mut(slot) {
                        spot.set_port(port, false);
                    }
                }
                Some(Undo::Held(slot)) => self.unhold(slot),
                None => return,
            }
        }
    }

    fn unhold(&mut self, slot: u32) {
        let place = usize::try_from(slot).ok().and_then(|at| self.slots.get_mut(at));
        if let Some(spot) = place.and_then(Option::as_mut) {
            spot.held = false;
            self.index.add(slot, spot);
        }
    }

    fn charge(&mut self, part: &Part, load: Load, take: bool) {
        let Self { slots, kinds, index, .. } = self;
        let place = usize::try_from(part.slot).ok().and_then(|at| slots.get_mut(at));
        let Some(spot) = place.and_then(Option::as_mut) else { return };
        index.remove(part.slot, spot);
        spot.charge(part, load, take, kinds);
        index.add(part.slot, spot);
    }

    fn spot(&self, slot: u32) -> Option<&Spot> {
        self.slots.get(usize::try_from(slot).ok()?)?.as_ref()
    }

    fn spot_mut(&mut self, slot: u32) -> Option<&mut Spot> {
        self.slots.get_mut(usize::try_from(slot).ok()?)?.as_mut()
    }

    fn spots(&self) -> impl Iterator<Item = (u32, &Spot)> {
        self.by_id.values().filter_map(|slot| Some((*slot, self.spot(*slot)?)))
    }
}

impl From<&Request> for Load {
    fn from(r: &Request) -> Self {
        Self { share: r.share, host: r.host }
    }
}

impl Part {
    /// It has as many ranks as units.
    fn count(&mut self) {
        self.ranks = u32::try_from(self.units.len()).unwrap_or(u32::MAX);
    }
}

/// Two yards are alike if they offer the same: not how they came about counts.
impl PartialEq for Yard {
    fn eq(&self, other: &Self) -> bool {
        let same = |((_, a), (_, b)): ((u32, &Spot), (u32, &Spot))| {
            a.is_like(&self.kinds, b, &other.kinds)
        };
        self.by_id.len() == other.by_id.len()
            && self.index.free() == other.index.free()
            && self.conditions == other.conditions
            && self.covers == other.covers
            && self.spots().zip(other.spots()).all(same)
    }
}

impl Eq for Yard {}
