//! Which nodes have how many free units of a kind: the question that every placement asks.

use std::collections::BTreeSet;

use super::{kinds::KindId, spot::Spot};

/// A node by its id's sort key and its place in the yard.
pub(super) type Entry = (u64, u32);

/// Nodes by kind and number of free units. A held node is in none of the lists.
#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    /// By kind, then by number of free units; none of the lists for zero is kept.
    by_kind: Vec<Vec<BTreeSet<Entry>>>,
    /// Free units of all kinds.
    free: usize,
}

impl Index {
    /// Notes what is free on a node.
    pub(super) fn add(&mut self, slot: u32, spot: &Spot) {
        self.change(slot, spot, true);
    }

    /// Forgets a node; it has to be as it was when it was noted.
    pub(super) fn remove(&mut self, slot: u32, spot: &Spot) {
        self.change(slot, spot, false);
    }

    fn change(&mut self, slot: u32, spot: &Spot, add: bool) {
        if spot.held {
            return;
        }
        for pool in spot.pools.iter().filter(|pool| !pool.free.is_empty()) {
            let count = pool.free.len();
            let list = self.list(pool.kind, count);
            if add {
                list.insert((spot.key, slot));
                self.free += count;
            } else {
                list.remove(&(spot.key, slot));
                self.free = self.free.saturating_sub(count);
            }
        }
    }

    fn list(&mut self, kind: KindId, count: usize) -> &mut BTreeSet<Entry> {
        let kind = at(&mut self.by_kind, usize::from(kind.0));
        at(kind, count)
    }

    /// Nodes by the number of their free units of a kind, the list for none first.
    pub(super) fn of(&self, kind: KindId) -> &[BTreeSet<Entry>] {
        self.by_kind.get(usize::from(kind.0)).map_or(&[], Vec::as_slice)
    }

    /// Free units of all kinds.
    pub(super) const fn free(&self) -> usize {
        self.free
    }
}

/// The element at a position, which is made if there is none yet.
fn at<T: Default>(list: &mut Vec<T>, position: usize) -> &mut T {
    if list.len() <= position {
        list.resize_with(position + 1, T::default);
    }
    // The list reaches as far by now.
    #[allow(clippy::indexing_slicing, reason = "made long enough just above")]
    &mut list[position]
}
