//! Invariant 1: Acknowledged is durable: what a client was told stays true, and every later read knows it.
//! With it: a key makes one job, however often it is used.

use std::collections::{BTreeMap, BTreeSet};

use trainyard_core::{Command, Reply, State};
use trainyard_jobs::{IdempotencyKey, JobId, JobPhase};
use trainyard_store::Store;

use super::{Invariant, hold};
use crate::{around::Ms, facts::Fact};

/// What clients knew when a read began.
#[derive(Default)]
struct Known {
    acknowledged: bool,
    end: Option<JobPhase>,
    told: u64,
}

#[derive(Default)]
pub struct Durable {
    acknowledged: BTreeSet<JobId>,
    by_key: BTreeMap<IdempotencyKey, JobId>,
    made_by: BTreeMap<IdempotencyKey, JobId>,
    cancelled: BTreeSet<JobId>,
    reads: BTreeMap<u64, Known>,
    ends_seen: BTreeMap<JobId, JobPhase>,
    /// The highest index on which an answer rests.
    told: u64,
}

impl Invariant for Durable {
    fn name(&self) -> &'static str {
        "acknowledged is durable"
    }

    fn see(&mut self, _now: Ms, fact: &Fact<'_>) -> Result<(), String> {
        match *fact {
            Fact::Acknowledged { key, job, index } => {
                self.told = self.told.max(index);
                self.acknowledged.insert(job.clone());
                let first = self.by_key.entry(key).or_insert_with(|| job.clone());
                hold(first == job, || format!("key {key} gave job {first} and then {job}"))
            }
            Fact::Committed {
                command: Command::Submit(submit),
                outcome: Ok(Reply::Submitted { existed: false, .. }),
                ..
            } => {
                let (key, job) = (submit.mutation.key, &submit.job);
                let first = self.made_by.entry(key).or_insert_with(|| job.clone());
                hold(first == job, || format!("key {key} made job {first} and then {job}"))
            }
            Fact::CancelTaken { job } => {
                self.cancelled.insert(job.clone());
                Ok(())
            }
            Fact::ReadBegan { read, job } => {
                let acknowledged = self.acknowledged.contains(job);
                let end = self.ends_seen.get(job).copied();
                self.reads.insert(read, Known { acknowledged, end, told: self.told });
                Ok(())
            }
            Fact::ReadDone { read, job, index, phase } => {
                let Known { acknowledged, end, told } =
                    self.reads.remove(&read).unwrap_or_default();
                self.told = self.told.max(index);
                if let Some(phase) = phase.filter(|phase| phase.is_final()) {
                    self.ends_seen.insert(job.clone(), phase);
                }
                hold(phase.is_some() || !acknowledged, || {
                    format!("a read did not know job {job}, which was acknowledged before it")
                })?;
                hold(end.is_none() || end == phase, || {
                    format!("a read found job {job} {phase:?}, after another had found {end:?}")
                })?;
                hold(index >= told, || {
                    format!("a read was answered as of {index}, begun after an answer as of {told}")
                })
            }
            _ => Ok(()),
        }
    }

    fn at_end(&mut self, state: &State, _store: &Store) -> Result<(), String> {
        for job in &self.acknowledged {
            hold(state.job(job).is_some(), || format!("acknowledged job {job} is gone"))?;
        }
        for job in &self.cancelled {
            let ends = state.job(job).is_some_and(|j| j.cancel_requested || j.phase.is_final());
            hold(ends, || format!("the cancellation of job {job} was taken and is forgotten"))?;
        }
        Ok(())
    }
}
