//! Kinds of units under short names, so that a node is compared with a request in one step.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use trainyard_jobs::{Bytes, Device, DeviceKind};

use super::{outlook::Outlook, spot::Spot};
use crate::placement::{
    fit::{Hints, Request, WHOLE},
    score::{Demand, Mix, Terms},
    windows::Covers,
};

/// The short name of a kind: where it stands among those seen. Nothing that is decided may
/// depend on it, because it tells in which order nodes came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::placement) struct KindId(pub(super) u16);

/// What makes units alike to every request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Kind {
    pub(super) device: DeviceKind,
    pub(super) model: String,
    pub(super) memory: Bytes,
    /// On which terms they can be had.
    pub(super) terms: Terms,
    /// Hot, slow or on a node that fails often: used when nothing better is free.
    pub(super) strained: bool,
    /// The reservations of their node.
    pub(super) covers: Covers,
    /// Thousandths of a GPU; all of them for a CPU slot.
    pub(super) part: u16,
}

/// The kinds that nodes have. The place of one that none has any more is given to another.
#[derive(Debug, Clone, Default)]
pub(super) struct Kinds(Vec<Known>);

#[derive(Debug, Clone, Default)]
struct Known {
    kind: Kind,
    /// Some node has it.
    used: bool,
    /// A number that stands for the kind in every planner.
    digest: u64,
    /// How many nodes have how many units of it.
    sizes: BTreeMap<u16, u32>,
    /// Units that attempts have, and that cannot be used, by what nodes said last.
    busy: u32,
    out: u32,
}

impl Known {
    fn largest(&self) -> u16 {
        self.sizes.last_key_value().map_or(0, |(size, _)| *size)
    }
}

impl Kinds {
    /// The short name of a device's kind.
    pub(super) fn id(
        &mut self,
        device: &Device,
        terms: Terms,
        strained: bool,
        covers: &Covers,
    ) -> KindId {
        let same = |Known { kind, .. }: &Known| {
            kind.device == device.kind
                && (kind.terms, kind.strained) == (terms, strained)
                && kind.memory == device.memory
                && kind.model == device.model
                && kind.part == device.part.milli()
                && kind.covers == *covers
        };
        let at = self.0.iter().position(same).unwrap_or_else(|| {
            let Device { kind, model, memory, .. } = device.clone();
            let (covers, part) = (covers.clone(), device.part.milli());
            self.learn(Kind { device: kind, model, memory, terms, strained, covers, part })
        });
        if let Some(known) = self.0.get_mut(at) {
            known.used = true;
        }
        KindId(u16::try_from(at).unwrap_or(u16::MAX))
    }

    /// Gives a kind that is new a place.
    fn learn(&mut self, kind: Kind) -> usize {
        let mut hasher = DefaultHasher::new();
        (kind.device, &kind.model, kind.memory.0, kind.terms, kind.strained).hash(&mut hasher);
        kind.covers.iter().for_each(|name| name.hash(&mut hasher));
        if kind.part < WHOLE {
            kind.part.hash(&mut hasher);
        }
        let known = Known { kind, digest: hasher.finish(), ..Known::default() };
        let vacant = self.0.iter().position(|known| !known.used);
        if let Some(place) = vacant.and_then(|at| self.0.get_mut(at)) {
            *place = known;
            return vacant.unwrap_or_default();
        }
        self.0.push(known);
        self.0.len() - 1
    }

    /// Whether units of this kind answer to the request.
    pub(super) fn answers(&self, kind: KindId, request: &Request) -> bool {
        let known = self.get(kind);
        known.is_some_and(|kind| request.takes(kind.device, &kind.model, kind.memory, kind.part))
    }

    /// The kinds that answer to the request, in an order that all planners share.
    pub(super) fn answering(&self, request: &Request) -> Vec<KindId> {
        let all = (0..u16::try_from(self.0.len()).unwrap_or(u16::MAX)).map(KindId);
        let mut found: Vec<KindId> = all.filter(|kind| self.answers(*kind, request)).collect();
        found.sort_by_key(|kind| self.get(*kind));
        found
    }

