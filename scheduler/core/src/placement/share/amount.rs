//! How much of everything that counts in shares: units, and the processors and memory that jobs ask
//! for beside them. Disk and network are what a node has, and nobody's share.

use trainyard_jobs::{Bytes, spec::Resources};

use super::WHOLE;
use crate::placement::{fit::Host, planner::slot};

/// What a queue has, or what there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::placement) struct Amount {
    /// Units: CPU slots, GPUs.
    pub(in crate::placement) units: [u64; 2],
    /// Processors and memory.
    pub(in crate::placement) host: Host,
}

impl Amount {
    /// What so many ranks of a job have.
    pub(in crate::placement) fn of(asked: &Resources, ranks: u64) -> Self {
        let each = Host::of_rank(asked);
        let mut units = [0; 2];
        if let Some(of_kind) = units.get_mut(slot(asked.device)) {
            *of_kind = ranks;
        }
        let cpu_milli = each.cpu_milli.saturating_mul(ranks);
        let memory = Bytes(each.memory.0.saturating_mul(ranks));
        Self { units, host: Host { cpu_milli, memory, ..Host::default() } }
    }

    /// Counts more of it, or less.
    pub(in crate::placement) fn count(&mut self, other: Self, more: bool) {
        for (sum, units) in self.units.iter_mut().zip(other.units) {
            *sum = if more { sum.saturating_add(units) } else { sum.saturating_sub(units) };
        }
        self.host = if more { self.host.and(other.host) } else { self.host.without(other.host) };
    }

    /// So much of it as `weight` is of `all`.
    pub(super) fn part(self, weight: u64, all: u64) -> Self {
        let part = |whole: u64| {
            let part = u128::from(whole) * u128::from(weight) / u128::from(all.max(1));
            u64::try_from(part).unwrap_or(u64::MAX)
        };
        let (cpu_milli, memory) = (part(self.host.cpu_milli), Bytes(part(self.host.memory.0)));
        Self { units: self.units.map(part), host: Host { cpu_milli, memory, ..Host::default() } }
    }

    /// The largest share of all units that it is of the units of any kind.
    pub(super) fn of_units(&self, total: &Self) -> u128 {
        let share = |(used, total): (&u64, &u64)| ratio(*used, *total);
        self.units.iter().zip(&total.units).map(share).max().unwrap_or_default()
    }
}

/// The larger of the shares of all processors and of all memory that it is.
pub(super) fn of_host(host: Host, total: Host) -> u128 {
    ratio(host.cpu_milli, total.cpu_milli).max(ratio(host.memory.0, total.memory.0))
}

/// Whether what so many ranks ask for beside what is had of it is no more than there is; of what
/// they do not ask for it does not matter how much is had.
pub(super) fn within(had: Host, each: Host, ranks: u64, most: Host) -> bool {
    let fits = |had: u64, each: u64, most: u64| {
        each == 0 || had.saturating_add(each.saturating_mul(ranks)) <= most
    };
    fits(had.cpu_milli, each.cpu_milli, most.cpu_milli)
        && fits(had.memory.0, each.memory.0, most.memory.0)
}

fn ratio(used: u64, total: u64) -> u128 {
    u128::from(used) * WHOLE / u128::from(total.max(1))
}
