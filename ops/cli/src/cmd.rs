//! One file a command, and the way from the parsed command line to each. A command prints its
//! result and returns how it ended.

use crate::{
    app::App,
    args::{
        Cli, ClusterCommand, Command, GpuCommand, JobCommand, ModelCommand, NodeCommand,
        SchemaCommand,
    },
    error::CliError,
    exit::Exit,
    output::{Format, Output},
    places::Places,
};

pub(crate) mod cancel;
pub(crate) mod cluster;
pub(crate) mod cluster_audit;
pub(crate) mod cluster_certificate;
pub(crate) mod cluster_init;
pub(crate) mod cluster_members;
pub(crate) mod cluster_offline;
pub(crate) mod cluster_snapshot;
pub(crate) mod completion;
pub(crate) mod daemon;
pub(crate) mod dev;
pub(crate) mod explain;
pub(crate) mod get;
pub(crate) mod gpu;
pub(crate) mod list;
pub(crate) mod logs;
pub(crate) mod model;
pub(crate) mod model_get;
pub(crate) mod model_list;
pub(crate) mod model_pull;
pub(crate) mod model_verify;
pub(crate) mod node;
pub(crate) mod node_release;
pub(crate) mod queue;
pub(crate) mod reservation;
pub(crate) mod run;
pub(crate) mod scheduler;
pub(crate) mod schema;
pub(crate) mod shim;
pub(crate) mod sim;
pub(crate) mod submit;
pub(crate) mod token;
pub(crate) mod wait;
pub(crate) mod worker;

/// Runs a command. The shim, the completion and the schema need no runtime; a shim must not
/// have one, since it forks.
pub(crate) fn dispatch(cli: Cli, out: Output) -> Result<Exit, CliError> {
    if cli.global.watch && !cli.command.is_listing() {
        return Err(CliError::usage("--watch is for listings").help("`yard run` follows a job"));
    }
    if out.format == Format::Csv && !matches!(cli.command, Command::Sim(_)) {
        return Err(CliError::usage("only `yard sim` writes csv").help("take -o json"));
    }
    let app = App { out, global: cli.global, places: Places::from_env() };
    let command = match cli.command {
        Command::Shim(args) => shim::run(&args),
        Command::Completion(args) => return completion::run(&app, &args),
        Command::Schema(SchemaCommand::Job) => return schema::run(&app),
        Command::Sim(args) => return sim::run(&app, &args),
        Command::Cluster(ClusterCommand::Init(args)) => return cluster_init::run(&app, &args),
        Command::Cluster(ClusterCommand::Certificate(args)) => {
            return cluster_certificate::run(&app, &args);
        }
        Command::Scheduler(args) => return scheduler::run(&app, args),
        Command::Worker(args) => return worker::run(&app, args),
        Command::Cluster(ClusterCommand::Restore(args)) => {
            return cluster_offline::restore(&app, &args);
        }
        Command::Cluster(ClusterCommand::Recover(args)) => {
            return cluster_offline::recover(&app, &args);
        }
        Command::Cluster(ClusterCommand::Inspect(args)) => {
            return cluster_offline::inspect(&app, &args);
        }
        command => command,
    };
    daemon::trace_client(app.global.verbose);
    daemon::block_on(ask(&app, command))
}

async fn ask_cluster(app: &App, command: ClusterCommand) -> Result<Exit, CliError> {
    use ClusterCommand as Ask;
    match command {
        Ask::Status => cluster::run(app).await,
        Ask::Audit(args) => cluster_audit::run(app, args).await,
        Ask::Members => cluster_members::list(app).await,
        Ask::Add(args) => cluster_members::add(app, &args).await,
        Ask::Remove(args) => cluster_members::remove(app, &args).await,
        Ask::Replace(args) => cluster_members::replace(app, &args).await,
        Ask::Transfer(args) => cluster_members::transfer(app, &args).await,
        Ask::Snapshot(args) => cluster_snapshot::run(app, &args).await,
        // Those need no cluster, and were done without one.
        Ask::Restore(_)
        | Ask::Recover(_)
        | Ask::Inspect(_)
        | Ask::Init(_)
        | Ask::Certificate(_) => Ok(Exit::Done),
    }
}

async fn ask(app: &App, command: Command) -> Result<Exit, CliError> {
    use JobCommand as Job;
    match command {
        Command::Run(args) => run::run(app, args).await,
        Command::Submit(args) | Command::Job(Job::Submit(args)) => submit::run(app, args).await,
        Command::Ps(args) | Command::Job(Job::List(args)) => list::run(app, &args).await,
        Command::Job(Job::Get(args)) => get::run(app, &args).await,
        Command::Logs(args) | Command::Job(Job::Logs(args)) => logs::run(app, args).await,
        Command::Explain(args) | Command::Job(Job::Explain(args)) => explain::run(app, &args).await,
        Command::Wait(args) | Command::Job(Job::Wait(args)) => wait::run(app, &args).await,
        Command::Cancel(args) | Command::Job(Job::Cancel(args)) => cancel::run(app, &args).await,
        Command::Model(ModelCommand::List(args)) => model_list::run(app, &args).await,
        Command::Model(ModelCommand::Get(args)) => model_get::run(app, &args).await,
        Command::Model(ModelCommand::Pull(args)) => model_pull::run(app, &args).await,
        Command::Model(ModelCommand::Verify(args)) => model_verify::run(app, &args).await,
        Command::Node(NodeCommand::List) => node::run(app).await,
        Command::Node(NodeCommand::Release(args)) => node_release::run(app, &args).await,
        Command::Gpu(GpuCommand::List(args)) => gpu::run(app, &args).await,
        Command::Cluster(command) => ask_cluster(app, command).await,
        Command::Queue(command) => queue::run(app, command).await,
        Command::Reservation(command) => reservation::run(app, command).await,
        Command::Token(command) => token::run(app, command).await,
        Command::Dev(args) => dev::run(app, &args).await,
        Command::Scheduler(_)
        | Command::Worker(_)
        | Command::Schema(_)
        | Command::Sim(_)
        | Command::Completion(_)
        | Command::Shim(_) => Ok(Exit::Done),
    }
}
