//! Where a gang goes: whole or not at all, on the one node where it costs least, or else on few
//! nodes near to each other. The cost is money: the units' price for as long as the work takes
//! there, what an interruption is expected to lose, and what the likely jobs lose by it.

use super::{
    Part, Placement, Yard,
    index::{Alike, Entry, one_of_each},
    kinds::KindId,
    outlook::residue,
    search::Search,
    spot::{Pool, Spot},
};
use crate::placement::{
    fit::{Hints, Request, WHOLE},
    score::Residue,
};

/// Nodes that look different and are compared for one gang. In a yard of more looks those that
/// are filled most are compared.
const LOOKS: usize = 2048;

/// The same for each number of free units, where whole units are all that is asked for.
const PLAIN_LOOKS: usize = 8;

/// The same where parts of GPUs are asked for.
const PART_LOOKS: usize = 32;

impl Yard {
    /// Where the gang would go now, if it fits. Nothing is taken. Nodes that the job avoids are
    /// used when it fits nowhere else.
    #[must_use]
    pub fn place(&self, request: &Request, hints: &Hints<'_>) -> Option<Placement> {
        self.place_on(request, hints, |_| true)
    }

    /// The same on units of some kinds alone.
    pub(super) fn place_on(
        &self,
        request: &Request,
        hints: &Hints<'_>,
        may: impl Fn(KindId) -> bool,
    ) -> Option<Placement> {
        let ranks = usize::try_from(request.ranks).ok().filter(|ranks| *ranks > 0)?;
        let open = if request.share == 0 { Vec::new() } else { self.kinds.open(request, hints) };
        let kinds: Vec<KindId> = open.into_iter().filter(|kind| may(*kind)).collect();
        if request.share == WHOLE {
            let free: usize = kinds.iter().map(|kind| self.index.whole(*kind)).sum();
            if ranks > free {
                return None;
            }
        }
        let placed = Search { yard: self, request, hints, ranks, kinds: &kinds }.run();
        if placed.is_some() || hints.avoid.is_none_or(std::collections::BTreeSet::is_empty) {
            return placed;
        }
        let hints = Hints { avoid: None, ..*hints };
        Search { yard: self, request, hints: &hints, ranks, kinds: &kinds }.run()
    }
}

/// A place on one node. The least is the best: what it costs, what it leaves free, and who it is.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Offer {
    cost: i128,
    left: u64,
    key: u64,
    part: Part,
}

