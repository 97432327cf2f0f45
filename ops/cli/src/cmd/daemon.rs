//! What the daemons share: runtime, logging, the signal that ends them, and how their errors
//! reach the operator.

use std::{error::Error, future::Future};

use clap::{Args, ValueEnum};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::{error::CliError, exit::Exit};

/// How a daemon writes its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Plain,
    /// One JSON object a line.
    Json,
}

/// How a daemon logs.
#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    /// How the log is written: plain or json
    #[arg(
        long,
        value_enum,
        default_value_t,
        value_name = "FORMAT",
        hide_default_value = true,
        hide_possible_values = true
    )]
    log_format: LogFormat,
}

/// Runs a command's future on a runtime of its own.
pub(crate) fn block_on<T>(
    future: impl Future<Output = Result<T, CliError>>,
) -> Result<T, CliError> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::internal(format!("cannot start the runtime: {error}")))?
        .block_on(future)
}

/// Logging of the commands: silent unless asked for.
pub(crate) fn trace_client(verbose: u8) {
    let level = match verbose {
        0 => "error",
        1 => "yard=debug,info",
        _ => "debug",
    };
    let _ = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| level.into()))
        .with_writer(std::io::stderr)
        .try_init();
}

/// Logging of the daemons, to standard error; `RUST_LOG` chooses more or less.
pub(crate) fn trace_daemon(log: &LogArgs, verbose: u8) {
    let level = match verbose {
        0 => "info",
        1 => {
            "info,trainyard=debug,trainyard_scheduler=debug,trainyard_worker=debug,trainyard_raft=debug"
        }
        _ => "debug",
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| level.into()))
        .with_writer(std::io::stderr)
        .with_ansi(crate::output::stderr_is_terminal());
    let _ = match log.log_format {
        LogFormat::Plain => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
}

/// Ends when the process is asked to: SIGTERM, Ctrl-C, or its terminal is closed.
pub(crate) async fn asked_to_stop() {
    let listen = |kind| signal(kind).ok();
    let (mut term, mut hup) = (listen(SignalKind::terminate()), listen(SignalKind::hangup()));
    tokio::select! {
        Some(()) = received(&mut term) => {}
        Some(()) = received(&mut hup) => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

async fn received(signal: &mut Option<Signal>) -> Option<()> {
    match signal {
        Some(signal) => signal.recv().await,
        None => None,
    }
}

/// A daemon's error with its causes; what to try stands apart.
pub(crate) fn failure(exit: Exit, error: &dyn Error) -> CliError {
    let text = chain(error);
    match text.rsplit_once("; ") {
        Some((what, hint)) => CliError::new(exit, what).help(hint),
        None => CliError::new(exit, text),
    }
}

/// An error and its causes; a cause that was said already is left out.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot listen on 127.0.0.1:7401: {source}; stop what uses it")]
    struct Taken {
        source: std::io::Error,
    }

    #[test]
    fn a_daemons_hint_stands_apart() {
        let source = std::io::Error::from(std::io::ErrorKind::AddrInUse);
        let error = failure(Exit::Internal, &Taken { source });
        insta::assert_snapshot!(error.render(false, 80), @"
        × cannot listen on 127.0.0.1:7401: address in use
        help: stop what uses it
        ");
    }
}
