//! Against the standard library's map, whatever happens and whatever copies there are.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{LEAF, SharedMap};

#[derive(Debug, Clone)]
enum Step {
    Insert(u16, u8),
    /// So many keys that rise, from here on.
    Rise(u16, u16),
    Remove(u16),
    /// All keys from the first to the second.
    Clear(u16, u16),
    Change(u16, u8),
    ChangeAll(u8),
    Copy,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = 0u16..2_000;
    let step = prop_oneof![
        4 => (key.clone(), any::<u8>()).prop_map(|(key, value)| Step::Insert(key, value)),
        2 => (key.clone(), 0u16..900).prop_map(|(first, count)| Step::Rise(first, count)),
        3 => key.clone().prop_map(Step::Remove),
        1 => (key.clone(), key.clone()).prop_map(|(one, two)| Step::Clear(one, two)),
        3 => (key, any::<u8>()).prop_map(|(key, value)| Step::Change(key, value)),
        1 => any::<u8>().prop_map(Step::ChangeAll),
        2 => Just(Step::Copy),
    ];
    prop::collection::vec(step, 1..60)
}

type Pair = (SharedMap<u16, u8>, BTreeMap<u16, u8>);

fn take((map, model): &mut Pair, step: &Step) -> Result<(), TestCaseError> {
    match *step {
        Step::Insert(key, value) => {
            map.insert(key, value);
            model.insert(key, value);
        }
        Step::Rise(first, count) => {
            for key in first..first.saturating_add(count) {
                map.insert(key, 1);
                model.insert(key, 1);
            }
        }
        Step::Remove(key) => prop_assert_eq!(map.remove(&key), model.remove(&key)),
        Step::Clear(from, to) => {
            for key in from..to {
                prop_assert_eq!(map.remove(&key), model.remove(&key));
            }
        }
        Step::Change(key, value) => {
            let (one, other) = (map.get_mut(&key), model.get_mut(&key));
            prop_assert_eq!(&one, &other);
            if let (Some(one), Some(other)) = (one, other) {
                (*one, *other) = (value, value);
            }
        }
        Step::ChangeAll(value) => {
            map.values_mut().for_each(|one| *one = one.wrapping_add(value));
            model.values_mut().for_each(|one| *one = one.wrapping_add(value));
        }
        Step::Copy => {}
    }
    Ok(())
}

fn check((map, model): &Pair, key: u16) -> Result<(), TestCaseError> {
    prop_assert!(map.iter().eq(model.iter()));
    prop_assert!(map.iter().rev().eq(model.iter().rev()));
    prop_assert_eq!((map.len(), map.is_empty()), (model.len(), model.is_empty()));
    prop_assert_eq!(map.get(&key), model.get(&key));
    prop_assert!(map.from(key).eq(model.range(key..)));
    for (bound, leaf) in &map.leaves {
        prop_assert!((1..=LEAF).contains(&leaf.len()), "a leaf of {}", leaf.len());
        prop_assert!(leaf.keys().all(|key| key >= bound));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn it_is_the_standard_librarys_map_and_copies_stay_as_they_were(
        steps in steps(),
        key in 0u16..2_000,
    ) {
        let mut pair = Pair::default();
        let mut copies = Vec::new();
        for step in &steps {
            take(&mut pair, step)?;
            check(&pair, key)?;
            if matches!(step, Step::Copy) {
                copies.push(pair.clone());
            }
        }
        for copy in &copies {
            check(copy, key)?;
        }
        let (map, model) = pair;
        let again: SharedMap<u16, u8> = model.into_iter().collect();
        prop_assert_eq!(&again, &map);
        let bytes = rmp_serde::to_vec(&map).unwrap();
        let standard: BTreeMap<u16, u8> = rmp_serde::from_slice(&bytes).unwrap();
        prop_assert_eq!(rmp_serde::to_vec(&standard).unwrap(), bytes.clone());
        let read: SharedMap<u16, u8> = rmp_serde::from_slice(&bytes).unwrap();
        prop_assert_eq!(read, map);
    }
}

#[test]
fn rising_keys_fill_their_leaves() {
    let map: SharedMap<usize, ()> = (0..10 * LEAF).map(|key| (key, ())).collect();
    assert_eq!(map.leaves.len(), 10);
}

#[test]
fn a_change_after_a_copy_copies_one_leaf() {
    let mut map: SharedMap<usize, u8> = (0..10 * LEAF).map(|key| (key, 0)).collect();
    let copy = map.clone();
    *map.get_mut(&5).unwrap() = 1;
    let shared = map.leaves.values().zip(copy.leaves.values());
    assert_eq!(shared.filter(|(one, other)| std::sync::Arc::ptr_eq(one, other)).count(), 9);
}
