//! The last station of a run: every artifact is read back and its digest compared before the
//! job ends and its model version is registered, in one command.

use std::{collections::BTreeSet, time::Duration};

use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    task::JoinSet,
    time::interval,
};
use trainyard_core::{Command, Event, State};
use trainyard_jobs::{AttemptNo, FileEntry, JobId, JobPhase};

use crate::{error::Failure, machine::Events, replica::Replica};

/// How often finishing jobs are looked for, besides when one comes: a verification that could not
/// be made is tried again.
const LOOK: Duration = Duration::from_secs(1);

pub(super) async fn run(replica: Replica) {
    let mut events = replica.events.subscribe();
    let mut look = interval(LOOK);
    let mut verifying = BTreeSet::new();
    let mut tasks = JoinSet::new();
    loop {
        for (job, attempt, files) in replica.look(finishing) {
            if verifying.insert(job.clone()) {
                let replica = replica.clone();
                tasks.spawn(async move {
                    conclude(&replica, &job, attempt, &files).await;
                    job
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

fn finishing(state: &State) -> Vec<(JobId, AttemptNo, Vec<FileEntry>)> {
    let jobs = state.live_jobs().filter(|job| job.phase == JobPhase::Finishing);
    let files = |job: &trainyard_core::state::Job| {
        job.outcome.as_ref().map(|o| o.artifacts.clone()).unwrap_or_default()
    };
    jobs.filter_map(|job| Some((job.id.clone(), job.current()?.number, files(job)))).collect()
}

async fn conclude(replica: &Replica, job: &JobId, attempt: AttemptNo, files: &[FileEntry]) {
    let command = match verify(replica, files).await {
        Ok(None) => Command::Complete { job: job.clone(), attempt },
        Ok(Some(message)) => Command::RejectArtifacts { job: job.clone(), attempt, message },
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

/// What is wrong with the files, if anything. A store that does not answer is no verdict.
async fn verify(replica: &Replica, files: &[FileEntry]) -> Result<Option<String>, Failure> {
    if files.is_empty() {
        return Ok(Some("the run left no files in $YARD_ARTIFACT_DIR".to_owned()));
    }
    for file in files {
        match replica.store.verify(file).await {
            Ok(()) => {}
            Err(error) if error.is_verdict() => return Ok(Some(error.to_string())),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}
