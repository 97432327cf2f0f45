//! `yard shim DIR`: what parents an attempt's ranks. Started by the worker's agent alone; it
//! outlives the agent, and never starts a runtime or threads before it forks.

use std::path::PathBuf;

use clap::Args;

/// The attempt's directory.
#[derive(Debug, Args)]
pub(crate) struct ShimArgs {
    /// The attempt's directory
    dir: PathBuf,
}

/// Becomes the shim.
pub(crate) fn run(args: &ShimArgs) -> ! {
    std::process::exit(trainyard_worker::shim_main(&args.dir))
}
