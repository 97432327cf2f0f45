//! Every way in which the driver fails, as types whose text says what failed, on what, and what to
//! try.
//!
//! Three families: a directory that cannot be opened, a running member that must stop, and a
//! request that was not (or perhaps not) carried out. *Unknown outcome* is a case of its own, never
//! folded into failure.

use std::{io, path::PathBuf};

use crate::{config::ClusterId, machine::RestoreError};

/// A configuration that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("raft configuration: {field} {problem}")]
pub struct ConfigError {
    /// The field.
    pub field: &'static str,
    /// What is wrong with it, and what would do.
    pub problem: String,
}

/// The disk, or what lies on it, failed.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// A file operation.
    #[error("cannot {action} {}: {source}; check the disk's space, permissions and health", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// The log's database.
    #[error("cannot {action} the raft log {}: {source}; check the disk's space and health", path.display())]
    Database {
        /// What was tried.
        action: &'static str,
        /// The database file.
        path: PathBuf,
        /// What redb answered.
        source: Box<redb::Error>,
    },
    /// An entry or record of the log does not match its checksum or its place.
    #[error(
        "the raft log {} is damaged: {detail}; this member votes no more: put another in its place with `yard cluster replace`",
        path.display()
    )]
    LogCorrupt {
        /// The database file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// No snapshot that the log continues from can be read.
    #[error(
        "the snapshot {} is damaged: {detail}; this member votes no more: put another in its place with `yard cluster replace`",
        path.display()
    )]
    SnapshotCorrupt {
        /// The newest snapshot file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
}

/// A data directory that this member must not, or cannot, run on.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The configuration itself.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Another process holds the directory.
    #[error("the data directory {} is already in use; stop the other process, or name another directory", dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory was made for another cluster.
    #[error(
        "this data directory belongs to cluster {found}, not to {expected}: {}; name another directory, or the right cluster",
        dir.display()
    )]
    OtherCluster {
        /// The directory.
        dir: PathBuf,
        /// Whose it is.
        found: ClusterId,
        /// Who asked.
        expected: ClusterId,
    },
    /// The directory was made for another member.
    #[error(
        "this data directory belongs to member {found}, not to member {expected}: {}; name another directory, or the right id",
        dir.display()
    )]
    OtherMember {
        /// The directory.
        dir: PathBuf,
        /// Whose it is.
        found: u64,
        /// Who asked.
        expected: u64,
    },
    /// A newer program wrote the directory.
    #[error(
        "the data directory {} is of format {found}, this binary reads up to {known}: run a newer yard",
        dir.display()
    )]
    NewerFormat {
        /// The directory.
        dir: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format known here.
        known: u32,
    },
    /// A directory that was in use without its log: starting anew would forget votes and
    /// acknowledged entries.
    #[error(
        "the data directory {} was in use, but its log.redb is gone or empty; bring log.redb back, or put another member in this one's place with `yard cluster replace`",
        dir.display()
    )]
    LogMissing {
        /// The directory.
        dir: PathBuf,
    },
    /// There is a log where a new one was to be made.
    #[error("the data directory {} holds a log already; name another one, or set it aside", dir.display())]
    NotEmpty {
        /// The directory.
        dir: PathBuf,
    },
    /// The disk, or what lies on it.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The state machine could not read its snapshot.
    #[error(
        "the state machine cannot read the snapshot at index {index}: {source}; run the version that wrote it"
    )]
    Restore {
        /// The snapshot's index.
        index: u64,
        /// What the state machine said.
        source: RestoreError,
    },
    /// `raft` refused its state.
    #[error("raft refused the stored state: {0}")]
    Raft(#[from] raft::Error),
    /// Committed entries could not be applied again.
    #[error("cannot replay the log: {0}")]
    Replay(Box<Fatal>),
    /// The raft thread could not be started.
    #[error("cannot start the raft thread: {0}")]
    Thread(io::Error),
}

