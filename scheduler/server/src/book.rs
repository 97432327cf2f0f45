//! Where each scheduler listens. The replicated state says so; before it does, the configuration;
//! and of one that neither knows, its own word when it greeted. The last is how a member that was
//! away can answer a leader that joined meanwhile.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

#[derive(Debug, Default)]
struct Pages {
    configured: BTreeMap<u64, String>,
    recorded: BTreeMap<u64, String>,
    heard: BTreeMap<u64, String>,
}

/// Addresses a greeting may bring in at most: a stranger's word must not fill the memory.
const MOST_HEARD: usize = 64;

/// The schedulers' addresses, shared by all that speak to them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Book(Arc<RwLock<Pages>>);

impl Book {
    pub(crate) fn new(configured: BTreeMap<u64, String>) -> Self {
        Self(Arc::new(RwLock::new(Pages { configured, ..Pages::default() })))
    }

    fn read<T>(&self, look: impl FnOnce(&Pages) -> T) -> T {
        look(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self, change: impl FnOnce(&mut Pages)) {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// What the state says now.
    pub(crate) fn record(&self, recorded: BTreeMap<u64, String>) {
        self.write(|pages| pages.recorded = recorded);
    }

    /// A scheduler says where it listens.
    pub(crate) fn hear(&self, id: u64, address: &str) {
        let news = |pages: &Pages| pages.heard.get(&id).is_none_or(|known| known != address);
        if address.is_empty() || !self.read(news) {
            return;
        }
        self.write(|pages| {
            if pages.heard.len() < MOST_HEARD || pages.heard.contains_key(&id) {
                pages.heard.insert(id, address.to_owned());
            }
        });
    }

    /// Where a scheduler listens.
    pub(crate) fn address(&self, id: u64) -> Option<String> {
        self.read(|pages| {
            let configured = || pages.configured.get(&id).filter(|_| pages.recorded.is_empty());
            pages.recorded.get(&id).or_else(configured).or_else(|| pages.heard.get(&id)).cloned()
        })
    }

    /// All members.
    pub(crate) fn all(&self) -> BTreeMap<u64, String> {
        self.read(|pages| {
            let known = if pages.recorded.is_empty() { &pages.configured } else { &pages.recorded };
            known.clone()
        })
    }

    /// What the configuration says.
    pub(crate) fn configured(&self) -> BTreeMap<u64, String> {
        self.read(|pages| pages.configured.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(u64, &str)]) -> BTreeMap<u64, String> {
        pairs.iter().map(|(id, at)| (*id, (*at).to_owned())).collect()
    }

    #[test]
    fn the_state_outweighs_the_configuration_and_both_what_is_heard() {
        let book = Book::new(map(&[(1, "a:1"), (2, "b:1")]));
        book.hear(2, "x:1");
        book.hear(9, "i:1");
        let at = |id| book.address(id);
        assert_eq!(at(2).as_deref(), Some("b:1"));
        assert_eq!(at(9).as_deref(), Some("i:1"));
        book.record(map(&[(1, "a:2"), (3, "c:1")]));
        assert_eq!((at(1).as_deref(), at(3).as_deref()), (Some("a:2"), Some("c:1")));
        assert_eq!(at(2).as_deref(), Some("x:1"), "gone from the state: as heard");
        assert_eq!(book.all(), map(&[(1, "a:2"), (3, "c:1")]));
        assert_eq!(book.configured().len(), 2);
    }

    #[test]
    fn strangers_cannot_fill_it() {
        let book = Book::default();
        for id in 0..1000 {
            book.hear(id, "a:1");
        }
        assert_eq!(book.read(|pages| pages.heard.len()), MOST_HEARD);
    }
}
