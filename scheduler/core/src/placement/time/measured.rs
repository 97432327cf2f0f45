//! How fast jobs of one spec were seen to run on each type of GPU: by the steps that they said they
//! had done between two words of one attempt, else by how long whole runs took. What is measured
//! goes before what a spec says; types that were not measured stay where the spec puts them.

use std::collections::{BTreeMap, BTreeSet};

use trainyard_jobs::spec::{Speed, Speeds};

use super::{forecast::times, history::Alike};

/// Specs that are remembered.
const SPECS: usize = 4096;

/// Time on a type from which on its steps are believed, and the steps.
const ENOUGH_MS: u64 = 600_000;
const ENOUGH_STEPS: u64 = 16;

/// Whole runs on a type from which on they are.
const ENOUGH_RUNS: u64 = 3;

/// With so much time what was long ago begins to count less.
const LONG: u64 = 30 * 86_400_000;

/// What was done on units of one type.
#[derive(Debug, Clone, Copy, Default)]
struct Done {
    count: u64,
    ms: u64,
}

impl Done {
    fn add(&mut self, count: u64, ms: u64) {
        self.count = self.count.saturating_add(count);
        self.ms = self.ms.saturating_add(ms);
        if self.ms > LONG {
            (self.count, self.ms) = (self.count / 2, self.ms / 2);
        }
    }

    /// So many in a fixed, long time.
    fn rate(&self) -> u128 {
        u128::from(self.count) * u128::from(u64::MAX) / u128::from(self.ms.max(1))
    }
}

/// What is known of one spec.
#[derive(Debug, Clone, Default)]
struct OfSpec {
    turn: u64,
    steps: BTreeMap<String, Done>,
    runs: BTreeMap<String, Done>,
    /// The type that others are measured by: the first of which enough was known.
    by: Option<String>,
    /// Thousandths of the pace on that; none before two are known.
    pace: BTreeMap<String, u64>,
}

/// All that was measured.
#[derive(Debug, Clone, Default)]
pub(in crate::placement) struct Measured {
    specs: BTreeMap<Alike, OfSpec>,
    /// By when something was measured last.
    lately: BTreeSet<(u64, Alike)>,
    turn: u64,
}

/// To a thirty-second: finer differences are noise.
fn rounded(milli: u64) -> u64 {
    let bits = u64::BITS - milli.leading_zeros();
    let shift = bits.saturating_sub(5);
    let half = (1 << shift) >> 1;
    (milli.saturating_add(half)) >> shift << shift
}

/// The paces on types of which enough is known, if there are two, and the one that the others are
/// measured by: the same as before if it is among them, so that what was said of a job in its terms
/// goes on to hold.
fn paces(
    done: &BTreeMap<String, Done>,
    by: Option<&String>,
    enough: impl Fn(&Done) -> bool,
) -> Option<(String, BTreeMap<String, u64>)> {
    let known: BTreeMap<&String, u128> = done
        .iter()
        .filter(|(_, done)| enough(done) && done.rate() > 0)
        .map(|(model, done)| (model, done.rate()))
        .collect();
    let by = by.filter(|by| known.contains_key(by)).or(known.keys().next().copied())?;
    let base = known.get(by)?;
    let pace = |(model, rate): (&&String, &u128)| {
        let milli = u64::try_from(rate.saturating_mul(1000) / base).unwrap_or(u64::MAX);
        ((*model).clone(), if *model == by { 1000 } else { rounded(milli) })
    };
    let paces = known.iter().map(pace).collect();
    Some((by.clone(), if known.len() < 2 { BTreeMap::new() } else { paces }))
}

impl OfSpec {
    /// Says whether something else is believed than before.
    fn sum_up(&mut self) -> bool {
        let is_long = |done: &Done| done.count >= ENOUGH_STEPS && done.ms >= ENOUGH_MS;
        let by = self.by.as_ref();
        let by_steps = paces(&self.steps, by, is_long);
        let has_two = by_steps.as_ref().is_some_and(|(_, pace)| !pace.is_empty());
        let by_runs = || paces(&self.runs, by, |done| done.count >= ENOUGH_RUNS);
        let found = if has_two { by_steps } else { by_runs().or(by_steps) };
        let Some((by, pace)) = found else { return false };
        let changed = pace != self.pace;
        (self.by, self.pace) = (Some(by), pace);
        changed
    }
}

impl Measured {
    /// A job did so many steps in some time on units of a type. Says whether other speeds follow.
    pub(in crate::placement) fn steps(
        &mut self,
        alike: Alike,
        model: &str,
        (steps, ms): (u64, u64),
    ) -> bool {
        let of_spec = self.of(alike);
        of_spec.steps.entry(model.to_owned()).or_default().add(steps, ms);
        of_spec.sum_up()
    }

    /// A job ended well that ran on units of a type. Says whether other speeds follow.
    pub(in crate::placement) fn run(&mut self, alike: Alike, model: &str, ms: u64) -> bool {
        let of_spec = self.of(alike);
        of_spec.runs.entry(model.to_owned()).or_default().add(1, ms);
        of_spec.sum_up()
    }

