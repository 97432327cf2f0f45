//! A node's processors and memory beside its units: for how many ranks they are enough.

use super::{Load, Yard, kinds::KindId};
use crate::placement::fit::{Host, Request};

/// What is free of them. Less than nothing where more was taken than there is: what is given back
/// then does not seem free before it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spare {
    cpu_milli: i128,
    memory: i128,
}

impl Spare {
    /// What attempts have left of all that there is.
    pub(super) fn of(all: Host, taken: Host) -> Self {
        Self {
            cpu_milli: i128::from(all.cpu_milli) - i128::from(taken.cpu_milli),
            memory: i128::from(all.memory.0) - i128::from(taken.memory.0),
        }
    }

    /// So many ranks take what each of them needs, or give it back.
    pub(super) fn charge(&mut self, load: Load, ranks: u32, take: bool) {
        let change = |each: u64| {
            let all = i128::from(each) * i128::from(ranks);
            if take { -all } else { all }
        };
        self.cpu_milli += change(load.host.cpu_milli);
        self.memory += change(load.host.memory.0);
    }

    /// Thousandths of processors.
    pub(super) fn cpu_milli(&self) -> u64 {
        u64::try_from(self.cpu_milli.max(0)).unwrap_or(u64::MAX)
    }

    /// Bytes of memory.
    pub(super) fn memory(&self) -> u64 {
        u64::try_from(self.memory.max(0)).unwrap_or(u64::MAX)
    }

    /// For how many ranks it is enough.
    pub(super) fn room(&self, request: &Request) -> usize {
        let by = |free: u64, each: u64| free.checked_div(each).unwrap_or(u64::MAX);
        let cpus = by(self.cpu_milli(), request.cpu_milli);
        let ranks = cpus.min(by(self.memory(), request.memory.0));
        usize::try_from(ranks).unwrap_or(usize::MAX)
    }
}

impl Yard {
    /// Ranks of a gang on the node that takes most of them, if all of it is free.
    pub(super) fn most_on_one(&self, request: &Request, kinds: &[KindId]) -> u32 {
        let spots = self.spots().filter(|(_, spot)| request.allows(&spot.labels));
        spots.map(|(_, spot)| spot.counts(request, kinds).0).max().unwrap_or(0)
    }
}
