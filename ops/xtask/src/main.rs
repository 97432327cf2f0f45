//! `cargo xtask`: what the repository checks about itself, beyond what the compiler and clippy see.
//!
//! It reads and prints; it never changes a file.

mod metadata;
mod tidy;

use std::{path::Path, process::ExitCode};

use anyhow::Context as _;
use clap::Parser;

/// The repository's own tasks.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
enum Task {
    /// Check files, rooms and dependencies against the house's rules.
    Tidy,
}

fn main() -> anyhow::Result<ExitCode> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .context("the crate lies at ops/xtask of the repository")?;
    match Task::parse() {
        Task::Tidy => Ok(report(&tidy::run(root)?)),
    }
}

#[expect(clippy::print_stdout, reason = "the findings are this program's result")]
fn report(findings: &[tidy::Finding]) -> ExitCode {
    for finding in findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => {
            println!("tidy: nothing to mend");
            ExitCode::SUCCESS
        }
        many => {
            println!("tidy: {many} to mend");
            ExitCode::FAILURE
        }
    }
}
