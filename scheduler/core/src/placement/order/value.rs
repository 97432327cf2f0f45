//! What a policy makes of a job: a number, of which the lower goes first, and when the difference
//! between two is large enough to stop one job for the other.

use trainyard_jobs::Policy;

/// Unit-milliseconds of the first bucket of [`Policy::Las`] and [`Policy::Gavel`]: a unit-hour.
const FIRST_BUCKET: u64 = 3_600_000;

/// A job as its policy sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::placement) struct Worth {
    /// The higher goes first.
    pub(in crate::placement) priority: i32,
    /// Among equals the lower goes first.
    pub(in crate::placement) value: u64,
    /// Unit-milliseconds that the job has had, as its policy counts them.
    pub(in crate::placement) attained: u64,
    /// Unit-milliseconds in which it stays worth that.
    pub(in crate::placement) stretch: u64,
}

/// The bucket of a job that has had so many unit-milliseconds: their logarithm, so that jobs of
/// about the same service do not stop each other in turn (Tiresias, NSDI '19, section 3.3).
pub(in crate::placement) fn bucket(attained: u64) -> u64 {
    (attained / FIRST_BUCKET).checked_ilog2().map_or(0, |log| u64::from(log) + 1)
}

/// The service at which a job leaves its bucket.
pub(in crate::placement) fn bucket_end(attained: u64) -> u64 {
    let bucket = u32::try_from(bucket(attained)).unwrap_or(u32::MAX);
    1_u64.checked_shl(bucket).unwrap_or(u64::MAX).saturating_mul(FIRST_BUCKET)
}

/// Whether a policy orders by what jobs have had.
pub(in crate::placement) const fn by_service(policy: Policy) -> bool {
    matches!(policy, Policy::Las | Policy::Gavel)
}

/// The number that the policy orders by: for `las` and `gavel` the bucket, for `srsf` and `auto` the
/// unit-milliseconds that the job is predicted to need still, those of a wide gang a little less.
pub(in crate::placement) fn value(
    policy: Policy,
    attained: u64,
    remaining: u64,
    units: u32,
) -> u64 {
    match policy {
        Policy::Fifo | Policy::Fair => 0,
        Policy::Las | Policy::Gavel => bucket(attained),
        Policy::Srsf | Policy::Auto => weighed(remaining, units),
    }
}

/// Remaining service, in which each doubling of the ranks counts a fifteenth less than it is. By
/// service alone a wide gang stands behind narrow jobs that take its room as fast as it comes free,
/// while it has to find all of its room at once; with this jobs are done sooner on average, most so
/// where gangs are as wide as half a cluster.
fn weighed(remaining: u64, units: u32) -> u64 {
    let log = units.checked_ilog2().unwrap_or(0);
    let at = |log: u32| usize::try_from(log).ok().and_then(|log| WEIGHTS.get(log)).copied();
    let (below, above) = (at(log).unwrap_or(u64::MAX), at(log + 1).unwrap_or(u64::MAX));
    // Between two powers of two in proportion.
    let whole = 1_u64 << log;
    let past = u64::from(units).saturating_sub(whole);
    let weight =
        u128::from(below) + u128::from(above - below) * u128::from(past) / u128::from(whole);
    u64::try_from(u128::from(remaining) * weight / 1000).unwrap_or(u64::MAX)
}

/// What 1, 2, 4 … units weigh, in thousandths.
#[allow(clippy::indexing_slicing, reason = "evaluated when it is compiled")]
const WEIGHTS: [u64; 33] = {
    let mut weights = [1000; 33];
    let mut log = 1;
    while log < weights.len() {
        weights[log] = weights[log - 1] * 28 / 15;
        log += 1;
    }
    weights
};

/// Whether a policy stops jobs for others of their queue.
pub(in crate::placement) const fn preempts(policy: Policy) -> bool {
    matches!(policy, Policy::Las | Policy::Gavel | Policy::Srsf | Policy::Auto)
}

/// Whether a running job may be stopped for a waiting one of its queue, if that costs `cost`
/// unit-milliseconds. The gain has to be larger: for remaining service it is the difference
/// between the two, and no more than what the waiting job gets before it may turn out to be like
/// the other; for attained service it is what it gets before it is as far as the other.
pub(in crate::placement) fn stops_for(
    policy: Policy,
    waiting: &Worth,
    running: &Worth,
    cost: u64,
) -> bool {
    if !preempts(policy) || waiting.priority < running.priority {
        return false;
    }
    if waiting.priority > running.priority {
        return true;
    }
    match policy {
        Policy::Las | Policy::Gavel => {
            let gain = bucket_end(waiting.attained).saturating_sub(waiting.attained);
            waiting.value < running.value && gain > cost
        }
        _ => waiting.stretch > cost && waiting.value.saturating_add(cost) < running.value,
    }
}

#[cfg(test)]
mod tests;
