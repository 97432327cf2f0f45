//! A worker's stream. Up come a greeting and heartbeats; down goes the node's desired set: whole,
//! at once and after every change, by a leader that has applied an entry of its own term.

use std::{collections::BTreeSet, time::Duration};

use async_stream::try_stream;
use tokio::{sync::broadcast::error::RecvError, time::timeout};
use tonic::{Status, Streaming};
use trainyard_core::{
    Command, Event, State,
    state::{Attempt, Job, NodeState, PlacementState},
};
use trainyard_jobs::{AttemptPhase, AttemptRef, Inventory, NodeId, SessionId};
use trainyard_proto::{
    convert::{parse, required},
    v1::{self, scheduler_message::Body},
};

use super::Answers;
use crate::{error::Failure, replica::Replica};

/// How long a worker may take to greet.
const GREETING: Duration = Duration::from_secs(5);

/// Progress messages in one heartbeat at most.
const MAX_PROGRESS: usize = 1024;

/// A worker that has greeted.
struct Greeting {
    node: NodeId,
    session: SessionId,
    inventory: Inventory,
    running: BTreeSet<AttemptRef>,
    /// What each of them is, should the state not know it.
    held: Vec<v1::HeldAttempt>,
}

/// What a session wakes up for.
enum News {
    Heartbeat(Box<Result<Option<v1::WorkerMessage>, Status>>),
    Event(Result<crate::machine::Events, RecvError>),
    Consensus,
}

pub(super) async fn open(
    replica: &Replica,
    mut messages: Streaming<v1::WorkerMessage>,
) -> Result<Answers<v1::SchedulerMessage>, Status> {
    let term = replica.must_lead()?;
    let first = timeout(GREETING, messages.message()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("the worker did not greet"))??;
    let Some(v1::WorkerMessage { body: Some(v1::worker_message::Body::Hello(hello)) }) = first
    else {
        return Err(Status::invalid_argument("a session begins with a greeting"));
    };
    let greeting = read_greeting(replica, hello)?;
    let mut events = replica.events.subscribe();
    register(replica, &greeting).await?;
    let Greeting { node, session, held, .. } = greeting;
    replica.sessions.connected(&node, session, unknown(replica, held));
    tracing::info!(%node, %session, term, "worker connected");
    let replica = replica.clone();
    Ok(Box::pin(try_stream! {
        yield message(Body::Welcome(welcome(&replica)));
        yield message(Body::Desired(replica.look(|state| desired_set(state, &node))));
        let mut status = replica.status();
        loop {
            let news = tokio::select! {
                heartbeat = messages.message() => News::Heartbeat(Box::new(heartbeat)),
                event = events.recv() => News::Event(event),
                _ = status.changed() => News::Consensus,
            };
            let send = match news {
                News::Heartbeat(received) => {
                    let received = *received;
                    let Some(heartbeat) = received? else { break };
                    heard(&replica, &node, session, heartbeat)?;
                    false
                }
                News::Event(event) => concerns(&event, &node)?,
                News::Consensus => false,
            };
            if replica.leading_term() != Some(term) {
                replica.must_lead()?;
                // It leads again, in a later term: the worker greets anew.
                Err(Status::unavailable("the leadership was renewed: connect again"))?;
            }
            if !replica.look(|state| counts(state, &node, session)) {
                Err(Status::unavailable("the node was called lost or greeted anew: connect again"))?;
            }
            if send {
                yield message(Body::Desired(replica.look(|state| desired_set(state, &node))));
            }
        }
    }))
}

fn read_greeting(replica: &Replica, hello: v1::Hello) -> Result<Greeting, Failure> {
    let cluster = replica.config.cluster.to_string();
    if !hello.cluster.is_empty() && hello.cluster != cluster {
        return Err(Failure::Impossible(format!(
            "this worker belongs to cluster {}, not to {cluster}: give it another data directory, or the right endpoints",
            hello.cluster
        )));
    }
    let own = replica.look(|state| state.revision().epoch);
    let seen = hello.revision.unwrap_or_default().epoch;
    if seen > own {
        // Not a refusal for good: another scheduler is of that epoch, and the worker goes on to it.
        return Err(Failure::Fenced { own, seen });
    }
    let held = hello.running.iter().filter_map(|r| r.held.clone()).collect();
    let attempt = |r: v1::RunningAttempt| AttemptRef::try_from(required("attempt", r.attempt)?);
    let running: Result<BTreeSet<_>, _> = hello.running.into_iter().map(attempt).collect();
    Ok(Greeting {
        node: parse("node", &hello.node)?,
        session: parse("session", &hello.session)?,
        inventory: required("inventory", hello.inventory)?.try_into()?,
        running: running?,
        held,
    })
}

/// Tells the log of the worker, if that changes anything.
async fn register(replica: &Replica, greeting: &Greeting) -> Result<(), Failure> {
    let known = replica.look(|state| {
        state.node(&greeting.node).is_some_and(|node| {
            node.state == NodeState::Up
                && node.session == greeting.session
                && node.inventory == greeting.inventory
                && node.owners.values().all(|attempt| greeting.running.contains(attempt))
        })
    });
    if known {
        return Ok(());
    }
    let command = Command::RegisterNode {
        node: greeting.node.clone(),
        session: greeting.session,
        inventory: greeting.inventory.clone(),
        running: greeting.running.clone(),
    };
    replica.propose(command).await.map(drop)
}

