//! Why a scheduler cannot run, and how a failed request becomes a gRPC status: one map.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use tonic::{Code, Status, metadata::MetadataValue};
use trainyard_core::Refusal;
use trainyard_pki::PkiError;
use trainyard_proto::{LEADER_METADATA, convert::Invalid};
use trainyard_raft::{Fatal, OpenError, ProposeError, ReadError};
use trainyard_store::StoreError;

use crate::{archive::ArchiveError, config::ConfigError};

/// Why a scheduler cannot run.
#[derive(Debug, thiserror::Error)]
pub enum SchedulerError {
    /// Its configuration does not do.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An address is taken.
    #[error("cannot listen on {address}: {source}; stop what uses it, or set `{field}` to another")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The configuration's field.
        field: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// Certificates or keys cannot be used.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The certificate is not of a scheduler.
    #[error("the certificate in `{}` is of {found}, not of a scheduler: check `pki_dir`", path.display())]
    NotScheduler {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        found: String,
    },
    /// The object store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The data directory cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The data directory does not say who this is.
    #[error(transparent)]
    Identity(crate::identity::IdentityError),
    /// The damaged data directory is in the way.
    #[error("cannot {action} {}: {source}; move it away by hand", path.display())]
    Aside {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The member had to stop: a disk that fails or lies.
    #[error("{0}")]
    Failed(Arc<Fatal>),
    /// The audit trail cannot be kept.
    #[error("cannot keep the audit trail in {path}: {source}; make room, or mend the directory")]
    Audit {
        /// Its directory.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The archive cannot be used.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// Serving failed.
    #[error("serving on {address} failed: {source}")]
    Serve {
        /// The address.
        address: SocketAddr,
        /// What went wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Why a request was not, or not surely, carried out.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The state machine refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Somebody else leads, or nobody.
    #[error("this scheduler does not lead")]
    NotLeader {
        /// Where the leader listens, if it is known.
        leader: Option<String>,
    },
    /// It may have been done: ask again with the same key.
    #[error("the outcome is unknown: ask again with the same idempotency key")]
    Unknown,
    /// Too much at once.
    #[error("the scheduler is overloaded: try again")]
    Busy,
    /// The leader's clock cannot be trusted.
    #[error(
        "the clock is off: this scheduler's is {by} ms off the others', so it changes nothing; mend its clock"
    )]
    ClockOff {
        /// Milliseconds.
        by: u64,
    },
    /// No disk for more.
    #[error(
        "new work is refused, because the disks of most schedulers are nearly full: make room (`yard cluster status` says where); what runs goes on"
    )]
    DisksFull,
    /// Not every scheduler can apply it.
    #[error(
        "this needs feature level {needs} and the cluster is at {has}: it rises by itself once every scheduler runs a version that can apply it (`yard cluster status`)"
    )]
    LevelTooLow {
        /// The command's level.
        needs: u16,
        /// The cluster's.
        has: u16,
    },
    /// A worker has seen a higher recovery epoch than this scheduler's.
    #[error(
        "this scheduler is of epoch {own} and the cluster was recovered into epoch {seen}: it is fenced off; stop it"
    )]
    Fenced {
        /// This scheduler's.
        own: u64,
        /// The worker's.
        seen: u64,
    },
    /// No quorum.
    #[error("no quorum of schedulers answers; `--stale` reads without one")]
    NoQuorum,
    /// The request is malformed.
    #[error("{0}")]
    Invalid(String),
    /// The job can never run.
    #[error("{0}")]
    Impossible(String),
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// This scheduler's own disk failed.
    #[error("{0}")]
    Unreadable(String),
    /// The caller may not.
    #[error("{0}")]
    Denied(String),
    /// The audit trail's directory cannot be read.
    #[error("cannot read the audit trail: {0}")]
    Audit(#[source] std::io::Error),
    /// The object store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The archive cannot be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A task of the daemon's own did not come to its end.
    #[error("the scheduler was interrupted: {0}; ask again")]
    Interrupted(String),
}

impl SchedulerError {
    /// Whether the data directory is damaged for good, so that another member must take this
    /// one's place.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Open(error) => error.is_damage(),
            Self::Failed(fatal) => fatal.is_damage(),
            _ => false,
        }
    }
}

impl From<Invalid> for Failure {
    fn from(error: Invalid) -> Self {
        Self::Invalid(error.to_string())
    }
}

impl Failure {
    /// What a proposal that was not, or not surely, made means to the one who asked.
    pub fn of_proposal(error: &ProposeError, address: impl Fn(u64) -> Option<String>) -> Self {
        match error {
            ProposeError::NotLeader { leader } => {
                Self::NotLeader { leader: leader.and_then(address) }
            }
            ProposeError::Unknown | ProposeError::Stopped => Self::Unknown,
            ProposeError::TooLarge { .. } => Self::Invalid(error.to_string()),
            ProposeError::Busy => Self::Busy,
        }
    }

    /// What a read that could not be made means to the one who asked.
    pub fn of_read(error: &ReadError, address: impl Fn(u64) -> Option<String>) -> Self {
        match error {
            ReadError::NotLeader { leader } => Self::NotLeader { leader: leader.and_then(address) },
            ReadError::Busy => Self::Busy,
            _ => Self::NoQuorum,
        }
    }
}

const fn refusal_code(refusal: &Refusal) -> Code {
    match refusal {
        Refusal::KeyConflict
        | Refusal::IdTaken(_)
        | Refusal::NameTaken { .. }
        | Refusal::ReservationTaken(_) => Code::AlreadyExists,
        Refusal::NoJob(_)
        | Refusal::NoNode(_)
        | Refusal::NoMember(_)
        | Refusal::NoToken(_)
        | Refusal::NoReservation(_) => Code::NotFound,
        Refusal::BadToken => Code::Unauthenticated,
        Refusal::TooManyTokens(_) => Code::ResourceExhausted,
        Refusal::KeyExpired | Refusal::Malformed(_) => Code::InvalidArgument,
        Refusal::Stale(_) => Code::Aborted,
        Refusal::Superseded(_)
        | Refusal::WrongPhase { .. }
        | Refusal::Pinned(_)
        | Refusal::Members(_)
        | Refusal::Known(_)
        | Refusal::Queue(_)
        | Refusal::Reservation(_)
        | Refusal::Reserved { .. }
        | Refusal::TokenUsed(_) => Code::FailedPrecondition,
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        let text = failure.to_string();
        match failure {
            Failure::Refused(refusal) => Self::new(refusal_code(&refusal), text),
            Failure::NotLeader { leader } => {
                let mut status = Self::unavailable(text);
                if let Some(Ok(value)) = leader.map(|l| l.parse::<MetadataValue<_>>()) {
                    status.metadata_mut().insert(LEADER_METADATA, value);
                }
                status
            }
            Failure::Denied(_) => Self::permission_denied(text),
            Failure::Audit(_) => Self::internal(text),
            Failure::Unknown
            | Failure::Busy
            | Failure::NoQuorum
            | Failure::ClockOff { .. }
            | Failure::Fenced { .. }
            | Failure::Store(_)
            | Failure::Interrupted(_) => Self::unavailable(text),
            Failure::DisksFull => Self::resource_exhausted(text),
            Failure::LevelTooLow { .. } => Self::failed_precondition(text),
            Failure::Unreadable(_) | Failure::Archive(_) => Self::data_loss(text),
            Failure::Invalid(_) => Self::invalid_argument(text),
            Failure::Impossible(_) => Self::failed_precondition(text),
            Failure::NotFound(_) => Self::not_found(text),
        }
    }
}
