//! A worker's stream. Up come a greeting and heartbeats; down goes the node's desired set: whole,
//! at once and after every change, by a leader that has applied an entry of its own term.

use std::{collections::BTreeSet, time::Duration};

use async_stream::try_stream;
use tokio::{sync::broadcast::error::RecvError, time::timeout};
use tonic::{Status, Streaming};
use trainyard_jobs::{AttemptRef, NodeId};
use trainyard_proto::v1::{self, scheduler_message::Body};

use super::Answers;
use crate::{
    decide::{
        contacts::{Word, tenants},
        session::{Attendance, Greeting, Parting, desired_set, progress, unknown},
    },
    error::Failure,
    machine::Events,
    peer,
    replica::Replica,
};

/// How long a worker may take to greet.
const GREETING: Duration = Duration::from_secs(5);

/// How long it may take to answer a roll call.
const ROLL: Duration = Duration::from_secs(5);

/// What a session wakes up for.
enum News {
    Heartbeat(Box<Result<Option<v1::WorkerMessage>, Status>>),
    Event(Result<Events, RecvError>),
    Consensus,
}

pub(super) async fn open(
    replica: &Replica,
    own: &NodeId,
    mut messages: Streaming<v1::WorkerMessage>,
) -> Result<Answers<v1::SchedulerMessage>, Status> {
    let term = replica.must_lead()?;
    let first = timeout(GREETING, messages.message()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("the worker did not greet"))??;
    let Some(v1::WorkerMessage { body: Some(v1::worker_message::Body::Hello(hello)) }) = first
    else {
        return Err(Status::invalid_argument("a session begins with a greeting"));
    };
    peer::must_be(own, &hello.node)?;
    let epoch = replica.look(|state| state.revision().epoch);
    let mut greeting = Greeting::read(hello, &replica.config.cluster.to_string(), epoch)?;
    let mut events = replica.events.subscribe();
    let asked = replica.look(|state| greeting.doubts(state));
    if asked.is_empty() {
        register(replica, &greeting).await?;
    }
    let replica = replica.clone();
    Ok(Box::pin(try_stream! {
        if !asked.is_empty() {
            let attempts = asked.iter().map(Into::into).collect();
            yield message(Body::RollCall(v1::RollCall { attempts }));
            let held = roll(&mut messages).await?;
            greeting.rolled(asked, &held);
            register(&replica, &greeting).await?;
        }
        let withheld = replica.look(|state| greeting.withheld(state));
        let Greeting { node, session, .. } = greeting;
        let here = Attendance { node, session, term, withheld };
        tracing::info!(node = %here.node, %session, term, "worker connected");
        yield message(Body::Welcome(welcome(&replica)));
        yield message(Body::Desired(replica.look(|state| desired_set(state, &here.node))));
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
                    heard(&replica, &here, heartbeat)?;
                    false
                }
                News::Event(event) => concerns(&event, &here)?,
                News::Consensus => false,
            };
            let leading = replica.leading_term();
            if let Err(parting) = replica.look(|state| here.check(leading, state)) {
                Err(farewell(&replica, parting))?;
            }
            if send {
                yield message(Body::Desired(replica.look(|state| desired_set(state, &here.node))));
            }
        }
    }))
}

/// Tells the log of the worker, if that changes anything; from then on it is heard.
async fn register(replica: &Replica, greeting: &Greeting) -> Result<(), Failure> {
    if let Some(command) = replica.look(|state| greeting.registration(state)) {
        replica.propose(command).await?;
    }
    let held = replica.look(|state| unknown(state, greeting.held.clone()));
    replica.sessions.connected(&greeting.node, greeting.session, held);
    Ok(())
}

/// The worker's answer to a roll call.
async fn roll(messages: &mut Streaming<v1::WorkerMessage>) -> Result<BTreeSet<AttemptRef>, Status> {
    let answer = timeout(ROLL, messages.message()).await;
    let answer = answer.map_err(|_| Status::deadline_exceeded("the worker did not answer"))??;
    let Some(v1::WorkerMessage { body: Some(v1::worker_message::Body::Roll(roll)) }) = answer
    else {
        return Err(Status::invalid_argument("a roll call is answered first"));
    };
    let held: Result<_, Failure> = roll.held.into_iter().map(|a| Ok(a.try_into()?)).collect();
    Ok(held?)
}

fn farewell(replica: &Replica, parting: Parting) -> Status {
    let text = match parting {
        Parting::NotLeader => match replica.must_lead() {
            Err(failure) => return failure.into(),
            Ok(_) => "the leadership was renewed: connect again",
        },
        Parting::LeadsAnew => "the leadership was renewed: connect again",
        Parting::MoreToTell => "parts of GPUs are known now: connect again",
        Parting::CountsNoMore => "the node was called lost or greeted anew: connect again",
    };
    Status::unavailable(text)
}

fn heard(
    replica: &Replica,
    here: &Attendance,
    heartbeat: v1::WorkerMessage,
) -> Result<(), Failure> {
    let Some(v1::worker_message::Body::Heartbeat(heartbeat)) = heartbeat.body else {
        return Err(Failure::Invalid("a session greets once".into()));
    };
    let progress = progress(heartbeat.progress);
    let (held, tenants) =
        replica.look(|state| (unknown(state, heartbeat.held), tenants(state, &here.node)));
    let word = Word { sample: heartbeat.sample, held, progress };
    replica.sessions.heard(&here.node, here.session, word, &tenants);
    Ok(())
}

/// Whether the node's desired set may have changed. A watcher that lagged looks anyway.
fn concerns(event: &Result<Events, RecvError>, here: &Attendance) -> Result<bool, Failure> {
    match event {
        Ok(events) => Ok(here.concerns(events)),
        Err(RecvError::Lagged(_)) => Ok(true),
        Err(RecvError::Closed) => Err(Failure::NotLeader { leader: None }),
    }
}

const fn message(body: Body) -> v1::SchedulerMessage {
    v1::SchedulerMessage { body: Some(body) }
}

fn welcome(replica: &Replica) -> v1::Welcome {
    let epoch = replica.look(|state| state.revision().epoch);
    v1::Welcome {
        cluster: replica.config.cluster.to_string(),
        heartbeat_ms: replica.config.heartbeat.0,
        endpoints: replica.peers().into_values().collect(),
        // Not signed is not believed; the worker's log says so.
        epoch_grant: replica.pki.authority.sign_epoch(epoch).unwrap_or_default(),
        epoch,
    }
}