    /// Those of them on nodes that the job may use.
    pub(super) fn open(&self, request: &Request, hints: &Hints<'_>) -> Vec<KindId> {
        let mut found = self.answering(request);
        found.retain(|kind| !self.is_barred(*kind, request, hints));
        found
    }

    /// Whether a reservation keeps the job off the nodes of a kind.
    pub(super) fn is_barred(&self, kind: KindId, request: &Request, hints: &Hints<'_>) -> bool {
        let Some((during, kind)) = hints.during.zip(self.get(kind)) else { return false };
        during.barring(&kind.covers, &request.entitled).next().is_some()
    }

    pub(super) fn get(&self, kind: KindId) -> Option<&Kind> {
        self.0.get(usize::from(kind.0)).map(|known| &known.kind)
    }

    /// All that some node has.
    pub(super) fn all(&self) -> impl Iterator<Item = (KindId, &Kind)> {
        let ids = (0..u16::MAX).map(KindId).zip(&self.0);
        ids.filter(|(_, known)| known.used).map(|(id, known)| (id, &known.kind))
    }

    /// Whether nodes offer parts of GPUs.
    pub(super) fn have_parts(&self) -> bool {
        self.0.iter().any(|known| known.used && known.kind.part < WHOLE)
    }

    /// Notes that a node came or went. Says whether nodes have other sizes now.
    pub(super) fn count(&mut self, spot: &Spot, came: bool) -> bool {
        let mut changed = false;
        for pool in &spot.pools {
            let Some(known) = self.0.get_mut(usize::from(pool.kind.0)) else { continue };
            let before = known.sizes.len();
            let nodes = known.sizes.entry(pool.total).or_default();
            *nodes = if came { *nodes + 1 } else { nodes.saturating_sub(1) };
            if *nodes == 0 {
                known.sizes.remove(&pool.total);
                known.used = !known.sizes.is_empty();
            }
            changed |= known.sizes.len() != before;
            let change = |count: u32, by: u16| {
                let by = u32::from(by);
                if came { count.saturating_add(by) } else { count.saturating_sub(by) }
            };
            known.busy = change(known.busy, pool.busy);
            known.out = change(known.out, pool.out);
        }
        changed
    }

    /// How many nodes have units of a kind, how many units those are, and how many of them
    /// attempts have or cannot be used.
    pub(super) fn census(&self, kind: KindId) -> (u32, u32, u32, u32) {
        let Some(known) = self.0.get(usize::from(kind.0)) else { return (0, 0, 0, 0) };
        let nodes = known.sizes.values().sum();
        let units = known.sizes.iter().map(|(size, nodes)| u32::from(*size) * nodes).sum();
        (nodes, units, known.busy, known.out)
    }

    /// Units of a kind on the node that has most of them.
    pub(super) fn largest(&self, kind: KindId) -> u16 {
        self.0.get(usize::from(kind.0)).map_or(0, Known::largest)
    }

    /// How units of each kind meet the jobs that are likely to come.
    pub(super) fn outlooks(&self, mix: &Mix) -> Vec<Outlook> {
        let demand = |kind: &Kind, largest: u64, (request, weight): &(Request, u64)| Demand {
            weight: *weight,
            ranks: u64::from(request.ranks.min(request.most_per_node)),
            compact: request.compact,
            largest,
            share: request.share,
            host: request.host,
            answered: request.takes(kind.device, &kind.model, kind.memory, kind.part),
        };
        let of_kind = |known: &Known| {
            let (kind, largest) = (&known.kind, u64::from(known.largest()));
            let shapes = mix.shapes().iter().filter(|(shape, _)| shape.device == kind.device);
            let demands = shapes.map(|shape| demand(kind, largest, shape)).collect();
            Outlook::new(demands, known.sizes.keys().copied())
        };
        self.0.iter().map(of_kind).collect()
    }

    /// A number that stands for the kind in every planner.
    pub(super) fn digest(&self, kind: KindId) -> u64 {
        self.0.get(usize::from(kind.0)).map_or(0, |known| known.digest)
    }
}
