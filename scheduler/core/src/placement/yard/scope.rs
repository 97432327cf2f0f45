//! The units that answer to a wish, counted: of what is free, of what gangs have, of what is
//! reserved. Where only the number matters that is all there is to know.

use super::{NONE, Placement, Yard, kinds::KindId, spot::Spot};
use crate::placement::{
    fit::{Hints, Host, Request, WHOLE},
    windows::Covers,
};

/// The units that answer to a wish, wherever they are.
#[derive(Debug, Clone)]
pub(in crate::placement) struct Scope {
    /// The wish of a gang of one.
    wish: Request,
    kinds: Vec<KindId>,
}

impl Scope {
    /// Whether these are the units that answer to a request.
    pub(in crate::placement) fn is_of(&self, request: &Request) -> bool {
        self.wish == wish(request)
    }

    /// The wish, for a gang of one.
    pub(in crate::placement) const fn wish(&self) -> &Request {
        &self.wish
    }

    fn has(&self, spot: &Spot) -> bool {
        self.wish.allows(&spot.labels)
    }
}

/// The same of one rank, wherever it may go.
fn wish(request: &Request) -> Request {
    Request {
        ranks: 1,
        share: WHOLE,
        most_per_node: u32::MAX,
        compact: false,
        host: Host::default(),
        ..request.clone()
    }
}

impl Yard {
    /// The units that answer to a request.
    pub(in crate::placement) fn scope(&self, request: &Request) -> Scope {
        Scope { wish: wish(request), kinds: self.kinds.answering(request) }
    }

    /// Whether some unit answers to both.
    pub(in crate::placement) fn overlap(&self, one: &Scope, other: &Scope) -> bool {
        let kinds: Vec<KindId> =
            one.kinds.iter().filter(|kind| other.kinds.contains(kind)).copied().collect();
        let both = |spot: &Spot| {
            spot.pools.iter().any(|pool| kinds.contains(&pool.kind))
                && one.has(spot)
                && other.has(spot)
        };
        !kinds.is_empty() && self.spots().any(|(_, spot)| both(spot))
    }

    /// Units that nobody has.
    pub(in crate::placement) fn free_in(&self, scope: &Scope) -> u64 {
        let spots = self.spots().filter(|(_, spot)| !spot.held && scope.has(spot));
        let pools = spots.flat_map(|(_, spot)| &spot.pools);
        let free = pools.filter(|pool| scope.kinds.contains(&pool.kind)).map(|p| p.free.len());
        free.map(|units| u64::try_from(units).unwrap_or(u64::MAX)).sum()
    }

    /// What a gang has of these units, node by node with the reservations there. Units that cannot
    /// be used do not count.
    pub(in crate::placement) fn parts_in<'a>(
        &'a self,
        scope: &'a Scope,
        place: &'a Placement,
    ) -> impl Iterator<Item = (&'a Covers, u64)> {
        place.parts.iter().filter_map(|part| {
            let spot = self.spot(part.slot).filter(|spot| scope.has(spot))?;
            let answers = |at: &&u16| {
                let unit = spot.units.get(usize::from(**at));
                unit.is_some_and(|unit| !unit.is_out() && scope.kinds.contains(&unit.kind))
            };
            let units = part.units.iter().filter(answers).count();
            let covers = self.covers.get(&spot.id).unwrap_or(&NONE);
            Some((covers, u64::try_from(units).unwrap_or(u64::MAX)))
        })
    }

    /// How many of these units a gang has.
    pub(in crate::placement) fn units_in(&self, scope: &Scope, place: &Placement) -> u64 {
        self.parts_in(scope, place).map(|(_, units)| units).sum()
    }

    /// The nodes with reservations: those, and how many of the units can be used, taken or not.
    pub(in crate::placement) fn covered_in<'a>(
        &'a self,
        scope: &'a Scope,
    ) -> impl Iterator<Item = (&'a Covers, u64)> {
        self.covers.iter().filter_map(|(node, covers)| {
            let spot = self.spot(*self.by_id.get(node)?).filter(|spot| scope.has(spot))?;
            let answers =
                |unit: &&super::spot::Unit| !unit.is_out() && scope.kinds.contains(&unit.kind);
            let units = spot.units.iter().filter(answers).count();
            Some((covers, u64::try_from(units).unwrap_or(u64::MAX)))
        })
    }

    /// Where a gang would go now if none of its units were of these.
    pub(in crate::placement) fn place_outside(
        &self,
        request: &Request,
        hints: &Hints<'_>,
        scopes: &[&Scope],
    ) -> Option<Placement> {
        let is_outside = |kind: KindId| scopes.iter().all(|scope| !scope.kinds.contains(&kind));
        self.place_on(request, hints, is_outside)
    }
}