impl Search<'_> {
    fn run(&self) -> Option<Placement> {
        if self.request.share == 0 {
            return self.without_units();
        }
        let Some(one) = self.on_one_node() else { return self.on_several() };
        if self.request.compact || self.request.share != WHOLE || !self.has_speeds() {
            return Some(one);
        }
        // On a faster type the same work may cost less, although it takes several nodes.
        let cost = self.cost_of(&one);
        let several = self.on_several().filter(|several| self.cost_of(several) < cost);
        Some(several.unwrap_or(one))
    }

    fn on_one_node(&self) -> Option<Placement> {
        if self.ranks > self.most() {
            return None;
        }
        let alone = self.kinds.iter().filter_map(|kind| self.best_of_kind(*kind)).min();
        let best = alone.or_else(|| self.of_mixed_kinds())?;
        Some(self.placement(vec![best.part]))
    }

    fn best_of_kind(&self, kind: KindId) -> Option<Offer> {
        let least = if self.request.share == WHOLE { self.ranks } else { 0 };
        let lists = self.yard.index.of(kind).iter().skip(least);
        let islands = self.yard.divided > 0;
        let each = match (self.is_plain(), islands) {
            (true, _) if self.request.on_parts() => PART_LOOKS,
            (true, false) => 1,
            (true, true) => PLAIN_LOOKS,
            (false, _) => LOOKS,
        };
        let looks =
            lists.flat_map(|list| one_of_each(list, |entry| self.has_room(entry)).take(each));
        looks.take(LOOKS).filter_map(|entry| self.offer(entry, kind)).min()
    }

    /// Whether the gang may use a node, and there is enough of everything beside its units.
    fn has_room(&self, entry: &Entry) -> bool {
        self.spot(entry).is_some_and(|spot| spot.room(self.request) >= self.ranks)
    }

    /// What a node has to offer for the whole gang.
    fn offer(&self, entry: Entry, kind: KindId) -> Option<Offer> {
        let spot = self.yard.spot(entry.2)?;
        if spot.room(self.request) < self.ranks {
            return None;
        }
        let units = self.units(spot, spot.pool(kind)?)?;
        let slowdown = if spot.one_island { 1000 } else { spot.span(&units).slowdown(1) };
        let cost = self.hours(kind, self.ranks, slowdown)
            + self.fragments(spot, kind, &units)
            + self.openings(spot, kind, &units);
        let part = Part { slot: entry.2, ranks: self.request.ranks, units };
        Some(Offer { cost, left: spot.free_milli(), key: entry.1, part })
    }

    /// The units of a pool that the gang would get.
    fn units(&self, spot: &Spot, pool: &Pool) -> Option<Vec<u16>> {
        let share = self.request.share;
        if self.request.on_parts() {
            let units = spot.apart(pool.free.iter().copied(), self.ranks);
            return (units.len() == self.ranks).then_some(units);
        }
        if share == WHOLE {
            return spot.nearest(pool, self.ranks);
        }
        let mut units: Vec<u16> = Vec::with_capacity(self.ranks);
        for _ in 0..self.ranks {
            let taken = |at: &u16| {
                let times = units.iter().filter(|unit| *unit == at).count();
                u16::try_from(times).unwrap_or(u16::MAX).saturating_mul(share)
            };
            let left = |at: &u16| spot.free_of(*at).saturating_sub(taken(at));
            // One unit for each amount that is left somewhere; the whole ones are alike.
            let untouched = pool.free.iter().find(|at| !units.contains(at));
            let begun = pool.parts.iter().chain(units.iter()).chain(untouched);
            let mut options: Vec<(u16, u16)> =
                begun.map(|at| (left(at), *at)).filter(|(left, _)| *left >= share).collect();
            options.sort_unstable();
            options.dedup_by_key(|(left, _)| *left);
            let cost = |at: u16| {
                let with: Vec<u16> = units.iter().copied().chain([at]).collect();
                self.fragments(spot, pool.kind, &with)
            };
            let best = options.into_iter().min_by_key(|(left, at)| (cost(*at), *left, *at))?;
            units.push(best.1);
        }
        Some(units)
    }

    /// How much less the likely jobs could use of the node, as money, for units of `kind`.
    fn fragments(&self, spot: &Spot, kind: KindId, units: &[u16]) -> i128 {
        let ranks = u64::try_from(self.ranks).unwrap_or(u64::MAX);
        let taken_beside = self.request.host.times(ranks);
        let mut cost = 0;
        for pool in &spot.pools {
            let Some(outlook) = self.yard.outlook(pool.kind) else { continue };
            let taken = if pool.kind == kind { units.len() } else { 0 };
            if self.request.share == WHOLE
                && let Some((before, after)) = outlook.by_count(pool, taken)
            {
                cost += outlook.worth(i128::from(after) - i128::from(before), self.yard.value());
                continue;
            }
            let before = residue(spot, pool);
            let mut after = before.clone();
            after.host = after.host.without(taken_beside);
            if pool.kind == kind {
                self.subtract(&mut after, spot, pool, units);
            }
            let (before, after) = (outlook.fragments(&before), outlook.fragments(&after));
            cost += outlook.worth(i128::from(after) - i128::from(before), self.yard.value());
        }
        cost
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
    fn of_mixed_kinds(&self) -> Option<Offer> {
        // Where no node has units of several kinds, none has more than it has of one.
        if self.kinds.len() < 2 || self.request.share != WHOLE || self.yard.several == 0 {
            return None;
        }
        let offer = |entry: &Entry| {
            let spot = self.spot(entry)?;
            let units = self.units_of(spot, self.kinds);
            let enough = units.len() >= self.ranks && spot.room(self.request) >= self.ranks;
            let units = enough.then(|| units.into_iter().take(self.ranks).collect())?;
            let part = Part { slot: entry.2, ranks: self.request.ranks, units };
            Some(Offer { cost: 0, left: spot.free_milli(), key: entry.1, part })
        };
        let lists = self.kinds.iter().flat_map(|kind| self.yard.index.of(*kind)).flatten();
        let nodes: Alike = lists.copied().collect();
        nodes.iter().filter_map(offer).min()
    }

    /// Processors and memory alone: the node whose units are of least use without them.
    fn without_units(&self) -> Option<Placement> {
        let none = KindId(u16::MAX);
        let offer = |(slot, spot): (u32, &Spot)| {
            let barred = self.yard.is_barred(spot, self.request, self.hints);
            self.spot(&(spot.look, spot.key, slot)).filter(|_| !spot.held && !barred)?;
            let fits = spot.room(self.request) >= self.ranks && self.ranks <= self.most();
            let part = Part { slot, ranks: self.request.ranks, units: Vec::new() };
            fits.then(|| Offer {
                cost: self.fragments(spot, none, &[]),
                left: spot.free_milli(),
                key: spot.key,
                part,
            })
        };
        let best = self.yard.spots().filter_map(offer).min()?;
        Some(self.placement(vec![best.part]))
    }
}
