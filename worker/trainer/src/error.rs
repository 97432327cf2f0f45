//! The one error type of the trainer; each case says what failed, on what, and what to try.

use std::path::PathBuf;

use thiserror::Error as ThisError;

use crate::c10d::CommError;

/// Why a run ended early.
#[derive(Debug, ThisError)]
pub enum Error {
    /// The environment of the rank does not add up.
    #[error("{name}: {why}")]
    Env {
        /// The variable.
        name: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A recipe or a parameter that does not exist, or has a value that it cannot have.
    #[error("{0}")]
    Params(String),
    /// A file could not be read or written.
    #[error("could not {doing} {}: {source}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A data file is not what its name says.
    #[error("{} at byte {offset}: {why}", path.display())]
    Data {
        /// The file.
        path: PathBuf,
        /// Where in it, after decompression.
        offset: u64,
        /// What is wrong.
        why: String,
    },
    /// A checkpoint cannot be resumed from by this run.
    #[error("checkpoint {}: {why}", path.display())]
    Checkpoint {
        /// The checkpoint's folder or file.
        path: PathBuf,
        /// What is wrong, and what to try.
        why: String,
    },
    /// The loss left the finite numbers.
    #[error("the loss is {loss} at step {step}: lower `lr`, or raise `warmup`")]
    Diverged {
        /// The value.
        loss: f64,
        /// When.
        step: u64,
    },
    /// Something between the ranks.
    #[error(transparent)]
    Comm(#[from] CommError),
    /// libtorch refused an operation.
    #[error("{}", CommError::from_text("libtorch", &.0.to_string()))]
    Torch(#[from] tch::TchError),
    /// JSON of ours could not be written or read.
    #[error("json: {0}")]
    Json(#[from] serde_json::Error),
}

impl Error {
    /// What a shell is told: 2 for what the user can mend in the command, 1 for the rest.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Params(_) | Self::Env { .. } => 2,
            _ => 1,
        }
    }

    /// For `map_err` on file operations.
    pub fn io(
        doing: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source }
    }
}
