//! The command line: global flags and the list of commands. Each command's own flags stand in
//! its file under `cmd/`.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};

use crate::{
    cmd,
    output::{Colour, Format, Output},
};

/// The overview, by what one wants to do. A test holds it against the commands that exist.
const OVERVIEW: &str = "\
Run a job:
  run         Submit a job and follow it to its end
  submit      Submit a job and return
  ps          List jobs
  logs        Print what the ranks wrote; -f follows
  explain     Say why a job waits, and what would start it
  wait        Wait for jobs to end
  cancel      Stop jobs
  job         The same and more: submit, list, get, logs, …

See what there is:
  model       Registered models: list, get, pull, verify
  node        Worker nodes: list, release
  gpu         GPUs and CPU slots: list
  cluster     Schedulers: status, members, add, snapshot, audit, …
  queue       Projects' quotas, shares and policies: list, get, set
  reservation Maintenance windows, nodes for some: create, list, delete
  token       Tokens of people and machines: create, list, revoke

Run a cluster:
  dev         Everything on this machine, from one directory
  scheduler   One scheduler
  worker      One worker's agent

Other:
  sim         Replay a workload trace through the planner
  schema      The JSON Schema of a job spec
  completion  Completion for a shell
";

/// Run training jobs to completion, on whatever GPUs you have.
#[derive(Debug, Parser)]
#[command(
    name = "yard",
    version,
    max_term_width = 100,
    disable_help_subcommand = true,
    override_usage = "yard [OPTIONS] COMMAND",
    help_template = "{about}\n\nUsage: {usage}\n\n{before-help}Options:\n{options}\n",
    before_help = OVERVIEW
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags that every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Schedulers, HOST:PORT,… [env: YARD_ENDPOINT]
    #[arg(long, global = true, value_name = "LIST")]
    pub(crate) endpoint: Option<String>,
    /// Endpoints by name, from ~/.config/yard/config.toml
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// A file with your token [or env: YARD_TOKEN]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Certificates, a directory [env: YARD_PKI]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) pki: Option<PathBuf>,
    /// The project to list, or to submit to
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) project: Option<String>,
    /// Form of results: table, wide, json, jsonl, yaml, csv
    #[arg(
        short,
        long = "output",
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT",
        hide_default_value = true,
        hide_possible_values = true
    )]
    pub(crate) output: Format,
    /// Show a listing again every 2 seconds
    #[arg(long, global = true)]
    pub(crate) watch: bool,
    /// Let any scheduler answer, without quorum
    #[arg(long, global = true)]
    pub(crate) stale: bool,
    /// Print ids alone, and nothing beside the result
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say more of what goes on; twice for all
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Colours: auto, always, never
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "WHEN",
        hide_default_value = true,
        hide_possible_values = true
    )]
    pub(crate) color: Colour,
    /// Answer yes to every question
    #[arg(short, long, global = true)]
    pub(crate) yes: bool,
}

impl Global {
    /// What the flags say of output.
    pub(crate) fn output(&self) -> Output {
        Output::new(self.output, self.quiet, self.color)
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Submit a job and follow it to its end
    Run(cmd::run::RunArgs),
    /// Submit a job and return
    Submit(cmd::submit::SubmitArgs),
    /// List jobs
    Ps(cmd::list::ListArgs),
    /// Print what a job's ranks wrote
    Logs(cmd::logs::LogsArgs),
    /// Say why a job waits, and what would start it
    Explain(cmd::explain::ExplainArgs),
    /// Wait for jobs to end
    Wait(cmd::wait::WaitArgs),
    /// Stop jobs
    Cancel(cmd::cancel::CancelArgs),
    /// Jobs
    #[command(subcommand)]
    Job(JobCommand),
    /// Registered models
    #[command(subcommand)]
    Model(ModelCommand),
    /// Worker nodes
    #[command(subcommand)]
    Node(NodeCommand),
    /// GPUs and CPU slots
    #[command(subcommand)]
    Gpu(GpuCommand),
    /// The schedulers
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Queues: who may use what, and who goes first
    #[command(subcommand)]
    Queue(QueueCommand),
    /// Reservations: nodes on which nobody runs for some time, or only some do
    #[command(subcommand)]
    Reservation(ReservationCommand),
    /// Tokens: who may do what
    #[command(subcommand)]
    Token(TokenCommand),
    /// Run everything on this machine, from one directory
    Dev(cmd::dev::DevArgs),
    /// Run one scheduler
    Scheduler(cmd::scheduler::SchedulerArgs),
    /// Run one worker's agent
    Worker(cmd::worker::WorkerArgs),
    /// Replay a workload trace through the planner
    Sim(cmd::sim::SimArgs),
    /// Print a JSON Schema
    #[command(subcommand)]
    Schema(SchemaCommand),
    /// Print a completion script for a shell
    Completion(cmd::completion::CompletionArgs),
    /// Parent an attempt's ranks; the worker's agent starts it
    #[command(hide = true)]
    Shim(cmd::shim::ShimArgs),
}

/// `yard job …`
#[derive(Debug, Subcommand)]
pub(crate) enum JobCommand {
    /// Submit a job and return
    Submit(cmd::submit::SubmitArgs),
    /// List jobs
    #[command(visible_alias = "ls")]
    List(cmd::list::ListArgs),
    /// Show all that is known of a job
    Get(cmd::get::GetArgs),
    /// Print what a job's ranks wrote
    Logs(cmd::logs::LogsArgs),
    /// Say why a job waits, and what would start it
    Explain(cmd::explain::ExplainArgs),
    /// Wait for jobs to end
    Wait(cmd::wait::WaitArgs),
    /// Stop jobs
    Cancel(cmd::cancel::CancelArgs),
}

/// `yard model …`
#[derive(Debug, Subcommand)]
pub(crate) enum ModelCommand {
    /// List the versions of models
    #[command(visible_alias = "ls")]
    List(cmd::model_list::ModelListArgs),
    /// Show a version, its files and where it came from
    Get(cmd::model_get::ModelGetArgs),
    /// Download a version; every file is verified
    Pull(cmd::model_pull::ModelPullArgs),
    /// Compare a version's bytes with their digests
    Verify(cmd::model_verify::ModelVerifyArgs),
}

/// `yard node …`
#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// List worker nodes
    #[command(visible_alias = "ls")]
    List,
    /// Stop an attempt that a node holds and a recovered cluster does not know
    Release(cmd::node_release::ReleaseArgs),
}

