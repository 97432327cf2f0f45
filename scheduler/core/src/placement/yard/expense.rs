//! What places cost, to compare several ways to place the same gangs: each gang's hours, and what the
//! jobs that wait could not use of what is left.

use trainyard_jobs::{
    Bytes,
    spec::{Speed, Speeds},
};

use super::{
    KindId, Placement, Yard,
    kinds::Kind,
    outlook::residue,
    search::Search,
    spot::{Pool, Spot},
};
use crate::placement::{
    fit::{Hints, Request, WHOLE},
    score::Price,
};

/// What a gang has: how many ranks, at what pace, and what that costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::placement) struct Hire {
    pub(in crate::placement) ranks: u32,
    pub(in crate::placement) speed: Speed,
    /// The prices of its units, in micro-dollars for an hour.
    pub(in crate::placement) micro_usd_per_hour: u64,
}

impl Yard {
    /// What a gang has in a place.
    pub(in crate::placement) fn hire(&self, place: &Placement, speeds: &Speeds) -> Hire {
        let kinds = self.kinds_of(place).filter_map(|kind| self.kinds.get(kind));
        Hire {
            ranks: place.ranks(),
            speed: self.pace(place, speeds),
            micro_usd_per_hour: kinds.map(price).fold(0, u64::saturating_add),
        }
    }

    /// What a gang would have on the kind of unit that is cheapest for it, of those that there are
    /// enough of, whoever has them now.
    pub(in crate::placement) fn cheapest(
        &self,
        request: &Request,
        hints: &Hints<'_>,
    ) -> Option<Hire> {
        let enough = |kind: &KindId| self.kinds.census(*kind).1 >= request.ranks;
        let hours = self.hours_by_kind(request, hints).into_iter();
        let (kind, _) = hours.filter(|(kind, _)| enough(kind)).min_by_key(|(_, hours)| *hours)?;
        let kind = self.kinds.get(kind)?;
        let micro_usd_per_hour = price(kind).saturating_mul(u64::from(request.ranks));
        Some(Hire { ranks: request.ranks, speed: hints.speed(&kind.model), micro_usd_per_hour })
    }

    /// What an hour's work of a gang costs on the units of each kind that is open to it, if it has
    /// them as near to each other as can be, in an order that all planners share.
    pub(in crate::placement) fn hours_by_kind(
        &self,
        request: &Request,
        hints: &Hints<'_>,
    ) -> Vec<(KindId, i128)> {
        let kinds = self.kinds.open(request, hints);
        let search = self.search(request, hints, &kinds);
        kinds.iter().map(|kind| (*kind, search.hours(*kind, search.ranks, 1000))).collect()
    }

    /// The type of the units of a kind, their memory, and their price.
    pub(in crate::placement) fn kind(&self, kind: KindId) -> Option<(&str, Bytes, Price)> {
        let kind = self.kinds.get(kind)?;
        Some((&kind.model, kind.memory, kind.terms.price))
    }

    /// Units of a kind of which all is free.
    pub(in crate::placement) fn free_of(&self, kind: KindId) -> u64 {
        u64::try_from(self.index.whole(kind)).unwrap_or(u64::MAX)
    }

    /// The kind of a gang's first unit.
    pub(in crate::placement) fn kind_of(&self, place: &Placement) -> Option<KindId> {
        self.kinds_of(place).next()
    }

    /// What an hour's work of a gang costs on its place.
    pub(in crate::placement) fn hours_of(
        &self,
        request: &Request,
        hints: &Hints<'_>,
        place: &Placement,
    ) -> i128 {
        self.search(request, hints, &[]).hours_on(place)
    }

    /// What the jobs that are likely to come could not use of the nodes of a place, as money.
    pub(in crate::placement) fn waste_of(&self, place: &Placement) -> i128 {
        place.parts.iter().filter_map(|part| self.spot(part.slot)).map(|s| self.waste(s)).sum()
    }

    /// The same of some nodes.
    pub(in crate::placement) fn waste_on(&self, slots: &[u32]) -> i128 {
        slots.iter().filter_map(|slot| self.spot(*slot)).map(|spot| self.waste(spot)).sum()
    }

    /// The same of all nodes.
    #[cfg(test)]
    pub(in crate::placement) fn waste_of_all(&self) -> i128 {
        self.spots().map(|(_, spot)| self.waste(spot)).sum()
    }

    fn waste(&self, spot: &Spot) -> i128 {
        let of_pool = |pool: &Pool| {
            let outlook = self.outlook(pool.kind)?;
            Some(outlook.worth(i128::from(outlook.fragments(&residue(spot, pool))), self.value()))
        };
        spot.pools.iter().filter_map(of_pool).sum()
    }

    fn search<'a>(
        &'a self,
        request: &'a Request,
        hints: &'a Hints<'a>,
        kinds: &'a [KindId],
    ) -> Search<'a> {
        let ranks = usize::try_from(request.ranks).unwrap_or(usize::MAX);
        Search { yard: self, request, hints, ranks, kinds }
    }
}

/// What a unit of a kind costs for an hour: a part of a GPU that part of its price.
fn price(kind: &Kind) -> u64 {
    let of_part = u64::from(kind.part.min(WHOLE));
    kind.terms.price.micro_usd().saturating_mul(of_part) / u64::from(WHOLE)
}
