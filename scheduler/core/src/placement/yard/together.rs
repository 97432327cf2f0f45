//! Gangs placed all at once, at the least that they can cost together: by dynamic programming over
//! what is free, on a few nodes. Gangs that come one after another take what is best for each by
//! itself; which nodes a gang on several of them has, and who is spread for whose sake, is known
//! only of all of them together.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use trainyard_jobs::spec::Speed;

use super::{Part, Placement, Yard, kinds::KindId, outlook::residue, search::Search, spot::Spot};
use crate::placement::{
    fit::{Hints, Request, WHOLE},
    topology::Span,
};

/// Nodes that gangs are placed on together.
pub(in crate::placement) const SITES: usize = 6;

/// Ways to place one gang on them that are gone through.
const WAYS: usize = 1500;

/// Nodes with equally many free units that are looked at as sites.
const ALIKE: usize = 2;

/// So many units of each site.
type Units = [u8; SITES];

/// Nodes by their sort keys, each with its place in the yard: that tells in which order nodes came,
/// and nothing that is decided may depend on it.
pub(in crate::placement) type Sites = BTreeSet<(u64, u32)>;

/// So many ranks on each of some nodes.
pub(in crate::placement) type Counts = Vec<(u32, usize)>;

/// A gang that is to be placed.
pub(in crate::placement) type Gang<'a> = (&'a Request, Hints<'a>);

/// A node on which nothing but the number of free units counts.
struct Site<'a> {
    slot: u32,
    spot: &'a Spot,
    kind: KindId,
    free: u8,
    /// What so many free units lose to the jobs that are likely to come, and the least of that with
    /// so many or fewer.
    waste: Vec<i128>,
    least: Vec<i128>,
}

/// A way to place a gang, and what its hours cost.
struct Way {
    takes: Units,
    cost: i128,
}

/// How it was come by: what it cost so far, what was free before, and the last gang's way.
type Reached = BTreeMap<Units, (i128, Units, usize)>;

impl Yard {
    /// Where these gangs would cost least together on these nodes, if that is less than `below`:
    /// hours, and what is of no use afterwards. Nothing if it is not, or if `steps` do not do to
    /// tell.
    pub(in crate::placement) fn together(
        &self,
        gangs: &[Gang<'_>],
        slots: &[u32],
        below: i128,
        steps: &mut u64,
    ) -> Option<Vec<Counts>> {
        let sites: Vec<Site<'_>> =
            slots.iter().map(|slot| self.site(*slot)).collect::<Option<_>>()?;
        let ways = gangs.iter().map(|gang| self.ways(gang, &sites)).collect::<Option<Vec<_>>>()?;
        let mut free = [0; SITES];
        for (free, site) in free.iter_mut().zip(&sites) {
            *free = site.free;
        }
        let found = least(&sites, &ways, free, (below, steps))?;
        let counts = |takes: &Units| {
            let used = sites.iter().zip(takes).filter(|(_, units)| **units > 0);
            used.map(|(site, units)| (site.slot, usize::from(*units))).collect()
        };
        Some(found.iter().map(counts).collect())
    }

    /// A place with so many ranks on each of these nodes, of what is free now.
    pub(in crate::placement) fn on(
        &self,
        (request, hints): &Gang<'_>,
        counts: &Counts,
    ) -> Option<Placement> {
        let kinds = self.kinds.open(request, hints);
        let part = |(slot, ranks): &(u32, usize)| {
            let spot = self.spot(*slot)?;
            let pool = spot.pools.iter().find(|pool| kinds.contains(&pool.kind))?;
            let units = spot.nearest(pool, *ranks)?;
            Some(Part { slot: *slot, ranks: u32::try_from(*ranks).ok()?, units })
        };
        let parts = counts.iter().map(part).collect::<Option<_>>()?;
        Some(Placement { parts, load: (*request).into() })
    }

    /// The nodes of a place, if on each nothing but the number of free units counts.
    pub(in crate::placement) fn sites_of(&self, place: &Placement) -> Option<Sites> {
        let site = |part: &Part| {
            let spot = self.spot(part.slot).filter(|spot| is_plain(spot))?;
            Some((spot.key, part.slot))
        };
        place.parts.iter().map(site).collect()
    }

    /// Further nodes on which a gang could have units, the cheapest kinds' first and of each those
    /// with most free ones, until there are [`SITES`].
    pub(in crate::placement) fn add_sites(&self, (request, hints): &Gang<'_>, sites: &mut Sites) {
        let mut kinds = self.kinds.open(request, hints);
        let search = Search { yard: self, request, hints, ranks: 1, kinds: &[] };
        kinds.sort_by_key(|kind| search.hours(*kind, 1, 1000));
        let mut found = Vec::new();
        for (order, kind) in kinds.iter().enumerate() {
            let lists = self.index.of(*kind).iter().rev();
            let nodes = lists.flat_map(|list| list.iter().take(ALIKE));
            let plain = nodes.filter(|entry| search.spot(entry).is_some_and(is_plain));
            found.extend((0..SITES).zip(plain).map(|(at, entry)| (at, order, entry.1, entry.2)));
        }
        found.sort_unstable();
        for (.., key, slot) in found {
            if sites.len() < SITES {
                sites.insert((key, slot));
            }
        }
    }

    fn site(&self, slot: u32) -> Option<Site<'_>> {
        let spot = self.spot(slot).filter(|spot| is_plain(spot))?;
        let pool = spot.pools.first()?;
        let outlook = self.outlook(pool.kind);
        let waste = |whole: usize| {
            let Some(outlook) = outlook else { return 0 };
            let mut left = residue(spot, pool);
            left.whole = u64::try_from(whole).unwrap_or(u64::MAX);
            outlook.worth(i128::from(outlook.fragments(&left)), self.value())
        };
        let waste: Vec<i128> = (0..=pool.free.len()).map(waste).collect();
        let mut least = waste.clone();
        for at in 1..least.len() {
            let before = least.get(at - 1).copied();
            if let Some((here, before)) = least.get_mut(at).zip(before) {
                *here = before.min(*here);
            }
        }
        let free = u8::try_from(pool.free.len()).ok()?;
        Some(Site { slot, spot, kind: pool.kind, free, waste, least })
    }

