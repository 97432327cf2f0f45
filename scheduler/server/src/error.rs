//! Why a scheduler cannot run, and how a failed request becomes a gRPC status: one map.

use std::net::SocketAddr;

use tonic::{Code, Status, metadata::MetadataValue};
use trainyard_core::Refusal;
use trainyard_proto::{LEADER_METADATA, convert::Invalid};
use trainyard_raft::{OpenError, ProposeError, ReadError};
use trainyard_store::StoreError;

use crate::config::ConfigError;

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
    /// The object store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The data directory cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
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
    /// The object store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
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
        Refusal::KeyConflict | Refusal::IdTaken(_) | Refusal::NameTaken { .. } => {
            Code::AlreadyExists
        }
        Refusal::NoJob(_) | Refusal::NoNode(_) => Code::NotFound,
        Refusal::KeyExpired | Refusal::Malformed(_) => Code::InvalidArgument,
        Refusal::Stale(_) => Code::Aborted,
        Refusal::Superseded(_) | Refusal::WrongPhase { .. } | Refusal::Pinned(_) => {
            Code::FailedPrecondition
        }
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
            Failure::Unknown | Failure::Busy | Failure::NoQuorum | Failure::Store(_) => {
                Self::unavailable(text)
            }
            Failure::Invalid(_) => Self::invalid_argument(text),
            Failure::Impossible(_) => Self::failed_precondition(text),
            Failure::NotFound(_) => Self::not_found(text),
        }
    }
}
