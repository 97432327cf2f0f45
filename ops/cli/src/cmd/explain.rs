//! `yard explain`: why a job waits, and what would start it.

use clap::Args;
use trainyard_proto::v1;

use crate::{app::App, error::CliError, exit::Exit, view::explain::Explanation};

/// Which job.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// Id, the beginning of one, or @last
    job: String,
}

/// Explains a job.
pub(crate) async fn run(app: &App, args: &ExplainArgs) -> Result<Exit, CliError> {
    let cluster = app.cluster()?;
    let request = v1::GetJobRequest { job: app.places.job(&args.job)?, stale: app.global.stale };
    app.show(async || {
        let answer = cluster
            .call("explain the job", async |mut service| service.explain(request.clone()).await)
            .await?;
        app.out.card(&Explanation::from(answer), app.out.look())
    })
    .await
}
