//! Where a gang goes: whole or not at all, on the one node where it leaves least that nobody can
//! use, or else on as few nodes as possible.

use std::collections::BTreeSet;

use super::{
    Part, Placement, Yard,
    index::{Alike, Entry, one_of_each},
    kinds::KindId,
    spot::{Pool, Spot},
};
use crate::placement::{
    fit::{Hints, Request, WHOLE},
    score::Residue,
};

/// Nodes that look different and are compared for one gang. In a yard of more looks those that
/// are filled most are compared.
const LOOKS: usize = 2048;

impl Yard {
    /// Where the gang would go now, if it fits. Nothing is taken.
    #[must_use]
    pub fn place(&self, request: &Request, hints: &Hints<'_>) -> Option<Placement> {
        let ranks = usize::try_from(request.ranks).ok().filter(|ranks| *ranks > 0)?;
        let search = Search { yard: self, request, hints, ranks };
        if request.share == 0 {
            return search.without_units();
        }
        if request.share == WHOLE && ranks > self.index.free() {
            return None;
        }
        let kinds = self.kinds.answering(request);
        search.on_one_node(&kinds).or_else(|| search.on_several(&kinds))
    }
}

/// One search for a place.
struct Search<'a> {
    yard: &'a Yard,
    request: &'a Request,
    hints: &'a Hints<'a>,
    ranks: usize,
}

/// A place on one node. The least is the best: what it adds to the fragments, what it leaves
/// free, and who it is.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Offer {
    fragments: i128,
    left: u64,
    key: u64,
    part: Part,
}