fn heard(
    replica: &Replica,
    node: &NodeId,
    session: SessionId,
    heartbeat: v1::WorkerMessage,
) -> Result<(), Failure> {
    let Some(v1::worker_message::Body::Heartbeat(heartbeat)) = heartbeat.body else {
        return Err(Failure::Invalid("a session greets once".into()));
    };
    let read = |p: v1::Progress| {
        let attempt = AttemptRef::try_from(p.attempt.clone()?).ok()?;
        Some((attempt, p))
    };
    let progress = heartbeat.progress.into_iter().take(MAX_PROGRESS).filter_map(read).collect();
    let held = unknown(replica, heartbeat.held);
    let heartbeat = v1::Heartbeat { progress: Vec::new(), held, sample: heartbeat.sample };
    replica.sessions.heard(node, session, heartbeat, progress);
    Ok(())
}

/// Of what a worker runs, what the state does not know: of a history that a recovery cut off.
fn unknown(replica: &Replica, running: Vec<v1::HeldAttempt>) -> Vec<v1::HeldAttempt> {
    let known = |state: &State, held: &v1::HeldAttempt| {
        let attempt = held.attempt.clone().and_then(|a| AttemptRef::try_from(a).ok());
        attempt.is_none_or(|a| {
            state.job(&a.job).is_some_and(|job| job.attempts.iter().any(|known| known.is(&a)))
        })
    };
    replica.look(|state| running.into_iter().filter(|held| !known(state, held)).collect())
}

/// Whether the node's desired set may have changed. A watcher that lagged looks anyway.
fn concerns(
    event: &Result<crate::machine::Events, RecvError>,
    node: &NodeId,
) -> Result<bool, Failure> {
    match event {
        Ok(events) => Ok(events.iter().any(|e| matches!(e, Event::Node(n) if n == node))),
        Err(RecvError::Lagged(_)) => Ok(true),
        Err(RecvError::Closed) => Err(Failure::NotLeader { leader: None }),
    }
}

const fn message(body: Body) -> v1::SchedulerMessage {
    v1::SchedulerMessage { body: Some(body) }
}

fn welcome(replica: &Replica) -> v1::Welcome {
    v1::Welcome {
        cluster: replica.config.cluster.to_string(),
        heartbeat_ms: replica.config.heartbeat.0,
        endpoints: replica.peers().into_values().collect(),
        epoch_grant: Vec::new(),
        epoch: replica.look(|state| state.revision().epoch),
    }
}

/// Whether the node still counts under this session. A worker that was called lost while its
/// stream was open has to greet again, or nobody would ever plan with it.
fn counts(state: &State, id: &NodeId, session: SessionId) -> bool {
    state.node(id).is_some_and(|node| node.state == NodeState::Up && node.session == session)
}

/// Everything that should run on a node, at the point in history up to which `state` is applied.
fn desired_set(state: &State, id: &NodeId) -> v1::DesiredSet {
    let owners: BTreeSet<_> = state.node(id).into_iter().flat_map(|n| n.owners.values()).collect();
    let mut set = v1::DesiredSet { revision: Some(state.revision().into()), ..Default::default() };
    let released = state.node(id).into_iter().flat_map(|n| &n.releasing);
    set.stopping.extend(released.map(Into::into));
    for owner in owners {
        match desired(state, id, owner) {
            Some(attempt) => set.attempts.push(attempt),
            None => set.stopping.push(owner.into()),
        }
    }
    set
}

fn desired(state: &State, id: &NodeId, owner: &AttemptRef) -> Option<v1::DesiredAttempt> {
    let job = state.job(&owner.job).filter(|job| job.is_current(owner))?;
    let attempt = job.current().filter(|a| a.phase == AttemptPhase::Active)?;
    let group_rank = attempt.placements.iter().position(|p| p.node == *id)?;
    let placement = attempt.placements.get(group_rank)?;
    if matches!(placement.state, PlacementState::Exited | PlacementState::Lost) {
        return None;
    }
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let rank = |(i, unit): (usize, &trainyard_jobs::UnitId)| v1::RankSlot {
        rank: placement.first_rank.saturating_add(number(i)),
        unit: unit.to_string(),
    };
    Some(v1::DesiredAttempt {
        attempt: Some(owner.into()),
        started: Some(attempt.started_at.into()),
        spec_json: job.spec.canonical_json().into_bytes(),
        ranks: placement.units.iter().enumerate().map(rank).collect(),
        world_size: attempt.world_size(),
        group_rank: number(group_rank),
        group_world_size: number(attempt.placements.len()),
        master_addr: attempt.master_addr.clone(),
        master_port: u32::from(attempt.master_port),
        bundle: job.bundle.map(|d| d.to_string()).unwrap_or_default(),
        resume: resume(job, attempt),
        time_allowance_ms: job.allowance().map_or(0, |left| left.0.max(1)),
        restarts: attempt.number.0.saturating_sub(1),
    })
}

/// The manifests of the checkpoint that the attempt resumes from.
fn resume(job: &Job, attempt: &Attempt) -> Vec<v1::File> {
    let checkpoint = attempt.resume.and_then(|id| job.checkpoint(id));
    checkpoint.map_or_else(Vec::new, |c| c.manifests.iter().map(Into::into).collect())
}
