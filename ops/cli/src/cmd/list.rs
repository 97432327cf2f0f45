//! `yard ps`, `yard job list`: jobs, the newest first.

use clap::Args;
use trainyard_proto::v1;

use crate::{
    app::App,
    error::CliError,
    exit::Exit,
    output::{List, Page, human},
    view::job::JobSummary,
};

/// Which jobs.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Jobs that have ended too
    #[arg(short, long)]
    all: bool,
    /// At most this many
    #[arg(long, value_name = "N", default_value_t = 1000, hide_default_value = true)]
    limit: u32,
    /// Only those submitted before this job: the last of the page before
    #[arg(long, value_name = "JOB")]
    before: Option<String>,
}

/// Lists jobs.
pub(crate) async fn run(app: &App, args: &ListArgs) -> Result<Exit, CliError> {
    let cluster = app.cluster()?;
    let project = app.global.project.clone().unwrap_or_default();
    let before = args.before.as_deref().map(|job| app.places.job(job)).transpose()?;
    let request = v1::ListJobsRequest {
        project,
        all: args.all,
        stale: app.global.stale,
        limit: args.limit,
        before: before.unwrap_or_default(),
    };
    app.show(async || {
        let answer = cluster
            .call("list the jobs", async |mut service| service.list_jobs(request.clone()).await)
            .await?;
        page(app, args.all, answer)
    })
    .await
}

fn page(app: &App, all: bool, answer: v1::ListJobsAnswer) -> Result<Page, CliError> {
    let mut items: Vec<JobSummary> = answer.jobs.into_iter().map(JobSummary::from).collect();
    items.sort_by(JobSummary::newest_first);
    let id_chars = human::id_chars(items.iter().map(|job| job.id.as_str()));
    let empty = if all {
        "no jobs yet: `yard submit job.toml` makes one"
    } else {
        "no jobs wait or run: `yard ps --all` lists ended ones, `yard submit job.toml` makes one"
    };
    let list = List { items, more: answer.more, stale: answer.stale, empty: empty.to_owned() };
    let mut look = app.out.look();
    look.id_chars = id_chars;
    app.out.list(&list, look)
}
