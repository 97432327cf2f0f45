//! A reservation as replicas know it: what was asked for, when and by whom.

use serde::{Deserialize, Serialize};
use trainyard_jobs::{ReservationSpec, Timestamp};

/// A reservation of nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// What was asked for.
    pub spec: ReservationSpec,
    /// When it was made.
    pub created: Timestamp,
    /// Who made it.
    pub created_by: String,
}
