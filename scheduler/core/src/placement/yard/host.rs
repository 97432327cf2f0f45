//! What a node has beside its units: for how many ranks it is enough.

use super::{Load, Yard, kinds::KindId};
use crate::placement::fit::{Host, Request};

/// What is free of it, entry by entry. Less than nothing where more was taken than there is: what is
/// given back then does not seem free before it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spare([i128; 4]);

impl Spare {
    /// What attempts have left of all that there is.
    pub(super) fn of(all: Host, taken: Host) -> Self {
        let mut spare = Self(all.amounts().map(i128::from));
        spare.add(taken, -1);
        spare
    }

    /// So many ranks take what each of them needs, or give it back.
    pub(super) fn charge(&mut self, load: Load, ranks: u32, take: bool) {
        if !load.host.is_none() {
            self.add(load.host, if take { -i128::from(ranks) } else { i128::from(ranks) });
        }
    }

    fn add(&mut self, each: Host, times: i128) {
        for (free, each) in self.0.iter_mut().zip(each.amounts()) {
            *free += i128::from(each) * times;
        }
    }

    /// What can be handed out.
    pub(super) fn free(&self) -> Host {
        Host::from_amounts(self.0.map(|free| u64::try_from(free.max(0)).unwrap_or(u64::MAX)))
    }

    /// For how many ranks it is enough.
    pub(super) fn room(&self, request: &Request) -> usize {
        if !request.needs_host() {
            return usize::MAX;
        }
        usize::try_from(self.free().ranks(request.host)).unwrap_or(usize::MAX)
    }
}

impl Yard {
    /// Ranks of a gang on the node that takes most of them, if all of it is free.
    pub(super) fn most_on_one(&self, request: &Request, kinds: &[KindId]) -> u32 {
        let spots = self.spots().filter(|(_, spot)| request.allows(&spot.labels));
        spots.map(|(_, spot)| spot.counts(request, kinds).0).max().unwrap_or(0)
    }
}
