//! Jobs: submit, cancel, get, watch, explain.

use std::time::Duration;

use async_stream::try_stream;
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::interval,
};
use trainyard_core::{
    Command, Reply, State,
    command::{Mutation, Submit},
};
use trainyard_jobs::{Digest, JobId, JobPhase, JobSpec};
use trainyard_proto::{convert::parse, v1};

use super::{Answers, find::find};
use crate::{
    access::Caller, clock, decide::admission, error::Failure, machine::Events, reasons::Reasons,
    replica::Replica, views,
};

/// How often a watcher is sent new figures.
const FIGURES: Duration = Duration::from_millis(500);

pub(super) async fn submit(
    replica: &Replica,
    caller: &Caller,
    request: v1::SubmitRequest,
) -> Result<v1::SubmitAnswer, Failure> {
    replica.must_lead()?;
    replica.probes.is_room()?;
    let spec = JobSpec::from_canonical(&request.spec_json)
        .map_err(|error| Failure::Invalid(error.to_string()))?;
    caller.must_act_in(&spec.project)?;
    let bundle = match request.bundle.as_str() {
        "" => None,
        digest => Some(parse::<Digest>("bundle", digest)?),
    };
    if let Some(digest) = &bundle
        && !replica.bundles.has(&replica.store, digest).await?
    {
        return Err(Failure::Invalid(format!("bundle {digest} was not uploaded: send it first")));
    }
    replica.look(|state| {
        admission::check(state, &spec.resources)?;
        admission::check_model(state, &spec)
    })?;
    let body = [&request.spec_json[..], request.bundle.as_bytes(), request.commit.as_bytes()];
    let mutation = Mutation {
        key: parse("key", &request.key)?,
        request: Digest::of(&body.join(&0)),
        principal: caller.principal(),
    };
    let submit = Submit {
        mutation,
        job: clock::draw_job_id(),
        spec,
        bundle,
        commit: Some(request.commit).filter(|c| !c.is_empty()),
    };
    match replica.propose(Command::Submit(Box::new(submit))).await? {
        Reply::Submitted { job, existed } => {
            caller.about(&job);
            Ok(v1::SubmitAnswer { job: job.to_string(), existed })
        }
        other => Err(Failure::Invalid(format!("unexpected reply {other:?}"))),
    }
}

pub(super) async fn cancel(
    replica: &Replica,
    caller: &Caller,
    request: v1::CancelRequest,
) -> Result<v1::JobAnswer, Failure> {
    let job = find(replica, caller, &request.job, false).await?;
    let mutation = Mutation {
        key: parse("key", &request.key)?,
        request: Digest::of(format!("cancel {job}").as_bytes()),
        principal: caller.principal(),
    };
    replica.propose(Command::Cancel { mutation, job: job.clone() }).await?;
    view(replica, caller, &job).await.map(|job| v1::JobAnswer { job: Some(job) })
}

pub(super) async fn get(
    replica: &Replica,
    caller: &Caller,
    request: &v1::GetJobRequest,
) -> Result<v1::JobAnswer, Failure> {
    let id = find(replica, caller, &request.job, request.stale).await?;
    view(replica, caller, &id).await.map(|job| v1::JobAnswer { job: Some(job) })
}

pub(super) async fn watch(
    replica: &Replica,
    caller: &Caller,
    request: v1::GetJobRequest,
) -> Result<Answers<v1::JobUpdate>, Failure> {
    let mut events = replica.events.subscribe();
    let id = find(replica, caller, &request.job, request.stale).await?;
    let (replica, caller) = (replica.clone(), caller.clone());
    Ok(Box::pin(try_stream! {
        let mut last = None;
        let mut figures = interval(FIGURES);
        loop {
            if !request.stale {
                replica.must_lead()?;
            }
            let job = view(&replica, &caller, &id).await?;
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
    caller: &Caller,
    request: &v1::GetJobRequest,
) -> Result<v1::ExplainAnswer, Failure> {
    let id = find(replica, caller, &request.job, request.stale).await?;
    let job = view(replica, caller, &id).await?;
    // Dozens of plans: not on a thread that others wait for.
    let asked = replica.clone();
    let explained = move || asked.reasons.explain(&asked, &id);
    let explained = tokio::task::spawn_blocking(explained).await.unwrap_or_default();
    let explanation = explained.explanation;
    let blocker = |b: trainyard_core::placement::Blocker| v1::Blocker {
        kind: b.kind.as_str().to_owned(),
        message: replica.look(|state| caller.veil(state, &b.message)),
    };
    let changes = explanation.counterfactuals.into_iter();
    let changes = changes.map(|change| replica.look(|state| views::change(state, caller, change)));
    let changes: Vec<v1::Change> = changes.collect();
    Ok(v1::ExplainAnswer {
        summary: summary(&job),
        blockers: explanation.blockers.into_iter().map(blocker).collect(),
        suggestions: changes.iter().map(|change| change.text.clone()).collect(),
        changes,
        asked: Some(views::cost(&explanation.asked)),
        position: u32::try_from(explanation.position).unwrap_or(u32::MAX),
        job: Some(job),
        expected_from_ms: explained.starts.map_or(0, |(from, _)| from.0),
        expected_to_ms: explained.starts.map_or(0, |(_, to)| to.0),
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
async fn view(replica: &Replica, caller: &Caller, id: &JobId) -> Result<v1::Job, Failure> {
    let progress = replica.sessions.progress(id);
    let waits = replica.look(|s| s.job(id).is_some_and(|j| j.phase == JobPhase::Queued));
    let reason = if waits { Reasons::line(&replica.reasons.of(replica), id) } else { None };
    let look = |state: &State| {
        let reason = reason.map(|text| caller.veil(state, &text));
        let job = state.job(id).map(|job| views::job(job, reason, progress));
        (job, state.archive().count)
    };
    let (job, archived) = replica.look(look);
    if let Some(job) = job {
        return Ok(job);
    }
    let wanted = id.clone();
    let record = replica.archived(move |archive| archive.job(&wanted, archived)).await?;
    let record = record.ok_or_else(|| Failure::NotFound(format!("there is no job {id}")))?;
    Ok(views::job(&record.job, None, None))
}
