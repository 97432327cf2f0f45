//! Whom this worker belongs to and how new a set it has accepted: the rules, without the file that
//! keeps them. What follows from a step must be on disk before it is acted upon.

use trainyard_jobs::{ClusterId, Revision};

/// The worker's standing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// The cluster that it joined, if it has.
    pub cluster: Option<ClusterId>,
    /// The highest revision that it accepted.
    pub revision: Revision,
}

impl Standing {
    /// The standing of a member of `cluster`.
    ///
    /// # Errors
    /// The other cluster that the worker belongs to.
    pub fn joining(self, cluster: ClusterId) -> Result<Self, ClusterId> {
        match self.cluster {
            Some(own) if own != cluster => Err(own),
            _ => Ok(Self { cluster: Some(cluster), ..self }),
        }
    }

    /// The standing with which a desired set of `revision` may be acted upon; nothing if a higher
    /// one was accepted before.
    #[must_use]
    pub fn accepting(self, revision: Revision) -> Option<Self> {
        (revision >= self.revision).then_some(Self { revision, ..self })
    }
}