/// `yard gpu …`
#[derive(Debug, Subcommand)]
pub(crate) enum GpuCommand {
    /// List GPUs, who holds them and how busy they are
    #[command(visible_alias = "ls")]
    List(cmd::gpu::GpuListArgs),
}

/// `yard cluster …`
#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Ask every scheduler how it is
    Status,
    /// List the schedulers: who votes, versions, clocks, disks
    Members,
    /// Add a scheduler, and print its configuration
    Add(cmd::cluster_members::AddArgs),
    /// Remove a scheduler
    Remove(cmd::cluster_members::RemoveArgs),
    /// Put a new scheduler in the place of one that is broken
    Replace(cmd::cluster_members::ReplaceArgs),
    /// Hand the leadership over
    Transfer(cmd::cluster_members::TransferArgs),
    /// Write a backup of the whole state to a file
    Snapshot(cmd::cluster_snapshot::SnapshotArgs),
    /// Make a scheduler's data directory from a backup
    Restore(cmd::cluster_offline::RestoreArgs),
    /// Make a cluster of one from what a surviving scheduler holds
    Recover(cmd::cluster_offline::RecoverArgs),
    /// Say what a data directory or a backup holds
    Inspect(cmd::cluster_offline::InspectArgs),
    /// Print who did what and who was denied what, as JSON lines; or verify that record
    Audit(cmd::cluster_audit::AuditArgs),
    /// Make the authority and the first certificates of a new cluster
    Init(cmd::cluster_init::InitArgs),
    /// Make a certificate for a person or a program, from a scheduler's directory
    Certificate(cmd::cluster_certificate::CertificateArgs),
}

/// `yard queue …`
#[derive(Debug, Subcommand)]
pub(crate) enum QueueCommand {
    /// List the queues, what they may have and what they do
    #[command(visible_alias = "ls")]
    List,
    /// Show one queue
    Get(cmd::queue::GetArgs),
    /// Change a queue's settings; what is not named stays
    Set(Box<cmd::queue::SetArgs>),
}

/// `yard reservation …`
#[derive(Debug, Subcommand)]
pub(crate) enum ReservationCommand {
    /// Reserve nodes for maintenance, or for some projects and users
    Create(Box<cmd::reservation::CreateArgs>),
    /// List reservations, the next first
    #[command(visible_alias = "ls")]
    List,
    /// End a reservation, or one that has not begun
    Delete(cmd::reservation::DeleteArgs),
}

/// `yard token …`
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token and print it, once
    Create(cmd::token::CreateArgs),
    /// List tokens; never their secrets
    #[command(visible_alias = "ls")]
    List,
    /// End a token before its time
    Revoke(cmd::token::RevokeArgs),
}

/// `yard schema …`
#[derive(Debug, Subcommand)]
pub(crate) enum SchemaCommand {
    /// The schema of a job spec
    Job,
}

impl Command {
    /// Whether `--watch` makes sense of it.
    pub(crate) const fn is_listing(&self) -> bool {
        matches!(
            self,
            Self::Ps(_)
                | Self::Explain(_)
                | Self::Job(JobCommand::List(_) | JobCommand::Get(_) | JobCommand::Explain(_))
                | Self::Model(ModelCommand::List(_) | ModelCommand::Get(_))
                | Self::Node(NodeCommand::List)
                | Self::Gpu(_)
                | Self::Cluster(ClusterCommand::Status | ClusterCommand::Members)
                | Self::Queue(QueueCommand::List | QueueCommand::Get(_))
                | Self::Reservation(ReservationCommand::List)
                | Self::Token(TokenCommand::List)
        )
    }
}

#[cfg(test)]
mod tests;
