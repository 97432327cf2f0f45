//! The jobs by id, and what is derived from them: who lives, who ended when, how many there are in
//! each phase, whose checkpoints are too many. Whatever runs often asks these instead of all jobs.
//!
//! A copy of the whole state, for a snapshot or a hash, shares them: it costs no copy of any job,
//! and one that changes meanwhile is copied then.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::OnceLock,
};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
};
use trainyard_jobs::{Digest, IdempotencyKey, JobId, JobPhase, ProjectName, Timestamp};

use super::{Job, SharedMap};
use crate::codec;

/// All jobs that are not archived. Serializes as a map by id.
#[derive(Debug, Clone, Default)]
pub struct Jobs {
    slots: SharedMap<JobId, Slot>,
    /// Jobs that were handed out to be changed, and are not looked at since.
    touched: Vec<JobId>,
    index: Index,
}

/// A job with its digest, once somebody asked for it. Copies of the state share both.
#[derive(Debug, Clone)]
struct Slot {
    job: Job,
    digest: OnceLock<Digest>,
    /// The key that made it, while that is known.
    key: Option<IdempotencyKey>,
    /// What the index says of the job.
    noted: Option<Noted>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Noted {
    sequence: u64,
    phase: JobPhase,
    ended: Timestamp,
    surplus: bool,
    /// The project, while an attempt owns the job.
    holding: Option<ProjectName>,
}

/// What is derived from the jobs. Sequences order jobs by age.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Index {
    live: BTreeMap<u64, JobId>,
    ended: BTreeMap<u64, JobId>,
    by_end: BTreeSet<(Timestamp, JobId)>,
    surplus: BTreeSet<JobId>,
    finishing: BTreeSet<JobId>,
    phases: BTreeMap<JobPhase, usize>,
    /// The jobs that an attempt owns, by project.
    holding: BTreeMap<ProjectName, BTreeSet<JobId>>,
}

impl Jobs {
    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// One job.
    #[must_use]
    pub fn get(&self, id: &JobId) -> Option<&Job> {
        self.slots.get(id).map(|slot| &slot.job)
    }

    /// Whether there is such a job.
    #[must_use]
    pub fn contains_key(&self, id: &JobId) -> bool {
        self.slots.contains_key(id)
    }

    /// All jobs by id.
    pub fn iter(&self) -> impl Iterator<Item = (&JobId, &Job)> {
        self.slots.iter().map(|(id, slot)| (id, &slot.job))
    }

    /// All jobs in the order of their ids.
    pub fn values(&self) -> impl Iterator<Item = &Job> {
        self.slots.values().map(|slot| &slot.job)
    }

    /// The jobs from `first` on, in the order of their ids.
    pub(crate) fn from(&self, first: JobId) -> impl Iterator<Item = &Job> {
        self.slots.from(first).map(|(_, slot)| &slot.job)
    }

    /// The jobs that have not ended, oldest first.
    pub(crate) fn live(&self) -> impl DoubleEndedIterator<Item = &Job> {
        self.index.live.values().filter_map(|id| self.get(id))
    }

    /// Jobs submitted before the log index `before`, the newest first.
    pub(crate) fn newest(&self, ended: bool, before: u64) -> impl Iterator<Item = &Job> {
        let index = if ended { &self.index.ended } else { &self.index.live };
        index.range(..before).rev().filter_map(|(_, id)| self.get(id))
    }

    /// Ended jobs, those that ended first before the others.
    pub(crate) fn by_end(&self) -> impl Iterator<Item = &Job> {
        self.index.by_end.iter().filter_map(|(_, id)| self.get(id))
    }

    /// Jobs that have checkpoints to delete.
    pub(crate) fn with_surplus(&self) -> impl Iterator<Item = &Job> {
        self.index.surplus.iter().filter_map(|id| self.get(id))
    }

    /// The jobs that an attempt owns, by project.
    pub(crate) const fn holding(&self) -> &BTreeMap<ProjectName, BTreeSet<JobId>> {
        &self.index.holding
    }

    /// Jobs whose ranks have ended well and whose artifacts are not verified yet.
    pub(crate) fn finishing(&self) -> impl Iterator<Item = &Job> {
        self.index.finishing.iter().filter_map(|id| self.get(id))
    }

    /// How many jobs are in a phase.
    pub(crate) fn in_phase(&self, phase: JobPhase) -> usize {
        self.index.phases.get(&phase).copied().unwrap_or_default()
    }

    /// A job to change. What is derived from it is stale until [`Self::settle`].
    pub(crate) fn get_mut(&mut self, id: &JobId) -> Option<&mut Job> {
        let slot = self.slots.get_mut(id)?;
        slot.digest = OnceLock::new();
        self.touched.push(id.clone());
        Some(&mut slot.job)
    }

