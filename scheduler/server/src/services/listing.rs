//! Lists of jobs, newest first, page by page. A page looks at what it returns and little more,
//! however many jobs there are, and however many of them are archived.

use std::{cmp::Reverse, collections::BTreeMap};

use trainyard_core::{State, placement::Blockers, state::Job};
use trainyard_jobs::{JobId, JobPhase, ProjectName};
use trainyard_proto::{convert::parse, v1};

use super::find::find;
use crate::{
    access::Caller,
    error::Failure,
    reasons::{Reasons, Starts},
    replica::Replica,
    views,
};

/// Listings are cut here unless asked otherwise.
const LIST_LIMIT: u32 = 1000;

/// What a page holds.
struct Page {
    /// Of these projects; none: of all.
    projects: Option<Vec<ProjectName>>,
    /// Only jobs submitted before this log index.
    before: u64,
    ended: bool,
    /// One more than asked for, which says that there are more.
    most: usize,
}

/// A job with its place by age.
type Row = (u64, v1::Job);

pub(super) async fn list(
    replica: &Replica,
    caller: &Caller,
    request: &v1::ListJobsRequest,
) -> Result<v1::ListJobsAnswer, Failure> {
    let limit = if request.limit == 0 { LIST_LIMIT } else { request.limit };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let page = Page {
        projects: match request.project.as_str() {
            "" => caller.projects(),
            name => {
                let project = parse("project", name)?;
                // One that is not the caller's has no jobs.
                Some(if caller.sees(&project) { vec![project] } else { Vec::new() })
            }
        },
        before: before(replica, caller, request).await?,
        ended: request.all,
        most: limit.saturating_add(1),
    };
    let reasons = replica.reasons.of(replica);
    let asked = replica.clone();
    let starts = tokio::task::spawn_blocking(move || asked.reasons.starts(&asked)).await;
    let told = (&*reasons, starts.unwrap_or_default());
    let look = |state: &State| (here(replica, caller, state, &page, &told), state.archive().count);
    let (mut rows, archived) = replica.read(request.stale, look).await?;
    if page.ended && archived > 0 {
        rows.extend(there(replica, page, archived).await?);
    }
    rows.sort_by_key(|(sequence, _)| Reverse(*sequence));
    let more = rows.len() > limit;
    rows.truncate(limit);
    let jobs = rows.into_iter().map(|(_, job)| job).collect();
    Ok(v1::ListJobsAnswer { jobs, more, stale: request.stale })
}

/// The place of the job that the page begins after.
async fn before(
    replica: &Replica,
    caller: &Caller,
    request: &v1::ListJobsRequest,
) -> Result<u64, Failure> {
    if request.before.is_empty() {
        return Ok(u64::MAX);
    }
    let id = find(replica, caller, &request.before, request.stale).await?;
    let look = |state: &State| (state.job(&id).map(|job| job.sequence), state.archive().count);
    let (sequence, archived) = replica.look(look);
    if let Some(sequence) = sequence {
        return Ok(sequence);
    }
    let wanted = id.clone();
    let record = replica.archived(move |archive| archive.job(&wanted, archived)).await?;
    let record = record.ok_or_else(|| Failure::NotFound(format!("there is no job {id}")))?;
    Ok(record.job.sequence)
}

/// The newest jobs in the state that the page may hold.
fn here(
    replica: &Replica,
    caller: &Caller,
    state: &State,
    page: &Page,
    (reasons, starts): &(&BTreeMap<JobId, Blockers>, Starts),
) -> Vec<Row> {
    let wanted =
        |job: &&Job| page.projects.as_ref().is_none_or(|own| own.contains(&job.spec.project));
    let view = |job: &Job| {
        let progress = replica.sessions.progress(&job.id);
        let reason = Reasons::line(reasons, &job.id).map(|text| caller.veil(state, &text));
        let waits = job.phase == JobPhase::Queued;
        let starts = starts.get(&job.id).filter(|_| waits).copied();
        let (from, to) = starts.map_or((0, 0), |(from, to)| (from.0, to.0));
        let told = views::job(job, reason, progress);
        (job.sequence, v1::Job { expected_from_ms: from, expected_to_ms: to, ..told })
    };
    let live = state.newest_live_jobs(page.before).filter(wanted).take(page.most);
    let ended = page.ended.then(|| state.newest_ended_jobs(page.before)).into_iter().flatten();
    let mut jobs: Vec<&Job> = live.chain(ended.filter(wanted).take(page.most)).collect();
    jobs.sort_by_key(|job| Reverse(job.sequence));
    jobs.truncate(page.most);
    jobs.into_iter().map(view).collect()
}

/// The newest archived jobs that it may hold.
async fn there(replica: &Replica, page: Page, archived: u64) -> Result<Vec<Row>, Failure> {
    let newest = replica.archived(move |archive| {
        let Page { before, most, .. } = page;
        let Some(projects) = page.projects else {
            return archive.newest(None, before, archived, most);
        };
        let mut newest = Vec::new();
        for project in &projects {
            newest.extend(archive.newest(Some(project), before, archived, most)?);
        }
        Ok(newest)
    });
    let view = |record: trainyard_core::archive::Archived| {
        (record.job.sequence, views::job(&record.job, None, None))
    };
    Ok(newest.await?.into_iter().map(view).collect())
}
