//! `yard sim`: what would have been. A workload, from a trace or drawn, is replayed on a cluster
//! under one policy after another; no cluster is asked, and nothing is decided here.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use trainyard_jobs::{Backfill, Millis, Policy, ProjectName, QueueSpec, queue::ROOT};
use trainyard_sim::{
    Cluster, Dialect, Failures, Figures, Outcome, Setting, Shape, SimError, Workload,
};

use crate::{
    app::App,
    error::CliError,
    exit::Exit,
    output::{Format, List},
};

/// What is replayed, and how.
#[derive(Debug, Args)]
pub(crate) struct SimArgs {
    /// The workload: a trace, perhaps packed with gzip
    #[arg(long, value_name = "FILE", required_unless_present = "generate")]
    trace: Option<PathBuf>,
    /// Draw a workload of so many jobs instead
    #[arg(long, value_name = "JOBS", conflicts_with = "trace")]
    generate: Option<usize>,
    /// The load of a drawn workload, 1 for all that the cluster can do
    #[arg(long, value_name = "SHARE", default_value_t = 0.9, requires = "generate")]
    load: f64,
    /// Of the drawn jobs with one GPU, the share that asks for a part of it
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, requires = "generate")]
    parts: f64,
    /// The cluster: a file, or NODESxGPUS, or NODESxGPUS:TYPE
    #[arg(long, value_name = "FILE")]
    cluster: String,
    /// Queues with settings of their own: a TOML file, a table each
    #[arg(long, value_name = "FILE")]
    queues: Option<PathBuf>,
    /// Policies of the root queue, one replay each: auto, fair, fifo, …; auto if
    /// neither this nor the file of queues says one
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    policy: Vec<Policy>,
    /// Who may pass jobs that wait under fifo and fair: none, easy, conservative
    #[arg(long, value_name = "WHO")]
    backfill: Option<Backfill>,
    /// What all that is random follows from
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// Run time lost whenever a job starts again
    #[arg(long, value_name = "TIME", default_value = "1m")]
    restart_cost: Millis,
    /// The planner knows of run times what jobs report, or all
    #[arg(long, value_enum, value_name = "WHICH", default_value = "reported")]
    durations: Durations,
    /// How far off reports of progress are: a standard deviation
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    noise: f64,
    /// All jobs in one project
    #[arg(long)]
    one_project: bool,
    /// Jobs write a checkpoint this often; else only before they are stopped
    #[arg(long, value_name = "TIME")]
    checkpoint_every: Option<Millis>,
    /// Runs that fail by their own doing: a share, or a mean time to failure
    #[arg(long, value_name = "SHARE|TIME")]
    failures: Option<Failures>,
    /// How often a job is started again after that; 3 if left out
    #[arg(long, value_name = "N", requires = "failures")]
    max_restarts: Option<u32>,
    /// Gangs may spread over more nodes than they need, at no loss
    #[arg(long)]
    spread: bool,
    /// How the trace is written; told by its first line if left out
    #[arg(long, value_enum, value_name = "DIALECT")]
    dialect: Option<Written>,
    /// Write what became of each job, as CSV; POLICY.csv with several
    #[arg(long, value_name = "FILE")]
    jobs: Option<PathBuf>,
    /// Draw SVGs into this folder: use, queue, completion, policies
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,
}

/// How a trace is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Written {
    /// CSV with submit_time_s, gpus, duration_s
    Common,
    /// What `sacct --parsable2` prints
    Sacct,
    /// The job log of the Philly traces
    Philly,
    /// Pods (2023) or tasks (2020) of Alibaba's traces
    Alibaba,
}

impl From<Written> for Dialect {
    fn from(written: Written) -> Self {
        match written {
            Written::Common => Self::Common,
            Written::Sacct => Self::Sacct,
            Written::Philly => Self::Philly,
            Written::Alibaba => Self::Alibaba,
        }
    }
}

/// What the planner knows of run times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Durations {
    /// What a job reports once it runs.
    Reported,
    /// The true ones, from the submission on.
    Known,
}

