//! What a replay leaves: each job's fate, what was used over time, and the figures made of both.

mod bound;
mod figures;
#[cfg(test)]
mod tests;

pub use figures::Figures;

use serde::Serialize;

use crate::Tariff;

/// All that a replay leaves.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// What became of each job, in the workload's order.
    pub fates: Vec<Fate>,
    /// What was used over time.
    pub usage: Usage,
    /// GPUs of the cluster.
    pub gpus: u64,
    /// GPU time of work that the whole cluster does in a unit of time: GPUs of speed 1.
    pub pace: f64,
    /// What the whole cluster costs.
    pub tariff: Tariff,
    /// GPU-milliseconds that were reserved, from the first submission to the last end.
    pub reserved_gpu_ms: u128,
}

/// From the first submission to the last end of work that was done.
pub(crate) fn span(fates: &[Fate]) -> (u64, u64) {
    let first = fates.iter().map(|fate| fate.submit_ms).min().unwrap_or_default();
    (first, fates.iter().filter_map(|fate| fate.ended_ms).max().unwrap_or(first))
}

/// What became of one job.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fate {
    /// What the trace calls it.
    pub id: String,
    /// Its project.
    pub project: String,
    /// Its ranks.
    pub gpus: u32,
    /// What each of them asked for, in thousandths of a GPU.
    pub gpu_milli: u16,
    /// When it was submitted, in milliseconds of the trace.
    pub submit_ms: u64,
    /// How long its work takes alone, at speed 1.
    pub duration_ms: u64,
    /// How long it takes on the fastest GPUs for it.
    pub least_ms: u64,
    /// When it first started.
    pub started_ms: Option<u64>,
    /// When its work was done.
    pub ended_ms: Option<u64>,
    /// It ended, but its work was not done.
    pub failed: bool,
    /// How often it was started.
    pub runs: u32,
    /// How often it was stopped for another.
    pub preemptions: u32,
    /// How often it was stopped because its nodes were reserved.
    pub evictions: u32,
    /// How often it lost a node.
    pub losses: u32,
    /// How often it failed by its own doing.
    pub failures: u32,
    /// GPU-milliseconds that it held.
    #[serde(skip)]
    pub held_gpu_ms: u128,
    /// GPU-milliseconds of work that it did and lost again.
    #[serde(skip)]
    pub lost_gpu_ms: u128,
    /// The part of that which reservations of others cost.
    #[serde(skip)]
    pub lost_to_others_gpu_ms: u128,
    /// What it held cost.
    pub cost_usd: f64,
    /// Jobs that were there during its life, itself included, as a mean.
    pub crowd: f64,
}

impl Fate {
    /// From its submission to the end of its work.
    #[must_use]
    pub fn completion_ms(&self) -> Option<u64> {
        Some(self.ended_ms?.saturating_sub(self.submit_ms))
    }

    /// GPU time of its work, in thousandths of a GPU of speed 1 times milliseconds.
    pub(crate) fn work(&self) -> u128 {
        u128::from(self.duration_ms) * u128::from(self.gpus) * u128::from(self.gpu_milli)
    }
}

/// What was used over time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// GPU-milliseconds that were held by jobs.
    pub held_gpu_ms: u128,
    /// Job-milliseconds of waiting.
    pub waiting_job_ms: u128,
    /// Milliseconds during which a job waited.
    pub busy_ms: u128,
    /// GPU-milliseconds that were free while a job waited.
    pub idle_while_waiting_gpu_ms: u128,
    /// Of those, on nodes that were partly taken.
    pub fragmented_gpu_ms: u128,
    /// How use changed.
    pub timeline: Vec<Moment>,
    /// The end of the last change.
    pub until_ms: u64,
}

/// What was so from an instant on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The instant.
    pub at_ms: u64,
    /// Thousandths of GPUs held.
    pub used_milli: u64,
    /// Jobs waiting.
    pub waiting: u64,
}
