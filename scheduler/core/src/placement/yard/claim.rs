//! Places of which only a part is free as yet: what a job that goes first lays its hand on while
//! the attempts that have the rest are being stopped.

use super::{Part, Placement, Yard};
use crate::placement::fit::{Hints, Request, WHOLE};

impl Placement {
    /// Whether both want one of the same units.
    #[must_use]
    pub fn meets(&self, other: &Self) -> bool {
        let shares = |part: &Part| {
            let of_node = other.parts.iter().filter(|theirs| theirs.slot == part.slot);
            of_node.flat_map(|theirs| &theirs.units).any(|unit| part.units.contains(unit))
        };
        self.parts.iter().any(shares)
    }

    /// Whether both take of the same thing beside the units of the same node.
    #[must_use]
    pub fn shares_host(&self, other: &Self) -> bool {
        let both = self.load.host.meets(other.load.host);
        let slots = || other.parts.iter().map(|part| part.slot);
        both && self.parts.iter().any(|part| slots().any(|slot| slot == part.slot))
    }

    /// The same without the units of `other`.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        self.divided(other, false)
    }

    /// The same with no other units than those of `other`.
    #[must_use]
    pub fn within(&self, other: &Self) -> Self {
        self.divided(other, true)
    }

    fn divided(&self, other: &Self, within: bool) -> Self {
        let mut parts = self.parts.clone();
        for part in &mut parts {
            let on_node = || other.parts.iter().filter(|theirs| theirs.slot == part.slot);
            let theirs: Vec<u16> = on_node().flat_map(|theirs| &theirs.units).copied().collect();
            part.units.retain(|unit| theirs.contains(unit) == within);
        }
        parts.retain(|part| !part.units.is_empty());
        parts.iter_mut().for_each(Part::count);
        Self { parts, load: self.load }
    }

    /// How many ranks it is for.
    #[must_use]
    pub fn ranks(&self) -> u32 {
        self.parts.iter().map(|part| part.ranks).sum()
    }

    /// The nodes that it is on.
    #[must_use]
    pub const fn nodes(&self) -> usize {
        self.parts.len()
    }

    /// The units of its last ranks, so many of them.
    #[must_use]
    pub fn last(&self, ranks: u32) -> Self {
        let mut first = self.ranks().saturating_sub(ranks);
        let mut parts = self.parts.clone();
        for part in &mut parts {
            let goes = first.min(part.ranks);
            part.units.drain(..usize::try_from(goes).unwrap_or(usize::MAX).min(part.units.len()));
            first -= goes;
        }
        parts.retain(|part| !part.units.is_empty());
        parts.iter_mut().for_each(Part::count);
        Self { parts, load: self.load }
    }

    /// Whether there is nothing to it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }
}

impl Yard {
    /// What of a place nobody has.
    #[must_use]
    pub fn free_part(&self, placement: &Placement) -> Placement {
        let mut free = placement.clone();
        for part in &mut free.parts {
            let Some(spot) = self.spot(part.slot) else { continue };
            part.units.retain(|unit| !spot.is_used(*unit, 1));
        }
        free.parts.retain(|part| !part.units.is_empty());
        free.parts.iter_mut().for_each(Part::count);
        free
    }

    /// Whether a gang may go there now, on just these units.
    #[must_use]
    pub fn admits(&self, place: &Placement, request: &Request, hints: &Hints<'_>) -> bool {
        let kinds = self.kinds.open(request, hints);
        let free = |part: &Part| {
            let Some(spot) = self.spot(part.slot) else { return false };
            let unit = |at: &u16| spot.units.get(usize::from(*at));
            let answers = |at: &u16| unit(at).is_some_and(|unit| kinds.contains(&unit.kind));
            request.allows(&spot.labels)
                && spot.room(request) >= part.units.len()
                && part.units.iter().all(|at| spot.free_of(*at) == WHOLE && answers(at))
        };
        place.ranks() == request.ranks && place.parts.iter().all(free)
    }

    /// Takes of a place what nobody has.
    pub fn take_free(&mut self, placement: &Placement) {
        let free = self.free_part(placement);
        self.take(&free);
    }
}
