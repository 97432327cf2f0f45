//! One search for a place, and its second half: a gang that no node can take whole goes to few
//! nodes that are near to each other.

use std::{cmp::Reverse, collections::BTreeMap};

use trainyard_jobs::{Bytes, spec::Speed};

use super::{
    Part, Placement, Yard,
    index::{Alike, Entry},
    kinds::KindId,
    spot::Spot,
};
use crate::placement::{
    fit::{Hints, Request, WHOLE},
    topology::Span,
};

/// Racks, fabrics and zones that are compared for one gang, of each the tightest.
const DOMAINS: usize = 4;

/// Nodes that are looked at for what the last one takes.
const LAST: usize = 8;

/// What is looked for, and where.
pub(super) struct Search<'a> {
    pub(super) yard: &'a Yard,
    pub(super) request: &'a Request,
    pub(super) hints: &'a Hints<'a>,
    pub(super) ranks: usize,
    /// The kinds of units that answer.
    pub(super) kinds: &'a [KindId],
}

/// A gang's parts as they are found.
struct Parts {
    parts: Vec<Part>,
    missing: usize,
    /// Nodes at most.
    nodes: usize,
}

impl Parts {
    const fn new(ranks: usize, nodes: usize) -> Self {
        Self { parts: Vec::new(), missing: ranks, nodes }
    }

    fn uses(&self, entry: &Entry) -> bool {
        self.parts.iter().any(|part| part.slot == entry.2)
    }
}

/// Puts a node into the list for so many units.
fn note(lists: &mut Vec<Alike>, count: usize, entry: Entry) {
    if lists.len() <= count {
        lists.resize_with(count + 1, Alike::new);
    }
    if let Some(list) = lists.get_mut(count) {
        list.insert(entry);
    }
}

