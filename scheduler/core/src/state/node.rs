//! A node as replicas know it: what it offers, and who owns which unit. No telemetry.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use trainyard_jobs::{AttemptRef, Inventory, NodeId, SessionId, Timestamp, UnitId};

/// A worker node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// The life of its agent that registered last.
    pub session: SessionId,
    /// What it offers.
    pub inventory: Inventory,
    /// Whether it counts.
    pub state: NodeState,
    /// Units that are taken. A unit belongs to one attempt, and is free again only when that
    /// attempt's ranks are known to be gone.
    pub owners: BTreeMap<UnitId, AttemptRef>,
    /// Counts changes, for preconditions.
    pub version: u64,
    /// When it registered last.
    pub registered: Timestamp,
    /// When it was last known to be up: at its registration, or when it was called lost.
    pub seen: Timestamp,
    /// Attempts of a history that a recovery cut off, which somebody decided to stop.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub releasing: BTreeSet<AttemptRef>,
}

/// Whether a node counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    /// It does.
    Up,
    /// It was silent for longer than the grace; it may be running still.
    Lost,
}

impl Node {
    /// Whether somebody has a part of this unit's GPU from when that was split otherwise.
    pub(crate) fn is_split_otherwise(&self, unit: &UnitId) -> bool {
        let offered = &self.inventory.devices;
        self.owners.keys().any(|had| had.gpu() == unit.gpu() && !offered.contains_key(had))
    }

    /// Gives back the units that `attempt` holds here. Says whether there were any.
    pub(crate) fn release(&mut self, attempt: &AttemptRef) -> bool {
        let before = self.owners.len();
        self.owners.retain(|_, owner| owner != attempt);
        let changed = self.owners.len() != before;
        self.version += u64::from(changed);
        changed
    }
}
