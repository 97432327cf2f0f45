//! How a request is answered: a callback, so that the driver depends on no runtime.
//!
//! Called on the raft thread, so it must only hand the answer on.

use std::fmt;

use super::proposals::Applied;
use crate::error::ProposeError;

/// Answers one request, once.
pub struct Reply<T, E>(Box<dyn FnOnce(Result<T, E>) + Send>);

impl<T, E> Reply<T, E> {
    /// Calls `answer` on the raft thread; it must not block.
    pub fn new(answer: impl FnOnce(Result<T, E>) + Send + 'static) -> Self {
        Self(Box::new(answer))
    }

    pub(crate) fn send(self, result: Result<T, E>) {
        (self.0)(result);
    }
}

impl<T: 'static, E: 'static> Reply<T, E> {
    /// The same reply for a narrower error.
    pub(crate) fn map_err<F: 'static>(
        self,
        widen: impl FnOnce(F) -> E + Send + 'static,
    ) -> Reply<T, F> {
        Reply::new(move |result: Result<T, F>| self.send(result.map_err(widen)))
    }
}

/// What became of a command, on its way to whoever proposed it.
#[derive(Debug)]
pub struct Answer {
    reply: Reply<Applied, ProposeError>,
    applied: Applied,
}

impl Answer {
    pub(crate) const fn new(reply: Reply<Applied, ProposeError>, applied: Applied) -> Self {
        Self { reply, applied }
    }

    /// Hands it over. One that is dropped instead leaves the outcome unknown.
    pub fn give(self) {
        self.reply.send(Ok(self.applied));
    }
}

impl<T, E> fmt::Debug for Reply<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}
