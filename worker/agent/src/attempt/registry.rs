//! The attempts that this node holds, as the agent's parts share them: the supervising tasks
//! write how far each is, the session reads what to tell the leader, and the agent decides.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Notify, watch};
use trainyard_jobs::AttemptRef;
use trainyard_proto::v1;

use super::{AttemptDir, Order};
use crate::{
    reconcile::{Known, Stage},
    shares::Holding,
    telemetry::unix_ms,
};

/// One attempt.
#[derive(Debug)]
pub(crate) struct Entry {
    /// What it is to run.
    pub order: Order,
    /// Where its files lie.
    pub dir: AttemptDir,
    state: Mutex<State>,
    stop: watch::Sender<bool>,
}

#[derive(Debug)]
struct State {
    stage: Stage,
    held: bool,
    /// Whether the shim was launched.
    launched: bool,
    shim: Option<i32>,
    /// By when its ranks were asked to save their state last.
    asked_to_save: u64,
    figures: BTreeMap<String, f64>,
    figures_unix_ms: u64,
}

impl Entry {
    pub(crate) fn new(order: Order, dir: AttemptDir, stage: Stage) -> Arc<Self> {
        let state = State {
            stage,
            held: false,
            launched: dir.was_launched(),
            shim: None,
            asked_to_save: 0,
            figures: BTreeMap::new(),
            figures_unix_ms: 0,
        };
        Arc::new(Self { order, dir, state: Mutex::new(state), stop: watch::Sender::new(false) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn stage(&self) -> Stage {
        self.state().stage
    }

    /// Tells the attempt to stop.
    pub(crate) fn stop(&self) {
        {
            let mut state = self.state();
            // It may have ended meanwhile of itself.
            state.stage = state.stage.max(Stage::Stopping);
        }
        self.stop.send_replace(true);
    }

    /// Becomes true when the attempt is to stop.
    pub(crate) fn stopping(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    /// Returns once the attempt is to stop.
    pub(crate) async fn stopped(&self) {
        let mut stopping = self.stopping();
        // The sender lives as long as this entry.
        let _ = stopping.wait_for(|stop| *stop).await;
    }

    /// Notes by when its ranks are asked to save their state. Says whether that is news.
    pub(crate) fn note_save(&self, before: u64) -> bool {
        let mut state = self.state();
        std::mem::replace(&mut state.asked_to_save, before) != before
    }

    pub(crate) fn set_held(&self, held: bool) {
        self.state().held = held;
    }

    pub(crate) fn set_launched(&self) {
        self.state().launched = true;
    }

    pub(crate) fn set_shim(&self, pid: Option<i32>) {
        self.state().shim = pid;
    }

    pub(crate) fn set_figures(&self, figures: BTreeMap<String, f64>) {
        let mut state = self.state();
        state.figures = figures;
        state.figures_unix_ms = unix_ms();
    }

    /// The shares of GPUs that its ranks have here.
    pub(crate) fn holdings(&self) -> Vec<Holding> {
        let ranks = self.order.work.as_ref().map_or(&[][..], |work| &work.ranks);
        let shares = ranks.iter().filter(|(_, unit)| unit.as_share().is_some());
        shares.map(|(rank, unit)| Holding { rank: *rank, unit: unit.clone() }).collect()
    }

    /// What it is, for schedulers that do not know it. Nothing of one whose ranks have ended.
    fn description(&self) -> Option<v1::HeldAttempt> {
        if self.stage() >= Stage::Ended {
            return None;
        }
        let work = self.order.work.as_ref().ok()?;
        Some(v1::HeldAttempt {
            attempt: Some((&self.order.attempt).into()),
            units: work.ranks.iter().map(|(_, unit)| unit.to_string()).collect(),
            job_name: work.spec.name.to_string(),
            world_size: work.world_size,
        })
    }

    /// The state's word, as the wire has it.
    fn word(&self) -> &'static str {
        let state = self.state();
        match state.stage {
            Stage::Ended | Stage::Settled => "ended",
            _ if state.held => "held",
            _ if state.launched => "running",
            _ => "starting",
        }
    }
}

/// All attempts of the node.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    entries: Mutex<BTreeMap<AttemptRef, Arc<Entry>>>,
    changed: Notify,
}

impl Registry {
    fn entries(&self) -> MutexGuard<'_, BTreeMap<AttemptRef, Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn insert(&self, entry: Arc<Entry>) {
        self.entries().insert(entry.order.attempt.clone(), entry);
    }

    pub(crate) fn get(&self, attempt: &AttemptRef) -> Option<Arc<Entry>> {
        self.entries().get(attempt).cloned()
    }

    pub(crate) fn remove(&self, attempt: &AttemptRef) {
        self.entries().remove(attempt);
    }

    /// The attempt has come this far.
    pub(crate) fn advance(&self, entry: &Entry, stage: Stage) {
        entry.state().stage = stage;
        self.changed.notify_one();
    }

    /// Returns when an attempt has advanced since the last call.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// What decisions are made upon.
    pub(crate) fn known(&self) -> BTreeMap<AttemptRef, Known> {
        let known = |entry: &Arc<Entry>| {
            let state = entry.state();
            Known { started: entry.order.started, stage: state.stage, held: state.held }
        };
        self.entries().iter().map(|(attempt, entry)| (attempt.clone(), known(entry))).collect()
    }

    /// What a leader is told on every new stream.
    pub(crate) fn running(&self) -> Vec<v1::RunningAttempt> {
        let running = |(attempt, entry): (&AttemptRef, &Arc<Entry>)| v1::RunningAttempt {
            attempt: Some(attempt.into()),
            state: entry.word().to_owned(),
            held: entry.description(),
        };
        self.entries().iter().map(running).collect()
    }

    /// Those of `attempts` that are here.
    pub(crate) fn held_among(&self, attempts: Vec<v1::AttemptRef>) -> Vec<v1::AttemptRef> {
        let entries = self.entries();
        let here = |attempt: &v1::AttemptRef| {
            AttemptRef::try_from(attempt.clone()).is_ok_and(|a| entries.contains_key(&a))
        };
        attempts.into_iter().filter(here).collect()
    }

    /// What runs here and was started in an epoch before `epoch`: the schedulers of that one may
    /// not know it.
    pub(crate) fn started_before(&self, epoch: u64) -> Vec<v1::HeldAttempt> {
        let entries = self.entries();
        let older = entries.values().filter(|entry| entry.order.started.epoch < epoch);
        older.filter_map(|entry| entry.description()).collect()
    }

    /// How many attempts are in each state.
    pub(crate) fn counts(&self) -> Vec<(&'static str, usize)> {
        let mut counts: BTreeMap<_, _> =
            ["starting", "running", "held", "ended"].map(|word| (word, 0)).into();
        for entry in self.entries().values() {
            *counts.entry(entry.word()).or_default() += 1;
        }
        counts.into_iter().collect()
    }

    /// Whether ranks run, or may be about to.
    pub(crate) fn has_live_attempts(&self) -> bool {
        self.entries().values().any(|entry| entry.stage() < Stage::Ended)
    }

    /// The newest figures of every attempt that has some.
    pub(crate) fn progress(&self) -> Vec<v1::Progress> {
        let progress = |(attempt, entry): (&AttemptRef, &Arc<Entry>)| {
            let state = entry.state();
            (!state.figures.is_empty() && state.stage < Stage::Ended).then(|| v1::Progress {
                attempt: Some(attempt.into()),
                unix_ms: state.figures_unix_ms,
                metrics: state.figures.clone().into_iter().collect(),
            })
        };
        self.entries().iter().filter_map(progress).collect()
    }

    /// The attempts that have shares of GPUs and are not being stopped, each with its live shim.
    pub(crate) fn on_shares(&self) -> Vec<(Arc<Entry>, i32)> {
        let with_shim = |entry: &Arc<Entry>| {
            let running = entry.stage() < Stage::Stopping && !entry.holdings().is_empty();
            let shim = entry.state().shim.filter(|_| running)?;
            Some((Arc::clone(entry), shim))
        };
        self.entries().values().filter_map(with_shim).collect()
    }

    /// The live shims.
    pub(crate) fn shims(&self) -> BTreeSet<i32> {
        self.entries().values().filter_map(|entry| entry.state().shim).collect()
    }
}