impl StorageError {
    /// Whether what lies on the disk is not what was written there, so that this member can never
    /// be trusted again; a disk that is full or away is not that.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        matches!(self, Self::LogCorrupt { .. } | Self::SnapshotCorrupt { .. })
    }
}

impl OpenError {
    /// Whether the directory is damaged for good: another member must take this one's place.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Storage(error) => error.is_damage(),
            Self::LogMissing { .. } => true,
            Self::Replay(fatal) => fatal.is_damage(),
            _ => false,
        }
    }
}

impl Fatal {
    /// Whether the directory is damaged for good: another member must take this one's place.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        matches!(self, Self::Storage(error) if error.is_damage())
    }
}

/// Why a running member must stop at once: it may no longer vote or acknowledge.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// The disk failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The state machine could not read a leader's snapshot.
    #[error(
        "the state machine cannot read the snapshot at index {index}: {source}; run the version that wrote it"
    )]
    Restore {
        /// The snapshot's index.
        index: u64,
        /// What the state machine said.
        source: RestoreError,
    },
    /// A committed membership change could not be read or applied.
    #[error("cannot apply the membership change at index {index}: {detail}")]
    Membership {
        /// The entry's index.
        index: u64,
        /// Why.
        detail: String,
    },
    /// Committed entries came out of order.
    #[error("committed entry {found} came where {expected} was due")]
    OutOfOrder {
        /// The index that was due.
        expected: u64,
        /// The index that came.
        found: u64,
    },
    /// No thread could be started to write a snapshot.
    #[error("cannot start a thread to write a snapshot: {0}")]
    Thread(io::Error),
    /// The driver failed before.
    #[error("the raft driver has stopped after an earlier failure")]
    Stopped,
}

/// Why a command was not, or perhaps not, carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Nothing was proposed: this member does not lead.
    #[error("this member does not lead{}", leader_hint(*leader))]
    NotLeader {
        /// Who does, as far as is known.
        leader: Option<u64>,
    },
    /// Leadership was lost after the entry was appended: it may or may not commit. Ask the new
    /// leader what became of it, or repeat it under the same idempotency key.
    #[error("leadership was lost while the command was under way; it may or may not take effect")]
    Unknown,
    /// Nothing was proposed: the command is too large.
    #[error("the command has {bytes} bytes, more than the limit of {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Nothing was proposed: too much is uncommitted or queued. Try again shortly.
    #[error("too many commands are under way; try again shortly")]
    Busy,
    /// The member is stopping. Nothing was proposed by this call.
    #[error("the raft driver has stopped")]
    Stopped,
}

/// Why a linearizable read could not be given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// This member does not lead.
    #[error("this member does not lead{}", leader_hint(*leader))]
    NotLeader {
        /// Who does, as far as is known.
        leader: Option<u64>,
    },
    /// No quorum confirmed the leadership in time.
    #[error("no quorum confirmed the read in time; try again")]
    TimedOut,
    /// Too many requests wait for the raft thread.
    #[error("too many requests are under way; try again shortly")]
    Busy,
    /// The member is stopping.
    #[error("the raft driver has stopped")]
    Stopped,
}

/// Why the membership was not, or perhaps not, changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// The same causes as for a command.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// An earlier change is not applied yet; proposing another would silently do nothing.
    #[error("an earlier membership change is still under way; try again when it is applied")]
    Pending,
    /// The change makes no sense for the present members.
    #[error("{0}")]
    Refused(String),
    /// The learner lacks too much of the log to vote.
    #[error("member {member} is {behind} entries behind; promote it when it has caught up")]
    NotCaughtUp {
        /// The learner.
        member: u64,
        /// Entries that it lacks.
        behind: u64,
    },
}

fn leader_hint(leader: Option<u64>) -> String {
    leader.map_or_else(|| "; no leader is known".to_owned(), |id| format!("; member {id} does"))
}
