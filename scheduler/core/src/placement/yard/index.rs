//! Which nodes have how many free units of a kind: the question that every placement asks. Nodes
//! that look alike stand beside each other, so that one of them answers for all.

use std::{collections::BTreeSet, ops::Bound};

use super::{domains::Domains, kinds::KindId, spot::Spot};

/// A node: what it looks like, its id's sort key, and its place in the yard.
pub(super) type Entry = (u64, u64, u32);

/// Nodes with equally many free units of a kind, those that look alike together.
pub(super) type Alike = BTreeSet<Entry>;

/// Nodes by kind and number of free units. A held node is in none of the lists.
#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    by_kind: Vec<Lists>,
    pub(super) domains: Domains,
    /// Free units of all kinds, and those of which a part is free.
    free: usize,
}

/// The nodes that have something free of a kind.
#[derive(Debug, Clone, Default)]
pub(super) struct Lists {
    /// By the number of units of which all is free; the list for zero has those of which only
    /// parts are free.
    by_count: Vec<Alike>,
    /// Units of which all is free.
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
        for pool in &spot.pools {
            let (count, parts) = (pool.free.len(), pool.parts.len());
            if count + parts == 0 {
                continue;
            }
            let entry = (spot.look, spot.key, slot);
            let lists = at(&mut self.by_kind, usize::from(pool.kind.0));
            let list = at(&mut lists.by_count, count);
            if add {
                list.insert(entry);
                lists.free += count;
                self.free += count + parts;
            } else {
                list.remove(&entry);
                lists.free = lists.free.saturating_sub(count);
                self.free = self.free.saturating_sub(count + parts);
            }
            self.domains.change(spot, pool.kind, count, add);
        }
    }

    /// Nodes by the number of their free units of a kind.
    pub(super) fn of(&self, kind: KindId) -> &[Alike] {
        self.by_kind.get(usize::from(kind.0)).map_or(&[], |lists| lists.by_count.as_slice())
    }

    /// Units of a kind of which all is free.
    pub(super) fn whole(&self, kind: KindId) -> usize {
        self.by_kind.get(usize::from(kind.0)).map_or(0, |lists| lists.free)
    }

    /// Units of which something is free, of all kinds.
    pub(super) const fn free(&self) -> usize {
        self.free
    }
}

/// The nodes of a list, one for each look: the first that `allowed` lets through.
pub(super) fn one_of_each<'a>(
    list: &'a Alike,
    allowed: impl Fn(&Entry) -> bool + 'a,
) -> impl Iterator<Item = Entry> + 'a {
    let mut after = Bound::Unbounded;
    std::iter::from_fn(move || {
        loop {
            let entry = *list.range((after, Bound::Unbounded)).next()?;
            if allowed(&entry) {
                after = Bound::Excluded((entry.0, u64::MAX, u32::MAX));
                return Some(entry);
            }
            after = Bound::Excluded(entry);
        }
    })
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
