//! Queues as replicas know them: the settings that somebody gave, and the version of them.

use serde::{Deserialize, Serialize};
use trainyard_jobs::QueueSpec;

/// A queue that has settings of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// What was set.
    pub spec: QueueSpec,
    /// The log index that set it, for preconditions.
    pub version: u64,
}
