//! What no schedule can be below: a bound on the mean completion time of a workload, however it is
//! placed, stopped and resumed.

use std::{cmp::Reverse, collections::BinaryHeap};

use crate::num::{count, float, float_sum};

/// A job, as far as the bound goes by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    /// When it is submitted, in milliseconds.
    pub(crate) release_ms: u64,
    /// GPU time of its work, in thousandths of a GPU of speed 1 times milliseconds.
    pub(crate) work: u128,
    /// The shortest time that its work can take.
    pub(crate) least_ms: u64,
}

/// A mean time from submission to end that no schedule is below, in milliseconds; `pace` is the
/// GPU time of work that all GPUs do in a unit of time.
///
/// Let a job have work *A* and the least run time *d*, and let *B* be its mean busy time: the mean
/// of the instants at which its work is done, each weighted by the work done then. Its work is
/// done at a rate of *A/d* at the most and before its end *C*, so *B* is latest if all of it is
/// done at that rate just before the end: *C ≥ B + d/2*. The sum of mean busy times, in turn, is
/// least where only the pace of all GPUs together binds: one machine that does each moment the
/// work of the job with the least *A* of those that are there (one over *A* is what a unit of
/// that job's work weighs, so to exchange any two moments' work for another order gains nothing).
/// That the greedy schedule is optimal for mean busy times with release dates is shown by Goemans,
/// Queyranne, Schulz, Skutella and Wang (Single Machine Scheduling with Release Dates, SIAM J.
/// Discrete Math. 15, 2002). Gangs, nodes, restarts and failures only add to it, and leaving jobs
/// out leaves a bound for the others.
///
/// Where little waits, that each job takes its own run time says more; the better of both is given.
pub(crate) fn least_mean_completion(jobs: &[Piece], pace: f64) -> f64 {
    if jobs.is_empty() || pace <= 0.0 {
        return 0.0;
    }
    let waiting: f64 = mean_busy_times(jobs, pace)
        .iter()
        .zip(jobs)
        .map(|(busy, job)| busy + float(job.least_ms) / 2.0 - float(job.release_ms))
        .sum();
    let alone: f64 = jobs.iter().map(|job| float(job.least_ms)).sum();
    waiting.max(alone) / float(count(jobs.len()))
}

/// Mean busy times of the jobs on one machine that does `pace` of work, the job of least work
/// first.
fn mean_busy_times(jobs: &[Piece], pace: f64) -> Vec<f64> {
    let takes = |job: &Piece| float_sum(job.work) / (1000.0 * pace);
    let mut order: Vec<(usize, &Piece)> = jobs.iter().enumerate().collect();
    order.sort_by_key(|(_, job)| job.release_ms);
    // Time still to be spent on each job, and the instants at which it was, summed.
    let mut left: Vec<f64> = jobs.iter().map(takes).collect();
    let mut sums = vec![0.0; jobs.len()];
    let mut there = BinaryHeap::new();
    let mut arrivals = order.into_iter().peekable();
    let mut now = 0.0_f64;
    loop {
        if there.is_empty() {
            let Some((_, next)) = arrivals.peek() else { break };
            now = now.max(float(next.release_ms));
        }
        while let Some((at, job)) = arrivals.next_if(|(_, job)| float(job.release_ms) <= now) {
            there.push(Reverse((job.work, at)));
        }
        let next = arrivals.peek().map_or(f64::INFINITY, |(_, job)| float(job.release_ms));
        let Some(Reverse((work, at))) = there.pop() else { continue };
        let (Some(left), Some(sum)) = (left.get_mut(at), sums.get_mut(at)) else { continue };
        let ends = now + *left <= next;
        let spent = if ends { *left } else { next - now };
        *sum += spent * (now + spent / 2.0);
        *left -= spent;
        now = if ends { now + spent } else { next };
        if !ends {
            there.push(Reverse((work, at)));
        }
    }
    let means = sums.iter().zip(jobs);
    means
        .map(|(sum, job)| if job.work == 0 { float(job.release_ms) } else { sum / takes(job) })
        .collect()
}

#[cfg(test)]
mod tests;
