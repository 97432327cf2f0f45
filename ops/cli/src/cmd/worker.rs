//! `yard worker`: one worker's agent, until it is asked to stop. Its ranks go on without it, so
//! that an agent can be replaced by a newer one.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;
use trainyard_jobs::NodeName;
use trainyard_pki::Subject;
use trainyard_worker::{Config, WorkerError};

use super::daemon::{self, LogArgs};
use crate::{app::App, error::CliError, exit::Exit, join};

/// How to run it. Flags win over `YARD_WORKER_…`, which wins over the file. The schedulers are
/// named by the global `--endpoint`.
#[derive(Debug, Args)]
pub(crate) struct WorkerArgs {
    /// Configuration file, TOML
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The node's name, unique in the cluster
    #[arg(long, value_name = "NAME")]
    name: Option<NodeName>,
    /// CPU slots to offer
    #[arg(long, value_name = "N")]
    slots: Option<u32>,
    /// Where attempts live
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Object store: file:///DIR or s3://BUCKET/PREFIX
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Where Prometheus metrics are served
    #[arg(long, value_name = "ADDRESS")]
    metrics_listen: Option<SocketAddr>,
    /// Certificates and keys, a directory
    #[arg(long, value_name = "DIR")]
    pki_dir: Option<PathBuf>,
    /// Join with this token first, unless that is done [env: YARD_JOIN]
    #[arg(long, value_name = "TOKEN")]
    join: Option<String>,
    #[command(flatten)]
    log: LogArgs,
}

/// Runs an agent.
pub(crate) fn run(app: &App, args: WorkerArgs) -> Result<Exit, CliError> {
    daemon::trace_daemon(&args.log, app.global.verbose);
    let endpoints = app.global.endpoint.as_deref();
    let token = args.join.clone().or_else(|| app.places.join.clone());
    let config = configure(args, endpoints).map_err(|error| failure(&error))?;
    daemon::block_on(async {
        if let Some(token) = token {
            let pki = config.pki_dir();
            let subject = Subject::Worker(join::node(&config.data_dir, &pki));
            join::join(&token, &subject, pki, &config.endpoints).await?;
        }
        trainyard_worker::run(config, daemon::asked_to_stop())
            .await
            .map_err(|error| failure(&error))
    })?;
    Ok(Exit::Done)
}

fn configure(args: WorkerArgs, endpoints: Option<&str>) -> Result<Config, WorkerError> {
    let mut config = Config::load(args.config.as_deref())?;
    if let Some(list) = endpoints {
        config.endpoints = list.split(',').map(|endpoint| endpoint.trim().to_owned()).collect();
    }
    config.name = args.name.unwrap_or(config.name);
    config.slots = args.slots.or(config.slots);
    config.data_dir = args.data_dir.unwrap_or(config.data_dir);
    config.pki_dir = args.pki_dir.or(config.pki_dir);
    config.store = args.store.unwrap_or(config.store);
    config.metrics_listen = args.metrics_listen.or(config.metrics_listen);
    config.validate()?;
    Ok(config)
}

/// What the configuration can mend ends as a usage error; the rest is this machine's.
fn failure(error: &WorkerError) -> CliError {
    let exit = match error {
        WorkerError::Config(_)
        | WorkerError::DuplicateName { .. }
        | WorkerError::OtherCluster { .. } => Exit::Usage,
        _ => Exit::Internal,
    };
    daemon::failure(exit, error)
}
