//! What the jobs that are likely to come could use of a node: asked for every place that is
//! compared, so what can be known before is worked out once.

use std::collections::BTreeMap;

use super::spot::{Pool, Spot};
use crate::placement::{
    fit::Host,
    score::{Demand, Residue},
};

/// How the units of one kind meet the likely jobs.
#[derive(Debug, Clone, Default)]
pub(super) struct Outlook {
    demands: Vec<Demand>,
    /// The sum of their weights.
    weight: u64,
    /// The fragments of a node with so many units of which so many are free, where nobody asks for
    /// anything beside them.
    plain: Option<BTreeMap<u16, Vec<u64>>>,
}

impl Outlook {
    pub(super) fn new(demands: Vec<Demand>, sizes: impl Iterator<Item = u16>) -> Self {
        let weight = demands.iter().map(|demand| demand.weight).sum();
        let is_plain = |d: &Demand| d.host.is_none();
        let plain = demands.iter().all(is_plain).then(|| {
            let row = |total: u16| {
                let fragments = |whole: u16| {
                    let (total, whole) = (u64::from(total), u64::from(whole));
                    let parts = Vec::new();
                    let host = Host::default();
                    Residue { total, whole, parts, host }.fragments(&demands)
                };
                (total, (0..=total).map(fragments).collect())
            };
            sizes.map(row).collect()
        });
        Self { demands, weight, plain }
    }

    /// Nobody is expected.
    pub(super) const fn is_empty(&self) -> bool {
        self.demands.is_empty()
    }

    /// What a pool's free units are of no use for once `change` has happened to them.
    pub(super) fn fragments(&self, residue: &Residue) -> u64 {
        residue.fragments(&self.demands)
    }

    /// The same before and after whole units are taken, if it can be read off.
    pub(super) fn by_count(&self, pool: &Pool, taken: usize) -> Option<(u64, u64)> {
        if !pool.parts.is_empty() {
            return None;
        }
        let row = self.plain.as_ref()?.get(&pool.total)?;
        let free = pool.free.len();
        Some((*row.get(free)?, *row.get(free.checked_sub(taken)?)?))
    }

    /// Fragments as money: what the units are `value`d at for an hour that nobody is expected to use.
    pub(super) fn worth(&self, fragments: i128, value: u64) -> i128 {
        let scale = i128::from(self.weight).saturating_mul(Residue::SCALE).max(1);
        fragments.saturating_mul(i128::from(value)) / scale
    }
}

/// What is free of one pool, and beside it.
pub(super) fn residue(spot: &Spot, pool: &Pool) -> Residue {
    Residue {
        total: u64::from(pool.total),
        whole: u64::try_from(pool.free.len()).unwrap_or(u64::MAX),
        parts: pool.parts.iter().map(|at| spot.free_of(*at)).collect(),
        host: spot.spare.free(),
    }
}
