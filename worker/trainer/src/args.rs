//! The command line.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use serde_json::{Map, Value};
use trainyard_train::Error;
use trainyard_train::c10d::Backend;
use trainyard_train::recipe;
use trainyard_train::runtime::Wishes;
use trainyard_train::tools::BenchOptions;

/// Trains a recipe as one rank of an attempt. Rank, world size and folders come from the environment
/// (torchrun's variables and YARD_*); without them it is a world of one.
#[derive(Debug, Parser)]
#[command(name = "yard-train", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    /// The recipe to run.
    #[arg(long, value_name = "NAME")]
    pub(crate) recipe: Option<String>,
    /// Parameters as a JSON object.
    #[arg(long, value_name = "JSON")]
    params_json: Option<String>,
    /// A file with parameters as a JSON object; --params-json goes over it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One parameter; goes over both.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Say in one line of JSON what this program can do here, and leave.
    #[arg(long)]
    pub(crate) probe: bool,
    /// Write the initial weights and the loss of every step into this folder.
    #[arg(long, value_name = "FOLDER", hide = true)]
    pub(crate) trace: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) machine: Machine,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What to run on.
#[derive(Debug, ClapArgs)]
pub(crate) struct Machine {
    /// Where tensors live.
    #[arg(long, value_enum, default_value_t = DeviceArg::Auto)]
    device: DeviceArg,
    /// What carries gradients between ranks.
    #[arg(long, value_enum, default_value_t = BackendArg::Auto)]
    backend: BackendArg,
    /// Threads within an operation (default: OMP_NUM_THREADS, else 1). A run is repeatable to the
    /// bit only with the same number.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    threads: Option<i32>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum DeviceArg {
    Auto,
    Cpu,
    Cuda,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum BackendArg {
    Auto,
    Gloo,
    Nccl,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Measure steps a second of a perceptron; starts its own ranks unless RANK is set.
    #[command(hide = true)]
    BenchDdp(BenchArgs),
    /// Check what needs a GPU; exits with 3 where there is none.
    GpuCheck,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct BenchArgs {
    /// Ranks to start.
    #[arg(long, default_value_t = 2)]
    ranks: u32,
    /// Width of the layers.
    #[arg(long, default_value_t = 512)]
    width: i64,
    /// Samples a rank and step.
    #[arg(long, default_value_t = 64)]
    batch_size: i64,
    /// Steps that are timed.
    #[arg(long, default_value_t = 200)]
    steps: u32,
    /// Steps before that.
    #[arg(long, default_value_t = 20)]
    warmup: u32,
    #[command(flatten)]
    pub(crate) machine: Machine,
}

impl Args {
    /// The recipe's parameters from all three sources.
    pub(crate) fn params(&self) -> Result<Map<String, Value>, Error> {
        let mut params = Map::new();
        if let Some(path) = &self.config {
            let text = std::fs::read_to_string(path)
                .map_err(|e| Error::Params(format!("--config {}: {e}", path.display())))?;
            params.append(&mut object(&text, "--config")?);
        }
        if let Some(text) = &self.params_json {
            params.append(&mut object(text, "--params-json")?);
        }
        for assignment in &self.sets {
            recipe::set(&mut params, assignment)?;
        }
        Ok(params)
    }
}

fn object(text: &str, flag: &str) -> Result<Map<String, Value>, Error> {
    serde_json::from_str(text).map_err(|e| Error::Params(format!("{flag}: not a JSON object: {e}")))
}

impl Machine {
    pub(crate) fn wishes(&self) -> Wishes {
        Wishes {
            cuda: match self.device {
                DeviceArg::Auto => None,
                DeviceArg::Cpu => Some(false),
                DeviceArg::Cuda => Some(true),
            },
            backend: match self.backend {
                BackendArg::Auto => None,
                BackendArg::Gloo => Some(Backend::Gloo),
                BackendArg::Nccl => Some(Backend::Nccl),
            },
            threads: self.threads,
        }
    }
}

impl BenchArgs {
    pub(crate) fn options(&self) -> BenchOptions {
        BenchOptions {
            ranks: self.ranks,
            width: self.width,
            batch_size: self.batch_size,
            steps: self.steps,
            warmup: self.warmup,
        }
    }
}
