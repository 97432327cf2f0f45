//! How much of what is free on a node is of no use to the jobs that are likely to come: the
//! measure that placements keep low. After Weng et al., «Beware of Fragmentation: Scheduling
//! GPU-Sharing Workloads with Fragmentation Gradient Descent» (USENIX ATC 2023), section 4: the
//! expected part of a node's free units that a task drawn from the workload could not use.

use crate::placement::fit::{Host, Request, WHOLE};

/// The jobs that are likely to come: shapes with how often they do. Nothing that it weighs may
/// depend on the order in which they came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mix {
    shapes: Vec<(Request, u64)>,
}

impl Mix {
    /// The `most` most frequent of these shapes; gangs that take no unit cannot be kept from any.
    #[must_use]
    pub fn of<'a>(counts: impl IntoIterator<Item = (&'a Request, u64)>, most: usize) -> Self {
        let with_units = counts.into_iter().filter(|(request, _)| request.share > 0);
        let mut shapes: Vec<(&Request, u64)> = with_units.collect();
        shapes.sort_by(|(a, many), (b, more)| more.cmp(many).then_with(|| a.cmp(b)));
        shapes.truncate(most);
        Self { shapes: shapes.into_iter().map(|(shape, n)| (shape.clone(), n)).collect() }
    }

    /// The shapes with their weights.
    #[must_use]
    pub fn shapes(&self) -> &[(Request, u64)] {
        &self.shapes
    }
}

/// A shape of the mix as one pool of a node meets it.
#[derive(Debug, Clone)]
pub(in crate::placement) struct Demand {
    pub(in crate::placement) weight: u64,
    /// Ranks that it would put on one node, if that has so many units.
    pub(in crate::placement) ranks: u64,
    /// It goes on no more nodes than it needs, if all are as large as the largest.
    pub(in crate::placement) compact: bool,
    /// Units of the kind on the largest node.
    pub(in crate::placement) largest: u64,
    pub(in crate::placement) share: u16,
    /// What each rank takes beside its unit.
    pub(in crate::placement) host: Host,
    /// Whether the pool's units answer to it.
    pub(in crate::placement) answered: bool,
}

/// What is free of one pool, and beside it.
#[derive(Debug, Clone)]
pub(in crate::placement) struct Residue {
    /// Units of the pool, free or not.
    pub(in crate::placement) total: u64,
    /// Units of which all is free.
    pub(in crate::placement) whole: u64,
    /// What is free of the others.
    pub(in crate::placement) parts: Vec<u16>,
    pub(in crate::placement) host: Host,
}

impl Residue {
    /// What a useless unit counts for a shape of weight one.
    pub(in crate::placement) const SCALE: i128 = 3 * 1000;

    fn free(&self) -> u64 {
        self.whole * u64::from(WHOLE) + self.parts.iter().copied().map(u64::from).sum::<u64>()
    }

    /// Thousandths of units that are free and of no use, times the weights of those to whom.
    pub(in crate::placement) fn fragments(&self, demands: &[Demand]) -> u64 {
        let free = self.free();
        if free == 0 {
            return 0;
        }
        demands.iter().map(|demand| demand.weight.saturating_mul(self.useless(demand, free))).sum()
    }

    /// Two measures of what is useless to a shape. The paper's asks whether the node has room for
    /// one more of it, and changes only where that changes. Beside it, how much stays over when the
    /// node is filled with the shape: it sees processors run out long before they have.
    fn useless(&self, demand: &Demand, free: u64) -> u64 {
        if !demand.answered {
            return 3 * free;
        }
        // Of a gang that is larger than a node, one takes as many ranks as it has units; a compact
        // one keeps off nodes that are smaller than others.
        let most = if demand.compact { demand.largest } else { self.total };
        let ranks = demand.ranks.min(most).max(1);
        let gangs = self.gangs(demand, ranks);
        if gangs == 0 {
            return 3 * free;
        }
        let parts = self.parts.iter().filter(|part| **part < demand.share);
        let small: u64 = parts.copied().map(u64::from).sum();
        let filled = gangs.saturating_mul(ranks).saturating_mul(u64::from(demand.share));
        2 * small + free.saturating_sub(filled)
    }

    /// How many gangs of a shape the node has room for, with so many ranks each.
    fn gangs(&self, demand: &Demand, ranks: u64) -> u64 {
        let by = |free: u64, each: u64| free.checked_div(each).unwrap_or(u64::MAX);
        let times = |part: &u16| u64::from(part.checked_div(demand.share).unwrap_or(0));
        let parts: u64 = self.parts.iter().map(times).sum();
        let units = self.whole.saturating_mul(times(&WHOLE)).saturating_add(parts);
        let gangs = by(units, ranks);
        if demand.host.is_none() {
            return gangs;
        }
        gangs.min(u64::from(self.host.ranks(demand.host.times(ranks))))
    }
}
