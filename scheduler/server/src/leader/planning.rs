//! The planning loop: feed the planner what changed, ask it, propose what it says.

use std::time::Duration;

use futures::future::join_all;
use tokio::{
    sync::broadcast::{Receiver, error::RecvError, error::TryRecvError},
    time::{Instant, sleep, sleep_until},
};
use trainyard_core::{Command, command::StartAttempt, placement::Stop};

use crate::{clock, decide::planning::Planning, error::Failure, machine::Events, replica::Replica};

/// The pause after a proposal that could not be made.
const PAUSE: Duration = Duration::from_millis(100);

/// Changes that come this soon after a plan are planned for together. The first after a quiet time
/// waits for nothing.
const GATHER: Duration = Duration::from_millis(5);

/// A plan that took little is followed by the next sooner: after so many times what it took.
const REST: u32 = 16;

/// The planner is asked at least this often: time alone can make a job startable.
const IDLE: Duration = Duration::from_secs(1);

pub(super) async fn run(replica: Replica) {
    // Subscribed before the state is read, so that no change falls between.
    let mut events = replica.events.subscribe();
    let mut planning = replica.look(Planning::of);
    loop {
        let begun = Instant::now();
        let now = clock::moment();
        // The state's lock first, as everywhere.
        let heard = replica
            .look(|state| replica.sessions.with(|contacts| planning.hear(state, contacts, now)));
        let round = planning.round(heard, now.wall);
        let planned = Instant::now();
        let rest = (REST * (planned - begun)).min(GATHER);
        let stopped = stop(&replica, round.stops).await;
        if !propose(&replica, round.starts).await || !stopped {
            sleep(PAUSE).await;
        }
        let wake = Instant::now() + if round.more_to_do { Duration::ZERO } else { IDLE };
        tokio::select! {
            event = events.recv() => take_in(&replica, &mut planning, event),
            () = replica.sessions.changed.notified() => {}
            () = sleep_until(wake) => {}
        }
        sleep_until(planned + rest).await;
        drain(&replica, &mut planning, &mut events);
    }
}

/// Proposes all stops at once; whether each was answered.
async fn stop(replica: &Replica, stops: Vec<Stop>) -> bool {
    let mut answered = true;
    let proposals = stops.into_iter().map(|stop| {
        let (job, why) = (stop.job.clone(), stop.why.as_str());
        let proposal = replica.propose(Command::Preempt(Box::new(stop.into())));
        async move { (job, why, proposal.await) }
    });
    for (job, why, outcome) in join_all(proposals).await {
        match outcome {
            Ok(_) => tracing::info!(%job, why, "preempted"),
            Err(Failure::Refused(refusal)) => tracing::debug!(%job, %refusal, "replanning"),
            Err(failure) => {
                answered = false;
                tracing::warn!(%job, %failure, "stop not confirmed");
            }
        }
    }
    answered
}

/// Proposes all starts at once; whether each was answered.
async fn propose(replica: &Replica, starts: Vec<StartAttempt>) -> bool {
    let mut answered = true;
    let proposals = starts.into_iter().map(|start| {
        let job = start.job.clone();
        let proposal = replica.propose(Command::StartAttempt(Box::new(start)));
        async move { (job, proposal.await) }
    });
    for (job, outcome) in join_all(proposals).await {
        match outcome {
            Ok(_) => tracing::info!(%job, "started"),
            Err(Failure::Refused(refusal)) => tracing::debug!(%job, %refusal, "replanning"),
            Err(failure) => {
                answered = false;
                tracing::warn!(%job, %failure, "start not confirmed");
            }
        }
    }
    answered
}

fn drain(replica: &Replica, planning: &mut Planning, events: &mut Receiver<Events>) {
    loop {
        match events.try_recv() {
            Ok(batch) => take_in(replica, planning, Ok(batch)),
            Err(TryRecvError::Lagged(missed)) => {
                take_in(replica, planning, Err(RecvError::Lagged(missed)));
            }
            Err(TryRecvError::Empty | TryRecvError::Closed) => return,
        }
    }
}

fn take_in(replica: &Replica, planning: &mut Planning, events: Result<Events, RecvError>) {
    match events {
        Ok(events) => replica.look(|state| planning.take_in(state, &events)),
        // Too far behind to follow: look at everything.
        Err(_) => replica.look(|state| planning.start_over(state)),
    }
}