    /// All ways to place a gang by the yard's rules, the cheapest first. Nothing if they are too
    /// many, or something else than the number of units counts for it.
    fn ways(&self, (request, hints): &Gang<'_>, sites: &[Site<'_>]) -> Option<Vec<Way>> {
        let kinds = self.kinds.open(request, hints);
        let ranks = u8::try_from(request.ranks).ok()?;
        let search =
            Search { yard: self, request, hints, ranks: usize::from(ranks), kinds: &kinds };
        if !search.is_plain() || request.on_parts() {
            return None;
        }
        let most = |site: &Site<'_>| {
            let may = kinds.contains(&site.kind) && request.allows(&site.spot.labels);
            u8::try_from(search.most()).unwrap_or(u8::MAX).min(if may { site.free } else { 0 })
        };
        let most: Vec<u8> = sites.iter().map(most).collect();
        let (mut all, mut pure) = (Vec::new(), false);
        let within = spread(&most, ranks, &mut |takes| {
            let used = || sites.iter().zip(takes).filter(|(_, units)| **units > 0);
            if used().count() > search.nodes(&kinds) {
                return true;
            }
            let is_pure = self.is_one_type(used().map(|(site, _)| site.kind));
            pure |= is_pure;
            all.push((is_pure, Way { takes: *takes, cost: hours(&search, used()) }));
            all.len() < WAYS
        });
        // A gang stays on one type as long as one has room for it.
        all.retain(|(is_pure, _)| *is_pure || !pure);
        let mut ways: Vec<Way> = all.into_iter().map(|(_, way)| way).collect();
        ways.sort_by_key(|way| (way.cost, Reverse(way.takes)));
        within.then_some(ways)
    }

    fn is_one_type(&self, kinds: impl Iterator<Item = KindId>) -> bool {
        let mut types = kinds.filter_map(|kind| self.kinds.get(kind)).map(|k| (&k.model, k.memory));
        let first = types.next();
        types.all(|other| Some(other) == first)
    }
}

/// Whether nothing but the number of its free units counts of a node.
fn is_plain(spot: &Spot) -> bool {
    let [pool] = spot.pools.as_slice() else { return false };
    let whole = |at: &u16| spot.free_of(*at) == WHOLE;
    spot.one_island
        && !spot.held
        && !spot.split
        && pool.parts.is_empty()
        && pool.free.iter().all(whole)
}

