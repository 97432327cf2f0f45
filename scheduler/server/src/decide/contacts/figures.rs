//! What is read out of a worker's figures. They are a program's own and may be anything: what is no
//! count, no temperature or no percentage is nothing at all.

use std::collections::BTreeMap;

use trainyard_core::placement::Progress;
use trainyard_jobs::{AttemptRef, Timestamp, UnitId};
use trainyard_proto::v1;

use super::Tenants;

/// Larger numbers are no counts.
const MOST: f64 = 1e15;

/// Into how many parts a run is divided whose progress is a fraction of it, and an epoch.
const FINE: f64 = 1e6;

/// What counts how far a run is: the name of what is done, those of all that there is to do, and
/// into how many parts one is divided. The first of which both are told has the word: steps are
/// counted more finely than epochs.
const COUNTED: [(&str, &[&str], f64); 5] = [
    ("step", &["total_steps", "max_steps"], 1.0),
    ("global_step", &["total_steps", "max_steps"], 1.0),
    ("samples", &["total_samples"], 1.0),
    ("tokens", &["total_tokens"], 1.0),
    ("epoch", &["epochs", "total_epochs"], FINE),
];

/// How far a job's figures say that it is, if they do. Where nothing tells how much there is to do
/// in all, what is done counts alone.
pub(super) fn progress(progress: &v1::Progress) -> Option<Progress> {
    let count = |name: &str, parts: f64| {
        let value = progress.metrics.get(name).map(|value| value * parts)?;
        whole(value, MOST)
    };
    let at = Timestamp(progress.unix_ms);
    let whole_run = COUNTED.iter().find_map(|(done, totals, parts)| {
        let total = totals.iter().find_map(|total| count(total, *parts))?;
        Some(Progress { done: count(done, *parts)?, total: Some(total), at })
    });
    let part_of_it = || {
        let share = *progress.metrics.get("progress")?;
        let done = (0.0..=1.0).contains(&share).then(|| whole(share * FINE, MOST)).flatten()?;
        Some(Progress { done, total: whole(FINE, MOST), at })
    };
    let alone = || {
        let done = COUNTED.iter().find_map(|(done, _, parts)| count(done, *parts))?;
        Some(Progress { done, total: None, at })
    };
    whole_run.or_else(part_of_it).or_else(alone)
}

/// A number that is no less than nothing and below `most`, as a whole one.
fn whole(value: f64, most: f64) -> Option<u64> {
    let is_count = value.is_finite() && (0.0..most).contains(&value);
    is_count.then(|| format!("{value:.0}").parse().ok()).flatten()
}

/// Whole degrees or per cent; what is none is nothing.
pub(super) fn small(value: f64) -> Option<u32> {
    whole(value, 1000.0).and_then(|value| u32::try_from(value).ok())
}

/// A device that reports a problem, or runs a process that is not ours, is not handed out.
pub(super) fn unusable(sample: &v1::NodeSample) -> BTreeMap<UnitId, String> {
    let reason = |d: &v1::DeviceSample| {
        d.problem.clone().or_else(|| {
            let pid = d.foreign_pids.first()?;
            Some(format!("in use by a foreign process, pid {pid}"))
        })
    };
    sample.devices.iter().filter_map(|d| Some((UnitId(d.unit.clone()), reason(d)?))).collect()
}

/// How busy the ranks of each gang are here, in per cent on average.
pub(super) fn gangs<'a>(
    sample: &v1::NodeSample,
    tenants: &'a Tenants,
) -> impl Iterator<Item = (&'a AttemptRef, u32)> {
    let mut sums: BTreeMap<&AttemptRef, (u32, u32)> = BTreeMap::new();
    for device in &sample.devices {
        let tenant = tenants.get(&UnitId(device.unit.clone())).filter(|tenant| tenant.gang);
        if let Some((tenant, percent)) = tenant.zip(device.utilisation_percent.and_then(small)) {
            let (sum, count) = sums.entry(&tenant.attempt).or_default();
            *sum = sum.saturating_add(percent);
            *count += 1;
        }
    }
    sums.into_iter().map(|(attempt, (sum, count))| (attempt, sum / count.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(metrics: &[(&str, f64)]) -> Option<Progress> {
        let metrics = metrics.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        progress(&v1::Progress { attempt: None, unix_ms: 7, metrics })
    }

    fn of(done: u64, total: Option<u64>) -> Option<Progress> {
        Some(Progress { done, total, at: Timestamp(7) })
    }

    #[test]
    fn steps_are_counts_or_nothing() {
        assert_eq!(told(&[("step", 3.0), ("total_steps", 10.0)]), of(3, Some(10)));
        assert_eq!(told(&[("step", 3.0)]), of(3, None));
        assert_eq!(told(&[("loss", 3.0)]), None);
        for odd in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 1e300, 1e15] {
            assert_eq!(told(&[("step", odd)]), None);
            assert_eq!(told(&[("step", 1.0), ("total_steps", odd)]), of(1, None));
            assert_eq!(told(&[("epoch", 1.0), ("epochs", odd)]), of(1_000_000, None));
            assert_eq!(told(&[("progress", odd)]), None);
        }
    }

    #[test]
    fn whatever_a_script_counts_says_how_far_it_is() {
        assert_eq!(told(&[("global_step", 3.0), ("max_steps", 10.0)]), of(3, Some(10)));
        assert_eq!(told(&[("samples", 512.0), ("total_samples", 2048.0)]), of(512, Some(2048)));
        assert_eq!(told(&[("tokens", 30.0), ("total_tokens", 1e9)]), of(30, Some(1_000_000_000)));
        assert_eq!(told(&[("epoch", 1.25), ("epochs", 5.0)]), of(1_250_000, Some(5_000_000)));
        assert_eq!(told(&[("progress", 0.25)]), of(250_000, Some(1_000_000)));
        assert_eq!(told(&[("progress", 1.5)]), None, "per cent are no fraction");
    }

    #[test]
    fn what_is_counted_most_finely_has_the_word() {
        let epochs = [("epoch", 1.0), ("epochs", 4.0)];
        let steps = [("step", 30.0), ("total_steps", 100.0)];
        assert_eq!(told(&[epochs, steps].concat()), of(30, Some(100)));
        let without_total = [("step", 30.0)];
        assert_eq!(told(&[&epochs[..], &without_total].concat()), of(1_000_000, Some(4_000_000)));
    }

    #[test]
    fn figures_that_are_none_are_nothing() {
        assert_eq!(
            (small(84.6), small(-3.0), small(f64::NAN), small(1e9)),
            (Some(85), None, None, None)
        );
    }
}
