//! `yard scheduler`: one scheduler, until it is asked to stop.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;
use trainyard_pki::Subject;
use trainyard_scheduler::{Config, SchedulerError};

use super::daemon::{self, LogArgs};
use crate::{app::App, error::CliError, exit::Exit, join};

/// How to run it. Flags win over `YARD_SCHEDULER_…`, which wins over the file.
#[derive(Debug, Args)]
pub(crate) struct SchedulerArgs {
    /// Configuration file, TOML
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where clients, workers and other schedulers connect
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Where Prometheus metrics are served
    #[arg(long, value_name = "ADDRESS")]
    metrics_listen: Option<SocketAddr>,
    /// Log and snapshots
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Object store: file:///DIR or s3://BUCKET/PREFIX
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Certificates and keys, a directory
    #[arg(long, value_name = "DIR")]
    pki_dir: Option<PathBuf>,
    /// Join with this token first, unless that is done [env: YARD_JOIN]
    #[arg(long, value_name = "TOKEN")]
    join: Option<String>,
    #[command(flatten)]
    log: LogArgs,
}

/// Runs a scheduler.
pub(crate) fn run(app: &App, args: SchedulerArgs) -> Result<Exit, CliError> {
    daemon::trace_daemon(&args.log, app.global.verbose);
    let token = args.join.clone().or_else(|| app.places.join.clone());
    let config = configure(args).map_err(|error| failure(&error))?;
    daemon::block_on(async {
        if let Some(token) = token {
            let named = app.global.endpoint.as_deref().map(|list| list.split(','));
            let endpoints = match named {
                Some(list) => list.map(|at| at.trim().to_owned()).collect(),
                None => others(&config),
            };
            let subject = Subject::Scheduler(config.id);
            join::join(&token, &subject, config.pki_dir(), &endpoints).await?;
        }
        trainyard_scheduler::run(config, daemon::asked_to_stop())
            .await
            .map_err(|error| failure(&error))
    })?;
    Ok(Exit::Done)
}

/// The members that can let this one in.
fn others(config: &Config) -> Vec<String> {
    let others = config.peers.iter().filter(|(id, _)| **id != config.id);
    others.map(|(_, address)| address.clone()).collect()
}

fn configure(args: SchedulerArgs) -> Result<Config, SchedulerError> {
    let mut config = Config::load(args.config.as_deref())?;
    config.listen = args.listen.unwrap_or(config.listen);
    config.metrics_listen = args.metrics_listen.or(config.metrics_listen);
    config.data_dir = args.data_dir.unwrap_or(config.data_dir);
    config.pki_dir = args.pki_dir.or(config.pki_dir);
    config.store = args.store.unwrap_or(config.store);
    config.validate()?;
    Ok(config)
}

/// What stands in a file is for its author to mend; the rest is this machine's.
fn failure(error: &SchedulerError) -> CliError {
    let exit = match error {
        SchedulerError::Config(_) => Exit::Usage,
        _ => Exit::Internal,
    };
    daemon::failure(exit, error)
}
