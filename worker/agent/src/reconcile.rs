//! What to do about a desired set, given the attempts that the node holds. Pure: the decisions
//! on which it hangs that a scheduler's fault, an old leader or a restored cluster never stops
//! a healthy rank, and that no attempt is started twice.

use std::collections::{BTreeMap, BTreeSet};

use trainyard_jobs::{AttemptRef, Revision};
use trainyard_probe::planted;

/// How far an attempt is that the node holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Taken on before the agent was restarted, but its ranks were not started.
    Accepted,
    /// Being prepared, or its ranks run.
    Active,
    /// Told to stop; its ranks may still run.
    Stopping,
    /// Its ranks have ended; that, or its logs, is not delivered yet.
    Ended,
    /// Nothing is left to deliver.
    Settled,
}

/// An attempt that the node holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// The revision at which it was started.
    pub started: Revision,
    /// How far it is.
    pub stage: Stage,
    /// Whether it is unknown to a recovered cluster, and kept for an operator to decide.
    pub held: bool,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Start the attempt's ranks.
    Start(AttemptRef),
    /// Stop the attempt's ranks.
    Stop(AttemptRef),
    /// Keep the attempt's ranks running and report them as held.
    Hold(AttemptRef),
    /// The cluster knows the attempt after all.
    Release(AttemptRef),
    /// Remove what is left of the attempt.
    Remove(AttemptRef),
}

/// Decides about the set `wanted` of `revision`, which the caller has accepted: it is not lower
/// than any before it. What is in `stopping` the cluster knows and wants ended. Asking again with the same set, once the actions are carried out, gives
/// nothing.
#[must_use]
pub fn reconcile(
    revision: Revision,
    wanted: &BTreeSet<AttemptRef>,
    stopping: &BTreeSet<AttemptRef>,
    known: &BTreeMap<AttemptRef, Known>,
) -> Vec<Action> {
    let unknown = wanted.iter().filter(|attempt| !known.contains_key(attempt));
    let mut actions: Vec<Action> = unknown.cloned().map(Action::Start).collect();
    for (attempt, held) in known {
        let attempt = attempt.clone();
        actions.extend(if wanted.contains(&attempt) {
            present(attempt, held)
        } else {
            let named = stopping.contains(&attempt);
            absent(attempt, held, revision, named)
        });
    }
    actions
}

fn present(attempt: AttemptRef, known: &Known) -> Option<Action> {
    match known.stage {
        Stage::Accepted => Some(Action::Start(attempt)),
        Stage::Ended if planted("start ranks twice") => Some(Action::Start(attempt)),
        _ if known.held => Some(Action::Release(attempt)),
        _ => None,
    }
}

fn absent(attempt: AttemptRef, known: &Known, revision: Revision, named: bool) -> Option<Action> {
    // The set may have been made before the attempt was started.
    if revision <= known.started {
        return None;
    }
    let same_epoch = revision.epoch == known.started.epoch;
    match known.stage {
        Stage::Settled => Some(Action::Remove(attempt)),
        Stage::Ended | Stage::Stopping => None,
        // Nothing runs that could be lost.
        Stage::Accepted => Some(Action::Stop(attempt)),
        // Named, it is stopped in any epoch: the cluster knows it, or somebody said so.
        Stage::Active if same_epoch || named => Some(Action::Stop(attempt)),
        // A recovered cluster may have forgotten it: an operator decides.
        Stage::Active => (!known.held).then_some(Action::Hold(attempt)),
    }
}

#[cfg(test)]
mod tests;
