//! The planning loop: feed the planner what changed, ask it, propose what it says.

use std::time::Duration;

use futures::future::join_all;
use tokio::{
    sync::broadcast::{Receiver, error::RecvError, error::TryRecvError},
    time::{Instant, sleep, sleep_until},
};
use trainyard_core::{
    Command, Event, Planner,
    placement::{Delta, WorkBudget},
};

use crate::{clock, error::Failure, machine::Events, replica::Replica};

/// Work that one plan may do: about 50 ms of it. Doubled while a plan ends without having seen
/// the whole queue and without a start, so that no job is out of sight for good.
const BUDGET: WorkBudget = WorkBudget(2_000_000);

/// The pause after a proposal that could not be made.
const PAUSE: Duration = Duration::from_millis(100);

/// Changes that come this close together are planned for together.
const GATHER: Duration = Duration::from_millis(5);

/// The planner is asked at least this often: time alone can make a job startable.
const IDLE: Duration = Duration::from_secs(1);

pub(super) async fn run(replica: Replica) {
    // Subscribed before the state is read, so that no change falls between.
    let mut events = replica.events.subscribe();
    let mut planner = replica.look(Planner::of);
    let mut budget = BUDGET;
    loop {
        for (node, units) in replica.sessions.unusable() {
            planner.update(Delta::Unusable(node, units));
        }
        let plan = planner.plan(clock::now(), budget);
        let started = !plan.starts.is_empty();
        budget =
            if plan.complete || started { BUDGET } else { WorkBudget(budget.0.saturating_mul(2)) };
        let mut failed = false;
        // In order: a second start on a node names the version that the first one leaves.
        let proposals = plan.starts.into_iter().map(|start| {
            let job = start.job.clone();
            let proposal = replica.propose(Command::StartAttempt(Box::new(start)));
            async move { (job, proposal.await) }
        });
        for (job, outcome) in join_all(proposals).await {
            match outcome {
                Ok(_) => tracing::info!(%job, "started"),
                Err(Failure::Refused(refusal)) => tracing::debug!(%job, %refusal, "replanning"),
                Err(failure) => {
                    failed = true;
                    tracing::warn!(%job, %failure, "start not confirmed");
                }
            }
        }
        if failed {
            sleep(PAUSE).await;
        }
        let more_to_do = started || !plan.complete;
        let wake = Instant::now() + if more_to_do { Duration::ZERO } else { IDLE };
        tokio::select! {
            event = events.recv() => take_in(&replica, &mut planner, event),
            () = replica.sessions.changed.notified() => {}
            () = sleep_until(wake) => {}
        }
        sleep(GATHER).await;
        drain(&replica, &mut planner, &mut events);
    }
}

fn drain(replica: &Replica, planner: &mut Planner, events: &mut Receiver<Events>) {
    loop {
        match events.try_recv() {
            Ok(batch) => take_in(replica, planner, Ok(batch)),
            Err(TryRecvError::Lagged(missed)) => {
                take_in(replica, planner, Err(RecvError::Lagged(missed)));
            }
            Err(TryRecvError::Empty | TryRecvError::Closed) => return,
        }
    }
}

fn take_in(replica: &Replica, planner: &mut Planner, events: Result<Events, RecvError>) {
    let Ok(events) = events else {
        // Too far behind to follow: look at everything.
        *planner = replica.look(Planner::of);
        return;
    };
    replica.look(|state| {
        for event in events.iter() {
            match event {
                Event::Job { job, .. }
                | Event::Checkpoint { job, .. }
                | Event::CheckpointGone { job, .. } => planner.update(Delta::of_job(state, job)),
                Event::Node(node) => planner.update(Delta::of_node(state, node)),
                _ => {}
            }
        }
    });
}
