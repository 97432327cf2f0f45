//! Steps a second of a perceptron under data parallelism. `tests/bench_ddp.py` measures Python's
//! `DistributedDataParallel` in the same way.

use std::time::Instant;

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::launch::run_ranks;
use crate::Error;
use crate::data::Batch;
use crate::model::{Mlp, Model};
use crate::optim::{Sgd, SgdOptions};
use crate::runtime::{Runtime, Wishes};
use crate::trainer::Stepper;

/// What to measure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BenchOptions {
    /// Ranks to start, where the environment names none.
    pub ranks: u32,
    /// Width of the layers.
    pub width: i64,
    /// Samples a rank and step.
    pub batch_size: i64,
    /// Steps that are timed.
    pub steps: u32,
    /// Steps before that.
    pub warmup: u32,
}

/// One rank's measurement, printed as one line of JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RankResult {
    /// Who measured.
    pub implementation: String,
    /// `gloo` or `nccl`
    pub backend: String,
    /// `Cpu` or `Cuda(n)`
    pub device: String,
    /// Width of the layers.
    pub width: i64,
    /// Samples a rank and step.
    pub batch_size: i64,
    /// How many ranks.
    pub world_size: u32,
    /// Timed steps.
    pub steps: u32,
    /// The result.
    pub steps_per_s: f64,
    /// Before the first step.
    pub first_loss: f64,
    /// After the last step.
    pub last_loss: f64,
    /// The sum of all weights; equal on all ranks, or something is wrong.
    pub weights_sum: f64,
}

/// Measures as the rank that the environment says.
///
/// # Errors
/// When a peer is lost or libtorch refuses.
pub fn bench_rank(runtime: &Runtime, options: &BenchOptions) -> Result<RankResult, Error> {
    let BenchOptions { width, batch_size, .. } = *options;
    let device = runtime.device();
    tch::manual_seed(7);
    let model = Mlp::new(width, 10, device)?;
    let inputs = Tensor::f_randn([batch_size, width], (Kind::Float, tch::Device::Cpu))?
        .f_to_device(device)?;
    let targets = Tensor::f_randint(10, [batch_size], (Kind::Int64, tch::Device::Cpu))?
        .f_to_device(device)?;
    let batch = Batch { inputs, targets };
    let mut sgd = Sgd::new(
        model.weights(),
        SgdOptions { momentum: 0.9, weight_decay: 0.0, nesterov: false },
    )?;
    let mut stepper = Stepper::new(runtime, &model)?;
    let mut loss = stepper.step(&mut sgd, &batch, 0.01)?;
    let first_loss = loss.f_double_value(&[])?;
    for _ in 1..options.warmup {
        loss = stepper.step(&mut sgd, &batch, 0.01)?;
    }
    runtime.barrier()?;
    let started = Instant::now();
    for _ in 0..options.steps {
        loss = stepper.step(&mut sgd, &batch, 0.01)?;
    }
    let last_loss = loss.f_double_value(&[])?;
    runtime.barrier()?;
    let seconds = started.elapsed().as_secs_f64();
    let mut weights_sum = 0.0;
    for parameter in model.weights().parameters() {
        weights_sum += parameter.f_sum(Kind::Double)?.f_double_value(&[])?;
    }
    Ok(RankResult {
        implementation: "yard-train".to_owned(),
        backend: runtime.backend().name().to_owned(),
        device: format!("{device:?}"),
        width,
        batch_size,
        world_size: runtime.env().world_size,
        steps: options.steps,
        steps_per_s: f64::from(options.steps) / seconds,
        first_loss,
        last_loss,
        weights_sum,
    })
}

/// Starts the ranks on this machine and gives each one's measurement.
///
/// # Errors
/// When a rank fails.
pub fn bench_ranks(options: &BenchOptions, wishes: Wishes) -> Result<Vec<RankResult>, Error> {
    let mut args = vec!["bench-ddp".to_owned()];
    let numbers = [
        ("--width", options.width.to_string()),
        ("--batch-size", options.batch_size.to_string()),
        ("--steps", options.steps.to_string()),
        ("--warmup", options.warmup.to_string()),
        ("--threads", wishes.threads.unwrap_or(1).to_string()),
        ("--device", if wishes.cuda == Some(true) { "cuda" } else { "cpu" }.to_owned()),
        ("--backend", wishes.backend.map_or("auto", crate::c10d::Backend::name).to_owned()),
    ];
    for (flag, value) in numbers {
        args.extend([flag.to_owned(), value]);
    }
    let outputs = run_ranks(options.ranks, &args)?;
    outputs.iter().map(|output| Ok(serde_json::from_str(output.trim())?)).collect()
}