    /// What is known of a spec; what is known of the one that was measured least lately is
    /// forgotten if there are too many.
    fn of(&mut self, alike: Alike) -> &mut OfSpec {
        self.turn += 1;
        let of_spec = self.specs.entry(alike).or_default();
        let before = std::mem::replace(&mut of_spec.turn, self.turn);
        self.lately.remove(&(before, alike));
        self.lately.insert((self.turn, alike));
        if self.lately.len() > SPECS
            && let Some((_, oldest)) = self.lately.pop_first()
        {
            self.specs.remove(&oldest);
        }
        self.specs.entry(alike).or_default()
    }

    /// A spec's speeds as they were measured, in the terms of what it says itself; nothing before
    /// two types can be compared.
    pub(in crate::placement) fn speeds(&self, alike: Alike, said: &Speeds) -> Option<Speeds> {
        let OfSpec { pace, by, .. } = self.specs.get(&alike)?;
        let by = by.as_ref().filter(|_| !pace.is_empty())?;
        let base = said.on(by).milli();
        let mut speeds = said.0.clone();
        speeds.retain(|model, _| !pace.contains_key(&model.to_ascii_lowercase()));
        for (model, milli) in pace {
            let milli = times(base, *milli, 1000).clamp(1, 1_000_000);
            speeds.insert(model.clone(), Speed::from_milli(milli).unwrap_or(Speed::ONE));
        }
        Some(Speeds(speeds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000;

    fn milli(speeds: Option<Speeds>) -> Vec<(String, u64)> {
        let speeds = speeds.unwrap_or_default().0.into_iter();
        speeds.map(|(model, speed)| (model, speed.milli())).collect()
    }

    #[test]
    fn steps_on_two_types_tell_how_fast_one_is_against_the_other() {
        let (mut measured, spec) = (Measured::default(), Alike::nth(1));
        assert!(!measured.steps(spec, "v100", (100, 20 * MINUTE)));
        assert_eq!(measured.speeds(spec, &Speeds::default()), None);
        assert!(!measured.steps(spec, "h100", (30, 2 * MINUTE)), "too short");
        assert!(measured.steps(spec, "h100", (120, 8 * MINUTE)));
        let speeds = milli(measured.speeds(spec, &Speeds::default()));
        assert_eq!(speeds, [("h100".into(), 2944), ("v100".into(), 1000)]);
        assert!(!measured.steps(spec, "h100", (15, MINUTE)), "as before");
        assert_eq!(measured.speeds(Alike::nth(2), &Speeds::default()), None);
    }

    #[test]
    fn what_was_not_measured_stays_where_the_spec_puts_it() {
        let (mut measured, spec) = (Measured::default(), Alike::nth(1));
        measured.steps(spec, "a100", (1000, 20 * MINUTE));
        measured.steps(spec, "h100", (4000, 20 * MINUTE));
        let said = [("a100", 2000), ("H100", 3000), ("b200", 9000)];
        let speed = |milli| Speed::from_milli(milli).unwrap();
        let said = said.into_iter().map(|(model, milli)| (model.to_owned(), speed(milli)));
        let speeds = milli(measured.speeds(spec, &Speeds(said.collect())));
        let all = [("a100", 2000), ("b200", 9000), ("h100", 7936)];
        assert_eq!(speeds, all.map(|(model, milli)| (model.to_owned(), milli)));
    }

    #[test]
    fn whole_runs_tell_where_no_steps_do() {
        let (mut measured, spec) = (Measured::default(), Alike::nth(1));
        for _ in 0..3 {
            measured.run(spec, "a100", 40 * MINUTE);
        }
        assert!(!measured.run(spec, "h100", 20 * MINUTE) && !measured.run(spec, "h100", MINUTE));
        assert!(measured.run(spec, "h100", 39 * MINUTE));
        assert_eq!(milli(measured.speeds(spec, &Speeds::default()))[1], ("h100".into(), 1984));
        measured.steps(spec, "a100", (1000, 20 * MINUTE));
        measured.steps(spec, "h100", (1500, 20 * MINUTE));
        assert_eq!(milli(measured.speeds(spec, &Speeds::default()))[1], ("h100".into(), 1472));
    }

    #[test]
    fn specs_of_which_least_was_measured_lately_are_forgotten() {
        let mut measured = Measured::default();
        for n in 0..=u64::try_from(SPECS).unwrap() {
            let spec = Alike::nth(n);
            measured.steps(spec, "a100", (1000, 20 * MINUTE));
            measured.steps(spec, "h100", (1000, 20 * MINUTE));
            measured.steps(Alike::nth(0), "a100", (1000, 20 * MINUTE));
        }
        assert_eq!((measured.specs.len(), measured.lately.len()), (SPECS, SPECS));
        let known = |n| measured.speeds(Alike::nth(n), &Speeds::default()).is_some();
        assert!(known(0) && !known(1) && known(2));
    }
}
