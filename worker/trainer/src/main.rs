//! `yard-train`: runs a recipe as one rank of an attempt. Everything it does is in the library; here
//! are only the flags, and the exit codes: 0 done, 1 failed, 2 usage, 3 no GPU to check, 75 stopped on
//! request after a checkpoint.

mod args;

use std::process::ExitCode;

use clap::Parser;
use serde_json::json;
use trainyard_train::Error;
use trainyard_train::c10d;
use trainyard_train::env::RankEnv;
use trainyard_train::output::{say, warn};
use trainyard_train::recipe::Recipe;
use trainyard_train::runtime::{Runtime, cuda_devices};
use trainyard_train::tools::{GpuCheck, bench_rank, bench_ranks, gpu_check};
use trainyard_train::trainer::Outcome;

use args::{Args, BenchArgs, Command};

/// What sysexits.h calls a temporary failure: the attempt is to be started again later.
const STOPPED: u8 = 75;
const NO_GPU: u8 = 3;

fn main() -> ExitCode {
    let args = Args::parse();
    match run(args) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            warn(&format!("error: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(args: Args) -> Result<u8, Error> {
    match &args.command {
        Some(Command::BenchDdp(bench)) => run_bench(bench),
        Some(Command::GpuCheck) => run_gpu_check(),
        None if args.probe => {
            say(&probe().to_string());
            Ok(0)
        }
        None => run_recipe(&args),
    }
}

fn run_recipe(args: &Args) -> Result<u8, Error> {
    let name = args
        .recipe
        .as_deref()
        .ok_or_else(|| Error::Params("no recipe: give --recipe NAME, or --probe".to_owned()))?;
    let recipe = Recipe::parse(name, &args.params()?)?;
    let runtime = Runtime::start(RankEnv::from_process()?, args.machine.wishes())?;
    match recipe.run(&runtime, args.trace.clone())? {
        Outcome::Finished(summary) => {
            if runtime.is_first() {
                let accuracy = summary.evaluation.accuracy * 100.0;
                say(&format!(
                    "done: {} steps, val_accuracy {accuracy:.2} %, {:.1} s",
                    summary.steps, summary.seconds
                ));
            }
            Ok(0)
        }
        Outcome::Stopped { step } => {
            say(&format!("stopped on request after step {step}"));
            Ok(STOPPED)
        }
    }
}

/// One line for the agent: whether this program can run here at all, and with what.
fn probe() -> serde_json::Value {
    let devices = cuda_devices();
    json!({
        "yard_train": env!("CARGO_PKG_VERSION"),
        "libtorch": env!("YARD_TORCH_VERSION"),
        "gloo": true,
        "nccl": c10d::nccl_built(),
        "cuda": devices > 0,
        "cuda_devices": devices,
        "recipes": trainyard_train::recipe::NAMES,
    })
}

fn run_bench(bench: &BenchArgs) -> Result<u8, Error> {
    let (options, wishes) = (bench.options(), bench.machine.wishes());
    if std::env::var_os("RANK").is_some() {
        let runtime = Runtime::start(RankEnv::from_process()?, wishes)?;
        let result = bench_rank(&runtime, &options).map_err(|error| runtime.explain(error))?;
        say(&serde_json::to_string(&result)?);
        return Ok(0);
    }
    if let Some(first) = bench_ranks(&options, wishes)?.first() {
        say(&serde_json::to_string(first)?);
    }
    Ok(0)
}

fn run_gpu_check() -> Result<u8, Error> {
    match gpu_check()? {
        GpuCheck::NoGpu(why) => {
            warn(&format!("gpu-check: nothing to check: {why}"));
            Ok(NO_GPU)
        }
        GpuCheck::Ran(rows) => {
            for (what, good, detail) in &rows {
                say(&format!("{what:<34} {}  {detail}", if *good { "ok    " } else { "FAILED" }));
            }
            Ok(u8::from(rows.iter().any(|(_, good, _)| !good)))
        }
    }
}
