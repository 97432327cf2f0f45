//! What the planner sees of the state: the jobs that wait and the units that are free. Telemetry
//! comes beside it, because it is never replicated.

use std::collections::{BTreeMap, BTreeSet};

use trainyard_jobs::{
    CheckpointId, Device, JobId, JobPhase, NodeId, Timestamp, UnitId, spec::Resources,
};

use crate::state::{Job, Node, NodeState, State};

/// A change that the planner has to know of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delta {
    /// A job waits, or waits differently.
    Waits(Box<Waiting>),
    /// A job does not wait any more.
    Gone(JobId),
    /// A node is up, and offers this.
    Node(Box<PlanNode>),
    /// A node does not count any more.
    NodeGone(NodeId),
    /// Units of a node that cannot be used now, each with the reason; replaces what was known.
    Unusable(NodeId, BTreeMap<UnitId, String>),
}

/// A job that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The job.
    pub id: JobId,
    /// Its version, for the precondition.
    pub version: u64,
    /// The higher goes first.
    pub priority: i32,
    /// Among equals the lower goes first.
    pub sequence: u64,
    /// When it was submitted.
    pub submitted: Timestamp,
    /// Not before this.
    pub not_before: Timestamp,
    /// What it needs.
    pub resources: Resources,
    /// What it will resume from.
    pub resume: Option<CheckpointId>,
    /// Attempts so far: moves the master port on.
    pub attempts: u32,
}

/// A node that is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanNode {
    /// The node.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// Its version, for the precondition.
    pub version: u64,
    /// Its units.
    pub devices: BTreeMap<UnitId, Device>,
    /// The units that are taken, and by whom.
    pub owners: BTreeMap<UnitId, JobId>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Ports for rank 0, first and last.
    pub ports: (u16, u16),
    /// Those in use.
    pub ports_in_use: BTreeSet<u16>,
}

impl Delta {
    /// How the planner should see a job now.
    #[must_use]
    pub fn of_job(state: &State, id: &JobId) -> Self {
        let waiting = state.job(id).filter(|job| job.phase == JobPhase::Queued);
        waiting.map_or_else(|| Self::Gone(id.clone()), |job| Self::Waits(Box::new(job.into())))
    }

    /// How the planner should see a node now.
    #[must_use]
    pub fn of_node(state: &State, id: &NodeId) -> Self {
        let up = state.node(id).filter(|node| node.state == NodeState::Up);
        up.map_or_else(
            || Self::NodeGone(id.clone()),
            |node| Self::Node(Box::new(PlanNode::of(state, node))),
        )
    }
}

impl From<&Job> for Waiting {
    fn from(job: &Job) -> Self {
        Self {
            id: job.id.clone(),
            version: job.version,
            priority: job.spec.priority,
            sequence: job.sequence,
            submitted: job.submitted,
            not_before: job.not_before,
            resources: job.spec.resources.clone(),
            resume: job.newest_checkpoint().map(|c| c.id),
            attempts: job.current().map_or(0, |a| a.number.0),
        }
    }
}

impl PlanNode {
    fn of(state: &State, node: &Node) -> Self {
        let master_here = |attempt: &trainyard_jobs::AttemptRef| {
            let job = state.job(&attempt.job)?;
            let attempt = job.attempts.iter().find(|a| a.number == attempt.attempt)?;
            let first = attempt.placements.first()?;
            (first.node == node.id).then_some(attempt.master_port)
        };
        Self {
            id: node.id.clone(),
            name: node.inventory.name.to_string(),
            version: node.version,
            devices: node.inventory.devices.clone(),
            owners: node.owners.iter().map(|(u, a)| (u.clone(), a.job.clone())).collect(),
            labels: node.inventory.labels.clone(),
            ports: node.inventory.ports,
            ports_in_use: node.owners.values().filter_map(master_here).collect(),
        }
    }
}
