//! What is replicated: jobs with their attempts and checkpoint catalogue, nodes with the owners
//! of their units, model versions, idempotency keys, tokens. Ordered maps and integers only.

mod job;
mod jobs;
mod member;
mod node;
mod queue;
mod reservation;
mod shared;
mod token;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use trainyard_jobs::{
    ClusterId, Digest, IdempotencyKey, JobId, JobPhase, Millis, ModelName, ModelVersion, NodeId,
    ProjectName, ReservationName, Revision, Timestamp, TokenId,
};

pub use job::{Attempt, Checkpoint, GoesOn, Job, Leaving, Outcome, Placement, PlacementState};
pub use jobs::Jobs;
pub use member::Member;
pub use node::{Node, NodeState};
pub(crate) use queue::halved;
pub use queue::{HALF_LIFE, Queue, Usage};
pub use reservation::Reservation;
pub use shared::SharedMap;
pub use token::{Redeemed, TokenRecord};

use crate::{
    archive::{ArchiveHead, ArchiveRecord},
    codec,
    command::{FEATURE_LEVEL, Reply},
    keys::drawn_at,
};

/// The deepest that a tree of queues is followed.
pub(crate) const DEEPEST_QUEUE: usize = 32;

/// The replicated state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub(crate) cluster: ClusterId,
    pub(crate) epoch: u64,
    pub(crate) feature_level: u16,
    pub(crate) time: Timestamp,
    pub(crate) index: u64,
    pub(crate) jobs: Jobs,
    pub(crate) nodes: SharedMap<NodeId, Node>,
    pub(crate) models: BTreeMap<ModelName, BTreeMap<u32, ModelVersion>>,
    pub(crate) keys: SharedMap<IdempotencyKey, KeyRecord>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) tokens: BTreeMap<TokenId, TokenRecord>,
    /// Tokens by when they expire, so that forgetting the old ones costs nothing.
    #[serde(skip)]
    pub(crate) tokens_by_expiry: BTreeSet<(Timestamp, TokenId)>,
    /// The schedulers; none where the state is of a version that did not know them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) members: BTreeMap<u64, Member>,
    /// The id that the next scheduler gets.
    #[serde(default, skip_serializing_if = "member::is_zero")]
    pub(crate) next_member: u64,
    /// Model versions up to this number may be known from a history that a recovery cut off.
    #[serde(default, skip_serializing_if = "member::is_zero_u32")]
    pub(crate) version_floor: u32,
    /// What is known of the jobs that left.
    #[serde(default, skip_serializing_if = "ArchiveHead::is_empty")]
    pub(crate) archive: ArchiveHead,
    /// Queues that have settings of their own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) queues: BTreeMap<ProjectName, Queue>,
    /// What projects used lately. Kept from feature level 3 on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) usage: BTreeMap<ProjectName, Usage>,
    /// Nodes that are reserved for some time. Any from feature level 4 on alone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) reservations: BTreeMap<ReservationName, Reservation>,
    /// Reservations by their end, so that forgetting those that are over costs nothing.
    #[serde(skip)]
    pub(crate) reservations_by_end: BTreeSet<(Timestamp, ReservationName)>,
    /// Keys by age, so that forgetting the old ones costs nothing while there are none.
    #[serde(skip)]
    pub(crate) keys_by_age: BTreeSet<(Timestamp, IdempotencyKey)>,
    /// Records that wait to be taken by whoever applies commands.
    #[serde(skip)]
    pub(crate) outbox: Vec<ArchiveRecord>,
}

/// What an idempotency key was used for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeyRecord {
    pub(crate) principal: String,
    pub(crate) request: Digest,
    pub(crate) reply: Reply,
    pub(crate) used: Timestamp,
}

impl State {
    /// The state of a new cluster.
    #[must_use]
    pub fn new(cluster: ClusterId) -> Self {
        Self {
            cluster,
            epoch: 1,
            feature_level: FEATURE_LEVEL,
            time: Timestamp(0),
            index: 0,
            jobs: Jobs::default(),
            nodes: SharedMap::default(),
            models: BTreeMap::new(),
            keys: SharedMap::default(),
            tokens: BTreeMap::new(),
            tokens_by_expiry: BTreeSet::new(),
            members: BTreeMap::new(),
            next_member: 0,
            version_floor: 0,
            archive: ArchiveHead::default(),
            queues: BTreeMap::new(),
            usage: BTreeMap::new(),
            reservations: BTreeMap::new(),
            reservations_by_end: BTreeSet::new(),
            keys_by_age: BTreeSet::new(),
            outbox: Vec::new(),
        }
    }

