//! Benchmarks of Trainyard beside its peers: one run, alternating rounds, medians, ratios.
//!
//! It reports and never judges: no figure fails it. A peer that is not installed is said to be
//! absent, never estimated. Everything that it starts is on loopback and ends with it.

use std::io::Write as _;

use anyhow::Context as _;
use clap::Parser as _;

mod args;
mod cluster;
mod ddp;
mod failover;
mod jobs;
mod machine;
mod process;
mod report;
mod rounds;
mod scale;
mod start;
mod submit;

use args::{Args, Bench};
use report::{Report, Section};

fn main() -> std::process::ExitCode {
    match run(&Args::parse()) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            progress(&format!("error: {error:#}"));
            std::process::ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    std::fs::create_dir_all(&args.data)
        .with_context(|| format!("cannot make {}", args.data.display()))?;
    if args.bench == Bench::Scale {
        runtime(Bench::Scale)?.block_on(interruptible(scale::run(args)))??;
        return if args.json { Ok(()) } else { write_page(args) };
    }
    let mut reports = Vec::new();
    for bench in args.bench.each() {
        progress(&format!("{bench:?}"));
        let mut report = Report::begin(&args.data);
        let section = runtime(bench)?.block_on(interruptible(measure(bench, args)))?;
        report.sections.push(section.unwrap_or_else(|error| Section::failed(bench, &error)));
        if !args.json {
            report.keep(&args.out, &format!("{bench:?}").to_lowercase())?;
        }
        reports.push(report);
    }
    let mut out = std::io::stdout();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &reports)?;
        return Ok(out.write_all(b"\n")?);
    }
    write_page(args)?;
    for report in reports {
        out.write_all(report.markdown().as_bytes())?;
    }
    Ok(())
}

/// The page of results, of all that was kept.
fn write_page(args: &Args) -> anyhow::Result<()> {
    let page = report::page(&args.out)?;
    let path = args.out.with_file_name("RESULTS.md");
    std::fs::write(&path, &page).with_context(|| format!("cannot write {}", path.display()))
}

/// The load of `submit` comes from one thread: clients that wake each other across threads would
/// take the processor from what they measure.
fn runtime(bench: Bench) -> std::io::Result<tokio::runtime::Runtime> {
    let mut builder = match bench {
        Bench::Submit => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    builder.enable_all().build()
}

async fn interruptible<T>(work: impl Future<Output = T>) -> anyhow::Result<T> {
    let mut stop = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    // Leaving by any of these drops what runs, and with it the daemons.
    tokio::select! {
        done = work => Ok(done),
        _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
        _ = stop.recv() => anyhow::bail!("terminated"),
    }
}

async fn measure(bench: Bench, args: &Args) -> anyhow::Result<Section> {
    match bench {
        Bench::Submit => submit::run(args).await,
        Bench::Jobs => jobs::run(args).await,
        Bench::Failover => failover::run(args).await,
        Bench::Start => start::run(args).await,
        _ => ddp::run(args).await,
    }
}

/// Progress is for people: on stderr, one line a step.
fn progress(text: &str) {
    let _ = writeln!(std::io::stderr(), "bench: {text}");
}
