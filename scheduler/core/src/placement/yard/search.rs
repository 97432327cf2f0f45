//! One search for a place, and its second half: a gang that no node can take whole goes to few
//! nodes that are near to each other.

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

/// What is looked for, and where.
pub(super) struct Search<'a> {
    pub(super) yard: &'a Yard,
    pub(super) request: &'a Request,
    pub(super) hints: &'a Hints<'a>,
    pub(super) ranks: usize,
    /// The kinds of units that answer.
    pub(super) kinds: &'a [KindId],
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
        let r = self.request;
        r.share == WHOLE && r.cpu_milli == 0 && r.memory.0 == 0
    }

    pub(super) fn placement(&self, parts: Vec<Part>) -> Placement {
        Placement { parts, load: self.request.into() }
    }

    /// What an hour's work of so many ranks costs on units of a kind.
    pub(super) fn hours(&self, kind: KindId, ranks: usize, slowdown: u64) -> i128 {
        let Some(kind) = self.yard.kinds.get(kind) else { return 0 };
        let speed = self.hints.speeds.and_then(|speeds| speeds.get(&kind.model)).copied();
        let hour = kind.terms.hour(kind.strained, slowdown, speed.unwrap_or(1000));
        i128::from(hour).saturating_mul(i128::try_from(ranks).unwrap_or(i128::MAX))
    }

    /// On several nodes, if possible of one kind.
    pub(super) fn on_several(&self) -> Option<Placement> {
        let alone =
            self.kinds.iter().filter_map(|kind| self.near(*kind)).min_by_key(|(cost, ..)| *cost);
        if let Some((_, place)) = alone {
            return Some(place);
        }
        if self.kinds.len() < 2 {
            return None;
        }
        let mut lists: Vec<Alike> = Vec::new();
        for entry in self.kinds.iter().flat_map(|kind| self.yard.index.of(*kind)).flatten() {
            let count = self.yard.spot(entry.2).map_or(0, |spot| self.units_of(spot).len());
            if lists.len() <= count {
                lists.resize_with(count + 1, Alike::new);
            }
            if let Some(list) = lists.get_mut(count) {
                list.insert(*entry);
            }
        }
        self.spread(&lists, self.kinds)
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
                let count = spot.pool(kind).map_or(0, |pool| pool.free.len());
                if lists.len() <= count {
                    lists.resize_with(count + 1, Alike::new);
                }
                if let Some(list) = lists.get_mut(count).filter(|_| count > 0) {
                    list.insert((spot.look, *key, *slot));
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
        let (most, nodes) = (self.most(), self.nodes(kinds));
        if nodes < 2 {
            return None;
        }
        let above = lists.iter().skip(most);
        let below = lists.iter().take(most).rev();
        let mut missing = self.ranks;
        let mut parts = Vec::new();
        for entry in above.chain(below).flatten() {
            let Some(spot) = self.spot(entry) else { continue };
            let takes = most.min(missing).min(spot.room(self.request));
            let units = self.some_units_of(spot, kinds, takes);
            if units.is_empty() {
                continue;
            }
            missing -= units.len();
            let ranks = u32::try_from(units.len()).unwrap_or(u32::MAX);
            parts.push(Part { slot: entry.2, ranks, units });
            if missing == 0 {
                return Some(self.placement(parts));
            }
            if parts.len() >= nodes {
                return None;
            }
        }
        None
    }

    /// The most nodes that the gang may use.
    fn nodes(&self, kinds: &[KindId]) -> usize {
        if !self.request.compact {
            return usize::MAX;
        }
        let largest = kinds.iter().map(|kind| self.yard.kinds.largest(*kind)).max();
        self.ranks.div_ceil(usize::from(largest.unwrap_or(0)).min(self.most()).max(1))
    }

    /// Units of a node for at most so many ranks, near to each other.
    fn some_units_of(&self, spot: &Spot, kinds: &[KindId], most: usize) -> Vec<u16> {
        if let ([kind], WHOLE) = (kinds, self.request.share) {
            let Some(pool) = spot.pool(*kind) else { return Vec::new() };
            return spot.nearest(pool, most.min(pool.free.len())).unwrap_or_default();
        }
        let mut units = self.units_of(spot);
        units.truncate(most);
        units
    }

    /// Units of a node that answer, for as many ranks as it can take.
    pub(super) fn units_of(&self, spot: &Spot) -> Vec<u16> {
        let pools = spot.pools.iter().filter(|pool| self.kinds.contains(&pool.kind));
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
