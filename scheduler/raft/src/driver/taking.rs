//! Taking a snapshot of a large state without keeping the raft thread: captured here, written by
//! whoever drives the driver, recorded here once it is on disk.
//!
//! A driver without threads around it, as in a simulation, writes at once.

use std::fmt;

use crate::{
    error::StorageError,
    machine::Capture,
    storage::{SnapshotFiles, SnapshotFrame},
};

/// Index and size of a snapshot that is durable, or why there is none.
type Done = Result<(u64, u64), StorageError>;

/// A snapshot that is to be written.
pub(crate) struct Taking {
    pub(super) files: SnapshotFiles,
    pub(super) frame: SnapshotFrame,
    pub(super) state: Box<dyn Capture>,
}

impl Taking {
    /// Writes it, durably. Takes as long as the state is large.
    pub(crate) fn run(self) -> Done {
        let bytes = self.files.save_captured(&self.frame, self.state.as_ref())?;
        Ok((self.frame.index, bytes))
    }
}

impl fmt::Debug for Taking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Taking").field("index", &self.frame.index).finish_non_exhaustive()
    }
}

/// At most one snapshot is being taken at a time.
#[derive(Debug, Default)]
pub(super) enum Snapshots {
    /// Written at once.
    #[default]
    Inline,
    InlineDone(Done),
    /// Written elsewhere: nothing to do, to be fetched, fetched, come back.
    Idle,
    Waiting(Taking),
    Away,
    Done(Done),
}

impl Snapshots {
    pub(super) fn begin(&mut self, taking: Taking) {
        *self = match self {
            Self::Inline | Self::InlineDone(_) => Self::InlineDone(taking.run()),
            _ => Self::Waiting(taking),
        };
    }

    pub(super) const fn is_busy(&self) -> bool {
        matches!(self, Self::Waiting(_) | Self::Away)
    }

    /// The snapshot to write, once.
    pub(super) fn fetch(&mut self) -> Option<Taking> {
        match std::mem::take(self) {
            Self::Waiting(taking) => {
                *self = Self::Away;
                Some(taking)
            }
            other => {
                *self = other;
                None
            }
        }
    }

    pub(super) fn finish(&mut self, done: Done) {
        *self = Self::Done(done);
    }

    pub(super) fn take_done(&mut self) -> Option<Done> {
        let (next, done) = match std::mem::take(self) {
            Self::InlineDone(done) => (Self::Inline, Some(done)),
            Self::Done(done) => (Self::Idle, Some(done)),
            other => (other, None),
        };
        *self = next;
        done
    }
}
