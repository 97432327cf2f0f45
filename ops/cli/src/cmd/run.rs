//! `yard run`: submits a job and follows it. Ctrl-C lets go of the job and does not stop it.

use clap::Args;
use trainyard_jobs::JobPhase;
use trainyard_proto::v1;

use super::{
    submit::{self, JobArgs},
    wait,
};
use crate::{
    app::App,
    client::{Cluster, JobWatch},
    error::CliError,
    exit::Exit,
    follow::{Reporter, Summary, Tracker},
    view::job::{JobDetail, phase_of},
};

/// What to run.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    job: JobArgs,
}

/// Runs a job to its end; how it ended is in the exit code.
pub(crate) async fn run(app: &App, args: RunArgs) -> Result<Exit, CliError> {
    let Some(cluster) = submit::cluster_unless_dry(app, &args.job)? else {
        return submit::dry_run(app, &args.job);
    };
    let id = submit::submit(app, &cluster, &args.job).await?.job;
    app.out.note(&format!("submitted {id}"));
    let cluster = cluster.patient(wait::PATIENCE);
    let followed = tokio::select! {
        followed = follow(app, &cluster, &id) => followed,
        _ = tokio::signal::ctrl_c() => {
            app.out.note(&format!(
                "\nlet go of {id}, which goes on: `yard logs -f {id}` follows it, `yard cancel \
                 {id}` stops it"
            ));
            return Ok(Exit::NotFinished);
        }
    };
    let job = followed.map_err(|error| {
        error.help(format!("{id} goes on without us: `yard wait {id}` takes it up again"))
    })?;
    finish(app, &cluster, job).await
}

async fn follow(app: &App, cluster: &Cluster, id: &str) -> Result<v1::Job, CliError> {
    let mut watch = JobWatch::new(cluster, id.to_owned());
    let mut tracker = Tracker::default();
    let mut reporter = Reporter::new(app.out);
    let mut last = None;
    while let Some(job) = watch.next().await? {
        for happening in tracker.observe(&job) {
            reporter.report(&happening);
        }
        last = Some(job);
    }
    reporter.finish();
    last.ok_or_else(|| CliError::internal("the scheduler said nothing of the job"))
}

/// Says how the job ended and what it left.
async fn finish(app: &App, cluster: &Cluster, job: v1::Job) -> Result<Exit, CliError> {
    let phase = phase_of(&job.phase);
    let exit = phase.map_or(Exit::Internal, Exit::of_phase);
    if !app.out.is_human() {
        app.out.print(&app.out.card(&JobDetail::from(job), app.out.look())?)?;
        return Ok(exit);
    }
    let version = match job.model.rsplit_once('/') {
        Some((model, version)) if phase == Some(JobPhase::Succeeded) => {
            registered(cluster, model, version).await
        }
        _ => None,
    };
    app.out.result(&Summary { job: &job, version: version.as_ref() }.draw(app.out.look()))?;
    Ok(exit)
}

/// The version that the job registered. The job's end does not hang on being told of it.
async fn registered(cluster: &Cluster, model: &str, version: &str) -> Option<v1::Version> {
    let request = v1::GetModelRequest { model: model.to_owned(), version: version.parse().ok()? };
    let answer = cluster
        .call("show the model", async |mut service| service.get_model(request.clone()).await)
        .await;
    answer.ok()?.version
}
