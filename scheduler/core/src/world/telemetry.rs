//! What the planner of the small cluster is told beside the state, so that one made from scratch can
//! be told the same.

use std::collections::BTreeMap;

use trainyard_jobs::{JobId, NodeId, UnitId};

use super::World;
use crate::{
    Delta, Planner, State,
    placement::{Condition, Progress},
    state::NodeState,
};

/// The last that was told of each.
#[derive(Debug, Default)]
pub(super) struct Telemetry {
    progress: BTreeMap<JobId, Vec<Progress>>,
    unusable: BTreeMap<NodeId, BTreeMap<UnitId, String>>,
    conditions: BTreeMap<NodeId, Condition>,
}

impl Telemetry {
    /// What was told of a node that is gone says nothing of the one that comes back.
    pub(super) fn of_node(&mut self, state: &State, node: &NodeId) {
        if state.node(node).is_none_or(|node| node.state != NodeState::Up) {
            self.unusable.remove(node);
            self.conditions.remove(node);
        }
    }
}

impl World {
    /// Tells the planner what no command carries.
    pub(crate) fn tell(&mut self, delta: Delta) {
        match &delta {
            Delta::Progress(job, progress) => {
                self.telemetry.progress.entry(job.clone()).or_default().push(*progress);
            }
            Delta::Unusable(node, units) => {
                self.telemetry.unusable.insert(node.clone(), units.clone());
            }
            Delta::Condition(node, condition) => {
                self.telemetry.conditions.insert(node.clone(), condition.clone());
            }
            _ => panic!("the state tells the planner of it"),
        }
        self.planner.update(delta);
        assert_eq!(self.planner, self.made_anew(), "incremental equals from scratch");
    }

    /// Whether a planner made anew expects the same of jobs: what one says of itself is judged by
    /// how long it had run then, and what is archived is not learned from again.
    pub(crate) fn expects_alike(&self) -> bool {
        self.telemetry.progress.is_empty() && self.records.all.is_empty()
    }

    /// A planner that knows the state, and was told the rest.
    pub(crate) fn made_anew(&self) -> Planner {
        let mut planner = Planner::of(&self.state);
        for (node, condition) in &self.telemetry.conditions {
            planner.update(Delta::Condition(node.clone(), condition.clone()));
        }
        for (node, units) in &self.telemetry.unusable {
            planner.update(Delta::Unusable(node.clone(), units.clone()));
        }
        for (job, said) in &self.telemetry.progress {
            for progress in said {
                planner.update(Delta::Progress(job.clone(), *progress));
            }
        }
        planner
    }
}
