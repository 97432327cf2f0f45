//! Exit codes: the one place where an outcome becomes a number. Scripts rely on them, so a code
//! never changes its meaning. 101 is what a panic gives and is never ours.

use std::process::ExitCode;

use tonic::Code;
use trainyard_jobs::JobPhase;

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Done,
    /// Something of our own went wrong.
    Internal,
    /// The command line, a spec or a configuration is wrong.
    Usage,
    /// There is no such job, model or file.
    NotFound,
    /// Not allowed.
    Auth,
    /// No leader, or no answer in time.
    Unavailable,
    /// Refused by quota, budget, policy or a conflict.
    Refused,
    /// The job failed.
    JobFailed,
    /// The job has not finished.
    NotFinished,
    /// The job was cancelled.
    Cancelled,
}

impl Exit {
    /// The number that the shell sees.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Internal => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Auth => 4,
            Self::Unavailable => 5,
            Self::Refused => 6,
            Self::JobFailed => 100,
            Self::NotFinished => 102,
            Self::Cancelled => 103,
        }
    }

    /// What a scheduler's refusal means.
    pub(crate) const fn of_status(code: Code) -> Self {
        match code {
            Code::Ok => Self::Done,
            Code::InvalidArgument | Code::OutOfRange => Self::Usage,
            Code::NotFound => Self::NotFound,
            Code::Unauthenticated | Code::PermissionDenied => Self::Auth,
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Aborted => {
                Self::Unavailable
            }
            Code::AlreadyExists | Code::FailedPrecondition | Code::ResourceExhausted => {
                Self::Refused
            }
            Code::Unknown | Code::Unimplemented | Code::Internal | Code::DataLoss => Self::Internal,
        }
    }

    /// What a job's phase means to somebody who waited for it.
    pub(crate) const fn of_phase(phase: JobPhase) -> Self {
        match phase {
            JobPhase::Succeeded => Self::Done,
            JobPhase::Failed => Self::JobFailed,
            JobPhase::Cancelled => Self::Cancelled,
            JobPhase::Queued | JobPhase::Running | JobPhase::Finishing | JobPhase::Stopping => {
                Self::NotFinished
            }
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
