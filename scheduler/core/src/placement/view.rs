//! What the planner sees of the state: the jobs that wait and the units that are free. Telemetry
//! comes beside it, because it is never replicated.

use std::collections::{BTreeMap, BTreeSet};

use trainyard_jobs::{
    CheckpointId, Device, JobId, JobPhase, Millis, NodeId, ProjectName, QueueSpec, ReservationName,
    ReservationSpec, Timestamp, UnitId, Usd,
    spec::{Resources, Speeds},
};

use super::{
    fit::Host,
    running::{Disruption, Progress, Running, disruptions, stops},
    time::{Alike, Past},
    yard::Condition,
};
use crate::{
    Event,
    state::{Attempt, GoesOn, Job, Node, NodeState, State, Usage},
};

/// A change that the planner has to know of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delta {
    /// A job waits, or waits differently.
    Waits(Box<Waiting>),
    /// A job holds units, or holds them differently.
    Runs(Box<Running>),
    /// A job neither waits nor holds units any more.
    Gone(JobId),
    /// A job's ranks have all ended well.
    Ended(JobId, Box<Past>),
    /// What a job says of how far it is.
    Progress(JobId, Progress),
    /// A queue's settings; none when it has none of its own any more.
    Queue(ProjectName, Option<Box<QueueSpec>>),
    /// What a project used lately.
    Usage(ProjectName, Usage),
    /// A reservation of nodes; none when it is no more.
    Reservation(ReservationName, Option<Box<ReservationSpec>>),
    /// A node is up, and offers this.
    Node(Box<PlanNode>),
    /// A node does not count any more.
    NodeGone(NodeId),
    /// Units of a node that cannot be used now, each with the reason; replaces what was known.
    Unusable(NodeId, BTreeMap<UnitId, String>),
    /// What is known of a node beside what it says; replaces what was known.
    Condition(NodeId, Condition),
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
    /// What it needs, with the speeds that the planner goes by.
    pub resources: Resources,
    /// The speeds that its spec says, where others were measured.
    pub said: Option<Box<Speeds>>,
    /// What it will resume from.
    pub resume: Option<CheckpointId>,
    /// Attempts so far: moves the master port on.
    pub attempts: u32,
    /// Nodes on which its ranks failed: it rather runs elsewhere.
    pub failed_on: BTreeSet<NodeId>,
    /// The queue that it counts against.
    pub project: ProjectName,
    /// Who submitted it.
    pub principal: String,
    /// What it runs.
    pub alike: Alike,
    /// Since when it waits: its submission, or the end of its last attempt.
    pub since: Timestamp,
    /// Run time of its attempts by the type of GPU, as far as it is known.
    pub ran_on: BTreeMap<String, Millis>,
    /// Unit-milliseconds of its attempts.
    pub attained: u64,
    /// Run time of its attempts.
    pub used: Millis,
    /// Run time that is left to it by its limit.
    pub time_left: Option<Millis>,
    /// How long whoever wrote the spec expects it to run.
    pub estimate: Option<Millis>,
    /// When it should be done.
    pub finish_by: Option<Timestamp>,
    /// What it may cost, over all attempts.
    pub max_cost: Option<Usd>,
    /// The time between its checkpoints.
    pub checkpoint_every: Millis,
    /// When its attempts were stopped for other jobs, oldest first.
    pub disrupted: Vec<Timestamp>,
    /// The same with the units that each had.
    pub stops: Vec<Disruption>,
    /// Units that are kept for it, so that it goes on at once.
    pub goes_on: Option<GoesOn>,
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
    /// Its processors and its memory.
    pub host: Host,
    /// What attempts have taken of them.
    pub taken: Host,
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
        let Some(job) = state.job(id) else { return Self::Gone(id.clone()) };
        if job.phase == JobPhase::Queued {
            return Self::Waits(Box::new(job.into()));
        }
        match (Running::of(job), Past::of(job)) {
            (Some(job), _) => Self::Runs(Box::new(job)),
            (None, Some(past)) => Self::Ended(id.clone(), Box::new(past)),
            (None, None) => Self::Gone(id.clone()),
        }
    }

    /// What the planner has to know of an event, if anything.
    #[must_use]
    pub fn of_event(state: &State, event: &Event) -> Option<Self> {
        Some(match event {
            Event::Node(node) => Self::of_node(state, node),
            Event::Queue(name) => Self::of_queue(state, name),
            Event::Usage(name) => Self::of_usage(state, name),
            Event::Reservation(name) => Self::of_reservation(state, name),
            event => Self::of_job(state, event.job()?),
        })
    }

    /// What a project used lately, as of when that was counted last.
    #[must_use]
    pub fn of_usage(state: &State, name: &ProjectName) -> Self {
        Self::Usage(name.clone(), state.usage().get(name).copied().unwrap_or_default())
    }

    /// How the planner should see a queue now.
    #[must_use]
    pub fn of_queue(state: &State, name: &ProjectName) -> Self {
        let queue = state.queues().get(name);
        Self::Queue(name.clone(), queue.map(|queue| Box::new(queue.spec.clone())))
    }

    /// How the planner should see a reservation now.
    #[must_use]
    pub fn of_reservation(state: &State, name: &ReservationName) -> Self {
        let known = state.reservations().get(name);
        Self::Reservation(name.clone(), known.map(|known| Box::new(known.spec.clone())))
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
            said: None,
            resume: job.newest_checkpoint().map(|c| c.id),
            attempts: job.current().map_or(0, |a| a.number.0),
            failed_on: failed_on(job),
            project: job.spec.project.clone(),
            principal: job.principal.clone(),
            alike: Alike::of(&job.spec, &job.principal),
            since: job.current().and_then(|a| a.ended).unwrap_or(job.submitted),
            ran_on: job.ran_on(),
            attained: job.attained(),
            used: job.used,
            time_left: job.allowance(),
            estimate: job.spec.schedule.est_duration,
            finish_by: job.spec.finish_by(),
            max_cost: job.spec.limits.max_cost_usd.map(|most| most.0),
            checkpoint_every: job.spec.checkpoint.every,
            disrupted: disruptions(job),
            stops: stops(job),
            goes_on: job.current().and_then(Attempt::goes_on).cloned(),
        }
    }
}

/// Nodes where attempts of the job failed: it rather runs elsewhere.
fn failed_on(job: &Job) -> BTreeSet<NodeId> {
    job.attempts.iter().flat_map(Attempt::failed_on).cloned().collect()
}

/// The units that are taken. Where a GPU was split otherwise when somebody took a share of it, all
/// that is now offered of it is taken.
fn owners(node: &Node) -> BTreeMap<UnitId, JobId> {
    let devices = &node.inventory.devices;
    let taken = node.owners.iter().flat_map(|(unit, attempt)| {
        let split_otherwise = !devices.contains_key(unit);
        let of_it = devices.keys().filter(move |now| split_otherwise && now.gpu() == unit.gpu());
        of_it.chain([unit]).map(|unit| (unit.clone(), attempt.job.clone()))
    });
    taken.collect()
}

/// What the ranks on a node have taken of its processors and its memory: each has a unit.
fn taken(state: &State, node: &Node) -> Host {
    let jobs = node.owners.values().filter_map(|attempt| state.job(&attempt.job));
    jobs.map(|job| Host::of_rank(&job.spec.resources)).fold(Host::default(), Host::and)
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
            owners: owners(node),
            host: Host::of(&node.inventory),
            taken: taken(state, node),
            labels: node.inventory.labels.clone(),
            ports: node.inventory.ports,
            ports_in_use: node.owners.values().filter_map(master_here).collect(),
        }
    }
}
