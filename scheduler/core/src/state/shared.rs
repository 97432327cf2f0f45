//! An ordered map of which a copy costs little: its entries lie in leaves, and copies share leaves
//! and values until one of them is changed.
//!
//! A state is copied for each snapshot and each hash, while commands wait. Copying a million
//! entries took longer than an election timeout; a copy of this map counts up one reference a
//! leaf. Never unsafe, and never dependent on anything but the order of the keys: what a map
//! serializes to and is equal to does not tell how it came about.

use std::{collections::BTreeMap, fmt, marker::PhantomData, sync::Arc};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
};

/// Entries of a leaf: so many references are counted up when it is changed after a copy.
const LEAF: usize = 256;

type Leaf<K, V> = BTreeMap<K, Arc<V>>;

/// A map by `K` whose copies share what they have in common.
#[derive(Clone)]
pub struct SharedMap<K, V> {
    /// Leaves by a bound that no key in them is below; never empty ones. They are not joined: what
    /// leaves in the order of its keys empties them, and what comes at random fills them again.
    leaves: BTreeMap<K, Arc<Leaf<K, V>>>,
    len: usize,
}

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> Self {
        Self { leaves: BTreeMap::new(), len: 0 }
    }
}

impl<K, V> SharedMap<K, V> {
    /// How many entries there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All entries in the order of their keys.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        let entries = self.leaves.values().flat_map(|leaf| leaf.iter());
        entries.map(|(key, value)| (key, value.as_ref()))
    }

    /// All keys in order.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    /// All values in the order of their keys.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }
}

impl<K: Ord + Clone, V> SharedMap<K, V> {
    /// One value.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&V> {
        let (_, leaf) = self.leaves.range(..=key).next_back()?;
        leaf.get(key).map(Arc::as_ref)
    }

    /// Whether there is such a key.
    #[must_use]
    pub fn contains_key(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// The entries from `first` on, in the order of their keys.
    pub(crate) fn from(&self, first: K) -> impl Iterator<Item = (&K, &V)> {
        let leaves = self.leaves.range(self.bound(&first).unwrap_or(&first).clone()..);
        let entries = leaves.flat_map(|(_, leaf)| leaf.iter());
        let entries = entries.skip_while(move |(key, _)| **key < first);
        entries.map(|(key, value)| (key, value.as_ref()))
    }

    /// The bound of the leaf in which a key stands if it is there.
    fn bound(&self, key: &K) -> Option<&K> {
        self.leaves.range(..=key).next_back().map(|(bound, _)| bound)
    }
}

impl<K: Ord + Clone, V: Clone> SharedMap<K, V> {
    /// A value to change. If a copy shares it, it is copied first.
    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.leaf_mut(key)?.get_mut(key).map(Arc::make_mut)
    }

    /// All values in the order of their keys, to change. Copies whatever is shared.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        let leaves = self.leaves.values_mut().flat_map(|leaf| Arc::make_mut(leaf).values_mut());
        leaves.map(Arc::make_mut)
    }

    /// Adds an entry, or puts it in the place of one of the same key.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        let value = Arc::new(value);
        if self.bound(&key).is_none() {
            let first = self.leaves.pop_first().map(|(_, leaf)| leaf).unwrap_or_default();
            self.leaves.insert(key.clone(), first);
        }
        let Some(leaf) = self.leaf_mut(&key) else { return };
        let last = leaf.last_key_value().is_none_or(|(last, _)| *last < key);
        let added = leaf.insert(key.clone(), value).is_none();
        if leaf.len() > LEAF {
            // Keys that rise, as those of idempotency do, leave full leaves behind them.
            let middle = if last { Some(&key) } else { leaf.keys().nth(LEAF / 2) };
            if let Some(middle) = middle.cloned() {
                let upper = leaf.split_off(&middle);
                self.leaves.insert(middle, Arc::new(upper));
            }
        }
        self.len = self.len.saturating_add(usize::from(added));
    }

    /// Takes an entry out.
    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let leaf = self.leaf_mut(key)?;
        let value = leaf.remove(key)?;
        if leaf.is_empty()
            && let Some(bound) = self.bound(key).cloned()
        {
            self.leaves.remove(&bound);
        }
        self.len = self.len.saturating_sub(1);
        Some(Arc::unwrap_or_clone(value))
    }

    /// The leaf in which a key belongs.
    fn leaf_mut(&mut self, key: &K) -> Option<&mut Leaf<K, V>> {
        let (_, leaf) = self.leaves.range_mut(..=key).next_back()?;
        Some(Arc::make_mut(leaf))
    }
}

impl<K: Ord + Clone, V: Clone> FromIterator<(K, V)> for SharedMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut map = Self::default();
        entries.into_iter().for_each(|(key, value)| map.insert(key, value));
        map
    }
}

impl<K: PartialEq, V: PartialEq> PartialEq for SharedMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl<K: Eq, V: Eq> Eq for SharedMap<K, V> {}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for SharedMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K: Serialize, V: Serialize> Serialize for SharedMap<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // With its length, which a map of the standard library tells too.
        let mut map = serializer.serialize_map(Some(self.len))?;
        for (key, value) in self.iter() {
            serde::ser::SerializeMap::serialize_entry(&mut map, key, value)?;
        }
        serde::ser::SerializeMap::end(map)
    }
}

impl<'de, K, V> Deserialize<'de> for SharedMap<K, V>
where
    K: Deserialize<'de> + Ord + Clone,
    V: Deserialize<'de> + Clone,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<K, V>(PhantomData<(K, V)>);

        impl<'de, K, V> Visitor<'de> for Entries<K, V>
        where
            K: Deserialize<'de> + Ord + Clone,
            V: Deserialize<'de> + Clone,
        {
            type Value = SharedMap<K, V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
                let mut map = SharedMap::default();
                while let Some((key, value)) = from.next_entry()? {
                    map.insert(key, value);
                }
                Ok(map)
            }
        }

        deserializer.deserialize_map(Entries(PhantomData))
    }
}

#[cfg(test)]
mod tests;
