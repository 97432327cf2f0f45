//! Jobs: a line of `yard ps`, and all that is known of one.

use std::collections::BTreeMap;

use serde::Serialize;
use trainyard_jobs::{AttemptRef, JobPhase, RankExit};
use trainyard_proto::{convert, v1};

use super::{expected::Expected, present, text};

mod draw;

/// The phase that a word names.
pub(crate) fn phase_of(word: &str) -> Option<JobPhase> {
    use JobPhase as P;
    [P::Queued, P::Running, P::Finishing, P::Stopping, P::Succeeded, P::Failed, P::Cancelled]
        .into_iter()
        .find(|phase| phase.as_str() == word)
}

/// What a listing shows of a job.
#[derive(Debug, Serialize)]
pub(crate) struct JobSummary {
    pub(crate) id: String,
    pub(crate) name: String,
    project: String,
    pub(crate) phase: String,
    priority: i32,
    ranks: u32,
    device: String,
    restarts: u32,
    submitted_unix_ms: u64,
    started_unix_ms: Option<u64>,
    ended_unix_ms: Option<u64>,
    run_ms: u64,
    reason: Option<String>,
    model: Option<String>,
    progress: Option<Progress>,
    /// Between when it is expected to start: in listings, if it waits and anything is expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<Expected>,
}

/// The newest figures of a run.
#[derive(Debug, Serialize)]
struct Progress {
    unix_ms: u64,
    attempt: Option<u32>,
    metrics: BTreeMap<String, f64>,
}

/// All that is known of a job.
#[derive(Debug, Serialize)]
pub(crate) struct JobDetail {
    #[serde(flatten)]
    summary: JobSummary,
    bundle: Option<String>,
    commit: Option<String>,
    attempts: Vec<Attempt>,
    checkpoints: Vec<Checkpoint>,
    spec: serde_json::Value,
}

#[derive(Debug, Serialize)]
struct Attempt {
    attempt: u32,
    generation: u32,
    phase: String,
    started_unix_ms: Option<u64>,
    ended_unix_ms: Option<u64>,
    end: Option<String>,
    resumed_from: Option<u64>,
    master: Option<String>,
    placements: Vec<Placement>,
}

#[derive(Debug, Serialize)]
struct Placement {
    node: String,
    first_rank: u32,
    units: Vec<String>,
    state: String,
    exits: Vec<Exited>,
}

#[derive(Debug, Serialize)]
struct Exited {
    rank: u32,
    #[serde(flatten)]
    exit: RankExit,
}

#[derive(Debug, Serialize)]
struct Checkpoint {
    id: u64,
    step: u64,
    attempt: u32,
    parts: u32,
    size_bytes: u64,
    created_unix_ms: u64,
}

impl From<v1::Job> for JobSummary {
    fn from(job: v1::Job) -> Self {
        Self {
            id: job.id,
            name: job.name,
            project: job.project,
            phase: job.phase,
            priority: job.priority,
            ranks: job.ranks,
            device: job.device,
            restarts: job.restarts,
            submitted_unix_ms: job.submitted_ms,
            started_unix_ms: present(job.started_ms),
            ended_unix_ms: present(job.ended_ms),
            run_ms: job.run_ms,
            reason: text(job.reason),
            model: text(job.model),
            progress: job.progress.map(Progress::from),
            expected: Expected::of(job.expected_from_ms, job.expected_to_ms),
        }
    }
}

impl From<v1::Progress> for Progress {
    fn from(progress: v1::Progress) -> Self {
        Self {
            unix_ms: progress.unix_ms,
            attempt: progress
                .attempt
                .and_then(|a| AttemptRef::try_from(a).ok())
                .map(|a| a.attempt.0),
            metrics: progress.metrics.into_iter().collect(),
        }
    }
}

impl From<v1::Job> for JobDetail {
    fn from(mut job: v1::Job) -> Self {
        let attempts = std::mem::take(&mut job.attempts).into_iter().map(Attempt::from).collect();
        let checkpoints = std::mem::take(&mut job.checkpoints).into_iter().map(Checkpoint::from);
        Self {
            bundle: text(std::mem::take(&mut job.bundle)),
            commit: text(std::mem::take(&mut job.commit)),
            attempts,
            checkpoints: checkpoints.collect(),
            spec: serde_json::from_slice(&job.spec_json).unwrap_or_default(),
            summary: job.into(),
        }
    }
}

impl From<v1::Attempt> for Attempt {
    fn from(attempt: v1::Attempt) -> Self {
        Self {
            attempt: attempt.number,
            generation: attempt.generation,
            phase: attempt.phase,
            started_unix_ms: present(attempt.started_ms),
            ended_unix_ms: present(attempt.ended_ms),
            end: text(attempt.end),
            resumed_from: present(attempt.resumed_from),
            master: text(attempt.master),
            placements: attempt.placements.into_iter().map(Placement::from).collect(),
        }
    }
}

impl From<v1::Placement> for Placement {
    fn from(placement: v1::Placement) -> Self {
        let exits = placement.exits.iter().filter_map(|exit| convert::exit_from(exit).ok());
        Self {
            exits: exits.map(|(rank, exit)| Exited { rank, exit }).collect(),
            node: placement.node,
            first_rank: placement.first_rank,
            units: placement.units,
            state: placement.state,
        }
    }
}

impl From<v1::Checkpoint> for Checkpoint {
    fn from(checkpoint: v1::Checkpoint) -> Self {
        Self {
            id: checkpoint.id,
            step: checkpoint.step,
            attempt: checkpoint.attempt,
            parts: checkpoint.parts,
            size_bytes: checkpoint.size,
            created_unix_ms: checkpoint.created_ms,
        }
    }
}
