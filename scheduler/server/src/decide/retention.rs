//! Keeps the newest checkpoints of each job and deletes the others, in an order that no crash
//! can turn into a loss: retire by command, delete the bytes, forget by command.

use trainyard_core::{
    Command, State,
    state::{Checkpoint, Job},
};
use trainyard_jobs::{CheckpointId, JobId};

/// A checkpoint that is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surplus {
    /// Its job.
    pub job: JobId,
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// It is retired already.
    retired: bool,
    /// Below these keys lies everything that it consists of.
    pub prefixes: Vec<String>,
}

/// Checkpoints beyond what their jobs keep, and those whose deletion was begun.
#[must_use]
pub fn surplus(state: &State) -> Vec<Surplus> {
    let of_job = |job: &Job| -> Vec<Surplus> {
        job.surplus().map(|checkpoint| Surplus::of(job, checkpoint)).collect()
    };
    state.jobs_with_surplus().flat_map(of_job).collect()
}

impl Surplus {
    fn of(job: &Job, checkpoint: &Checkpoint) -> Self {
        // A part's files lie beside its manifest.
        let prefix = |key: &str| key.rsplit_once('/').map(|(part, _)| format!("{part}/"));
        Self {
            job: job.id.clone(),
            checkpoint: checkpoint.id,
            retired: checkpoint.retired,
            prefixes: checkpoint.manifests.iter().filter_map(|m| prefix(&m.key)).collect(),
        }
    }

    /// What must be committed before a byte is deleted; nothing if it is already.
    #[must_use]
    pub fn before(&self) -> Option<Command> {
        let (job, checkpoint) = (self.job.clone(), self.checkpoint);
        (!self.retired).then_some(Command::RetireCheckpoint { job, checkpoint })
    }

    /// What is true once every byte is deleted.
    #[must_use]
    pub fn after(&self) -> Command {
        Command::ForgetCheckpoint { job: self.job.clone(), checkpoint: self.checkpoint }
    }
}
