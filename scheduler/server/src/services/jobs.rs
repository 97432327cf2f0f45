//! Jobs: submit, cancel, get, list, watch, explain.

use std::time::Duration;

use async_stream::try_stream;
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::interval,
};
use trainyard_core::{
    Command, Reply, State,
    command::{Mutation, Submit},
    state::Job,
};
use trainyard_jobs::{Digest, JobId, JobPhase, JobSpec};
use trainyard_proto::{convert::parse, v1};

use super::Answers;
use crate::{
    clock, decide::admission, error::Failure, machine::Events, reasons::planner, replica::Replica,
    views,
};

/// How often a watcher is sent new figures.
const FIGURES: Duration = Duration::from_millis(500);

/// Listings are cut here unless asked otherwise.
const LIST_LIMIT: u32 = 1000;

/// Who asks. Until there are users, everybody on this machine is one.
const PRINCIPAL: &str = "local";

pub(super) async fn submit(
    replica: &Replica,
    request: v1::SubmitRequest,
) -> Result<v1::SubmitAnswer, Failure> {
    replica.must_lead()?;
    let spec = JobSpec::from_canonical(&request.spec_json)
        .map_err(|error| Failure::Invalid(error.to_string()))?;
    let bundle = match request.bundle.as_str() {
        "" => None,
        digest => Some(parse::<Digest>("bundle", digest)?),
    };
    if let Some(digest) = &bundle
        && !replica.store.has_bundle(digest).await?
    {
        return Err(Failure::Invalid(format!("bundle {digest} was not uploaded: send it first")));
    }
    replica.look(|state| admission::check(state, &spec.resources))?;
    let body = [&request.spec_json[..], request.bundle.as_bytes(), request.commit.as_bytes()];
    let mutation = Mutation {
        key: parse("key", &request.key)?,
        request: Digest::of(&body.join(&0)),
        principal: PRINCIPAL.to_owned(),
    };
    let submit = Submit {
        mutation,
        job: clock::draw_job_id(),
        spec,
        bundle,
        commit: Some(request.commit).filter(|c| !c.is_empty()),
    };
    match replica.propose(Command::Submit(Box::new(submit))).await? {
        Reply::Submitted { job, existed } => Ok(v1::SubmitAnswer { job: job.to_string(), existed }),
        other => Err(Failure::Invalid(format!("unexpected reply {other:?}"))),
    }
}

pub(super) async fn cancel(
    replica: &Replica,
    request: v1::CancelRequest,
) -> Result<v1::JobAnswer, Failure> {
    let job =
        replica.read(false, |state| find(state, &request.job).map(|j| j.id.clone())).await??;
    let mutation = Mutation {
        key: parse("key", &request.key)?,
        request: Digest::of(format!("cancel {job}").as_bytes()),
        principal: PRINCIPAL.to_owned(),
    };
    replica.propose(Command::Cancel { mutation, job: job.clone() }).await?;
    view(replica, &job).map(|job| v1::JobAnswer { job: Some(job) })
}

pub(super) async fn get(
    replica: &Replica,
    request: &v1::GetJobRequest,
) -> Result<v1::JobAnswer, Failure> {
    let found = replica.read(request.stale, |s| find(s, &request.job).map(|j| j.id.clone()));
    let id = found.await??;
    view(replica, &id).map(|job| v1::JobAnswer { job: Some(job) })
}

pub(super) async fn list(
    replica: &Replica,
    request: &v1::ListJobsRequest,
) -> Result<v1::ListJobsAnswer, Failure> {
    let limit = if request.limit == 0 { LIST_LIMIT } else { request.limit };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let wanted = |job: &&Job| {
        (request.all || !job.phase.is_final())
            && (request.project.is_empty() || job.spec.project.as_str() == request.project)
    };
    let reasons = replica.reasons.of(replica);
    let look = |state: &State| {
        let mut jobs: Vec<&Job> = if request.all {
            state.jobs().values().filter(wanted).collect()
        } else {
            state.live_jobs().filter(wanted).collect()
        };
        jobs.sort_by_key(|job| std::cmp::Reverse(job.sequence));
        let more = jobs.len() > limit;
        jobs.truncate(limit);
        let view = |job: &Job| {
            views::job(job, reasons.get(&job.id).cloned(), replica.sessions.progress(&job.id))
        };
        (jobs.into_iter().map(view).collect(), more)
    };
    let (jobs, more) = replica.read(request.stale, look).await?;
    Ok(v1::ListJobsAnswer { jobs, more, stale: request.stale })
}

