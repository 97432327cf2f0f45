//! `yard wait`: returns when all the jobs have ended, or when the time is up; how they ended is
//! in the exit code.

use std::time::Duration;

use clap::Args;
use futures::{StreamExt as _, stream::FuturesUnordered};
use tokio::time::{Instant, timeout_at};
use trainyard_jobs::Millis;
use trainyard_proto::v1;

use super::get;
use crate::{
    app::App,
    client::JobWatch,
    error::CliError,
    exit::Exit,
    output::{List, human},
    view::job::{JobSummary, phase_of},
};

/// How long a control plane may be away before the wait is given up.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Which jobs, and for how long.
#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// Ids, beginnings of ids, or @last
    #[arg(required = true)]
    jobs: Vec<String>,
    /// Give up after this long, such as 10m: exit code 102
    #[arg(long, value_name = "TIME")]
    timeout: Option<Millis>,
}

/// Waits. Exit code 100 if any job failed, else 103 if any was cancelled.
pub(crate) async fn run(app: &App, args: &WaitArgs) -> Result<Exit, CliError> {
    let cluster = app.cluster()?;
    let names: Vec<String> =
        args.jobs.iter().map(|job| app.places.job(job)).collect::<Result<_, _>>()?;
    for name in &names {
        get::fetch(&cluster, name, app.global.stale).await?;
    }
    let cluster = cluster.patient(PATIENCE);
    let mut waiting: FuturesUnordered<_> =
        names.into_iter().map(|name| JobWatch::new(&cluster, name).last()).collect();
    let until = args.timeout.and_then(|span| Instant::now().checked_add(span.into()));
    let mut ended = Vec::new();
    let mut exit = Exit::Done;
    while !waiting.is_empty() {
        let next = match until {
            None => waiting.next().await,
            Some(until) => match timeout_at(until, waiting.next()).await {
                Ok(next) => next,
                Err(_) => {
                    exit = Exit::NotFinished;
                    break;
                }
            },
        };
        ended.extend(next.transpose()?);
    }
    if exit == Exit::NotFinished {
        app.out.note(&format!("{} of {} have not ended", waiting.len(), args.jobs.len()));
    }
    exit = verdict(exit, &ended);
    let items: Vec<JobSummary> = ended.into_iter().map(JobSummary::from).collect();
    let mut look = app.out.look();
    look.id_chars = human::id_chars(items.iter().map(|job| job.id.as_str()));
    let list = List { items, more: false, stale: false, empty: String::new() };
    if !list.items.is_empty() || !app.out.is_human() {
        app.out.print(&app.out.list(&list, look)?)?;
    }
    Ok(exit)
}

/// A failure is certain whatever else is still to come; then what has not finished; then what
/// was cancelled.
fn verdict(so_far: Exit, ended: &[v1::Job]) -> Exit {
    let each = || ended.iter().filter_map(|job| phase_of(&job.phase)).map(Exit::of_phase);
    if each().any(|exit| exit == Exit::JobFailed) {
        Exit::JobFailed
    } else if so_far == Exit::Done {
        each().find(|exit| *exit != Exit::Done).unwrap_or(Exit::Done)
    } else {
        so_far
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(phases: &[&str]) -> Vec<v1::Job> {
        phases.iter().map(|p| v1::Job { phase: (*p).to_owned(), ..v1::Job::default() }).collect()
    }

    #[test]
    fn the_worst_outcome_decides() {
        for (so_far, phases, exit) in [
            (Exit::Done, &["succeeded", "succeeded"][..], Exit::Done),
            (Exit::Done, &["succeeded", "cancelled", "failed"], Exit::JobFailed),
            (Exit::Done, &["cancelled", "succeeded"], Exit::Cancelled),
            (Exit::NotFinished, &["succeeded"], Exit::NotFinished),
            (Exit::NotFinished, &["failed"], Exit::JobFailed),
            (Exit::NotFinished, &[], Exit::NotFinished),
        ] {
            assert_eq!(verdict(so_far, &ended(phases)), exit, "{so_far:?} {phases:?}");
        }
    }
}
