//! `yard cancel`: stops jobs. A job that has ended stays as it ended.

use clap::Args;
use trainyard_proto::v1;
use uuid::Uuid;

use super::get;
use crate::{
    app::App,
    client::Cluster,
    error::CliError,
    exit::Exit,
    output::{List, human},
    view::job::JobSummary,
};

/// Which jobs.
#[derive(Debug, Args)]
pub(crate) struct CancelArgs {
    /// Ids, beginnings of ids, or @last
    #[arg(required = true)]
    jobs: Vec<String>,
    /// Say what would be cancelled, and cancel nothing
    #[arg(long)]
    dry_run: bool,
}

/// Cancels jobs, and says where each stands.
pub(crate) async fn run(app: &App, args: &CancelArgs) -> Result<Exit, CliError> {
    let cluster = app.cluster()?;
    let names: Vec<String> =
        args.jobs.iter().map(|job| app.places.job(job)).collect::<Result<_, _>>()?;
    let mut items = Vec::new();
    for name in names {
        let job = if args.dry_run {
            get::fetch(&cluster, &name, app.global.stale).await?
        } else {
            cancel(&cluster, name).await?
        };
        items.push(JobSummary::from(job));
    }
    let mut look = app.out.look();
    look.id_chars = human::id_chars(items.iter().map(|job| job.id.as_str()));
    let page = app
        .out
        .list(&List { items, more: false, stale: false, empty: "no jobs".to_owned() }, look)?;
    app.out.print(&page)?;
    if args.dry_run {
        app.out.note("nothing was cancelled: this was a dry run");
    }
    Ok(Exit::Done)
}

async fn cancel(cluster: &Cluster, job: String) -> Result<v1::Job, CliError> {
    let request = v1::CancelRequest { key: Uuid::now_v7().to_string(), job };
    let answer = cluster
        .call("cancel the job", async |mut service| service.cancel(request.clone()).await)
        .await?;
    answer.job.ok_or_else(|| CliError::internal("the scheduler's answer holds no job"))
}
