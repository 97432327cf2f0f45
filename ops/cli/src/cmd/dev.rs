//! `yard dev`: everything on this machine, from one directory, until Ctrl-C.

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::PathBuf,
};

use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser as _},
};
use trainyard_jobs::Millis;
use trainyard_pki::Credentials;

use super::daemon;
use crate::{
    app::App,
    dev::{self, Fleet, Layout, Plan, Sweep, Wishes},
    endpoint::DEV_DIRECTORY,
    error::CliError,
    exit::Exit,
};

/// What to run.
#[derive(Debug, Args)]
pub(crate) struct DevArgs {
    /// Where everything is kept
    #[arg(long, value_name = "DIR", default_value = DEV_DIRECTORY)]
    dir: PathBuf,
    /// Schedulers: 1 or 3
    #[arg(
        long,
        value_name = "N",
        default_value = "1",
        hide_possible_values = true,
        value_parser = PossibleValuesParser::new(["1", "3"]).map(|n| if n == "3" { 3_usize } else { 1 })
    )]
    schedulers: usize,
    /// Workers
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = workers)]
    workers: usize,
    /// CPU slots of each worker [default: shared processors]
    #[arg(long, value_name = "N")]
    slots: Option<u32>,
    /// How long a worker may be silent before it is lost
    #[arg(long, value_name = "TIME", default_value = "10s")]
    node_grace: Millis,
    /// Remove what earlier runs left in the directory
    #[arg(long)]
    fresh: bool,
}

fn workers(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|n| (1..=64).contains(n))
        .ok_or_else(|| "expected a number from 1 to 64".to_owned())
}

/// Runs a cluster.
pub(crate) async fn run(app: &App, args: &DevArgs) -> Result<Exit, CliError> {
    let layout = Layout::take(&args.dir)?;
    if args.fresh && !layout.is_new() && !confirmed(app, &layout) {
        return Err(CliError::usage("nothing was removed").help("leave --fresh out to go on"));
    }
    let left = Sweep::new(layout.dir()).stop_leftovers().await;
    if left > 0 {
        app.out.note(&format!("stopped {left} processes that an earlier `yard dev` left"));
    }
    if args.fresh {
        layout.clear()?;
    }
    let wishes = Wishes {
        schedulers: args.schedulers,
        workers: args.workers,
        slots: args.slots,
        node_grace: args.node_grace,
    };
    let plan = Plan::load(&layout, wishes)?;
    plan.write_configs(&layout, wishes)?;
    dev::issue(&layout, &plan, wishes.workers)?;

    let mut fleet = Fleet::new(&layout)?;
    let result = live(app, &layout, &plan, wishes.workers, &mut fleet).await;
    app.places.forget_dev(layout.dir());
    layout.unannounce();
    app.out.note("stopping; Ctrl-C again kills");
    tokio::select! {
        () = fleet.stop() => {}
        () = daemon::asked_to_stop() => fleet.kill(),
    }
    result.map(|()| Exit::Done)
}

/// From the first child to the wish to stop.
async fn live(
    app: &App,
    layout: &Layout,
    plan: &Plan,
    workers: usize,
    fleet: &mut Fleet<'_>,
) -> Result<(), CliError> {
    let workers: Vec<String> = Plan::workers(workers).collect();
    for name in plan.schedulers().chain(workers.iter().cloned()) {
        fleet.start(&name)?;
    }
    let endpoints = plan.endpoints();
    let owner = Credentials::person(&layout.admin())?;
    let stop = daemon::asked_to_stop();
    tokio::pin!(stop);
    let nodes = tokio::select! {
        nodes = dev::wait(&endpoints, &workers, &owner) => nodes?,
        died = fleet.died() => return Err(died.into_error()),
        () = &mut stop => return Ok(()),
    };
    layout.announce(&endpoints)?;
    if let Err(error) = app.places.remember_dev(layout.dir()) {
        app.out.note(&format!("other terminals need --endpoint: {error}"));
    }
    app.out.note(&dev::banner(layout, &endpoints, &nodes, app.out.colour_err));
    loop {
        tokio::select! {
            died = fleet.died() => app.out.note(&died.report()),
            () = &mut stop => return Ok(()),
        }
    }
}

/// Asks before jobs and models are removed, where somebody can answer.
fn confirmed(app: &App, layout: &Layout) -> bool {
    if app.global.yes || !io::stdin().is_terminal() {
        return true;
    }
    let _ = write!(
        io::stderr(),
        "remove all jobs, checkpoints and models in {}? [y/N] ",
        layout.dir().display()
    );
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "yes")
}
