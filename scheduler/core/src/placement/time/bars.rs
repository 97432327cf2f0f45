//! How far off predictions have been: what was left of runs over what was said to be left, as
//! counts, so that it does not matter in which order the runs ended.

/// What is counted together goes up to so many thousandths of what was said, four steps to each
/// doubling.
const UP_TO: [u64; 25] = [
    125, 149, 177, 210, 250, 297, 354, 420, 500, 595, 707, 841, 1000, 1189, 1414, 1682, 2000, 2378,
    2828, 3364, 4000, 4757, 5657, 6727, 8000,
];

/// Runs that have to be known before anything is said of them.
const MANY: u32 = 20;

/// What all but so many take is said of runs: a tenth.
const FEW: u32 = 10;

/// Of runs of which the same kind of thing was said.
#[derive(Debug, Clone, Default)]
pub(super) struct Ratios {
    counts: [u32; UP_TO.len()],
    known: u32,
}

/// The thousandths of what is said that all but a few runs need no longer than.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UpTo {
    pub(super) steps: u64,
    pub(super) estimates: u64,
}

/// As long as too few are known.
const UNKNOWN: UpTo = UpTo { steps: 1250, estimates: 2000 };

/// All of them.
#[derive(Debug, Clone)]
pub(super) struct Bars {
    /// What was said by steps done, against what was done then.
    pub(super) steps: Ratios,
    /// What specs said.
    pub(super) estimates: Ratios,
    /// What they came to when they were summed up last.
    told: UpTo,
}

impl Default for Bars {
    fn default() -> Self {
        Self { steps: Ratios::default(), estimates: Ratios::default(), told: UNKNOWN }
    }
}

impl Bars {
    /// From now on says what follows from all that was noted. Says whether that is something else.
    pub(super) fn sum_up(&mut self) -> bool {
        let now = UpTo {
            steps: self.steps.late(UNKNOWN.steps),
            estimates: self.estimates.late(UNKNOWN.estimates),
        };
        std::mem::replace(&mut self.told, now) != now
    }

    pub(super) const fn told(&self) -> UpTo {
        self.told
    }
}

impl Ratios {
    /// So much was said to be left, and so much it was.
    pub(super) fn note(&mut self, said: u64, was: u64) {
        let ratio = u128::from(was) * 1000 / u128::from(said.max(1));
        let at = UP_TO.partition_point(|bound| u128::from(*bound) < ratio);
        if let Some(count) = self.counts.get_mut(at.min(UP_TO.len() - 1)) {
            *count = count.saturating_add(1);
            self.known = self.known.saturating_add(1);
        }
    }

    /// The thousandths of what is said that all but a few need no longer than; what is said where
    /// too few are known.
    pub(super) fn late(&self, unless: u64) -> u64 {
        if self.known < MANY {
            return unless;
        }
        let few = self.known / FEW;
        let mut longer = self.known;
        let within = self.counts.iter().zip(UP_TO).find(|(count, _)| {
            longer = longer.saturating_sub(**count);
            longer <= few
        });
        within.map_or(unless, |(_, bound)| bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_but_a_tenth_keep_to_is_learned() {
        let mut ratios = Ratios::default();
        for _ in 0..17 {
            ratios.note(1000, 1000);
        }
        ratios.note(1000, 3000);
        ratios.note(1000, 9_000_000);
        assert_eq!(ratios.late(1250), 1250, "too few are known");
        ratios.note(1000, 10);
        assert_eq!(ratios.late(1250), 1000, "two of twenty take longer");
        ratios.note(1000, 3000);
        assert_eq!(ratios.late(1250), 3364, "and now three of twenty-one");
    }

    #[test]
    fn what_is_far_off_counts_at_the_end() {
        let mut ratios = Ratios::default();
        for _ in 0..30 {
            ratios.note(0, u64::MAX);
        }
        assert_eq!(ratios.late(1250), 8000);
    }
}
