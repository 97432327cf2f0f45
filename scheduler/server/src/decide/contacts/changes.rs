//! Who changed last: whoever follows asks for those that changed since it asked before, however
//! many others there are. One entry a subject.

use std::collections::BTreeMap;

/// Subjects in the order of their last change.
#[derive(Debug, Clone)]
pub(super) struct Changes<K> {
    next: u64,
    order: BTreeMap<u64, K>,
    at: BTreeMap<K, u64>,
}

impl<K> Default for Changes<K> {
    fn default() -> Self {
        Self { next: 0, order: BTreeMap::new(), at: BTreeMap::new() }
    }
}

impl<K: Ord + Clone> Changes<K> {
    /// A subject has changed.
    pub(super) fn mark(&mut self, subject: &K) {
        match self.at.get_mut(subject) {
            Some(at) => {
                self.order.remove(at);
                *at = self.next;
            }
            None => drop(self.at.insert(subject.clone(), self.next)),
        }
        self.order.insert(self.next, subject.clone());
        self.next += 1;
    }

    /// Nothing is known of a subject any more.
    pub(super) fn forget(&mut self, subject: &K) {
        if let Some(at) = self.at.remove(subject) {
            self.order.remove(&at);
        }
    }

    /// Those that changed at `place` or later.
    pub(super) fn since(&self, place: u64) -> impl Iterator<Item = &K> {
        self.order.range(place..).map(|(_, subject)| subject)
    }

    /// The place after all changes so far.
    pub(super) const fn place(&self) -> u64 {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_named_once_where_it_changed_last() {
        let mut changes = Changes::default();
        for name in ["a", "b", "c", "a"] {
            changes.mark(&name);
        }
        let all: Vec<_> = changes.since(0).copied().collect();
        assert_eq!(all, ["b", "c", "a"]);
        let place = changes.place();
        assert_eq!(changes.since(place).count(), 0);
        changes.mark(&"b");
        changes.mark(&"c");
        changes.forget(&"c");
        assert_eq!(changes.since(place).copied().collect::<Vec<_>>(), ["b"]);
        assert_eq!(changes.since(0).copied().collect::<Vec<_>>(), ["a", "b"]);
    }
}
