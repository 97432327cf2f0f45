//! How the archive fails.

use std::path::{Path, PathBuf};

use trainyard_core::codec::CodecError;

/// The archive cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The database.
    #[error("cannot {action} the archive {}: {source}; check the disk's space and health", path.display())]
    Database {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What redb answered.
        source: Box<redb::Error>,
    },
    /// It lacks records.
    #[error(
        "the archive {} holds {has} jobs, the state relies on {needs}: bring the file back, or remove this member, wipe its directory and let it join under a new id",
        path.display()
    )]
    Behind {
        /// The file.
        path: PathBuf,
        /// Records that it has.
        has: u64,
        /// Records that it should have.
        needs: u64,
    },
    /// A record is not what it was.
    #[error(
        "job {position} of the archive {} is damaged: {detail}; remove this member, wipe its directory and let it join under a new id",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The record.
        position: u64,
        /// What is wrong.
        detail: &'static str,
    },
    /// Records came from another place than the end.
    #[error("record {found} of the archive came where {expected} was due; send from there on")]
    Gap {
        /// The position that was due.
        expected: u64,
        /// The position that came.
        found: u64,
    },
    /// A record cannot be read.
    #[error(transparent)]
    Unreadable(#[from] CodecError),
}

impl ArchiveError {
    pub(super) fn database(action: &'static str, path: &Path, source: redb::Error) -> Self {
        Self::Database { action, path: path.to_owned(), source: Box::new(source) }
    }
}
