//! The last station of a run: every artifact is read back and its digest compared before the
//! job ends and its model version is registered, in one command.

use trainyard_core::{Command, State};
use trainyard_jobs::{AttemptNo, FileEntry, JobId};
use trainyard_store::{Store, StoreError};

/// A run whose artifacts are to be verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finishing {
    /// The job.
    pub job: JobId,
    /// The attempt that ended well.
    pub attempt: AttemptNo,
    /// What it left.
    pub files: Vec<FileEntry>,
}

/// Every run that waits for its conclusion.
#[must_use]
pub fn finishing(state: &State) -> Vec<Finishing> {
    let finishing = |job: &trainyard_core::state::Job| {
        let files = job.outcome.as_ref().map(|o| o.artifacts.clone()).unwrap_or_default();
        Some(Finishing { job: job.id.clone(), attempt: job.current()?.number, files })
    };
    state.finishing_jobs().filter_map(finishing).collect()
}

impl Finishing {
    /// Reads every file back and says how the run ends.
    ///
    /// # Errors
    /// When the store does not answer: that is no verdict, and the run waits.
    pub async fn conclude(&self, store: &Store) -> Result<Command, StoreError> {
        let (job, attempt) = (self.job.clone(), self.attempt);
        Ok(match verify(store, &self.files).await? {
            None => Command::Complete { job, attempt },
            Some(message) => Command::RejectArtifacts { job, attempt, message },
        })
    }
}

/// What is wrong with the files, if anything.
async fn verify(store: &Store, files: &[FileEntry]) -> Result<Option<String>, StoreError> {
    if files.is_empty() {
        return Ok(Some("the run left no files in $YARD_ARTIFACT_DIR".to_owned()));
    }
    for file in files {
        match store.verify(file).await {
            Ok(()) => {}
            Err(error) if error.is_verdict() => return Ok(Some(error.to_string())),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}
