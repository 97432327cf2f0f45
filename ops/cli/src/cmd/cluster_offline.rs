//! `yard cluster restore|recover|inspect`: what is done to data directories while no scheduler
//! runs on them.

use std::path::PathBuf;

use clap::Args;
use trainyard_scheduler::{Contents, Made, OfflineError};

use super::daemon;
use crate::{
    app::App,
    error::CliError,
    exit::Exit,
    output::{Card, Look, table::labelled},
};

/// What is made of a backup.
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The backup
    file: PathBuf,
    /// The data directory to make; it must be empty
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Which of --peers this one is, from 1
    #[arg(long, value_name = "N")]
    id: u64,
    /// All schedulers of the restored cluster, HOST:PORT,…: 1, 3 or 5
    #[arg(long, value_name = "LIST", value_delimiter = ',', required = true)]
    peers: Vec<String>,
    /// The recovery epoch, if the one after the backup's was used before
    #[arg(long, value_name = "N")]
    epoch: Option<u64>,
}

/// What is made of a surviving member's data.
#[derive(Debug, Args)]
pub(crate) struct RecoverArgs {
    /// The survivor's data directory; it is set aside
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Where the scheduler will listen, HOST:PORT
    #[arg(long, value_name = "ADDRESS")]
    address: String,
    /// The recovery epoch, if the next one was used before
    #[arg(long, value_name = "N")]
    epoch: Option<u64>,
}

/// What is looked into.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// A data directory; its scheduler must not run
    #[arg(value_name = "DIR")]
    path: PathBuf,
}

/// Makes a data directory from a backup.
pub(crate) fn restore(app: &App, args: &RestoreArgs) -> Result<Exit, CliError> {
    let made =
        trainyard_scheduler::restore(&args.file, &args.data_dir, args.id, &args.peers, args.epoch);
    let made = made.map_err(|error| failure(&error))?;
    show(app, &made)?;
    app.out.note(
        "make the other members from the same file with the same --peers, start them all with \
         the configurations they had, and stop the schedulers of the old history for good",
    );
    Ok(Exit::Done)
}

/// Makes a cluster of one from a survivor's data.
pub(crate) fn recover(app: &App, args: &RecoverArgs) -> Result<Exit, CliError> {
    if !app.global.yes {
        return Err(CliError::usage("this begins a new history: what only the lost schedulers hold is given up")
            .help("take the survivor whose log reaches furthest (`yard cluster inspect`), stop every other scheduler for good, and say --yes"));
    }
    let made = trainyard_scheduler::recover(&args.data_dir, args.address.clone(), args.epoch);
    let made = made.map_err(|error| failure(&error))?;
    show(app, &made)?;
    app.out.note("start it with the configuration it had; `yard cluster add` brings it to three");
    Ok(Exit::Done)
}

/// Says what a data directory holds.
pub(crate) fn inspect(app: &App, args: &InspectArgs) -> Result<Exit, CliError> {
    let contents = trainyard_scheduler::inspect(&args.path).map_err(|error| failure(&error))?;
    app.out.print(&app.out.card(&View::from(contents), app.out.look())?)?;
    Ok(Exit::Done)
}

fn failure(error: &OfflineError) -> CliError {
    let exit = match error {
        OfflineError::Recovery(_) | OfflineError::NoSuchMember { .. } => Exit::Usage,
        _ => Exit::Internal,
    };
    daemon::failure(exit, error)
}

fn show(app: &App, made: &Made) -> Result<(), CliError> {
    let document = serde_json::json!({
        "cluster": made.cluster,
        "epoch": made.epoch,
        "id": made.id,
        "members": made.members,
        "index": made.index,
        "set_aside": made.aside,
    });
    if app.out.quiet {
        return app.out.result(&format!("{}\n", made.id));
    }
    if !app.out.is_human() {
        return app.out.result(&app.out.document("NewHistory", &document)?);
    }
    let members = made.members.iter().map(|(id, at)| format!("{id} at {at}"));
    let lines = [
        ("cluster", made.cluster.to_string()),
        ("epoch", made.epoch.to_string()),
        ("member", made.id.to_string()),
        ("members", members.collect::<Vec<_>>().join(", ")),
        ("begins at", format!("index {}", made.index)),
        ("set aside", made.aside.as_ref().map(|d| d.display().to_string()).unwrap_or_default()),
    ];
    app.out.result(&labelled(&lines, app.out.look()))
}

/// What a data directory holds.
#[derive(Debug, serde::Serialize)]
struct View {
    cluster: String,
    member: u64,
    epoch: u64,
    feature_level: u16,
    term: u64,
    index: u64,
    commit: u64,
    snapshot_index: u64,
    state_hash: String,
    members: std::collections::BTreeMap<u64, String>,
    jobs: usize,
    live_jobs: usize,
}

impl From<Contents> for View {
    fn from(contents: Contents) -> Self {
        Self {
            cluster: contents.cluster.to_string(),
            member: contents.member,
            epoch: contents.epoch,
            feature_level: contents.feature_level,
            term: contents.term,
            index: contents.index,
            commit: contents.commit,
            snapshot_index: contents.snapshot,
            state_hash: contents.state_hash,
            members: contents.members,
            jobs: contents.jobs.0,
            live_jobs: contents.jobs.1,
        }
    }
}

impl Card for View {
    const KIND: &'static str = "DataDirectory";

    fn key(&self) -> String {
        self.member.to_string()
    }

    fn draw(&self, look: Look) -> String {
        let members = self.members.iter().map(|(id, at)| format!("{id} at {at}"));
        let lines = [
            ("cluster", self.cluster.clone()),
            ("member", self.member.to_string()),
            ("epoch", format!("{}, feature level {}", self.epoch, self.feature_level)),
            ("log", format!("term {}, up to {}, {} committed", self.term, self.index, self.commit)),
            ("snapshot", format!("at {}", self.snapshot_index)),
            ("jobs", format!("{}, {} of them not ended", self.jobs, self.live_jobs)),
            ("members", members.collect::<Vec<_>>().join(", ")),
            ("state", self.state_hash.clone()),
        ];
        labelled(&lines, look)
    }
}
