//! Which workers are heard, and what they say of themselves. Of the leader alone, in memory alone.

use std::{collections::BTreeMap, time::Duration};

use trainyard_core::placement::{Condition, Progress, Reading};
use trainyard_jobs::{AttemptNo, AttemptRef, JobId, NodeId, SessionId, Timestamp, UnitId};
use trainyard_proto::v1;

/// One worker's stream as the leader knows it.
#[derive(Debug, Clone)]
pub struct Live {
    /// The life of the agent that is heard.
    pub session: SessionId,
    /// When it was heard last, by the leader's monotonic clock.
    pub seen: Duration,
    /// Its newest figures.
    pub sample: Option<v1::NodeSample>,
    /// What runs there although the state does not know it.
    pub held: Vec<v1::HeldAttempt>,
    progress: BTreeMap<AttemptRef, v1::Progress>,
}

impl Live {
    const fn fresh(session: SessionId, now: Duration) -> Self {
        Self { session, seen: now, sample: None, held: Vec::new(), progress: BTreeMap::new() }
    }

    /// Units that are better left alone. Figures are as old as the worker's last word: its clock is
    /// not asked.
    fn condition(&self, now: Duration) -> Condition {
        let time = |at: Duration| Timestamp(u64::try_from(at.as_millis()).unwrap_or(u64::MAX));
        let strained = |device: &&v1::DeviceSample| {
            let celsius = device.temperature_celsius.map(degrees);
            Reading { at: time(self.seen), celsius }.is_strained(time(now), None)
        };
        let devices = self.sample.iter().flat_map(|sample| &sample.devices);
        let strained = devices.filter(strained).map(|device| UnitId(device.unit.clone()));
        Condition { strained: strained.collect(), ..Condition::default() }
    }

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
pub struct Contacts {
    live: BTreeMap<NodeId, Live>,
}

impl Contacts {
    /// Forgets everything: a new term begins.
    pub fn clear(&mut self) {
        self.live.clear();
    }

    /// A worker has connected, and holds what the state does not know.
    pub fn connected(
        &mut self,
        node: &NodeId,
        session: SessionId,
        held: Vec<v1::HeldAttempt>,
        now: Duration,
    ) {
        let fresh = || Live::fresh(session, now);
        let entry = self.live.entry(node.clone()).or_insert_with(fresh);
        if entry.session == session {
            entry.seen = now;
        } else {
            *entry = fresh();
        }
        entry.held = held;
    }

    /// A worker has reported. What another life of it says is ignored. Says whether the planner
    /// has to look again.
    pub fn heard(
        &mut self,
        node: &NodeId,
        session: SessionId,
        sample: Option<v1::NodeSample>,
        held: Vec<v1::HeldAttempt>,
        progress: Vec<(AttemptRef, v1::Progress)>,
        now: Duration,
    ) -> bool {
        // Absent when a new term cleared everything after the worker had greeted.
        let fresh = || Live::fresh(session, now);
        let entry = self.live.entry(node.clone()).or_insert_with(fresh);
        if entry.session != session {
            return false;
        }
        entry.seen = now;
        let before = entry.unusable();
        entry.held = held;
        if sample.is_some() {
            entry.sample = sample;
        }
        let running: BTreeMap<_, _> = progress.into_iter().collect();
        entry.progress = running;
        before != entry.unusable()
    }

    /// What is known of one worker.
    #[must_use]
    pub fn get(&self, node: &NodeId) -> Option<&Live> {
        self.live.get(node)
    }

    /// Units that cannot be handed out now, a node, with the reason.
    #[must_use]
    pub fn unusable(&self) -> BTreeMap<NodeId, BTreeMap<UnitId, String>> {
        self.live.iter().map(|(id, l)| (id.clone(), l.unusable())).collect()
    }

    /// How far each job says that it is, by the steps that it counts. Of several nodes the one
    /// that saw the most has the word.
    #[must_use]
    pub fn steps(&self) -> Vec<(JobId, Progress)> {
        let mut newest: BTreeMap<&JobId, (AttemptNo, Progress)> = BTreeMap::new();
        for (attempt, progress) in self.live.values().flat_map(|l| &l.progress) {
            let Some(progress) = steps(progress) else { continue };
            let of_job = newest.entry(&attempt.job).or_insert((attempt.attempt, progress));
            if (attempt.attempt, progress.done) > (of_job.0, of_job.1.done) {
                *of_job = (attempt.attempt, progress);
            }
        }
        newest.into_iter().map(|(job, (_, progress))| (job.clone(), progress)).collect()
    }

    /// What each node's figures say of its units, as far as they are fresh.
    #[must_use]
    pub fn conditions(&self, now: Duration) -> BTreeMap<NodeId, Condition> {
        self.live.iter().map(|(id, live)| (id.clone(), live.condition(now))).collect()
    }

    /// The newest figures of a job's runs: those of the node that saw the most, which is rank
    /// 0's.
    #[must_use]
    pub fn progress(&self, job: &JobId) -> Option<v1::Progress> {
        let of_job = self.live.values().flat_map(|l| &l.progress).filter(|(a, _)| a.job == *job);
        let newest = of_job.max_by_key(|(a, p)| (a.attempt, p.metrics.len(), p.unix_ms));
        newest.map(|(_, p)| p.clone())
    }
}

/// The steps among a job's figures, if it counts any. What is not a number of steps is none.
fn steps(progress: &v1::Progress) -> Option<Progress> {
    let count = |name: &str| {
        let value = *progress.metrics.get(name)?;
        let is_count = value.is_finite() && (0.0..MOST_STEPS).contains(&value);
        is_count.then(|| format!("{value:.0}").parse().ok()).flatten()
    };
    let at = Timestamp(progress.unix_ms);
    Some(Progress { done: count("step")?, total: count("total_steps"), at })
}

/// Larger numbers are no counts of steps.
const MOST_STEPS: f64 = 1e15;

/// Whole degrees; what is no temperature is none.
fn degrees(celsius: f64) -> u32 {
    let text = format!("{:.0}", celsius.clamp(0.0, 1000.0));
    text.parse().unwrap_or(0)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn told(metrics: &[(&str, f64)]) -> Option<Progress> {
        let metrics = metrics.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        steps(&v1::Progress { attempt: None, unix_ms: 7, metrics })
    }

    #[test]
    fn steps_are_counts_or_nothing() {
        let progress = |done, total| Some(Progress { done, total, at: Timestamp(7) });
        assert_eq!(told(&[("step", 3.0), ("total_steps", 10.0)]), progress(3, Some(10)));
        assert_eq!(told(&[("step", 3.0)]), progress(3, None));
        assert_eq!(told(&[("loss", 3.0)]), None);
        for odd in [f64::NAN, f64::INFINITY, -1.0, 1e300] {
            assert_eq!(told(&[("step", odd)]), None);
            assert_eq!(told(&[("step", 1.0), ("total_steps", odd)]), progress(1, None));
        }
    }
}
