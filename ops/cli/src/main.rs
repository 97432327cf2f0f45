//! `yard`: Trainyard's one binary. The researcher's and the operator's commands, and the
//! daemons. A command parses, asks the schedulers, and shows; what a job, a checkpoint or a model
//! is, the libraries decide.

use std::process::ExitCode;

use clap::Parser as _;

mod app;
mod args;
mod client;
mod cmd;
mod dev;
mod endpoint;
mod error;
mod exit;
mod follow;
mod join;
mod output;
mod places;
mod token;
mod view;

#[cfg(test)]
mod testing;

/// The C library's allocator grows each thread's heap by system calls, more than one a submit.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How wide errors are set, in characters.
const WIDTH: usize = 80;

fn main() -> ExitCode {
    let cli = args::Cli::parse();
    let output = cli.global.output();
    match cmd::dispatch(cli, output) {
        Ok(exit) => exit.into(),
        Err(error) => {
            let exit = error.exit();
            eprint(&error.render(output.colour_err, WIDTH));
            exit.into()
        }
    }
}

/// Errors are said even with `--quiet`; nobody reading them is no reason to panic.
fn eprint(text: &str) {
    use std::io::Write as _;
    let _ = write!(std::io::stderr().lock(), "{text}");
}