    /// Derives what a snapshot does not carry.
    pub(crate) fn rebuild(&mut self) {
        let expiry = |(id, token): (&TokenId, &TokenRecord)| (token.expires, id.clone());
        self.tokens_by_expiry = self.tokens.iter().map(expiry).collect();
        let end =
            |(name, known): (&ReservationName, &Reservation)| (known.spec.until, name.clone());
        self.reservations_by_end = self.reservations.iter().map(end).collect();
        // A key that carries no time was given by name: it is not forgotten for its age.
        let aged = self.keys.iter().filter(|(key, _)| drawn_at(**key).is_some());
        self.keys_by_age = aged.map(|(key, record)| (record.used, *key)).collect();
        for (key, record) in self.keys.iter() {
            if let Some(job) = record.made() {
                self.jobs.set_key(job, Some(*key));
            }
        }
    }

    /// The cluster.
    #[must_use]
    pub const fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// The point in history up to which commands are applied.
    #[must_use]
    pub const fn revision(&self) -> Revision {
        Revision { epoch: self.epoch, index: self.index }
    }

    /// The feature level that the cluster has switched on.
    #[must_use]
    pub const fn feature_level(&self) -> u16 {
        self.feature_level
    }

    /// The state's time: never goes back.
    #[must_use]
    pub const fn time(&self) -> Timestamp {
        self.time
    }

    /// All jobs that are not archived, by id.
    #[must_use]
    pub const fn jobs(&self) -> &Jobs {
        &self.jobs
    }

    /// One job.
    #[must_use]
    pub fn job(&self, id: &JobId) -> Option<&Job> {
        self.jobs.get(id)
    }

    /// The jobs that have not ended, oldest first.
    pub fn live_jobs(&self) -> impl DoubleEndedIterator<Item = &Job> {
        self.jobs.live()
    }

    /// The jobs whose ranks have ended well and whose artifacts are not verified yet.
    pub fn finishing_jobs(&self) -> impl Iterator<Item = &Job> {
        self.jobs.finishing()
    }

    /// The jobs that have not ended and were submitted before the log index `before`, the newest
    /// first.
    pub fn newest_live_jobs(&self, before: u64) -> impl Iterator<Item = &Job> {
        self.jobs.newest(false, before)
    }

    /// The same of the jobs that have ended and are not archived.
    pub fn newest_ended_jobs(&self, before: u64) -> impl Iterator<Item = &Job> {
        self.jobs.newest(true, before)
    }

    /// The ended jobs that are not archived; those that ended first come first.
    pub fn jobs_by_end(&self) -> impl Iterator<Item = &Job> {
        self.jobs.by_end()
    }

    /// The jobs that have checkpoints to delete.
    pub fn jobs_with_surplus(&self) -> impl Iterator<Item = &Job> {
        self.jobs.with_surplus()
    }

    /// How many jobs are in `phase`, archived ones aside.
    #[must_use]
    pub fn jobs_in_phase(&self, phase: JobPhase) -> usize {
        self.jobs.in_phase(phase)
    }

    /// How many jobs are archived, and the digest over them.
    #[must_use]
    pub const fn archive(&self) -> ArchiveHead {
        self.archive
    }

    /// All nodes by id.
    #[must_use]
    pub const fn nodes(&self) -> &SharedMap<NodeId, Node> {
        &self.nodes
    }

    /// One node.
    #[must_use]
    pub fn node(&self, id: &NodeId) -> Option<&Node> {
        self.nodes.get(id)
    }

    /// All models with their versions.
    #[must_use]
    pub const fn models(&self) -> &BTreeMap<ModelName, BTreeMap<u32, ModelVersion>> {
        &self.models
    }

    /// The queues that have settings of their own.
    #[must_use]
    pub const fn queues(&self) -> &BTreeMap<ProjectName, Queue> {
        &self.queues
    }

