//! The scheduler's desk: the replicated state and the planner, fed as a leader feeds them. Every
//! change goes through a command, with preconditions checked by the state machine.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use trainyard_core::{
    Command, Delta, Envelope, Event, Planner, Refusal, Reply, State,
    archive::NoArchive,
    command::{
        CreateReservation, FEATURE_LEVEL, Mutation, Preempt, SetQueue, StartAttempt, Submit,
    },
    placement::{Plan, Progress, Stop, WorkBudget},
};
use trainyard_jobs::{
    ClusterId, Digest, IdempotencyKey, JobId, JobSpec, NodeId, ProjectName, QueueSpec,
    ReservationName, ReservationSpec, Timestamp,
};
use uuid::Uuid;

use crate::SimError;

/// The instant at which every trace begins, in milliseconds since 1970.
const BEGIN: u64 = 1_600_000_000_000;

/// Ended jobs leave the state this many at a time.
const ARCHIVE_AT: usize = 512;

/// The state and the planner.
pub(super) struct Desk {
    state: State,
    planner: Planner,
    index: u64,
    keys: u64,
    ids: BTreeMap<JobId, usize>,
    events: VecDeque<Event>,
    ended: Vec<JobId>,
    stale_jobs: BTreeSet<JobId>,
    stale_nodes: BTreeSet<NodeId>,
    stale_queues: BTreeSet<ProjectName>,
    stale_usage: BTreeSet<ProjectName>,
    stale_reservations: BTreeSet<ReservationName>,
}

/// The instant of the trace as the state knows it.
pub(super) const fn clock(now: u64) -> Timestamp {
    Timestamp(BEGIN.saturating_add(now))
}

impl Desk {
    pub(super) fn new(seed: u64) -> Self {
        let state = State::new(ClusterId(Uuid::from_u64_pair(seed, 1)));
        Self {
            planner: Planner::of(&state),
            state,
            index: 0,
            keys: 0,
            ids: BTreeMap::new(),
            events: VecDeque::new(),
            ended: Vec::new(),
            stale_jobs: BTreeSet::new(),
            stale_nodes: BTreeSet::new(),
            stale_queues: BTreeSet::new(),
            stale_usage: BTreeSet::new(),
            stale_reservations: BTreeSet::new(),
        }
    }

    pub(super) const fn state(&self) -> &State {
        &self.state
    }

    /// The job's place in the workload.
    pub(super) fn index_of(&self, id: &JobId) -> Option<usize> {
        self.ids.get(id).copied()
    }

    /// Applies a command, which may be refused.
    pub(super) fn try_apply(&mut self, now: u64, command: Command) -> Result<Reply, Refusal> {
        self.index += 1;
        let envelope = Envelope { level: FEATURE_LEVEL, time: clock(now), command };
        let mut events = Vec::new();
        let applied = self.state.apply(self.index, envelope, &NoArchive, &mut events);
        for event in events {
            self.note(&event);
            self.events.push_back(event);
        }
        applied
    }

    /// Applies a command that cannot be refused.
    pub(super) fn apply(
        &mut self,
        now: u64,
        what: &'static str,
        command: Command,
    ) -> Result<Reply, SimError> {
        let refused = |refusal: Refusal| SimError::Refused { what, refusal: refusal.to_string() };
        self.try_apply(now, command).map_err(refused)
    }

    /// What is to be told to the planner; once for all changes of a thing.
    fn note(&mut self, event: &Event) {
        match event {
            Event::Job { job, phase } => {
                if phase.is_final() {
                    self.ended.push(job.clone());
                }
                self.stale_jobs.insert(job.clone());
            }
            Event::Checkpoint { job, .. } | Event::CheckpointGone { job, .. } => {
                self.stale_jobs.insert(job.clone());
            }
            Event::Node(node) => {
                self.stale_nodes.insert(node.clone());
            }
            Event::Queue(queue) => {
                self.stale_queues.insert(queue.clone());
            }
            Event::Usage(queue) => {
                self.stale_usage.insert(queue.clone());
            }
            Event::Reservation(name) => {
                self.stale_reservations.insert(name.clone());
            }
            _ => {}
        }
    }

