//! Where a gang goes: whole or not at all, on the one node that it leaves least unused, or else
//! on as few nodes as possible.

use std::{cmp::Reverse, collections::BTreeSet};

use super::{Part, Placement, Yard, index::Entry, kinds::KindId, spot::Spot};
use crate::placement::fit::{Hints, Request};

impl Yard {
    /// Where the gang would go now, if it fits. Nothing is taken.
    #[must_use]
    pub fn place(&self, request: &Request, hints: &Hints<'_>) -> Option<Placement> {
        let ranks = usize::try_from(request.ranks).ok().filter(|ranks| *ranks > 0)?;
        if ranks > self.index.free() {
            return None;
        }
        let search = Search { yard: self, request, hints, ranks };
        match self.kinds.answering(request).as_slice() {
            [] => None,
            [kind] => search.of_kind(*kind),
            kinds => search.of_kinds(kinds),
        }
    }
}

/// One search for a place.
struct Search<'a> {
    yard: &'a Yard,
    request: &'a Request,
    hints: &'a Hints<'a>,
    ranks: usize,
}

/// A node that could take some ranks: how many, and its free units of whatever kind.
struct Offer {
    takes: usize,
    free: usize,
    entry: Entry,
}

impl Search<'_> {
    fn most(&self) -> usize {
        usize::try_from(self.request.most_per_node).unwrap_or(usize::MAX)
    }

    /// The most nodes that the gang may use, if the largest has so many units.
    fn nodes(&self, largest: usize) -> usize {
        if !self.request.compact {
            return usize::MAX;
        }
        self.ranks.div_ceil(largest.min(self.most()).max(1))
    }

    fn spot(&self, entry: &Entry) -> Option<&Spot> {
        let spot = self.yard.spot(entry.1)?;
        let avoided = self.hints.avoid.is_some_and(|avoid| avoid.contains(&spot.id));
        (!avoided && self.request.allows(&spot.labels)).then_some(spot)
    }

    fn of_kind(&self, kind: KindId) -> Option<Placement> {
        let lists = self.yard.index.of(kind);
        if self.ranks <= self.most() {
            let enough = lists.iter().skip(self.ranks);
            let mut best: Option<(usize, Entry)> = None;
            for list in enough {
                let fits = |entry: &Entry| Some((self.spot(entry)?.free(), *entry));
                let found = list.iter().find_map(fits);
                best = best.into_iter().chain(found).min();
                if best.is_some() {
                    break;
                }
            }
            if let Some((_, entry)) = best {
                return Some(Placement { parts: vec![self.part(entry, &[kind], self.ranks)?] });
            }
        }
        self.spread(kind, lists)
    }

    /// The fewest nodes: the fullest first, and of those that offer no more than may be used the
    /// ones with the least to spare.
    fn spread(&self, kind: KindId, lists: &[BTreeSet<Entry>]) -> Option<Placement> {
        let most = self.most();
        let nodes = self.nodes(lists.len().saturating_sub(1));
        let above = lists.iter().skip(most);
        let below = lists.iter().take(most).skip(1).rev();
        let mut missing = self.ranks;
        let mut parts = Vec::new();
        for entry in above.chain(below).flatten() {
            let Some(spot) = self.spot(entry) else { continue };
            let free = spot.pool(kind).map_or(0, |pool| pool.free.len());
            let takes = free.min(most).min(missing);
            parts.push(self.part(*entry, &[kind], takes)?);
            missing -= takes;
            if missing == 0 {
                return Some(Placement { parts });
            }
            if parts.len() >= nodes {
                return None;
            }
        }
        None
    }

    /// Several kinds answer: every node is looked at.
    fn of_kinds(&self, kinds: &[KindId]) -> Option<Placement> {
        let mut entries: BTreeSet<Entry> = BTreeSet::new();
        for kind in kinds {
            entries.extend(self.yard.index.of(*kind).iter().flatten());
        }
        let most = self.most();
        let offer = |entry: &Entry| {
            let spot = self.spot(entry)?;
            let pools = spot.pools.iter().filter(|pool| kinds.contains(&pool.kind));
            let usable: usize = pools.map(|pool| pool.free.len()).sum();
            let takes = usable.min(most);
            (takes > 0).then_some(Offer { takes, free: spot.free(), entry: *entry })
        };
        let mut offers: Vec<Offer> = entries.iter().filter_map(offer).collect();
        let whole = offers.iter().filter(|offer| offer.takes >= self.ranks);
        if let Some(offer) = whole.min_by_key(|offer| (offer.free, offer.entry)) {
            return Some(Placement { parts: vec![self.part(offer.entry, kinds, self.ranks)?] });
        }
        offers.sort_by_key(|offer| (Reverse(offer.takes), offer.free, offer.entry));
        let mut missing = self.ranks;
        let mut parts = Vec::new();
        for offer in offers {
            let takes = missing.min(offer.takes);
            parts.push(self.part(offer.entry, kinds, takes)?);
            missing -= takes;
            if missing == 0 {
                return Some(Placement { parts });
            }
        }
        None
    }

    /// The first free units of a node that are of one of these kinds.
    fn part(&self, entry: Entry, kinds: &[KindId], count: usize) -> Option<Part> {
        let spot = self.yard.spot(entry.1)?;
        let pools = spot.pools.iter().filter(|pool| kinds.contains(&pool.kind));
        let mut units: Vec<u16> = pools.flat_map(|pool| &pool.free).copied().collect();
        units.sort_unstable();
        units.truncate(count);
        Some(Part { slot: entry.1, units })
    }
}
