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
/// unit-milliseconds that the job is predicted to need still.
pub(in crate::placement) fn value(
    policy: Policy,
    attained: u64,
    remaining: u64,
    units: u32,
) -> u64 {
    match policy {
        Policy::Fifo | Policy::Fair => 0,
        Policy::Las | Policy::Gavel => bucket(attained),
        Policy::Srsf | Policy::Auto => remaining.saturating_mul(u64::from(units)),
    }
}

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
