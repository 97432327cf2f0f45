//! Parts of GPUs on a node: which GPU each is of, that a gang has one rank a GPU, and that a GPU
//! which is begun is filled before an untouched one is opened.

use std::collections::{BTreeMap, BTreeSet};

use trainyard_jobs::{Device, UnitId};

use super::{Yard, kinds::KindId, search::Search, spot::Spot};
use crate::placement::fit::{Request, WHOLE};

/// What it costs to open a GPU of which all is free, as a part of what stays over of it: little,
/// for it is as good to whoever comes next, but without neighbours.
const OPENING: i128 = 50;

/// The GPUs that are offered in parts, each under a number of its own.
pub(super) fn gpus<'a>(devices: &[(&'a UnitId, &'a Device)]) -> BTreeMap<&'a UnitId, u16> {
    let parents: BTreeSet<&UnitId> =
        devices.iter().filter_map(|(_, device)| device.part.parent()).collect();
    parents.into_iter().zip(0..).collect()
}

impl Spot {
    /// Of these units, all of them free, at most so many, no two of the same GPU: first those of
    /// the GPUs of which least is free.
    pub(super) fn apart(&self, free: impl Iterator<Item = u16>, most: usize) -> Vec<u16> {
        let mut first: BTreeMap<u16, u16> = BTreeMap::new();
        for at in free {
            if let Some(unit) = self.units.get(usize::from(at)) {
                first.entry(unit.gpu).or_insert(at);
            }
        }
        let mut left: BTreeMap<u16, (bool, usize)> = BTreeMap::new();
        for unit in &self.units {
            let (untouched, free) = left.entry(unit.gpu).or_insert((true, 0));
            *untouched &= unit.free() == WHOLE;
            *free += usize::from(unit.free() == WHOLE);
        }
        let mut found: Vec<_> =
            first.into_iter().map(|(gpu, at)| (left.get(&gpu), gpu, at)).collect();
        found.sort_unstable();
        found.into_iter().take(most).map(|(.., at)| at).collect()
    }

    /// Whether nobody has any part of the GPU that this unit is of.
    fn is_untouched(&self, at: u16) -> bool {
        let gpu = self.units.get(usize::from(at)).map(|unit| unit.gpu);
        let parts = self.units.iter().filter(|unit| Some(unit.gpu) == gpu);
        parts.into_iter().all(|unit| unit.free() == WHOLE)
    }

    /// For how many ranks there are units that answer, of these kinds, and processors and memory
    /// beside them: busy or not, and those that are not out of use.
    pub(super) fn counts(&self, request: &Request, kinds: &[KindId]) -> (u32, u32) {
        let most = request.most_per_node.min(self.host.ranks(request.host));
        if request.on_parts() && request.ranks > 1 {
            let of_kind = || self.units.iter().filter(|unit| kinds.contains(&unit.kind));
            let all: BTreeSet<u16> = of_kind().map(|unit| unit.gpu).collect();
            let usable = of_kind().filter(|unit| !unit.out || unit.used > 0);
            let usable: BTreeSet<u16> = usable.map(|unit| unit.gpu).collect();
            let count = |gpus: &BTreeSet<u16>| u32::try_from(gpus.len()).unwrap_or(u32::MAX);
            return (count(&all).min(most), count(&usable).min(most));
        }
        let pools = || self.pools.iter().filter(|pool| kinds.contains(&pool.kind));
        let all: u32 = pools().map(|pool| u32::from(pool.total)).sum();
        let out: u32 = pools().map(|pool| u32::from(pool.out)).sum();
        (all.min(most), (all - out).min(most))
    }
}

impl Search<'_> {
    /// What it costs to open the GPUs that nobody has a part of yet.
    pub(super) fn openings(&self, spot: &Spot, kind: KindId, units: &[u16]) -> i128 {
        if !self.request.on_parts() {
            return 0;
        }
        let part = self.yard.kinds.get(kind).map_or(WHOLE, |kind| kind.part);
        let over = i128::from(WHOLE.saturating_sub(part)) * i128::from(self.yard.value())
            / i128::from(WHOLE);
        let opened = units.iter().filter(|at| spot.is_untouched(**at)).count();
        i128::try_from(opened).unwrap_or(i128::MAX).saturating_mul(over / OPENING)
    }
}

impl Yard {
    /// Whether any node offers parts of GPUs.
    pub(in crate::placement) fn has_parts(&self) -> bool {
        self.kinds.have_parts()
    }
}
