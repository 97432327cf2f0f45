//! What is replicated: jobs with their attempts and checkpoint catalogue, nodes with the owners
//! of their units, model versions, idempotency keys, tokens. Ordered maps and integers only.

mod job;
mod member;
mod node;
mod token;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use trainyard_jobs::{
    ClusterId, Digest, IdempotencyKey, JobId, ModelName, ModelVersion, NodeId, Revision, Timestamp,
    TokenId,
};

pub use job::{Attempt, Checkpoint, Job, Outcome, Placement, PlacementState};
pub use member::Member;
pub use node::{Node, NodeState};
pub use token::{Redeemed, TokenRecord};

use crate::command::{FEATURE_LEVEL, Reply};

/// The replicated state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub(crate) cluster: ClusterId,
    pub(crate) epoch: u64,
    pub(crate) feature_level: u16,
    pub(crate) time: Timestamp,
    pub(crate) index: u64,
    pub(crate) jobs: BTreeMap<JobId, Job>,
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    pub(crate) models: BTreeMap<ModelName, BTreeMap<u32, ModelVersion>>,
    pub(crate) keys: BTreeMap<IdempotencyKey, KeyRecord>,
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
    /// Keys by age, so that forgetting the old ones costs nothing while there are none.
    #[serde(skip)]
    pub(crate) keys_by_age: BTreeSet<(Timestamp, IdempotencyKey)>,
    /// Jobs that have not ended.
    #[serde(skip)]
    pub(crate) live: BTreeSet<JobId>,
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
    pub const fn new(cluster: ClusterId) -> Self {
        Self {
            cluster,
            epoch: 1,
            feature_level: FEATURE_LEVEL,
            time: Timestamp(0),
            index: 0,
            jobs: BTreeMap::new(),
            nodes: BTreeMap::new(),
            models: BTreeMap::new(),
            keys: BTreeMap::new(),
            tokens: BTreeMap::new(),
            tokens_by_expiry: BTreeSet::new(),
            members: BTreeMap::new(),
            next_member: 0,
            version_floor: 0,
            keys_by_age: BTreeSet::new(),
            live: BTreeSet::new(),
        }
    }

    /// Derives what a snapshot does not carry.
    pub(crate) fn rebuild(&mut self) {
        let live = |(id, job): (&JobId, &Job)| (!job.phase.is_final()).then(|| id.clone());
        self.live = self.jobs.iter().filter_map(live).collect();
        self.keys_by_age = self.keys.iter().map(|(key, record)| (record.used, *key)).collect();
        let expiry = |(id, token): (&TokenId, &TokenRecord)| (token.expires, id.clone());
        self.tokens_by_expiry = self.tokens.iter().map(expiry).collect();
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

    /// All jobs by id.
    #[must_use]
    pub const fn jobs(&self) -> &BTreeMap<JobId, Job> {
        &self.jobs
    }

    /// One job.
    #[must_use]
    pub fn job(&self, id: &JobId) -> Option<&Job> {
        self.jobs.get(id)
    }

    /// The jobs that have not ended.
    pub fn live_jobs(&self) -> impl Iterator<Item = &Job> {
        self.live.iter().filter_map(|id| self.jobs.get(id))
    }

    /// All nodes by id.
    #[must_use]
    pub const fn nodes(&self) -> &BTreeMap<NodeId, Node> {
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
        let starts = |job: &&Job| job.id.as_str().starts_with(prefix);
        self.jobs.values().filter(starts).take(2).collect()
    }
}