    /// Adds a job, and the key that made it if that is known.
    pub(crate) fn insert(&mut self, id: JobId, job: Job, key: Option<IdempotencyKey>) {
        let slot = Slot { job, digest: OnceLock::new(), key, noted: None };
        self.touched.push(id.clone());
        self.slots.insert(id, slot);
    }

    /// Says which key made a job, or that it is not known any more.
    pub(crate) fn set_key(&mut self, id: &JobId, key: Option<IdempotencyKey>) {
        if let Some(slot) = self.slots.get_mut(id) {
            slot.key = key;
        }
    }

    /// Takes a job out, with the key that made it.
    pub(crate) fn remove(&mut self, id: &JobId) -> Option<(Job, Option<IdempotencyKey>)> {
        let slot = self.slots.remove(id)?;
        if let Some(noted) = &slot.noted {
            self.index.forget(id, noted);
        }
        Some((slot.job, slot.key))
    }

    /// Brings what is derived up to date with the jobs that were changed.
    pub(crate) fn settle(&mut self) {
        for id in std::mem::take(&mut self.touched) {
            let Some(slot) = self.slots.get_mut(&id) else { continue };
            let now = Noted::of(&slot.job);
            if slot.noted.as_ref() == Some(&now) {
                continue;
            }
            if let Some(before) = &slot.noted {
                self.index.forget(&id, before);
            }
            self.index.note(&id, &now);
            slot.noted = Some(now);
        }
    }

    /// The same jobs without what is derived from them: cheap however many there are.
    pub(crate) fn frozen(&self) -> Self {
        Self { slots: self.slots.clone(), ..Self::default() }
    }

    /// A digest of all jobs: of their ids and their own digests, each computed once after a
    /// change, here or on a copy.
    pub(crate) fn digest(&self) -> Digest {
        let mut all = Vec::with_capacity(self.slots.len().saturating_mul(44));
        for (id, slot) in self.slots.iter() {
            let digest = slot.digest.get_or_init(|| Digest::of(&codec::encode(&slot.job)));
            all.extend_from_slice(id.as_str().as_bytes());
            all.extend_from_slice(digest.as_bytes());
        }
        Digest::of(&all)
    }
}

impl Noted {
    fn of(job: &Job) -> Self {
        Self {
            sequence: job.sequence,
            phase: job.phase,
            ended: job.ended.unwrap_or_default(),
            surplus: job.surplus().next().is_some(),
            holding: matches!(job.phase, JobPhase::Running | JobPhase::Stopping)
                .then(|| job.spec.project.clone()),
        }
    }
}

impl Index {
    fn note(&mut self, id: &JobId, noted: &Noted) {
        if noted.phase.is_final() {
            self.ended.insert(noted.sequence, id.clone());
            self.by_end.insert((noted.ended, id.clone()));
        } else {
            self.live.insert(noted.sequence, id.clone());
        }
        if noted.surplus {
            self.surplus.insert(id.clone());
        }
        if let Some(project) = &noted.holding {
            self.holding.entry(project.clone()).or_default().insert(id.clone());
        }
        if noted.phase == JobPhase::Finishing {
            self.finishing.insert(id.clone());
        }
        *self.phases.entry(noted.phase).or_default() += 1;
    }

    fn forget(&mut self, id: &JobId, noted: &Noted) {
        self.live.remove(&noted.sequence);
        self.ended.remove(&noted.sequence);
        self.by_end.remove(&(noted.ended, id.clone()));
        self.surplus.remove(id);
        if let Some(project) = &noted.holding
            && let Some(jobs) = self.holding.get_mut(project)
        {
            jobs.remove(id);
            if jobs.is_empty() {
                self.holding.remove(project);
            }
        }
        self.finishing.remove(id);
        if let Some(count) = self.phases.get_mut(&noted.phase) {
            *count -= 1;
            if *count == 0 {
                self.phases.remove(&noted.phase);
            }
        }
    }
}

/// Equal jobs, made by equal keys, and equal in what is derived from them. Digests follow from the
/// jobs.
impl PartialEq for Jobs {
    fn eq(&self, other: &Self) -> bool {
        let one = self.slots.iter().map(|(id, slot)| (id, &slot.job, slot.key));
        let two = other.slots.iter().map(|(id, slot)| (id, &slot.job, slot.key));
        self.index == other.index && one.eq(two)
    }
}

impl Eq for Jobs {}

impl Serialize for Jobs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let jobs = self.slots.iter().map(|(id, slot)| (id, &slot.job));
        serializer.collect_map(jobs)
    }
}

impl<'de> Deserialize<'de> for Jobs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ById;

        impl<'de> Visitor<'de> for ById {
            type Value = Jobs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("jobs by id")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Jobs, A::Error> {
                let mut jobs = Jobs::default();
                while let Some((id, job)) = map.next_entry()? {
                    jobs.insert(id, job, None);
                }
                jobs.settle();
                Ok(jobs)
            }
        }

        deserializer.deserialize_map(ById)
    }
}