impl Search<'_> {
    fn most(&self) -> usize {
        usize::try_from(self.request.most_per_node).unwrap_or(usize::MAX)
    }

    fn allowed(&self, entry: &Entry) -> bool {
        self.spot(entry).is_some()
    }

    fn spot(&self, entry: &Entry) -> Option<&Spot> {
        let spot = self.yard.spot(entry.2)?;
        let avoided = self.hints.avoid.is_some_and(|avoid| avoid.contains(&spot.id));
        (!avoided && self.request.allows(&spot.labels)).then_some(spot)
    }

    /// Whether units of equal number are all that counts.
    const fn is_plain(&self) -> bool {
        let r = self.request;
        r.share == WHOLE && r.cpu_milli == 0 && r.memory.0 == 0
    }

    fn placement(&self, parts: Vec<Part>) -> Placement {
        Placement { parts, load: self.request.into() }
    }

    fn on_one_node(&self, kinds: &[KindId]) -> Option<Placement> {
        if self.ranks > self.most() {
            return None;
        }
        let alone = kinds.iter().filter_map(|kind| self.best_of_kind(*kind)).min();
        let best = alone.or_else(|| self.of_mixed_kinds(kinds))?;
        Some(self.placement(vec![best.part]))
    }

    fn best_of_kind(&self, kind: KindId) -> Option<Offer> {
        let least = if self.request.share == WHOLE { self.ranks } else { 0 };
        let lists = self.yard.index.of(kind).iter().skip(least);
        let looks = lists.flat_map(|list| {
            let alike = one_of_each(list, |entry| self.allowed(entry));
            alike.take(if self.is_plain() { 1 } else { LOOKS })
        });
        looks.take(LOOKS).filter_map(|entry| self.offer(entry, kind)).min()
    }

    /// What a node has to offer for the whole gang.
    fn offer(&self, entry: Entry, kind: KindId) -> Option<Offer> {
        let spot = self.yard.spot(entry.2)?;
        if spot.room(self.request) < self.ranks {
            return None;
        }
        let units = self.units(spot, spot.pool(kind)?, self.ranks)?;
        let fragments = self.added_fragments(spot, kind, &units);
        let part = Part { slot: entry.2, ranks: self.request.ranks, units };
        Some(Offer { fragments, left: spot.free_milli(), key: entry.1, part })
    }

    /// The units of a pool that so many ranks would get.
    fn units(&self, spot: &Spot, pool: &Pool, ranks: usize) -> Option<Vec<u16>> {
        let share = self.request.share;
        if share == WHOLE {
            return pool.free.get(..ranks).map(<[u16]>::to_vec);
        }
        let mut units: Vec<u16> = Vec::with_capacity(ranks);
        for _ in 0..ranks {
            let taken = |at: &u16| {
                let times = units.iter().filter(|unit| *unit == at).count();
                u16::try_from(times).unwrap_or(u16::MAX).saturating_mul(share)
            };
            let left = |at: &u16| spot.free_of(*at).saturating_sub(taken(at));
            // One unit for each amount that is left somewhere; the whole ones are alike.
            let begun = pool.parts.iter().chain(units.iter()).copied();
            let options = begun.chain(pool.free.first().copied()).chain(pool.free.last().copied());
            let options: BTreeSet<(u16, u16)> =
                options.map(|at| (left(&at), at)).filter(|(left, _)| *left >= share).collect();
            let cost = |at: u16| {
                let with: Vec<u16> = units.iter().copied().chain([at]).collect();
                self.added_fragments(spot, pool.kind, &with)
            };
            let best = options.into_iter().min_by_key(|(left, at)| (cost(*at), *left, *at))?;
            units.push(best.1);
        }
        Some(units)
    }

    /// How much less the likely jobs could use of the node, for units of `kind`.
    fn added_fragments(&self, spot: &Spot, kind: KindId, units: &[u16]) -> i128 {
        let ranks = u64::try_from(self.ranks).unwrap_or(u64::MAX);
        let (cpu, memory) = (self.request.cpu_milli, self.request.memory.0);
        let mut change = 0;
        for pool in &spot.pools {
            let demands = self.yard.demands(pool.kind);
            if demands.is_empty() {
                continue;
            }
            let before = residue(spot, pool);
            let mut after = before.clone();
            after.cpu_milli = after.cpu_milli.saturating_sub(cpu.saturating_mul(ranks));
            after.memory = after.memory.saturating_sub(memory.saturating_mul(ranks));
            if pool.kind == kind {
                self.subtract(&mut after, spot, pool, units);
            }
            change += i128::from(after.fragments(demands)) - i128::from(before.fragments(demands));
        }
        change
    }

    fn subtract(&self, residue: &mut Residue, spot: &Spot, pool: &Pool, units: &[u16]) {
        if self.request.share == WHOLE {
            residue.whole -= u64::try_from(units.len()).unwrap_or(0).min(residue.whole);
            return;
        }
        let mut touched: Vec<u16> = units.to_vec();
        touched.sort_unstable();
        touched.dedup();
        for at in touched {
            let times = units.iter().filter(|unit| **unit == at).count();
            let taken = u16::try_from(times).unwrap_or(u16::MAX).saturating_mul(self.request.share);
            let free = spot.free_of(at);
            if pool.free.contains(&at) {
                residue.whole = residue.whole.saturating_sub(1);
            } else if let Some(known) = residue.parts.iter().position(|part| *part == free) {
                residue.parts.swap_remove(known);
            }
            if free > taken {
                residue.parts.push(free - taken);
            }
        }
    }

    /// Several kinds answer and none has enough: units of all of them, on one node.
    fn of_mixed_kinds(&self, kinds: &[KindId]) -> Option<Offer> {
        if kinds.len() < 2 || self.request.share != WHOLE {
            return None;
        }
        let offer = |entry: &Entry| {
            let spot = self.spot(entry)?;
            let units = mixed_units(spot, kinds);
            let enough = units.len() >= self.ranks && spot.room(self.request) >= self.ranks;
            let units = enough.then(|| units.into_iter().take(self.ranks).collect())?;
            let part = Part { slot: entry.2, ranks: self.request.ranks, units };
            Some(Offer { fragments: 0, left: spot.free_milli(), key: entry.1, part })
        };
        self.of_any(kinds).iter().filter_map(offer).min()
    }

    /// Nodes that have something free of any of these kinds.
    fn of_any(&self, kinds: &[KindId]) -> Alike {
        let lists = kinds.iter().flat_map(|kind| self.yard.index.of(*kind));
        lists.flatten().copied().collect()
    }

    /// On as few nodes as possible, if possible of one kind.
    fn on_several(&self, kinds: &[KindId]) -> Option<Placement> {
        let of_kind = |kind: &KindId| self.spread(self.yard.index.of(*kind), &[*kind]);
        let alone = kinds.iter().filter_map(of_kind).min_by_key(|place| place.parts.len());
        if alone.is_some() || kinds.len() < 2 {
            return alone;
        }
        let mut lists: Vec<Alike> = Vec::new();
        for entry in self.of_any(kinds) {
            let count = self.yard.spot(entry.2).map_or(0, |spot| mixed_units(spot, kinds).len());
            if lists.len() <= count {
                lists.resize_with(count + 1, Alike::new);
            }
            if let Some(list) = lists.get_mut(count) {
                list.insert(entry);
            }
        }
        self.spread(&lists, kinds)
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
            let mut units = self.units_of(spot, kinds);
            units.truncate(most.min(missing).min(spot.room(self.request)));
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

    /// Units for as many ranks as a node can take.
    fn units_of(&self, spot: &Spot, kinds: &[KindId]) -> Vec<u16> {
        if self.request.share == WHOLE {
            return match kinds {
                [kind] => spot.pool(*kind).map_or_else(Vec::new, |pool| pool.free.clone()),
                kinds => mixed_units(spot, kinds),
            };
        }
        let pools = spot.pools.iter().filter(|pool| kinds.contains(&pool.kind));
        let units = pools.flat_map(|pool| pool.parts.iter().chain(&pool.free));
        let times = |at: &u16| usize::from(spot.free_of(*at) / self.request.share);
        units.flat_map(|at| std::iter::repeat_n(*at, times(at))).collect()
    }

    /// Processors and memory alone: the node whose units are of least use without them.
    fn without_units(&self) -> Option<Placement> {
        let none = KindId(u16::MAX);
        let offer = |(slot, spot): (u32, &Spot)| {
            self.spot(&(spot.look, spot.key, slot)).filter(|_| !spot.held)?;
            let fits = spot.room(self.request) >= self.ranks && self.ranks <= self.most();
            let part = Part { slot, ranks: self.request.ranks, units: Vec::new() };
            fits.then(|| Offer {
                fragments: self.added_fragments(spot, none, &[]),
                left: spot.free_milli(),
                key: spot.key,
                part,
            })
        };
        let best = self.yard.spots().filter_map(offer).min()?;
        Some(self.placement(vec![best.part]))
    }
}

fn mixed_units(spot: &Spot, kinds: &[KindId]) -> Vec<u16> {
    let pools = spot.pools.iter().filter(|pool| kinds.contains(&pool.kind));
    let mut units: Vec<u16> = pools.flat_map(|pool| &pool.free).copied().collect();
    units.sort_unstable();
    units
}

fn residue(spot: &Spot, pool: &Pool) -> Residue {
    Residue {
        total: u64::from(pool.total),
        whole: u64::try_from(pool.free.len()).unwrap_or(u64::MAX),
        parts: pool.parts.iter().map(|at| spot.free_of(*at)).collect(),
        cpu_milli: spot.cpu_milli,
        memory: spot.memory,
    }
}