    pub(super) fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Submits a job under an id that follows from its place in the workload.
    pub(super) fn submit(
        &mut self,
        now: u64,
        place: usize,
        spec: JobSpec,
        principal: &str,
    ) -> Result<JobId, SimError> {
        let number = crate::num::count(place).saturating_add(1);
        let job = JobId::from_random(number);
        self.ids.insert(job.clone(), place);
        let mutation = self.mutation(now, principal);
        let submit = Submit { mutation, job: job.clone(), spec, bundle: None, commit: None };
        self.apply(now, "a submit", Command::Submit(Box::new(submit)))?;
        Ok(job)
    }

    fn mutation(&mut self, now: u64, principal: &str) -> Mutation {
        self.keys += 1;
        // A UUIDv7 of now: its time, and a counter for the random part.
        let time = u128::from(clock(now).0) << 80;
        let key = time | 0x7 << 76 | 0x8 << 60 | u128::from(self.keys);
        Mutation {
            key: IdempotencyKey(Uuid::from_u128(key)),
            request: Digest::from_bytes([0; 32]),
            principal: principal.to_owned(),
        }
    }

    /// Starts a gang. A planner whose view was right is never refused; one that plans several
    /// starts that exclude each other is, and plans again.
    pub(super) fn start(&mut self, now: u64, start: StartAttempt) -> Result<bool, SimError> {
        match self.try_apply(now, Command::StartAttempt(Box::new(start))) {
            Ok(_) => Ok(true),
            Err(Refusal::Stale(_)) => Ok(false),
            Err(refusal) => {
                Err(SimError::Refused { what: "a start", refusal: refusal.to_string() })
            }
        }
    }

    /// Stops an attempt, or asks it to save its state and leave; as with a start.
    pub(super) fn stop(&mut self, now: u64, stop: Stop) -> Result<bool, SimError> {
        let preempt = Preempt::from(stop);
        match self.try_apply(now, Command::Preempt(Box::new(preempt))) {
            Ok(_) => Ok(true),
            Err(Refusal::Stale(_)) => Ok(false),
            Err(refusal) => Err(SimError::Refused { what: "a stop", refusal: refusal.to_string() }),
        }
    }

    /// Gives a queue its settings.
    pub(super) fn set_queue(
        &mut self,
        queue: &ProjectName,
        spec: &QueueSpec,
    ) -> Result<(), SimError> {
        let set = SetQueue {
            mutation: self.mutation(0, "operator"),
            queue: queue.clone(),
            spec: Some(spec.clone()),
            version: None,
        };
        let set = Command::SetQueue(Box::new(set));
        self.apply(0, "a queue's settings", set).map(|_| ())
    }

    /// Somebody reserves nodes.
    pub(super) fn reserve(
        &mut self,
        now: u64,
        name: ReservationName,
        spec: ReservationSpec,
    ) -> Result<(), SimError> {
        let create = CreateReservation { mutation: self.mutation(now, "operator"), name, spec };
        let create = Command::CreateReservation(Box::new(create));
        self.apply(now, "a reservation", create).map(|_| ())
    }

    /// A job says how far it is.
    pub(super) fn report(&mut self, job: JobId, progress: Progress) {
        self.planner.update(Delta::Progress(job, progress));
    }

    /// Tells the planner what changed, and asks it.
    pub(super) fn plan(&mut self, now: u64) -> Plan {
        for job in std::mem::take(&mut self.stale_jobs) {
            self.planner.update(Delta::of_job(&self.state, &job));
        }
        for node in std::mem::take(&mut self.stale_nodes) {
            self.planner.update(Delta::of_node(&self.state, &node));
        }
        for queue in std::mem::take(&mut self.stale_queues) {
            self.planner.update(Delta::of_queue(&self.state, &queue));
        }
        for queue in std::mem::take(&mut self.stale_usage) {
            self.planner.update(Delta::of_usage(&self.state, &queue));
        }
        for name in std::mem::take(&mut self.stale_reservations) {
            self.planner.update(Delta::of_reservation(&self.state, &name));
        }
        self.planner.plan(clock(now), WorkBudget::UNLIMITED)
    }

    /// Moves ended jobs out of the state now and then, as a leader does.
    pub(super) fn archive(&mut self, now: u64) -> Result<(), SimError> {
        if self.ended.len() < ARCHIVE_AT {
            return Ok(());
        }
        let jobs = std::mem::take(&mut self.ended);
        for job in &jobs {
            self.ids.remove(job);
        }
        self.apply(now, "the archiving of ended jobs", Command::Archive { jobs })?;
        // Nobody asks for them again: ids and keys are not reused.
        let _ = self.state.take_archived();
        Ok(())
    }
}
