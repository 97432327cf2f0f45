//! Concludes runs that ended well: has their artifacts verified and proposes the verdict.

use std::{collections::BTreeSet, time::Duration};

use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    task::JoinSet,
    time::interval,
};
use trainyard_core::Event;
use trainyard_jobs::JobPhase;

use crate::{
    decide::finishing::{Finishing, finishing},
    machine::Events,
    replica::Replica,
};

/// How often finishing jobs are looked for, besides when one comes: a verification that could not
/// be made is tried again.
const LOOK: Duration = Duration::from_secs(1);

pub(super) async fn run(replica: Replica) {
    let mut events = replica.events.subscribe();
    let mut look = interval(LOOK);
    let mut verifying = BTreeSet::new();
    let mut tasks = JoinSet::new();
    loop {
        for run in replica.look(finishing) {
            if verifying.insert(run.job.clone()) {
                let replica = replica.clone();
                tasks.spawn(async move {
                    conclude(&replica, &run).await;
                    run.job
                });
            }
        }
        tokio::select! {
            () = next_finishing(&mut events) => {}
            _ = look.tick() => {}
            Some(done) = tasks.join_next() => if let Ok(job) = done {
                verifying.remove(&job);
            },
        }
    }
}

/// Waits until a job begins to finish, or too much happened to tell.
async fn next_finishing(events: &mut Receiver<Events>) {
    let finishes = |event: &Event| matches!(event, Event::Job { phase: JobPhase::Finishing, .. });
    loop {
        match events.recv().await {
            Ok(batch) if !batch.iter().any(finishes) => {}
            Err(RecvError::Closed) => std::future::pending().await,
            _ => return,
        }
    }
}

async fn conclude(replica: &Replica, run: &Finishing) {
    let (job, attempt) = (&run.job, run.attempt);
    let command = match run.conclude(&replica.store).await {
        Ok(command) => command,
        Err(failure) => {
            tracing::warn!(%job, %failure, "artifacts not verified yet");
            tokio::time::sleep(LOOK).await;
            return;
        }
    };
    match replica.propose(command).await {
        Ok(_) => tracing::info!(%job, %attempt, "concluded"),
        Err(failure) => tracing::warn!(%job, %failure, "conclusion not confirmed"),
    }
}
