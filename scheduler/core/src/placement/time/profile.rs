//! How many units will be free when: a step function of time, made from when what runs is predicted
//! to end. What is promised to a job is taken from it for as long as the job will run, so that the
//! next one finds the first time at which there is room beside it (Mu'alem and Feitelson, «Utilization,
//! Predictability, Workloads, and User Runtime Estimates in Scheduling the IBM SP2 with
//! Backfilling», TPDS 2001, section 2: conservative backfill).

use trainyard_jobs::Timestamp;

/// Free units by time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::placement) struct Profile {
    /// From when on how many are free, until the next. The first is the beginning of time, the
    /// last holds for ever.
    steps: Vec<(Timestamp, u64)>,
}

impl Profile {
    /// So many units that are free now, and so many more from some times on: those in their order.
    pub(in crate::placement) fn of(
        now: Timestamp,
        free: u64,
        more: impl IntoIterator<Item = (Timestamp, u64)>,
    ) -> Self {
        let mut steps = vec![(now, free)];
        for (at, units) in more {
            let Some((last, free)) = steps.last_mut() else { break };
            if at.0 == u64::MAX {
                // Nothing is predicted of what never ends.
                break;
            } else if at <= *last {
                *free = free.saturating_add(units);
            } else if units > 0 {
                let free = free.saturating_add(units);
                steps.push((at, free));
            }
        }
        Self { steps }
    }

    /// The first time from `from` on at which so many units are free for so many milliseconds; none
    /// if that never comes.
    pub(in crate::placement) fn earliest(
        &self,
        units: u64,
        lasts: u64,
        from: Timestamp,
    ) -> Option<Timestamp> {
        // The start that nothing spoke against so far.
        let mut start = None;
        let first = self.at(from);
        for (at, free) in self.steps.get(first..).unwrap_or_default() {
            if start.is_some_and(|start| until(start, lasts) <= *at) {
                break;
            }
            if *free < units {
                start = None;
            } else if start.is_none() {
                start = Some((*at).max(from));
            }
        }
        start
    }

    /// The units that are free all the time from one instant until another.
    pub(in crate::placement) fn free(&self, from: Timestamp, until: Timestamp) -> u64 {
        let steps = self.steps.get(self.at(from)..).unwrap_or_default().iter();
        let begun = steps.enumerate().take_while(|(n, (at, _))| *n == 0 || *at < until);
        begun.map(|(_, (_, free))| *free).min().unwrap_or(0)
    }

    /// Takes so many units, or all that there are, from one instant until another.
    pub(in crate::placement) fn take(&mut self, units: u64, from: Timestamp, until: Timestamp) {
        if units == 0 || until <= from {
            return;
        }
        let begin = self.cut(from);
        // What is taken until the end of time is not given back then.
        let end = if until.0 == u64::MAX { self.steps.len() } else { self.cut(until) };
        for (_, free) in self.steps.get_mut(begin..end).unwrap_or_default() {
            *free = free.saturating_sub(units);
        }
    }

    /// The step that holds at an instant.
    fn at(&self, instant: Timestamp) -> usize {
        self.steps.partition_point(|(at, _)| *at <= instant).saturating_sub(1)
    }

    /// Lets a step begin at an instant. What was before the beginning is not known.
    fn cut(&mut self, instant: Timestamp) -> usize {
        let held = self.at(instant);
        match self.steps.get(held) {
            Some((at, free)) if *at < instant => {
                let step = (instant, *free);
                self.steps.insert(held + 1, step);
                held + 1
            }
            _ => held,
        }
    }
}

fn until(start: Timestamp, lasts: u64) -> Timestamp {
    Timestamp(start.0.saturating_add(lasts.max(1)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Seconds that the naive model looks at.
    const HORIZON: usize = 120;

    /// What is free in each second; from the last on, for ever.
    struct Naive(Vec<u64>);

    impl Naive {
        fn at(&self, second: usize) -> u64 {
            self.0[second.min(HORIZON)]
        }

        fn earliest(&self, units: u64, lasts: usize, from: usize) -> Option<usize> {
            let enough = |start: usize| (start..start + lasts).all(|at| self.at(at) >= units);
            (from..=HORIZON.max(from)).find(|start| enough(*start))
        }
    }

    #[derive(Debug, Clone)]
    enum Act {
        Take { units: u64, from: usize, lasts: usize },
        Promise { units: u64, from: usize, lasts: usize },
    }

    fn act() -> impl Strategy<Value = Act> {
        let any = || (0u64..12, 0..HORIZON - 40, 1usize..40);
        prop_oneof![
            any().prop_map(|(units, from, lasts)| Act::Take { units, from, lasts }),
            any().prop_map(|(units, from, lasts)| Act::Promise { units, from, lasts }),
        ]
    }

    fn second(at: usize) -> Timestamp {
        Timestamp(u64::try_from(at).unwrap())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn a_profile_is_what_counting_every_second_gives(
            free in 0u64..10,
            mut more in prop::collection::vec((0..HORIZON, 0u64..6), 0..12),
            acts in prop::collection::vec(act(), 0..20),
            asked in (0u64..20, 1usize..60, 0..HORIZON),
        ) {
            more.sort_unstable();
            let ends = more.iter().map(|(at, units)| (second(*at), *units));
            let mut profile = Profile::of(second(0), free, ends);
            let freed = |s: usize| more.iter().filter(|(at, _)| *at <= s).map(|(_, n)| n).sum::<u64>();
            let mut naive = Naive((0..=HORIZON).map(|s| free + freed(s)).collect());
            for act in acts {
                let (units, from, lasts) = match act {
                    Act::Take { units, from, lasts } => (units, from, lasts),
                    Act::Promise { units, from, lasts } => {
                        let found = profile.earliest(units, lasts.try_into().unwrap(), second(from));
                        let known = naive.earliest(units, lasts, from);
                        prop_assert_eq!(found, known.map(second));
                        // Beyond what the model looks at nothing is taken.
                        let Some(start) = known.filter(|start| start + lasts <= HORIZON) else { continue };
                        (units, start, lasts)
                    }
                };
                profile.take(units, second(from), second(from + lasts));
                for free in &mut naive.0[from..from + lasts] {
                    *free = free.saturating_sub(units);
                }
            }
            let (units, lasts, from) = asked;
            let found = profile.earliest(units, lasts.try_into().unwrap(), second(from));
            prop_assert_eq!(found, naive.earliest(units, lasts, from).map(second));
            let least = (from..from + lasts).map(|at| naive.at(at)).min().unwrap();
            prop_assert_eq!(profile.free(second(from), second(from + lasts)), least);
        }
    }

    #[test]
    fn what_is_taken_for_ever_does_not_come_back() {
        let mut profile = Profile::of(Timestamp(5), 4, [(Timestamp(9), 2)]);
        assert_eq!(profile.earliest(6, u64::MAX, Timestamp(0)), Some(Timestamp(9)));
        profile.take(4, Timestamp(7), Timestamp(u64::MAX));
        assert_eq!(profile.earliest(3, 3, Timestamp(0)), None);
        assert_eq!(profile.earliest(3, 2, Timestamp(0)), Some(Timestamp(5)));
        assert_eq!(profile.earliest(2, u64::MAX, Timestamp(6)), Some(Timestamp(9)));
        assert_eq!(profile.free(Timestamp(6), Timestamp(8)), 0);
    }
}
