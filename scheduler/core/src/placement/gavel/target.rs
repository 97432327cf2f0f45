//! What a class of jobs should have, and what one of its jobs should have next.

use std::collections::{BTreeMap, BTreeSet};

use trainyard_jobs::{
    Millis,
    spec::{Speed, Speeds},
};

/// Run time that a job is looked ahead for: what it is owed of it is due now.
const AHEAD: u128 = 3_600_000;

/// It is worth a start from so much of that on.
const SLICE: u128 = AHEAD / 4;

/// What each job of a class should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::placement) struct Target {
    /// Thousandths of a unit-millisecond for which a millisecond of work at speed 1 counts: less
    /// for jobs that should have more.
    pub(in crate::placement) rate: u64,
    /// Thousandths of a unit that there are for each job.
    pub(super) each: u64,
    /// Thousandths of its time on each type; none where nobody has to give way.
    pub(super) shares: BTreeMap<String, u64>,
    /// Types of which there are more units than all should have.
    pub(super) open: BTreeSet<String>,
}

/// Where a job should go first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::placement) struct Aim {
    /// The types that it is owed time on, or that nobody else needs.
    pub(in crate::placement) types: Vec<String>,
    /// How much better one type is than the others, in the terms of speeds.
    pub(in crate::placement) speeds: Speeds,
}

impl Target {
    /// What counts as service for so much work.
    pub(in crate::placement) fn service(&self, work: u64) -> u64 {
        times(work, self.rate)
    }

    /// Thousandths of a unit-millisecond for which a millisecond on one type counts there; nothing
    /// if nobody has to give way on it. On a type that its jobs should not have it is all there is.
    pub(in crate::placement) fn rate_on(&self, model: &str) -> Option<u64> {
        if self.shares.is_empty() || self.open.contains(model) {
            return None;
        }
        let share = self.shares.get(model).copied().unwrap_or_default();
        Some(self.each.saturating_mul(1000).checked_div(share).unwrap_or(u64::MAX))
    }

    /// What a job has had that waits for units of some of these types: in all, or of one of them
    /// if that is more of what it should have.
    pub(in crate::placement) fn claim(
        &self,
        service: u64,
        ran_on: &BTreeMap<String, Millis>,
        types: &[String],
    ) -> u64 {
        let on = |model: &String| Some(times(ran_on.get(model)?.0, self.rate_on(model)?));
        types.iter().filter_map(on).fold(service, u64::max)
    }

    /// Where a job should go that has run so long on each type, if it matters: where its target
    /// over what it received is highest (section 5 of the paper).
    pub(in crate::placement) fn aim(&self, ran_on: &BTreeMap<String, Millis>) -> Option<Aim> {
        let all: u64 = self.shares.values().sum();
        if all == 0 {
            return None;
        }
        let ran = |model: &str| ran_on.get(model).map_or(0, |ran| u128::from(ran.0));
        let whole = self.shares.keys().map(|model| ran(model)).sum::<u128>() + AHEAD;
        let mut owed: BTreeMap<&str, u128> = BTreeMap::new();
        for (model, share) in self.shares.iter().filter(|(_, share)| **share > 0) {
            let due = whole * u128::from(*share) / u128::from(all);
            owed.insert(model, due.saturating_sub(ran(model)));
        }
        let most = owed.values().max().copied()?;
        owed.retain(|_, due| *due >= SLICE.min(most));
        let even = AHEAD / u128::try_from(self.shares.len()).unwrap_or(1).max(1);
        let weight = |model: &str| {
            let share = self.shares.get(model).copied().unwrap_or_default();
            u128::from(share) * 1_000_000_000 / (ran(model) + even)
        };
        let heaviest = owed.keys().map(|model| weight(model)).max().unwrap_or(1).max(1);
        let speed = |model: &str| {
            let milli = u64::try_from(weight(model) * 1_000_000 / heaviest).unwrap_or(1);
            (model.to_owned(), Speed::from_milli(milli.max(1)).unwrap_or(Speed::ONE))
        };
        let open = self.open.iter().map(String::as_str);
        let types: BTreeSet<&str> = owed.keys().copied().chain(open).collect();
        Some(Aim {
            speeds: Speeds(types.iter().map(|model| speed(model)).collect()),
            types: types.into_iter().map(str::to_owned).collect(),
        })
    }
}

/// So many thousandths of a span.
pub(in crate::placement) fn times(span: u64, rate: u64) -> u64 {
    u64::try_from(u128::from(span) * u128::from(rate) / 1000).unwrap_or(u64::MAX)
}