    /// What projects used, as of when they last ended an attempt.
    #[must_use]
    pub const fn usage(&self) -> &BTreeMap<ProjectName, Usage> {
        &self.usage
    }

    /// The reservations, those too that are over and not forgotten yet: that is so until the next
    /// command.
    #[must_use]
    pub const fn reservations(&self) -> &BTreeMap<ReservationName, Reservation> {
        &self.reservations
    }

    /// The half-life of a project's use: its own, or that of the nearest queue above that says one.
    #[must_use]
    pub fn half_life(&self, project: &ProjectName) -> Millis {
        let mut at = Some(project);
        for _ in 0..DEEPEST_QUEUE {
            let Some(queue) = at.and_then(|name| self.queues.get(name)) else { break };
            if let Some(half_life) = queue.spec.half_life {
                return half_life;
            }
            at = queue.spec.parent.as_ref();
        }
        let root =
            self.queues.iter().find(|(name, _)| name.as_str() == trainyard_jobs::queue::ROOT);
        root.and_then(|(_, queue)| queue.spec.half_life).unwrap_or(HALF_LIFE)
    }

    /// All tokens by id, those too that expired or were revoked not long ago.
    #[must_use]
    pub const fn tokens(&self) -> &BTreeMap<TokenId, TokenRecord> {
        &self.tokens
    }

    /// One token.
    #[must_use]
    pub fn token(&self, id: &TokenId) -> Option<&TokenRecord> {
        self.tokens.get(id)
    }

    /// The schedulers by id. Empty until a leader has put them on record.
    #[must_use]
    pub const fn members(&self) -> &BTreeMap<u64, Member> {
        &self.members
    }

    /// Whether a scheduler of this id was a member once and is no more.
    #[must_use]
    pub fn is_former_member(&self, id: u64) -> bool {
        id < self.next_member && !self.members.contains_key(&id)
    }

    /// Jobs whose id starts with `prefix`, at most two: enough to tell one from several.
    #[must_use]
    pub fn jobs_with_prefix(&self, prefix: &str) -> Vec<&Job> {
        self.jobs_starting_with(prefix).take(2).collect()
    }

    /// All jobs whose id starts with `prefix`.
    pub fn jobs_starting_with(&self, prefix: &str) -> impl Iterator<Item = &Job> {
        let first = JobId::lowest_with_prefix(prefix);
        let from = first.map(|first| self.jobs.from(first)).into_iter().flatten();
        from.take_while(move |job| job.id.as_str().starts_with(prefix))
    }

    /// A copy to encode or to hash elsewhere while this one goes on: without what is derived, and
    /// sharing its jobs, nodes and keys.
    #[must_use]
    pub fn frozen(&self) -> Self {
        // By name, so that a field that is added cannot be left out.
        let Self {
            cluster,
            epoch,
            feature_level,
            time,
            index,
            jobs,
            nodes,
            models,
            keys,
            tokens,
            members,
            next_member,
            version_floor,
            archive,
            queues,
            usage,
            reservations,
            reservations_by_end: _,
            tokens_by_expiry: _,
            keys_by_age: _,
            outbox: _,
        } = self;
        Self {
            cluster: *cluster,
            epoch: *epoch,
            feature_level: *feature_level,
            time: *time,
            index: *index,
            jobs: jobs.frozen(),
            nodes: nodes.clone(),
            models: models.clone(),
            keys: keys.clone(),
            tokens: tokens.clone(),
            members: members.clone(),
            next_member: *next_member,
            version_floor: *version_floor,
            archive: *archive,
            queues: queues.clone(),
            usage: usage.clone(),
            reservations: reservations.clone(),
            reservations_by_end: BTreeSet::new(),
            tokens_by_expiry: BTreeSet::new(),
            keys_by_age: BTreeSet::new(),
            outbox: Vec::new(),
        }
    }

    /// The digest of everything but the jobs, and the digest of all jobs.
    pub(crate) fn digests(&self) -> (Digest, Digest) {
        let mut rest = self.frozen();
        let jobs = std::mem::take(&mut rest.jobs);
        (Digest::of(&codec::encode(&rest)), jobs.digest())
    }
}
