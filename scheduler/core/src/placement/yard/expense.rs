//! What places cost, to compare several ways to place the same gangs: each gang's hours, and what the
//! jobs that wait could not use of what is left.

use super::{
    KindId, Placement, Yard,
    outlook::residue,
    search::Search,
    spot::{Pool, Spot},
};
use crate::placement::fit::{Hints, Request};

impl Yard {
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
            Some(outlook.worth(i128::from(outlook.fragments(&residue(spot, pool)))))
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
