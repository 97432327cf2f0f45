//! Workloads of the shape that traces of shared GPU clusters have (Jeon et al., ATC '19; Weng et
//! al., NSDI '22): most jobs ask for one GPU, gangs are powers of two, run times span five orders
//! of magnitude, and people submit by day.

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, LogNormal};
use trainyard_jobs::{Millis, WHOLE_GPU, spec::Fraction};

use crate::{
    SimError, TraceJob, Workload,
    num::{float, float_sum, whole},
};

/// Gangs and how many of a thousand jobs ask for each.
const GANGS: [(u32, u32); 7] = [(1, 720), (2, 90), (4, 80), (8, 80), (16, 22), (32, 6), (64, 2)];
/// Parts that small jobs ask for, in thousandths of a GPU, one as often as another.
const PARTS: [u16; 4] = [125, 250, 333, 500];
/// A day.
const DAY: f64 = 86_400_000.0;
/// No generated job runs longer than this.
const LONGEST: f64 = 60.0 * DAY;

/// What a generated workload looks like.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    /// How many jobs.
    pub jobs: usize,
    /// GPUs of the cluster that it is made for; no gang is larger.
    pub gpus: u64,
    /// The work that arrives, as a share of what the cluster can do meanwhile.
    pub load: f64,
    /// Half of the jobs run shorter than this.
    pub median: Millis,
    /// The spread of run times: the standard deviation of their logarithm.
    pub sigma: f64,
    /// How many projects.
    pub projects: u32,
    /// Of the jobs with one GPU, the share that asks for a part of it.
    pub parts: f64,
    /// When they come.
    pub arrivals: Arrivals,
}

/// When jobs come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrivals {
    /// At any time alike.
    Steady,
    /// Three times as many at the height of the day as in the depth of the night.
    Daily,
    /// All at the start.
    AtOnce,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            jobs: 1000,
            gpus: 64,
            load: 0.9,
            median: Millis(20 * 60_000),
            sigma: 2.0,
            projects: 5,
            parts: 0.0,
            arrivals: Arrivals::Daily,
        }
    }
}

/// Draws a workload.
///
/// # Errors
/// When the shape is impossible.
pub fn generate(shape: &Shape, seed: u64) -> Result<Workload, SimError> {
    let wrong = |name, value: String, expected| SimError::Setting { name, value, expected };
    let positive = |value: f64| value.is_finite() && value > 0.0;
    if !positive(shape.load) {
        return Err(wrong("the load", shape.load.to_string(), "give a number above 0"));
    }
    if !(0.0..=1.0).contains(&shape.parts) {
        return Err(wrong(
            "the share of parts",
            shape.parts.to_string(),
            "give a number from 0 to 1",
        ));
    }
    if shape.gpus == 0 {
        return Err(wrong("the cluster", "0 GPUs".into(), "give one or more"));
    }
    let median = float(shape.median.0.max(1)).ln();
    let sigma = if shape.sigma >= 0.0 { shape.sigma } else { f64::NAN };
    let times = LogNormal::new(median, sigma)
        .map_err(|_| wrong("sigma", shape.sigma.to_string(), "give a number, not below 0"))?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut jobs: Vec<TraceJob> = (0..shape.jobs)
        .filter_map(|number| {
            let gpus = gang(rng.random_range(0..1000), shape.gpus);
            let duration = whole(times.sample(&mut rng).clamp(1000.0, LONGEST));
            // A few projects submit most jobs.
            let share: f64 = rng.random();
            let project = whole((share * share * f64::from(shape.projects)).floor());
            let kind = rng.random_range(0..8);
            Some(TraceJob {
                id: number.to_string(),
                submit: Millis(0),
                gpus,
                duration: Millis(duration),
                project: format!("team-{project}").parse().ok()?,
                user: format!("user-{project}-{}", kind % 3),
                name: format!("model-{kind}").parse().ok()?,
                gpu_type: None,
                priority: 0,
                min_gpus: None,
                fraction: None,
                cpus_per_rank: None,
                memory_per_rank: None,
            })
        })
        .collect();
    if shape.parts > 0.0 {
        divide(&mut jobs, shape.parts, seed);
    }
    let work: u128 = jobs.iter().map(TraceJob::work).sum();
    let span = float_sum(work) / (float(shape.gpus) * shape.load * f64::from(WHOLE_GPU));
    let mut times: Vec<u64> =
        jobs.iter().map(|_| arrival(shape.arrivals, span, &mut rng)).collect();
    times.sort_unstable();
    for (job, at) in jobs.iter_mut().zip(times) {
        job.submit = Millis(at);
    }
    Ok(Workload::of(jobs, Vec::new()))
}

/// Has a share of the jobs with one GPU ask for a part of it, drawn from a stream of its own.
fn divide(jobs: &mut [TraceJob], share: f64, seed: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(1);
    for job in jobs.iter_mut().filter(|job| job.gpus == 1) {
        let (drawn, which): (f64, usize) = (rng.random(), rng.random_range(0..PARTS.len()));
        if drawn < share {
            job.fraction = PARTS.get(which).and_then(|milli| Fraction::from_milli(*milli));
        }
    }
}

fn gang(drawn: u32, most: u64) -> u32 {
    let mut left = drawn;
    let mut last = 1;
    for (gpus, share) in GANGS {
        if u64::from(gpus) > most {
            break;
        }
        last = gpus;
        if left < share {
            break;
        }
        left -= share;
    }
    last
}

/// An instant of the span, by rejection where some times are likelier than others.
fn arrival(arrivals: Arrivals, span: f64, rng: &mut ChaCha8Rng) -> u64 {
    if arrivals == Arrivals::AtOnce {
        return 0;
    }
    loop {
        let at: f64 = rng.random::<f64>() * span;
        let height = match arrivals {
            Arrivals::Daily => {
                let turn = at / DAY * std::f64::consts::TAU;
                turn.sin().mul_add(0.5, 1.0) / 1.5
            }
            Arrivals::Steady | Arrivals::AtOnce => 1.0,
        };
        if rng.random::<f64>() < height {
            return whole(at);
        }
    }
}

#[cfg(test)]
mod tests;