/// What an hour's work costs on so many units of some nodes.
fn hours<'a>(
    search: &Search<'_>,
    used: impl Iterator<Item = (&'a Site<'a>, &'a u8)> + Clone,
) -> i128 {
    let nodes = used.clone().count();
    let slowdown = if nodes > 1 {
        let span: Span = search.yard.index.domains.common(used.clone().map(|(site, _)| site.spot));
        span.slowdown(nodes)
    } else {
        1000
    };
    let pace = used.clone().map(|(site, _)| search.speed(site.kind)).min();
    let pace = pace.unwrap_or(Speed::ONE);
    used.map(|(site, units)| search.hours_at(site.kind, usize::from(*units), slowdown, pace)).sum()
}

/// Every way to take so many units of at most so many of each, until `each` has had enough. Says
/// whether it had not.
fn spread(most: &[u8], ranks: u8, each: &mut impl FnMut(&Units) -> bool) -> bool {
    fn go(
        most: &[u8],
        (ranks, at): (u8, usize),
        takes: &mut Units,
        each: &mut impl FnMut(&Units) -> bool,
    ) -> bool {
        let Some(here) = most.get(at) else { return ranks > 0 || each(takes) };
        let later: u16 = most.iter().skip(at + 1).map(|most| u16::from(*most)).sum();
        let least = u8::try_from(u16::from(ranks).saturating_sub(later)).unwrap_or(u8::MAX);
        for units in least..=ranks.min(*here) {
            if let Some(takes) = takes.get_mut(at) {
                *takes = units;
            }
            if !go(most, (ranks - units, at + 1), takes, each) {
                return false;
            }
        }
        if let Some(takes) = takes.get_mut(at) {
            *takes = 0;
        }
        true
    }
    go(most, (ranks, 0), &mut [0; SITES], each)
}

fn without(free: &Units, takes: &Units) -> Option<Units> {
    let mut left = *free;
    for (left, takes) in left.iter_mut().zip(takes) {
        *left = left.checked_sub(*takes)?;
    }
    Some(left)
}

/// The ways, one of each gang, that cost least together.
fn least(
    sites: &[Site<'_>],
    ways: &[Vec<Way>],
    free: Units,
    (below, steps): (i128, &mut u64),
) -> Option<Vec<Units>> {
    let at = |of: &[i128], units: u8| of.get(usize::from(units)).copied().unwrap_or(0);
    let bound = |free: &Units| -> i128 {
        sites.iter().zip(free).map(|(site, units)| at(&site.least, *units)).sum()
    };
    // What the gangs that are still to come cost at least.
    let mut rest: i128 = ways.iter().filter_map(|ways| ways.first()).map(|way| way.cost).sum();
    let mut layers: Vec<Reached> = vec![BTreeMap::from([(free, (0, free, 0))])];
    for of_gang in ways {
        rest -= of_gang.first()?.cost;
        let mut next = Reached::new();
        for (free, (so_far, ..)) in layers.last()? {
            for (n, Way { takes, cost }) in of_gang.iter().enumerate() {
                *steps = steps.checked_sub(1)?;
                let all = so_far + cost;
                if all + rest >= below {
                    break;
                }
                let Some(left) = without(free, takes) else { continue };
                if all + rest + bound(&left) >= below {
                    continue;
                }
                let known = next.entry(left).or_insert((i128::MAX, *free, n));
                if all < known.0 {
                    *known = (all, *free, n);
                }
            }
        }
        layers.push(next);
    }
    let waste = |free: &Units| -> i128 {
        sites.iter().zip(free).map(|(site, units)| at(&site.waste, *units)).sum()
    };
    let last = layers.last()?.iter().map(|(free, (cost, ..))| (cost + waste(free), *free));
    let (cost, mut free) = last.min()?;
    if cost >= below {
        return None;
    }
    let mut found = Vec::with_capacity(ways.len());
    for (layer, of_gang) in layers.iter().skip(1).zip(ways).rev() {
        let (_, before, n) = layer.get(&free)?;
        found.push(of_gang.get(*n)?.takes);
        free = *before;
    }
    found.reverse();
    Some(found)
}
