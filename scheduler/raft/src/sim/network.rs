//! A network in which each message is lost, doubled or delayed by the draw, and directed links are
//! cut. Knows nothing of what it carries.

use std::collections::BTreeSet;

use super::Rng;

/// How bad the network is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    /// Percent of messages that are lost.
    pub loss: u64,
    /// Percent of messages that come twice.
    pub doubled: u64,
    /// The longest delay, in units of the simulation's clock; messages overtake each other.
    pub delay: u64,
    /// Percent of messages that come far later than that.
    pub late: u64,
    /// How late those come at most.
    pub very: u64,
}

/// Links between places, named by `P`.
#[derive(Debug, Clone)]
pub struct Network<P> {
    /// How bad it is now.
    pub faults: Faults,
    cut: BTreeSet<(P, P)>,
}

impl<P: Copy + Ord> Network<P> {
    /// A network without cuts.
    #[must_use]
    pub const fn new(faults: Faults) -> Self {
        Self { faults, cut: BTreeSet::new() }
    }

    /// When the copies of a message arrive, counted from now; none if it is lost.
    pub fn arrivals(&self, rng: &mut Rng, may_double: bool) -> Vec<u64> {
        let Faults { loss, doubled, delay, late, very } = self.faults;
        if rng.chance(loss) {
            return Vec::new();
        }
        let copies = 1 + u64::from(may_double && rng.chance(doubled));
        let most = if late > 0 && rng.chance(late) { very.max(delay) } else { delay };
        (0..copies).map(|_| 1 + rng.below(most)).collect()
    }

    /// Cuts the way from one place to another; not the way back.
    pub fn cut(&mut self, from: P, to: P) {
        self.cut.insert((from, to));
    }

    /// Cuts both ways between those for whom `alone` holds and the others of `places`.
    pub fn partition(&mut self, places: &[P], alone: impl Fn(&P) -> bool) {
        for a in places {
            for b in places {
                if alone(a) != alone(b) {
                    self.cut(*a, *b);
                }
            }
        }
    }

    /// Mends every link.
    pub fn heal(&mut self) {
        self.cut.clear();
    }

    /// Whether what is under way from one place to another gets through.
    #[must_use]
    pub fn reaches(&self, from: P, to: P) -> bool {
        !self.cut.contains(&(from, to))
    }
}
