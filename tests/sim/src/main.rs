//! Runs seeds of the simulation, and prints for each that fails the line that replays it.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command's output")]

#[cfg(feature = "canaries")]
mod hunt;

use std::process::ExitCode;

use clap::Parser;
use trainyard_sim_tests::{Outcome, Scenario, run};

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
    /// Plant each old bug in turn, and find it within 500 seeds.
    #[cfg(feature = "canaries")]
    #[arg(long)]
    canaries: bool,
    /// Plant this old bug.
    #[cfg(feature = "canaries")]
    #[arg(long)]
    canary: Option<String>,
    /// Fail unless the seeds together reached every branch that is marked.
    #[cfg(feature = "canaries")]
    #[arg(long)]
    coverage: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    // What panics inside is an outcome like any other; a trace says where it was.
    if !args.trace {
        std::panic::set_hook(Box::new(|_| {}));
    }
    #[cfg(feature = "canaries")]
    if args.canaries {
        return ExitCode::from(u8::from(!hunt::hunt()));
    }
    #[cfg(feature = "canaries")]
    if let Some(name) = &args.canary
        && !hunt::plant(name)
    {
        eprintln!("there is no canary `{name}`");
        return ExitCode::from(2);
    }
    let mut outcomes = Vec::new();
    for seed in args.seed..args.seed.saturating_add(args.seeds) {
        let outcome = run(&Scenario::of(seed), args.trace);
        report(&outcome, args.seeds == 1);
        outcomes.push(outcome);
    }
    let failed = outcomes.iter().filter(|outcome| outcome.violation.is_some()).count();
    if args.seeds > 1 {
        println!("{} of {} seeds held", outcomes.len().saturating_sub(failed), outcomes.len());
    }
    #[cfg(feature = "canaries")]
    if args.coverage && !hunt::covered(&outcomes) {
        return ExitCode::FAILURE;
    }
    ExitCode::from(u8::from(failed > 0))
}

fn report(outcome: &Outcome, alone: bool) {
    let Outcome { seed, rest, digest: (digest, lines), violation, .. } = outcome;
    match violation {
        None if alone => {
            println!(
                "seed {seed}: {lines} happenings, at rest after {rest} ms, digest {digest:016x}"
            );
        }
        None => {}
        Some(violation) => println!("{}", violation.told(*seed)),
    }
}
