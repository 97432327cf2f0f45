//! Who trains on which sample when: a pure function of (seed, epoch, rank, world size).

/// The samples of one rank in one epoch, in order, in whole batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    mine: Vec<i64>,
    batch: usize,
}

impl Order {
    /// Shuffles `samples` by (`seed`, `epoch`) and deals every `world`-th one to `rank`. What does
    /// not fill a batch on every rank is left out of this epoch.
    pub fn new(samples: usize, batch: usize, seed: u64, epoch: u64, rank: u32, world: u32) -> Self {
        let mut all: Vec<i64> = (0..samples).filter_map(|i| i64::try_from(i).ok()).collect();
        shuffle(&mut all, &mut SplitMix64::for_epoch(seed, epoch));
        let (rank, world) = (to_usize(rank), to_usize(world).max(1));
        let keep = steps_per_epoch(samples, batch, world) * batch;
        Self { mine: all.into_iter().skip(rank).step_by(world).take(keep).collect(), batch }
    }

    /// How many steps an epoch has.
    pub fn steps(&self) -> usize {
        self.mine.len() / self.batch.max(1)
    }

    /// The samples of a step of this epoch; empty past its end.
    pub fn batch(&self, step: usize) -> &[i64] {
        let start = step.saturating_mul(self.batch);
        self.mine.get(start..start.saturating_add(self.batch)).unwrap_or_default()
    }
}

/// How many whole batches every one of `world` ranks gets from `samples`.
pub(crate) fn steps_per_epoch(samples: usize, batch: usize, world: usize) -> usize {
    samples / world.max(1) / batch.max(1)
}

fn to_usize(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// Fisher–Yates, from the end.
fn shuffle(items: &mut [i64], random: &mut SplitMix64) {
    for last in (1..items.len()).rev() {
        let bound = u64::try_from(last).unwrap_or(u64::MAX) + 1;
        let other = usize::try_from(random.next() % bound).unwrap_or(0);
        items.swap(last, other);
    }
}

/// Steele, Lea and Flood, «Fast splittable pseudorandom number generators», OOPSLA 2014. Its whole
/// state is one number, which makes a fresh generator an epoch cheap. The bias of `%` over a 64-bit
/// number is far below anything that a shuffle could show.
struct SplitMix64(u64);

impl SplitMix64 {
    fn for_epoch(seed: u64, epoch: u64) -> Self {
        let mut mix = Self(seed);
        let first = mix.next();
        Self(first ^ epoch.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn splitmix_gives_the_published_numbers() {
        let mut mix = SplitMix64(1_234_567);
        assert_eq!(
            [mix.next(), mix.next()],
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]
        );
    }

    #[test]
    fn ranks_share_an_epoch_without_overlap() {
        let mut seen = BTreeSet::new();
        for rank in 0..3 {
            let order = Order::new(100, 4, 7, 2, rank, 3);
            assert_eq!(order.steps(), 8);
            for step in 0..order.steps() {
                assert_eq!(order.batch(step).len(), 4);
                assert!(order.batch(step).iter().all(|sample| seen.insert(*sample)));
            }
            assert!(order.batch(8).is_empty());
        }
        assert_eq!(seen.len(), 96);
    }

    #[test]
    fn the_order_depends_on_seed_and_epoch_alone() {
        let order = |seed, epoch| Order::new(1000, 10, seed, epoch, 0, 1);
        assert_eq!(order(1, 5), order(1, 5));
        assert_ne!(order(1, 5), order(1, 6));
        assert_ne!(order(1, 5), order(2, 5));
    }
}
