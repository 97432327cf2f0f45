//! The two edges that the embedding program fills in: what is replicated, and how messages leave.
//!
//! Both are called on the raft thread and must never block it: every member's heartbeat waits
//! behind them.

use std::io;

use crate::driver::Answer;

/// What is replicated. Called on the raft thread, one call at a time, in log order.
pub trait StateMachine: Send + 'static {
    /// Applies one committed command. Equal sequences of commands must give equal states on every
    /// member, so nothing random and no clock may enter. The returned bytes go to whoever proposed
    /// the command on this member.
    fn apply(&mut self, index: u64, term: u64, command: &[u8]) -> Vec<u8>;

    /// Called when all that could be applied in one go has been, before anybody is answered. What
    /// tells watchers of changes belongs here: waking them once costs less than once a command.
    fn applied(&mut self) {}

    /// The whole state as bytes, as of the last applied command.
    fn snapshot(&self) -> Vec<u8>;

    /// The state as of the last applied command, to be written to a file by another thread while
    /// this one goes on. Where the state is large, a cheap copy that is encoded only then.
    fn capture(&self) -> Box<dyn Capture> {
        Box::new(self.snapshot())
    }

    /// Whether this member could restore a snapshot that another one sent: it may rely on what
    /// travels by another way. Asked before the snapshot is taken in; one that is refused comes
    /// again.
    ///
    /// # Errors
    /// Says what is missing.
    fn check(&self, snapshot: &[u8]) -> Result<(), RestoreError> {
        let _ = snapshot;
        Ok(())
    }

    /// Replaces the whole state by one that [`snapshot`](Self::snapshot) gave, here or on another
    /// member.
    ///
    /// # Errors
    /// When the bytes cannot be read. They have passed their checksum, so this means
    /// another program or version wrote them; the member stops.
    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError>;
}

/// A state at one point of the log.
pub trait Capture: Send {
    /// Writes what [`StateMachine::snapshot`] would have given.
    ///
    /// # Errors
    /// Those of `out`, and whatever keeps the state from being written.
    fn write(&self, out: &mut dyn io::Write) -> io::Result<()>;
}

impl Capture for Vec<u8> {
    fn write(&self, out: &mut dyn io::Write) -> io::Result<()> {
        out.write_all(self)
    }
}

/// Why a state machine could not read a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RestoreError(pub String);

/// The outgoing edge: hands messages to peers, best effort. Must not block; what cannot be queued
/// is dropped and reported by [`report_unreachable`](crate::RaftHandle::report_unreachable).
pub trait Transport: Send + 'static {
    /// Sends one opaque message to a member.
    fn send(&mut self, to: u64, message: Vec<u8>);

    /// Answers those whose commands were applied in one go. Where answering means waking tasks of a
    /// runtime, waking one of them that answers the others costs less.
    fn answer(&mut self, answers: Vec<Answer>) {
        answers.into_iter().for_each(Answer::give);
    }

    /// Sends a message that carries a whole snapshot, so it may be large. Its fate must be told by
    /// [`report_snapshot`](crate::RaftHandle::report_snapshot); until then, or until the driver's
    /// own time limit passes, nothing else is replicated to that member.
    fn send_snapshot(&mut self, to: u64, message: Vec<u8>) {
        self.send(to, message);
    }
}