/// Replays.
pub(crate) fn run(app: &App, args: &SimArgs) -> Result<Exit, CliError> {
    let cluster = Cluster::read(&args.cluster).map_err(failure)?;
    let workload = workload(app, args, &cluster)?;
    let queues = args.queues.as_deref().map(trainyard_sim::read_queues);
    let queues = queues.transpose().map_err(failure)?.unwrap_or_default();
    let policies = policies(args, &queues);
    let (mut items, mut outcomes) = (Vec::new(), Vec::new());
    for policy in &policies {
        let setting = setting(args, queues.clone(), *policy)?;
        let outcome = trainyard_sim::replay(&workload, &cluster, &setting).map_err(failure)?;
        if let Some(path) = &args.jobs {
            write_jobs(&file_of(path, *policy, policies.len()), &outcome)?;
        }
        items.push(Figures::of(policy.as_str(), &outcome));
        if args.plots.is_some() {
            outcomes.push((policy.as_str(), outcome));
        }
    }
    if let Some(folder) = &args.plots {
        let runs: Vec<(&str, &Outcome)> = outcomes.iter().map(|(name, o)| (*name, o)).collect();
        for file in trainyard_sim::plot(folder, &runs).map_err(failure)? {
            app.out.note(&format!("drew {}", file.display()));
        }
    }
    let empty = "no policy was given".to_owned();
    let list = List { items, more: false, stale: false, empty };
    let page = app.out.list(&list, app.out.look())?;
    app.out.print(&page)?;
    if app.out.format == Format::Table && !app.out.quiet {
        app.out.note("more columns with -o wide; all figures with -o json or -o csv");
    }
    Ok(Exit::Done)
}

fn workload(app: &App, args: &SimArgs, cluster: &Cluster) -> Result<Workload, CliError> {
    let mut workload = match (&args.trace, args.generate) {
        (Some(path), _) => {
            trainyard_sim::read(path, args.dialect.map(Dialect::from)).map_err(failure)?
        }
        (None, jobs) => {
            let (jobs, gpus) = (jobs.unwrap_or_default(), cluster.gpus());
            let (load, parts) = (args.load, args.parts);
            let shape = Shape { jobs, gpus, load, parts, ..Shape::default() };
            trainyard_sim::generate(&shape, args.seed).map_err(failure)?
        }
    };
    for (what, count) in &workload.left_out {
        app.out.note(&format!("left out: {count} {what}"));
    }
    if let Some(project) = &app.global.project {
        workload = workload.of_project(project);
    }
    if args.one_project {
        let name: ProjectName = "default".parse().map_err(|_| CliError::internal("a name"))?;
        workload = workload.as_one_project(&name);
    }
    if workload.jobs.is_empty() {
        return Err(CliError::usage("there is no job to replay").help("look at the trace"));
    }
    Ok(workload)
}

/// Queues, each after the one above it.
type Queues = Vec<(ProjectName, QueueSpec)>;

/// The policies to compare: what was asked for, else what the root's settings say.
fn policies(args: &SimArgs, queues: &Queues) -> Vec<Policy> {
    if !args.policy.is_empty() {
        return args.policy.clone();
    }
    let root = queues.iter().find(|(name, _)| name.as_str() == ROOT);
    vec![root.and_then(|(_, spec)| spec.policy).unwrap_or_default()]
}

fn setting(args: &SimArgs, mut queues: Queues, policy: Policy) -> Result<Setting, CliError> {
    let root: ProjectName = ROOT.parse().map_err(|_| CliError::internal("the root's name"))?;
    let known = queues.iter().position(|(name, _)| *name == root).map(|at| queues.remove(at).1);
    let known = known.unwrap_or_default();
    let spec = QueueSpec {
        policy: Some(policy),
        restart_cost: known.restart_cost.or(Some(args.restart_cost)),
        backfill: args.backfill.or(known.backfill),
        ..known
    };
    queues.insert(0, (root, spec));
    if !(args.noise.is_finite() && args.noise >= 0.0) {
        return Err(CliError::usage(format!("--noise {} is no share", args.noise))
            .help("give 0.1 for reports that are off by a tenth"));
    }
    Ok(Setting {
        seed: args.seed,
        queues,
        restart_cost: args.restart_cost,
        noise: args.noise,
        checkpoint_every: args.checkpoint_every,
        spread: args.spread,
        known_durations: args.durations == Durations::Known,
        failures: args.failures,
        max_restarts: args.max_restarts,
        ..Setting::default()
    })
}

/// With several policies each gets a file: `jobs.csv` becomes `jobs.las.csv`.
fn file_of(path: &Path, policy: Policy, policies: usize) -> PathBuf {
    if policies < 2 {
        return path.to_owned();
    }
    let extension = path.extension().map_or("csv".into(), |text| text.to_string_lossy());
    path.with_extension(format!("{policy}.{extension}"))
}

fn write_jobs(path: &Path, outcome: &Outcome) -> Result<(), CliError> {
    let failed = |error: csv::Error| {
        CliError::internal(format!("cannot write `{}`: {error}", path.display()))
    };
    let mut writer = csv::Writer::from_path(path).map_err(failed)?;
    for fate in &outcome.fates {
        writer.serialize(fate).map_err(failed)?;
    }
    writer.flush().map_err(|error| CliError::io("write", path, &error))
}

fn failure(error: SimError) -> CliError {
    let exit = match &error {
        SimError::Refused { .. } | SimError::Restless { .. } => Exit::Internal,
        _ => Exit::Usage,
    };
    CliError::new(exit, error.to_string())
}
