//! Which processors each rank has for itself: near its GPU, whole cores before halves, of one NUMA
//! node as long as one has enough. Pure; what the machine is like says [`machine`].

pub(crate) mod machine;

use std::collections::{BTreeMap, BTreeSet};

/// A logical processor that ranks may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Processor {
    /// Its NUMA node.
    pub numa: u32,
    /// Its core: the lowest of the logical processors that share it.
    pub core: u32,
    /// Its number.
    pub cpu: u32,
}

/// What one rank asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// Logical processors.
    pub cpus: usize,
    /// The NUMA node of its GPU, if that is known.
    pub near: Option<u32>,
}

/// Processors for every rank, which nobody else has; nothing if there are not enough for all. First
/// each rank gets what is free near its GPU, then the rest where most of it is together.
#[must_use]
pub fn choose(
    all: &[Processor],
    taken: &BTreeSet<u32>,
    wishes: &[Wish],
) -> Option<Vec<BTreeSet<u32>>> {
    let mut free = Free::of(all, taken);
    let wanted: usize = wishes.iter().map(|wish| wish.cpus).sum();
    if wanted > free.count() {
        return None;
    }
    let near =
        |wish: &Wish| wish.near.map_or_else(BTreeSet::new, |numa| free.take(numa, wish.cpus));
    let mut chosen: Vec<BTreeSet<u32>> = wishes.iter().map(near).collect();
    for (wish, own) in wishes.iter().zip(&mut chosen) {
        while own.len() < wish.cpus {
            let missing = wish.cpus - own.len();
            let more = free.take(free.best_for(missing)?, missing);
            own.extend(more);
        }
    }
    Some(chosen)
}

/// What is free, by NUMA node and core.
struct Free(BTreeMap<u32, BTreeMap<u32, Core>>);

#[derive(Default)]
struct Core {
    free: BTreeSet<u32>,
    /// Somebody has a part of it.
    begun: bool,
}

impl Free {
    fn of(all: &[Processor], taken: &BTreeSet<u32>) -> Self {
        let mut nodes: BTreeMap<u32, BTreeMap<u32, Core>> = BTreeMap::new();
        for Processor { numa, core, cpu } in all {
            let core = nodes.entry(*numa).or_default().entry(*core).or_default();
            if taken.contains(cpu) {
                core.begun = true;
            } else {
                core.free.insert(*cpu);
            }
        }
        Self(nodes)
    }

    fn count(&self) -> usize {
        self.0.keys().map(|numa| self.count_on(*numa)).sum()
    }

    fn count_on(&self, numa: u32) -> usize {
        self.0.get(&numa).map_or(0, |cores| cores.values().map(|core| core.free.len()).sum())
    }

    /// The NUMA node for so many: the fullest that has enough, else the one that has most.
    fn best_for(&self, cpus: usize) -> Option<u32> {
        let counts = || self.0.keys().map(|numa| (self.count_on(*numa), *numa));
        let enough = counts().filter(|(free, _)| *free >= cpus).min();
        let most = || counts().filter(|(free, _)| *free > 0).max_by_key(|(free, _)| *free);
        enough.or_else(most).map(|(_, numa)| numa)
    }

