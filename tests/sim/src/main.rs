//! Runs seeds of the simulation, and prints for each that fails the line that replays it.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command's output")]

use std::process::ExitCode;

use clap::Parser;
use trainyard_sim_tests::{Scenario, run};

/// Simulate the whole control plane from a seed.
#[derive(Debug, Parser)]
struct Args {
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How many seeds from there on.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Print everything that happens.
    #[arg(long)]
    trace: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    std::panic::set_hook(Box::new(|_| {}));
    let mut failed = 0u64;
    for seed in args.seed..args.seed.saturating_add(args.seeds) {
        let outcome = run(&Scenario::of(seed), args.trace);
        let (digest, lines) = outcome.digest;
        match outcome.violation {
            None if args.seeds == 1 => {
                println!("seed {seed}: {lines} happenings, at rest after {} ms, digest {digest:016x}", outcome.rest);
            }
            None => {}
            Some(violation) => {
                failed = failed.saturating_add(1);
                println!(
                    "seed {seed}: {} violated at {} ms: {}\n  cargo run -p trainyard-sim-tests -- --seed {seed} --trace",
                    violation.invariant, violation.at, violation.what
                );
            }
        }
    }
    if args.seeds > 1 {
        println!("{} of {} seeds held", args.seeds.saturating_sub(failed), args.seeds);
    }
    ExitCode::from(u8::from(failed > 0))
}