impl Search<'_> {
    /// Ranks on one node at most.
    pub(super) fn most(&self) -> usize {
        usize::try_from(self.request.most_per_node).unwrap_or(usize::MAX)
    }

    /// The node, if the gang may use it.
    pub(super) fn spot(&self, entry: &Entry) -> Option<&Spot> {
        let spot = self.yard.spot(entry.2)?;
        let avoided = self.hints.avoid.is_some_and(|avoid| avoid.contains(&spot.id));
        (!avoided && self.request.allows(&spot.labels)).then_some(spot)
    }

    /// Whether the number of whole units is all that counts.
    pub(super) const fn is_plain(&self) -> bool {
        self.request.share == WHOLE && !self.request.needs_host()
    }

    pub(super) fn placement(&self, parts: Vec<Part>) -> Placement {
        Placement { parts, load: self.request.into() }
    }

    /// What an hour's work of so many ranks costs on units of a kind.
    pub(super) fn hours(&self, kind: KindId, ranks: usize, slowdown: u64) -> i128 {
        self.hours_at(kind, ranks, slowdown, self.speed(kind))
    }

    /// The same at the pace of a gang that has slower units too.
    pub(super) fn hours_at(&self, kind: KindId, ranks: usize, slowdown: u64, pace: Speed) -> i128 {
        let Some(kind) = self.yard.kinds.get(kind) else { return 0 };
        let hour =
            i128::from(kind.terms.hour(self.hints.stakes, kind.strained, (slowdown, pace.milli())));
        // Prices are for whole GPUs: a part costs that part.
        let hour = if kind.part < WHOLE {
            hour.saturating_mul(i128::from(kind.part)) / i128::from(WHOLE)
        } else {
            hour
        };
        hour.saturating_mul(i128::try_from(ranks).unwrap_or(i128::MAX))
    }

    /// How fast the job runs on units of a kind.
    pub(super) fn speed(&self, kind: KindId) -> Speed {
        self.yard.kinds.get(kind).map_or(Speed::ONE, |kind| self.hints.speed(&kind.model))
    }

    /// Whether it matters to the job which of the kinds it gets.
    pub(super) fn has_speeds(&self) -> bool {
        let mut speeds = self.kinds.iter().map(|kind| self.speed(*kind));
        let first = speeds.next();
        speeds.any(|speed| Some(speed) != first)
    }

    /// On several nodes: of one kind, or of several that differ in price or strain alone, as is
    /// cheapest; of different types only where nothing else is left.
    pub(super) fn on_several(&self) -> Option<Placement> {
        let mut found: Vec<_> = self.kinds.iter().filter_map(|kind| self.near(*kind)).collect();
        for alike in self.alike().iter().filter(|alike| alike.len() > 1) {
            found.extend(self.mixed(alike));
        }
        if found.is_empty() && self.kinds.len() > 1 {
            // One slow rank slows all: the fastest types first, and no slower one than must be.
            let mut kinds = self.kinds.to_vec();
            kinds.sort_by_key(|kind| Reverse(self.speed(*kind)));
            found.extend(self.mixed(&kinds));
            // Where it has to have slow ones anyway, a cheap one is as good as a fast one.
            kinds.sort_by_key(|kind| self.hours_at(*kind, 1, 1000, Speed::ONE));
            found.extend(self.mixed(&kinds));
        }
        found.into_iter().min_by_key(|(cost, _)| *cost).map(|(_, place)| place)
    }

    /// The kinds in sets of equal type and memory, each with the cheapest first.
    fn alike(&self) -> Vec<Vec<KindId>> {
        let mut sets: BTreeMap<(&str, Bytes), Vec<KindId>> = BTreeMap::new();
        for kind in self.kinds {
            if let Some(known) = self.yard.kinds.get(*kind) {
                sets.entry((&known.model, known.memory)).or_default().push(*kind);
            }
        }
        let mut sets: Vec<Vec<KindId>> = sets.into_values().collect();
        for set in &mut sets {
            set.sort_by_key(|kind| self.hours(*kind, 1, 1000));
        }
        sets
    }

    /// Over nodes of several kinds: the fullest first, or the cheapest kind first.
    fn mixed(&self, kinds: &[KindId]) -> Option<((i128, usize), Placement)> {
        let free: usize = kinds.iter().map(|kind| self.yard.index.whole(*kind)).sum();
        if self.request.share == WHOLE && free < self.ranks {
            return None;
        }
        let fullest = self.spread(&self.fullest(kinds), kinds);
        let mut cheapest = Parts::new(self.ranks, self.nodes(kinds));
        for kind in kinds {
            self.fill(self.yard.index.of(*kind), &[*kind], &mut cheapest);
        }
        let cheapest = (cheapest.missing == 0).then(|| self.placement(cheapest.parts));
        let places = fullest.into_iter().chain(cheapest);
        places.map(|place| (self.cost_of(&place), place)).min_by_key(|(cost, _)| *cost)
    }

    /// The nodes that have most units of these kinds, by how many, as far down as a gang may need.
    fn fullest(&self, kinds: &[KindId]) -> Vec<Alike> {
        let mut lists: Vec<Alike> = Vec::new();
        for kind in kinds {
            let mut units = 0;
            for entry in self.yard.index.of(*kind).iter().rev().flatten() {
                let Some(spot) = self.spot(entry) else { continue };
                let count = self.units_of(spot, kinds).len().min(spot.room(self.request));
                note(&mut lists, count, *entry);
                units += count.min(self.most());
                if units >= self.ranks {
                    break;
                }
            }
        }
        lists
    }

    /// What an hour's work costs on a place, and on how many nodes it is.
    pub(super) fn cost_of(&self, place: &Placement) -> (i128, usize) {
        let span = self.yard.index.domains.common(self.nodes_of(place));
        let slowdown = span.slowdown(place.parts.len());
        let pace = self.yard.kinds_of(place).map(|kind| self.speed(kind)).min();
        let pace = pace.unwrap_or(Speed::ONE);
        let hours = |kind| self.hours_at(kind, 1, slowdown, pace);
        (self.yard.kinds_of(place).map(hours).sum(), place.parts.len())
    }

    /// What an hour's work costs on a place, on one node by how far apart its units are there.
    pub(super) fn hours_on(&self, place: &Placement) -> i128 {
        let [part] = place.parts.as_slice() else { return self.cost_of(place).0 };
        let Some(spot) = self.yard.spot(part.slot) else { return 0 };
        let near = spot.one_island;
        let slowdown = if near { 1000 } else { spot.span(&part.units).slowdown(1) };
        let pace = self.yard.kinds_of(place).map(|kind| self.speed(kind)).min();
        let pace = pace.unwrap_or(Speed::ONE);
        self.yard.kinds_of(place).map(|kind| self.hours_at(kind, 1, slowdown, pace)).sum()
    }

    /// The cheapest spread over nodes of one kind: the fewest nodes of the tightest racks, fabrics
    /// and zones that have room are compared with the fewest of all.
    fn near(&self, kind: KindId) -> Option<((i128, usize), Placement)> {
        if self.request.share == WHOLE && self.ranks > self.yard.index.whole(kind) {
            return None;
        }
        let cost = |span: Span, place: &Placement| {
            let slowdown = span.slowdown(place.parts.len());
            (self.hours(kind, self.ranks, slowdown), place.parts.len())
        };
        let domains = &self.yard.index.domains;
        let anywhere = self.spread(self.yard.index.of(kind), &[kind]);
        // Where everything that is free does not do, no part of it does.
        let mut best = anywhere.map(|place| {
            let span = domains.common(self.nodes_of(&place));
            (cost(span, &place), place)
        })?;
        for domain in domains.with(kind, self.ranks, DOMAINS) {
            let mut lists: Vec<Alike> = Vec::new();
            for (key, slot) in &domain.members {
                let Some(spot) = self.yard.spot(*slot).filter(|spot| !spot.held) else { continue };
                let free = spot.pool(kind).map_or(0, |pool| pool.free.len());
                let count = free.min(spot.room(self.request));
                if count > 0 {
                    note(&mut lists, count, (spot.look, *key, *slot));
                }
            }
            let Some(place) = self.spread(&lists, &[kind]) else { continue };
            let found = (cost(domain.span, &place), place);
            if found.0 < best.0 {
                best = found;
            }
        }
        Some(best)
    }

    fn nodes_of(&self, place: &Placement) -> impl Iterator<Item = &Spot> {
        let slots: Vec<u32> = place.parts.iter().map(|part| part.slot).collect();
        slots.into_iter().filter_map(|slot| self.yard.spot(slot))
    }

    /// The fullest nodes first; of those that offer no less than may be used, the ones with the
    /// least to spare.
    fn spread(&self, lists: &[Alike], kinds: &[KindId]) -> Option<Placement> {
        let mut parts = Parts::new(self.ranks, self.nodes(kinds));
        self.fill(lists, kinds, &mut parts);
        (parts.missing == 0).then(|| self.placement(parts.parts))
    }

    /// Adds nodes until the gang is whole or there are none. What is left for the last node goes
    /// to the one that has the least to spare.
    fn fill(&self, lists: &[Alike], kinds: &[KindId], parts: &mut Parts) {
        let most = self.most();
        if parts.nodes < 2 {
            return;
        }
        let above = (most..lists.len()).chain((0..most.min(lists.len())).rev());
        for count in above {
            for entry in lists.get(count).into_iter().flatten() {
                if parts.missing == 0 || parts.parts.len() >= parts.nodes {
                    return;
                }
                let tighter = lists.get(parts.missing..count).unwrap_or_default().iter().flatten();
                // How many parts a node has does not tell on how many GPUs they are.
                let tighter = tighter.take(if self.request.on_parts() { 0 } else { LAST });
                let last = tighter.into_iter().find(|entry| self.takes(entry, parts));
                self.add(last.unwrap_or(entry), kinds, parts);
            }
        }
    }

    /// Whether a node that is not used yet takes all that is missing.
    fn takes(&self, entry: &Entry, parts: &Parts) -> bool {
        let room = self.spot(entry).map_or(0, |spot| spot.room(self.request));
        room >= parts.missing && self.most() >= parts.missing && !parts.uses(entry)
    }

    fn add(&self, entry: &Entry, kinds: &[KindId], parts: &mut Parts) {
        // Only a node with units of several kinds comes up twice.
        let again = self.yard.several > 0 && parts.uses(entry);
        let Some(spot) = self.spot(entry).filter(|_| !again) else { return };
        let takes = self.most().min(parts.missing).min(spot.room(self.request));
        let units = self.some_units_of(spot, kinds, takes);
        if units.is_empty() {
            return;
        }
        parts.missing -= units.len();
        let ranks = u32::try_from(units.len()).unwrap_or(u32::MAX);
        parts.parts.push(Part { slot: entry.2, ranks, units });
    }

    /// The most nodes that the gang may use.
    pub(super) fn nodes(&self, kinds: &[KindId]) -> usize {
        if !self.request.compact {
            return usize::MAX;
        }
        let largest = if self.request.needs_host() {
            usize::try_from(self.yard.most_on_one(self.request, kinds)).unwrap_or(usize::MAX)
        } else {
            let largest = kinds.iter().map(|kind| self.yard.kinds.largest(*kind)).max();
            usize::from(largest.unwrap_or(0)).min(self.most())
        };
        self.ranks.div_ceil(largest.max(1))
    }

    /// Units of a node for at most so many ranks, near to each other.
    fn some_units_of(&self, spot: &Spot, kinds: &[KindId], most: usize) -> Vec<u16> {
        if let ([kind], WHOLE, false) = (kinds, self.request.share, self.request.on_parts()) {
            let Some(pool) = spot.pool(*kind) else { return Vec::new() };
            return spot.nearest(pool, most.min(pool.free.len())).unwrap_or_default();
        }
        let mut units = self.units_of(spot, kinds);
        units.truncate(most);
        units
    }

    /// Units of a node that answer, for as many ranks as it can take.
    pub(super) fn units_of(&self, spot: &Spot, kinds: &[KindId]) -> Vec<u16> {
        let pools = spot.pools.iter().filter(|pool| kinds.contains(&pool.kind));
        if self.request.on_parts() {
            return spot.apart(pools.flat_map(|pool| &pool.free).copied(), usize::MAX);
        }
        if self.request.share == WHOLE {
            let mut units: Vec<u16> = pools.flat_map(|pool| &pool.free).copied().collect();
            units.sort_unstable();
            return units;
        }
        let units = pools.flat_map(|pool| pool.parts.iter().chain(&pool.free));
        let times = |at: &u16| usize::from(spot.free_of(*at) / self.request.share);
        units.flat_map(|at| std::iter::repeat_n(*at, times(at))).collect()
    }
}
