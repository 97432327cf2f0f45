//! The figures of one replay. Their names are a contract with whoever reads the documents: units
//! stand in them, and none is renamed.

use serde::Serialize;
use trainyard_jobs::WHOLE_GPU;

use super::{
    Fate, Outcome,
    bound::{Piece, least_mean_completion},
    span,
};
use crate::num::{count, float, float_sum, whole};

/// One row of the result.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// Which policy ordered the queues.
    pub policy: String,
    /// Jobs of the trace.
    pub jobs: u64,
    /// Those whose work was done.
    pub finished: u64,
    /// Those that ended without.
    pub failed: u64,
    /// Those that never could end.
    pub unfinished: u64,
    /// Mean time from submission to end.
    pub avg_jct_s: f64,
    /// The same, in the middle.
    pub p50_jct_s: f64,
    /// Of a hundred jobs, one took longer.
    pub p99_jct_s: f64,
    /// From the first submission to the last end.
    pub makespan_s: f64,
    /// Mean time until the first start.
    pub avg_first_wait_s: f64,
    /// Mean time in the queue, after a stop as well.
    pub avg_queued_s: f64,
    /// Share of all GPU time that jobs held, from the first submission to the last end.
    pub gpu_util: f64,
    /// Share of all GPU time that became work which was kept.
    pub goodput: f64,
    /// Share of GPU time that was free while a job waited, of the time in which one did.
    pub idle_while_waiting: f64,
    /// The part of that on nodes which were partly taken.
    pub fragmentation: f64,
    /// Finish-time fairness (Themis, NSDI '20): time taken against the time alone on an equal
    /// share of the cluster; 1 is fair. Mean.
    pub rho_avg: f64,
    /// Of a hundred jobs, one was treated worse.
    pub rho_p99: f64,
    /// Stops for other jobs.
    pub preemptions: u64,
    /// Runs that lost a node.
    pub losses: u64,
    /// GPU-hours of work that were done and lost again.
    pub lost_gpu_h: f64,
    /// What jobs held, at its price.
    pub cost_usd: f64,
    /// The whole cluster at its price, from the first submission to the last end.
    pub cluster_cost_usd: f64,
    /// Runs that failed by the jobs' own doing.
    pub job_failures: u64,
    /// Stops because nodes were reserved.
    pub evictions: u64,
    /// GPU-hours that were reserved, from the first submission to the last end.
    pub reserved_gpu_h: f64,
    /// GPU-hours of work that were lost to reservations of others; they count in `lost_gpu_h` too.
    pub lost_to_reservations_gpu_h: f64,
    /// A mean time from submission to end that no schedule of the jobs that ended is below.
    pub bound_avg_jct_s: f64,
}

impl Figures {
    /// The figures of `outcome` under `policy`.
    #[must_use]
    pub fn of(policy: &str, outcome: &Outcome) -> Self {
        let fates = &outcome.fates;
        let mut times: Vec<u64> = fates.iter().filter_map(Fate::completion_ms).collect();
        times.sort_unstable();
        let done: Vec<&Fate> = fates.iter().filter(|fate| fate.ended_ms.is_some()).collect();
        let (first, last) = span(fates);
        let span = float(last - first);
        let capacity = span * float(outcome.gpus);
        let work: u128 = done.iter().map(|fate| fate.work()).sum();
        let waits = fates.iter().filter_map(|f| Some(f.started_ms?.saturating_sub(f.submit_ms)));
        let started = count(fates.iter().filter(|f| f.started_ms.is_some()).count());
        let mut rhos: Vec<f64> = done.iter().map(|fate| rho(fate, outcome.gpus)).collect();
        rhos.sort_by(f64::total_cmp);
        let busy = float_sum(outcome.usage.busy_ms) * float(outcome.gpus);
        let failed = count(fates.iter().filter(|fate| fate.failed).count());
        let sum = |times: &mut dyn Iterator<Item = u64>| float_sum(times.map(u128::from).sum());
        Self {
            policy: policy.to_owned(),
            jobs: count(fates.len()),
            finished: count(done.len()),
            failed,
            unfinished: count(fates.len()) - count(done.len()) - failed,
            avg_jct_s: ratio(sum(&mut times.iter().copied()), float(count(times.len()))) / 1e3,
            p50_jct_s: float(percentile(&times, 0.50).unwrap_or_default()) / 1e3,
            p99_jct_s: float(percentile(&times, 0.99).unwrap_or_default()) / 1e3,
            makespan_s: span / 1e3,
            avg_first_wait_s: ratio(sum(&mut waits.into_iter()), float(started)) / 1e3,
            avg_queued_s: ratio(float_sum(outcome.usage.waiting_job_ms), float(count(fates.len())))
                / 1e3,
            gpu_util: ratio(float_sum(outcome.usage.held_gpu_ms), capacity),
            goodput: ratio(float_sum(work / u128::from(WHOLE_GPU)), capacity),
            idle_while_waiting: ratio(float_sum(outcome.usage.idle_while_waiting_gpu_ms), busy),
            fragmentation: ratio(float_sum(outcome.usage.fragmented_gpu_ms), busy),
            rho_avg: ratio(rhos.iter().sum(), float(count(rhos.len()))),
            rho_p99: percentile(&rhos, 0.99).unwrap_or_default(),
            preemptions: fates.iter().map(|fate| u64::from(fate.preemptions)).sum(),
            losses: fates.iter().map(|fate| u64::from(fate.losses)).sum(),
            lost_gpu_h: hours(fates.iter().map(|fate| fate.lost_gpu_ms).sum()),
            cost_usd: fates.iter().map(|fate| fate.cost_usd).sum(),
            cluster_cost_usd: outcome.tariff.between(first, last),
            job_failures: fates.iter().map(|fate| u64::from(fate.failures)).sum(),
            evictions: fates.iter().map(|fate| u64::from(fate.evictions)).sum(),
            reserved_gpu_h: hours(outcome.reserved_gpu_ms),
            lost_to_reservations_gpu_h: hours(
                fates.iter().map(|fate| fate.lost_to_others_gpu_ms).sum(),
            ),
            bound_avg_jct_s: bound(&done, outcome.pace) / 1e3,
        }
    }
}

fn hours(gpu_ms: u128) -> f64 {
    float_sum(gpu_ms) / 3_600_000.0
}

fn bound(done: &[&Fate], pace: f64) -> f64 {
    let piece = |fate: &&Fate| Piece {
        release_ms: fate.submit_ms,
        work: fate.work(),
        least_ms: fate.least_ms,
    };
    least_mean_completion(&done.iter().map(piece).collect::<Vec<_>>(), pace)
}

/// How much longer a job took than it would have on its share: a cluster of `gpus` divided
/// equally among the jobs that were there during its life.
fn rho(fate: &Fate, gpus: u64) -> f64 {
    let alone = float(fate.duration_ms);
    let share = float(gpus) / fate.crowd.max(1.0);
    let asked = f64::from(fate.gpus) * f64::from(fate.gpu_milli) / f64::from(WHOLE_GPU);
    let on_share = alone * (asked / share).max(1.0);
    ratio(float(fate.completion_ms().unwrap_or_default()), on_share)
}

/// The smallest of the sorted values that is no smaller than a share of them.
pub(crate) fn percentile<T: Copy>(sorted: &[T], share: f64) -> Option<T> {
    let rank = whole((share * float(count(sorted.len()))).ceil()).max(1);
    sorted.get(usize::try_from(rank - 1).ok()?).copied()
}

/// A quotient, or nothing of nothing.
fn ratio(part: f64, of: f64) -> f64 {
    if of > 0.0 { part / of } else { 0.0 }
}
