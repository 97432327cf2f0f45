//! `yard job get`: all that is known of a job.

use clap::Args;
use trainyard_proto::v1;

use crate::{app::App, client::Cluster, error::CliError, exit::Exit, view::job::JobDetail};

/// Which job.
#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// Id, the beginning of one, or @last
    job: String,
}

/// Shows a job.
pub(crate) async fn run(app: &App, args: &GetArgs) -> Result<Exit, CliError> {
    let cluster = app.cluster()?;
    let name = app.places.job(&args.job)?;
    app.show(async || {
        let job = fetch(&cluster, &name, app.global.stale).await?;
        app.out.card(&JobDetail::from(job), app.out.look())
    })
    .await
}

/// Asks for a job by id or the beginning of one.
pub(crate) async fn fetch(cluster: &Cluster, job: &str, stale: bool) -> Result<v1::Job, CliError> {
    let request = v1::GetJobRequest { job: job.to_owned(), stale };
    let answer = cluster
        .call("show the job", async |mut service| service.get_job(request.clone()).await)
        .await?;
    answer.job.ok_or_else(|| CliError::internal("the scheduler's answer holds no job"))
}
