//! Keeps the newest checkpoints of each job and deletes the others, in an order that no crash
//! can turn into a loss: retire by command, delete the bytes, forget by command.

use std::time::Duration;

use tokio::time::interval;
use trainyard_core::{
    Command, State,
    state::{Checkpoint, Job},
};
use trainyard_jobs::{CheckpointId, JobId};

use crate::{error::Failure, replica::Replica};

/// How often old checkpoints are looked for.
const LOOK: Duration = Duration::from_secs(2);

pub(super) async fn run(replica: Replica) {
    let mut look = interval(LOOK);
    loop {
        look.tick().await;
        for (job, old) in replica.look(surplus) {
            if let Err(failure) = remove(&replica, &job, &old).await {
                tracing::warn!(%job, checkpoint = %old.id, %failure, "old checkpoint kept for now");
            }
        }
    }
}

/// Checkpoints beyond what their jobs keep, and those whose deletion was begun.
fn surplus(state: &State) -> Vec<(JobId, Checkpoint)> {
    let of_job = |job: &Job| -> Vec<(JobId, Checkpoint)> {
        job.surplus().map(|checkpoint| (job.id.clone(), checkpoint.clone())).collect()
    };
    state.jobs_with_surplus().flat_map(of_job).collect()
}

async fn remove(replica: &Replica, job: &JobId, old: &Checkpoint) -> Result<(), Failure> {
    let checkpoint: CheckpointId = old.id;
    if !old.retired {
        replica.propose(Command::RetireCheckpoint { job: job.clone(), checkpoint }).await?;
    }
    for manifest in &old.manifests {
        // A part's files lie beside its manifest.
        if let Some((part, _)) = manifest.key.rsplit_once('/') {
            replica.store.delete_prefix(&format!("{part}/")).await?;
        }
    }
    replica.propose(Command::ForgetCheckpoint { job: job.clone(), checkpoint }).await?;
    Ok(())
}