pub(super) async fn watch(
    replica: &Replica,
    request: v1::GetJobRequest,
) -> Result<Answers<v1::JobUpdate>, Failure> {
    let mut events = replica.events.subscribe();
    let found = replica.read(request.stale, |s| find(s, &request.job).map(|j| j.id.clone()));
    let id = found.await??;
    let replica = replica.clone();
    Ok(Box::pin(try_stream! {
        let mut last = None;
        let mut figures = interval(FIGURES);
        loop {
            if !request.stale {
                replica.must_lead()?;
            }
            let job = view(&replica, &id)?;
            let ended = job.ended_ms != 0;
            if last.as_ref() != Some(&job) {
                last = Some(job.clone());
                yield v1::JobUpdate { job: Some(job) };
            }
            if ended {
                break;
            }
            tokio::select! {
                () = news_of(&mut events, &id) => {}
                _ = figures.tick() => {}
            }
        }
    }))
}

/// Waits until something happens to a job, or too much happened to tell.
async fn news_of(events: &mut Receiver<Events>, id: &JobId) {
    loop {
        match events.recv().await {
            Ok(batch) if !batch.iter().any(|event| event.job() == Some(id)) => {}
            Err(RecvError::Closed) => std::future::pending().await,
            _ => return,
        }
    }
}

pub(super) async fn explain(
    replica: &Replica,
    request: &v1::GetJobRequest,
) -> Result<v1::ExplainAnswer, Failure> {
    let look = |state: &State| {
        let id = find(state, &request.job)?.id.clone();
        Ok::<_, Failure>((planner(replica, state), id))
    };
    let (planner, id) = replica.read(request.stale, look).await??;
    let job = view(replica, &id)?;
    // Dozens of plans on copies: not on a thread that others wait for, and outside the lock.
    let explained = move || planner.explain(&id, clock::now()).unwrap_or_default();
    let explanation = tokio::task::spawn_blocking(explained).await.unwrap_or_default();
    let blocker = |b: trainyard_core::placement::Blocker| v1::Blocker {
        kind: b.kind.as_str().to_owned(),
        message: b.message,
    };
    Ok(v1::ExplainAnswer {
        summary: summary(&job),
        blockers: explanation.blockers.into_iter().map(blocker).collect(),
        suggestions: explanation.suggestions,
        position: u32::try_from(explanation.position).unwrap_or(u32::MAX),
        job: Some(job),
    })
}

fn summary(job: &v1::Job) -> String {
    let nodes: Vec<&str> = job
        .attempts
        .last()
        .map(|a| a.placements.iter().map(|p| p.node.as_str()).collect())
        .unwrap_or_default();
    match job.phase.as_str() {
        "queued" => format!("waits: {}", job.reason),
        "running" => format!("runs on {}", nodes.join(", ")),
        phase if job.reason.is_empty() => phase.to_owned(),
        phase => format!("{phase}: {}", job.reason),
    }
}

/// A job as it is here, with the leader's live figures.
fn view(replica: &Replica, id: &JobId) -> Result<v1::Job, Failure> {
    let progress = replica.sessions.progress(id);
    let waits = replica.look(|s| s.job(id).is_some_and(|j| j.phase == JobPhase::Queued));
    let reason = if waits { replica.reasons.of(replica).get(id).cloned() } else { None };
    let job = replica.look(|state| Some(views::job(state.job(id)?, reason, progress)));
    job.ok_or_else(|| Failure::NotFound(format!("there is no job {id}")))
}

/// The job that an id or a unique prefix of one names.
pub(super) fn find<'a>(state: &'a State, text: &str) -> Result<&'a Job, Failure> {
    if let Some(job) = text.parse().ok().and_then(|id: JobId| state.job(&id)) {
        return Ok(job);
    }
    let none =
        || Failure::NotFound(format!("there is no job `{text}`: `yard ps --all` lists them"));
    if text.is_empty() {
        return Err(none());
    }
    match state.jobs_with_prefix(text).as_slice() {
        [job] => Ok(job),
        [] => Err(none()),
        _ => {
            Err(Failure::Invalid(format!("several jobs begin with `{text}`: give more of the id")))
        }
    }
}
