//! The state as clients see it: from the domain's types to messages. No decisions here.

mod explain;

use trainyard_core::state::{Attempt, Checkpoint, Job, Node, NodeState, Placement};
use trainyard_jobs::{JobPhase, ModelVersion, Timestamp};
use trainyard_proto::{convert::exit_message, v1};

pub(crate) use self::explain::{change, cost};
use crate::{clock, decide::contacts::Live};

/// A job. `reason` says why it waits; an ended one says itself how it ended.
pub(crate) fn job(job: &Job, reason: Option<String>, progress: Option<v1::Progress>) -> v1::Job {
    let running = job.current().filter(|a| a.ended.is_none());
    let restarts = job.attempts.last().map_or(0, |a| a.number.0.saturating_sub(1));
    v1::Job {
        id: job.id.to_string(),
        name: job.spec.name.to_string(),
        project: job.spec.project.to_string(),
        phase: job.phase.to_string(),
        priority: job.spec.priority,
        submitted_ms: job.submitted.0,
        started_ms: job.attempts.first().map_or(0, |a| a.started.0),
        ended_ms: job.ended.map_or(0, |t| t.0),
        ranks: job.spec.resources.gpus,
        device: job.spec.resources.device.to_string(),
        restarts,
        attempts: job.attempts.iter().map(attempt).collect(),
        checkpoints: job.checkpoints.iter().filter(|c| !c.retired).map(checkpoint).collect(),
        reason: reason.or_else(|| own_reason(job)).unwrap_or_default(),
        spec_json: job.spec.canonical_json().into_bytes(),
        bundle: job.bundle.map(|d| d.to_string()).unwrap_or_default(),
        commit: job.commit.clone().unwrap_or_default(),
        model: job.registered.as_ref().map(|(m, v)| format!("{m}/{v}")).unwrap_or_default(),
        progress: progress.filter(|_| running.is_some()),
        run_ms: job.used.0.saturating_add(running.map_or(0, |a| clock::now().since(a.started).0)),
        // Only a listing looks at the whole queue.
        expected_from_ms: 0,
        expected_to_ms: 0,
    }
}

/// What the job's own record says of how it ended, or why it runs no longer.
fn own_reason(job: &Job) -> Option<String> {
    if let Some(end) = &job.end {
        return Some(end.to_string());
    }
    let ended = job.current().and_then(|a| a.end.as_ref());
    match job.phase {
        JobPhase::Stopping => ended.map(ToString::to_string),
        JobPhase::Queued => ended.map(|end| format!("waits for its next attempt: {end}")),
        JobPhase::Finishing => Some("verifying artifacts".to_owned()),
        _ => None,
    }
}

fn attempt(a: &Attempt) -> v1::Attempt {
    v1::Attempt {
        number: a.number.0,
        generation: a.generation.0,
        phase: serde_word(&a.phase),
        placements: a.placements.iter().map(placement).collect(),
        started_ms: a.started.0,
        ended_ms: a.ended.map_or(0, |t| t.0),
        end: a.why_ended().unwrap_or_default(),
        resumed_from: a.resume.map_or(0, |c| c.0),
        master: format!("{}:{}", a.master_addr, a.master_port),
    }
}

fn serde_word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

fn placement(p: &Placement) -> v1::Placement {
    v1::Placement {
        node: p.node_name.clone(),
        units: p.units.iter().map(ToString::to_string).collect(),
        state: p.state.as_str().to_owned(),
        exits: p.exits.iter().map(|(rank, exit)| exit_message(*rank, *exit)).collect(),
        first_rank: p.first_rank,
    }
}

fn checkpoint(c: &Checkpoint) -> v1::Checkpoint {
    v1::Checkpoint {
        id: c.id.0,
        step: c.step,
        attempt: c.attempt.attempt.0,
        size: c.size.0,
        created_ms: c.created.0,
        parts: u32::try_from(c.manifests.len()).unwrap_or(u32::MAX),
    }
}

/// A node, with what the leader hears of it.
pub(crate) fn node(node: &Node, live: Option<Live>, silent_after: std::time::Duration) -> v1::Node {
    let live = live.filter(|l| l.session == node.session);
    let held = live.as_ref().map(|l| l.held.clone()).unwrap_or_default();
    let age = live.as_ref().map(|l| clock::monotonic().saturating_sub(l.seen));
    let state = match (node.state, age) {
        (NodeState::Lost, _) => "lost",
        (NodeState::Up, Some(age)) if age < silent_after => "up",
        (NodeState::Up, _) => "silent",
    };
    let owner = |(unit, attempt): (&trainyard_jobs::UnitId, &trainyard_jobs::AttemptRef)| {
        v1::UnitOwner { unit: unit.to_string(), attempt: Some(attempt.into()) }
    };
    v1::Node {
        id: node.id.to_string(),
        inventory: Some((&node.inventory).into()),
        state: state.to_owned(),
        owners: node.owners.iter().map(owner).collect(),
        sample: live.and_then(|l| l.sample),
        seen_ms_ago: age.map_or(u64::MAX, millis),
        registered_ms: node.registered.0,
        held,
        reservation: None,
        used_last: Vec::new(),
    }
}

/// A span as whole milliseconds.
pub(crate) fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// A model version.
pub(crate) fn version(v: &ModelVersion) -> v1::Version {
    let Timestamp(created_ms) = v.created;
    let lineage = &v.lineage;
    v1::Version {
        model: v.model.to_string(),
        version: v.version,
        project: v.project.to_string(),
        created_ms,
        files: v.files.iter().map(Into::into).collect(),
        size: v.size.0,
        digest: v.digest.to_string(),
        metrics: v.metrics.clone().into_iter().collect(),
        metric: v.metric.clone().unwrap_or_default(),
        goal: serde_word(&v.goal),
        job: lineage.job.to_string(),
        attempt: lineage.attempt.0,
        spec_digest: lineage.spec.to_string(),
        bundle: lineage.bundle.map(|d| d.to_string()).unwrap_or_default(),
        commit: lineage.commit.clone().unwrap_or_default(),
        resumed_from: lineage.resumed_from.map_or(0, |c| c.0),
        last_checkpoint: lineage.last_checkpoint.map_or(0, |c| c.0),
        nodes: lineage.nodes.clone(),
    }
}