    /// At most so many of a NUMA node: whole cores, then what is left of begun ones, then a part of
    /// a whole one.
    fn take(&mut self, numa: u32, cpus: usize) -> BTreeSet<u32> {
        let mut own = BTreeSet::new();
        let Some(cores) = self.0.get_mut(&numa) else { return own };
        let steps: [fn(&Core, usize) -> bool; 3] = [
            |core, missing| !core.begun && core.free.len() <= missing,
            |core, _| core.begun,
            |_, _| true,
        ];
        for may_take in steps {
            for core in cores.values_mut() {
                let missing = cpus.saturating_sub(own.len());
                if missing > 0 && !core.free.is_empty() && may_take(core, missing) {
                    let rest = core.free.iter().nth(missing).copied();
                    let rest = rest.map_or_else(BTreeSet::new, |first| core.free.split_off(&first));
                    own.extend(std::mem::replace(&mut core.free, rest));
                    core.begun = true;
                }
            }
        }
        own
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Two NUMA nodes of two cores with two threads each: 0 to 3 and 4 to 7 are cores' first
    /// threads, as machines count.
    fn machine() -> Vec<Processor> {
        let processor = |cpu: u32| {
            let core = cpu % 4;
            Processor { numa: core / 2, core, cpu }
        };
        (0..8).map(processor).collect()
    }

    fn chosen(taken: &[u32], wishes: &[(usize, Option<u32>)]) -> Option<Vec<Vec<u32>>> {
        let wishes: Vec<Wish> =
            wishes.iter().map(|(cpus, near)| Wish { cpus: *cpus, near: *near }).collect();
        let found = choose(&machine(), &taken.iter().copied().collect(), &wishes)?;
        Some(found.into_iter().map(|own| own.into_iter().collect()).collect())
    }

    #[test]
    fn a_rank_gets_whole_cores_near_its_gpu() {
        assert_eq!(chosen(&[], &[(2, Some(1))]), Some(vec![vec![2, 6]]));
        assert_eq!(
            chosen(&[], &[(4, Some(1)), (4, Some(0))]),
            Some(vec![vec![2, 3, 6, 7], vec![0, 1, 4, 5]])
        );
        assert_eq!(chosen(&[2], &[(2, Some(1))]), Some(vec![vec![3, 7]]), "6 shares its core");
        assert_eq!(chosen(&[], &[(3, Some(0))]), Some(vec![vec![0, 1, 4]]));
        assert_eq!(chosen(&[1], &[(3, Some(0))]), Some(vec![vec![0, 4, 5]]), "the begun core");
    }

    #[test]
    fn what_is_not_near_comes_from_elsewhere_after_everybody_had_theirs() {
        let found = chosen(&[], &[(6, Some(0)), (2, Some(1))]).unwrap();
        assert_eq!(found, [vec![0, 1, 3, 4, 5, 7], vec![2, 6]]);
        assert_eq!(chosen(&[], &[(2, Some(9))]), Some(vec![vec![0, 4]]), "a node of no processors");
    }

    #[test]
    fn without_a_gpu_the_fullest_node_that_has_enough_is_taken() {
        assert_eq!(chosen(&[2, 6], &[(2, None)]), Some(vec![vec![3, 7]]));
        assert_eq!(chosen(&[2, 6], &[(4, None)]), Some(vec![vec![0, 1, 4, 5]]));
    }

    #[test]
    fn there_are_enough_for_all_or_nobody_is_bound() {
        assert_eq!(chosen(&[0], &[(4, None), (4, None)]), None);
        assert_eq!(chosen(&[], &[(0, None), (0, Some(1))]), Some(vec![vec![], vec![]]));
    }

    proptest! {
        #[test]
        fn nobody_has_what_another_has(
            cores in proptest::collection::vec((0u32..3, 1usize..4), 1..12),
            taken in proptest::collection::btree_set(0u32..30, 0..12),
            wishes in proptest::collection::vec((0usize..9, proptest::option::of(0u32..4)), 0..6),
        ) {
            let (mut all, mut next) = (Vec::new(), 0);
            for (numa, threads) in cores {
                let core = next;
                all.extend((0..threads).map(|_| {
                    let cpu = next;
                    next += 1;
                    Processor { numa, core, cpu }
                }));
            }
            let wishes: Vec<Wish> =
                wishes.into_iter().map(|(cpus, near)| Wish { cpus, near }).collect();
            let free: Vec<&Processor> = all.iter().filter(|p| !taken.contains(&p.cpu)).collect();
            let wanted: usize = wishes.iter().map(|wish| wish.cpus).sum();
            let Some(chosen) = choose(&all, &taken, &wishes) else {
                prop_assert!(wanted > free.len());
                return Ok(());
            };
            let mut seen = taken.clone();
            for (wish, own) in wishes.iter().zip(&chosen) {
                prop_assert_eq!(own.len(), wish.cpus);
                for cpu in own {
                    prop_assert!(free.iter().any(|p| p.cpu == *cpu) && seen.insert(*cpu));
                }
            }
            if let Some(Wish { cpus, near: Some(numa) }) = wishes.first() {
                let on_node = |cpu: &u32| free.iter().any(|p| p.cpu == *cpu && p.numa == *numa);
                let there = free.iter().filter(|p| p.numa == *numa).count();
                let near = chosen[0].iter().filter(|cpu| on_node(cpu)).count();
                prop_assert_eq!(near, there.min(*cpus), "all that is near");
            }
        }
    }
}
