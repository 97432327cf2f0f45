//! What the leader holds of connected workers: when each was last heard, its live figures, the
//! progress of its runs. In memory alone: nothing of it enters the log, and a new leader starts
//! with none of it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{sync::Notify, time::Instant};
use trainyard_jobs::{AttemptRef, JobId, NodeId, SessionId, UnitId};
use trainyard_proto::v1;

/// One worker's stream as the leader knows it.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    pub(crate) session: SessionId,
    pub(crate) seen: Instant,
    pub(crate) sample: Option<v1::NodeSample>,
    /// What runs there although the state does not know it.
    pub(crate) held: Vec<v1::HeldAttempt>,
    progress: BTreeMap<AttemptRef, v1::Progress>,
}

impl Live {
    fn fresh(session: SessionId) -> Self {
        let (held, progress) = (Vec::new(), BTreeMap::new());
        Self { session, seen: Instant::now(), sample: None, held, progress }
    }
}

impl Live {
    /// Units that cannot be handed out, with the reason.
    fn unusable(&self) -> BTreeMap<UnitId, String> {
        let mut units = self.sample.as_ref().map(unusable).unwrap_or_default();
        for held in &self.held {
            let attempt = held.attempt.clone().unwrap_or_default();
            let reason = format!(
                "held by attempt {} of job {}, which the recovered cluster does not know",
                attempt.attempt, attempt.job
            );
            units.extend(held.units.iter().map(|u| (UnitId(u.clone()), reason.clone())));
        }
        units
    }
}

/// All workers that the leader hears.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sessions {
    live: Arc<Mutex<BTreeMap<NodeId, Live>>>,
    /// Rung when figures changed that the planner looks at.
    pub(crate) changed: Arc<Notify>,
}

impl Sessions {
    fn with<T>(&self, act: impl FnOnce(&mut BTreeMap<NodeId, Live>) -> T) -> T {
        act(&mut self.live.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Forgets everything: a new term begins.
    pub(crate) fn clear(&self) {
        self.with(BTreeMap::clear);
    }

    /// A worker has connected, and holds what the state does not know.
    pub(crate) fn connected(&self, node: &NodeId, session: SessionId, held: Vec<v1::HeldAttempt>) {
        self.with(|live| {
            let entry = live.entry(node.clone()).or_insert_with(|| Live::fresh(session));
            if entry.session == session {
                entry.seen = Instant::now();
            } else {
                *entry = Live::fresh(session);
            }
            entry.held = held;
        });
        self.changed.notify_one();
    }

    /// What a node holds that the state does not know.
    pub(crate) fn held(&self, node: &NodeId) -> Vec<v1::HeldAttempt> {
        self.with(|live| live.get(node).map(|l| l.held.clone()).unwrap_or_default())
    }

    /// A worker has reported. What another life of it says is ignored.
    pub(crate) fn heard(
        &self,
        node: &NodeId,
        session: SessionId,
        heartbeat: v1::Heartbeat,
        progress: Vec<(AttemptRef, v1::Progress)>,
    ) {
        let v1::Heartbeat { sample, held, .. } = heartbeat;
        let changed = self.with(|live| {
            // Absent when a new term cleared everything after the worker had greeted.
            let entry = live.entry(node.clone()).or_insert_with(|| Live::fresh(session));
            if entry.session != session {
                return false;
            }
            entry.seen = Instant::now();
            let before = entry.unusable();
            entry.held = held;
            if sample.is_some() {
                entry.sample = sample;
            }
            let running: BTreeMap<_, _> = progress.into_iter().collect();
            entry.progress = running;
            before != entry.unusable()
        });
        if changed {
            self.changed.notify_one();
        }
    }

    /// What is known of one worker.
    pub(crate) fn get(&self, node: &NodeId) -> Option<Live> {
        self.with(|live| live.get(node).cloned())
    }

    /// When each worker was last heard, in this life of it.
    pub(crate) fn last_seen(&self) -> BTreeMap<NodeId, (SessionId, Instant)> {
        self.with(|live| live.iter().map(|(id, l)| (id.clone(), (l.session, l.seen))).collect())
    }

    /// Units that cannot be handed out now, a node, with the reason.
    pub(crate) fn unusable(&self) -> BTreeMap<NodeId, BTreeMap<UnitId, String>> {
        self.with(|live| live.iter().map(|(id, l)| (id.clone(), l.unusable())).collect())
    }

    /// The newest figures of a job's runs: those of the node that saw the most, which is rank
    /// 0's.
    pub(crate) fn progress(&self, job: &JobId) -> Option<v1::Progress> {
        self.with(|live| {
            let of_job = live.values().flat_map(|l| &l.progress).filter(|(a, _)| a.job == *job);
            of_job
                .max_by_key(|(a, p)| (a.attempt, p.metrics.len(), p.unix_ms))
                .map(|(_, p)| p.clone())
        })
    }
}

/// A device that reports a problem, or runs a process that is not ours, is not handed out.
fn unusable(sample: &v1::NodeSample) -> BTreeMap<UnitId, String> {
    let reason = |d: &v1::DeviceSample| {
        d.problem.clone().or_else(|| {
            let pid = d.foreign_pids.first()?;
            Some(format!("in use by a foreign process, pid {pid}"))
        })
    };
    sample.devices.iter().filter_map(|d| Some((UnitId(d.unit.clone()), reason(d)?))).collect()
}
