//! Fuzzing without a nightly compiler: writes the seeds, or runs targets with seeded damage.

use std::{io::Write as _, time::Duration};

use anyhow::{Context as _, ensure};
use clap::Parser as _;
use trainyard_fuzz::{TARGETS, driver, seeds};

/// What to do.
#[derive(Debug, clap::Parser)]
enum Args {
    /// Write real encodings into the corpora
    Seeds,
    /// Feed targets with their corpora and damage to them
    Run {
        /// Targets; all unless named
        targets: Vec<String>,
        /// Seconds for each
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// Where the damage begins
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}

fn main() -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    match Args::parse() {
        Args::Seeds => writeln!(out, "{} seeds written", seeds::write()?)?,
        Args::Run { targets, seconds, seed } => {
            for name in &targets {
                ensure!(TARGETS.iter().any(|t| t.name == name), "there is no target {name}");
            }
            let chosen = TARGETS
                .iter()
                .filter(|t| targets.is_empty() || targets.iter().any(|n| n == t.name));
            for target in chosen {
                let time = Duration::from_secs(seconds);
                let budget = driver::Budget { seed, inputs: u64::MAX, time };
                let inputs = driver::run(target, budget).context("found something")?;
                writeln!(out, "{}: {inputs} inputs, nothing found", target.name)?;
            }
        }
    }
    Ok(())
}
