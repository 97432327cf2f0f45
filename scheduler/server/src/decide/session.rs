//! One worker's stream: what its greeting brings into the log, which sets go down, and when the
//! worker has to greet anew.

use std::{borrow::Cow, collections::BTreeSet};

use trainyard_core::{
    Command, Event, State,
    command::{PARTS_LEVEL, PLACES_LEVEL},
    state::{Attempt, Job, NodeState, PlacementState},
};
use trainyard_jobs::{AttemptPhase, AttemptRef, Inventory, NodeId, SessionId};
use trainyard_proto::{
    convert::{parse, required},
    v1,
};

use crate::error::Failure;

/// From this level on every member knows what `gone` means.
const ROLL_LEVEL: u16 = 3;

/// Progress messages in one heartbeat at most.
const MAX_PROGRESS: usize = 1024;

/// A worker that greets.
#[derive(Debug, Clone)]
pub struct Greeting {
    /// Its id.
    pub node: NodeId,
    /// This life of its agent.
    pub session: SessionId,
    inventory: Inventory,
    running: BTreeSet<AttemptRef>,
    /// Whether it can be asked; an agent of an earlier version is taken at its first word.
    answers: bool,
    /// What it was asked for and does not hold.
    gone: BTreeSet<AttemptRef>,
    /// What each of them is, should the state not know it.
    pub held: Vec<v1::HeldAttempt>,
}

/// A worker's stream under one term of leadership.
#[derive(Debug, Clone)]
pub struct Attendance {
    /// The worker.
    pub node: NodeId,
    /// The life of its agent.
    pub session: SessionId,
    /// The term in which it was welcomed.
    pub term: u64,
    /// What was kept from the state: it counts with the first level above this one.
    pub withheld: Option<u16>,
}

/// Why a stream ends that the worker did not end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parting {
    /// This member does not lead.
    NotLeader,
    /// It leads again, in a later term: the worker greets anew.
    LeadsAnew,
    /// The node was called lost or greeted anew meanwhile, and nobody would plan with it.
    CountsNoMore,
    /// What was kept from the state can be told now.
    MoreToTell,
}

impl Greeting {
    /// Reads a greeting to `cluster`, whose recovery epoch is `epoch` here.
    ///
    /// # Errors
    /// When it is malformed, or the worker belongs to another cluster, or has seen a higher epoch.
    pub fn read(hello: v1::Hello, cluster: &str, epoch: u64) -> Result<Self, Failure> {
        if !hello.cluster.is_empty() && hello.cluster != cluster {
            return Err(Failure::Impossible(format!(
                "this worker belongs to cluster {}, not to {cluster}: give it another data directory, or the right endpoints",
                hello.cluster
            )));
        }
        let seen = hello.revision.unwrap_or_default().epoch;
        if seen > epoch {
            // Not a refusal for good: another scheduler is of that epoch, and the worker goes on.
            return Err(Failure::Fenced { own: epoch, seen });
        }
        let held = hello.running.iter().filter_map(|r| r.held.clone()).collect();
        let attempt = |r: v1::RunningAttempt| AttemptRef::try_from(required("attempt", r.attempt)?);
        let running: Result<BTreeSet<_>, _> = hello.running.into_iter().map(attempt).collect();
        Ok(Self {
            node: parse("node", &hello.node)?,
            session: parse("session", &hello.session)?,
            inventory: required("inventory", hello.inventory)?.try_into()?,
            running: running?,
            answers: hello.answers_roll_call,
            gone: BTreeSet::new(),
            held,
        })
    }

    /// The attempts that the worker is known to have had and does not name: whether they are gone
    /// it must be asked first. This greeting may have been on its way for so long that it holds
    /// them by now.
    #[must_use]
    pub fn doubts(&self, state: &State) -> BTreeSet<AttemptRef> {
        let Some(node) = state.node(&self.node).filter(|_| self.answers) else {
            return BTreeSet::new();
        };
        let unnamed =
            |attempt: &&AttemptRef| !self.running.contains(attempt) && !self.gone.contains(attempt);
        // What it need not have heard of yet, its next desired set tells.
        let had = |attempt: &&AttemptRef| !state.is_to_start(&self.node, attempt);
        let owners = node.owners.values().filter(had);
        owners.chain(&node.releasing).filter(unnamed).cloned().collect()
    }

    /// Of those asked for, the worker holds these.
    pub fn rolled(&mut self, asked: BTreeSet<AttemptRef>, held: &BTreeSet<AttemptRef>) {
        let (held, gone) = asked.into_iter().partition(|attempt| held.contains(attempt));
        self.running.extend::<BTreeSet<_>>(held);
        self.gone.extend::<BTreeSet<_>>(gone);
    }

    /// What the log is to be told of the worker, if that changes anything. Nothing ends by it that
    /// the worker was not asked about.
    #[must_use]
    pub fn registration(&self, state: &State) -> Option<Command> {
        let running: BTreeSet<AttemptRef> =
            self.running.iter().cloned().chain(self.doubts(state)).collect();
        let inventory = self.offered(state.feature_level());
        let known = state.node(&self.node).is_some_and(|node| {
            node.state == NodeState::Up
                && node.session == self.session
                && node.inventory == *inventory
                && node.owners.values().all(|attempt| running.contains(attempt))
        });
        (!known).then(|| Command::RegisterNode {
            node: self.node.clone(),
            session: self.session,
            inventory: inventory.into_owned(),
            running,
            // An older member would end what is not in `running` all the same.
            gone: (self.answers && state.feature_level() >= ROLL_LEVEL).then(|| self.gone.clone()),
        })
    }
}

impl Greeting {
    /// The state's level, if the worker has more to offer than the state knows what to do with.
    #[must_use]
    pub fn withheld(&self, state: &State) -> Option<u16> {
        let level = state.feature_level();
        (*self.offered(level) != self.inventory).then_some(level)
    }

    /// What the worker offers, as far as members of this level know what it is. Without its parts of GPUs, or
    /// what it says of its disk and its network, it is a node all the same, and what it runs is not
    /// lost.
    fn offered(&self, level: u16) -> Cow<'_, Inventory> {
        if level >= PLACES_LEVEL {
            return Cow::Borrowed(&self.inventory);
        }
        let mut inventory = self.inventory.clone();
        (inventory.disk, inventory.network) = Default::default();
        if level < PARTS_LEVEL {
            inventory.devices.retain(|_, device| device.part.is_whole());
        }
        Cow::Owned(inventory)
    }
}

impl Attendance {
    /// Whether the stream goes on, for a member that leads `leading_term`, if any.
    ///
    /// # Errors
    /// Why it does not.
    pub fn check(&self, leading_term: Option<u64>, state: &State) -> Result<(), Parting> {
        match leading_term {
            None => Err(Parting::NotLeader),
            Some(term) if term != self.term => Err(Parting::LeadsAnew),
            Some(_) if !self.counts(state) => Err(Parting::CountsNoMore),
            Some(_) if self.withheld.is_some_and(|level| level < state.feature_level()) => {
                Err(Parting::MoreToTell)
            }
            Some(_) => Ok(()),
        }
    }

    /// Whether the node still counts under this session. A worker that was called lost while its
    /// stream was open has to greet again, or nobody would ever plan with it.
    fn counts(&self, state: &State) -> bool {
        let counts = |node: &trainyard_core::state::Node| {
            node.state == NodeState::Up && node.session == self.session
        };
        state.node(&self.node).is_some_and(counts)
    }

    /// Whether the node's desired set may have changed.
    #[must_use]
    pub fn concerns(&self, events: &[Event]) -> bool {
        events.iter().any(|event| matches!(event, Event::Node(node) if *node == self.node))
    }
}

/// The progress that a heartbeat tells, each with its attempt.
#[must_use]
pub fn progress(heartbeat: Vec<v1::Progress>) -> Vec<(AttemptRef, v1::Progress)> {
    let read = |p: v1::Progress| {
        let attempt = AttemptRef::try_from(p.attempt.clone()?).ok()?;
        Some((attempt, p))
    };
    heartbeat.into_iter().take(MAX_PROGRESS).filter_map(read).collect()
}

/// Of what a worker runs, what the state does not know: of a history that a recovery cut off.
#[must_use]
pub fn unknown(state: &State, running: Vec<v1::HeldAttempt>) -> Vec<v1::HeldAttempt> {
    let known = |held: &v1::HeldAttempt| {
        let attempt = held.attempt.clone().and_then(|a| AttemptRef::try_from(a).ok());
        attempt.is_none_or(|a| {
            state.job(&a.job).is_some_and(|job| job.attempts.iter().any(|known| known.is(&a)))
        })
    };
    running.into_iter().filter(|held| !known(held)).collect()
}

/// Everything that should run on a node, at the point in history up to which `state` is applied.
/// A leader sends one only once it has applied an entry of its own term.
#[must_use]
pub fn desired_set(state: &State, id: &NodeId) -> v1::DesiredSet {
    let owners: BTreeSet<_> = state.node(id).into_iter().flat_map(|n| n.owners.values()).collect();
    let mut set = v1::DesiredSet { revision: Some(state.revision().into()), ..Default::default() };
    let released = state.node(id).into_iter().flat_map(|n| &n.releasing);
    set.stopping.extend(released.map(Into::into));
    for owner in owners {
        match desired(state, id, owner) {
            Some(attempt) => set.attempts.push(attempt),
            None => set.stopping.push(owner.into()),
        }
    }
    set
}

fn desired(state: &State, id: &NodeId, owner: &AttemptRef) -> Option<v1::DesiredAttempt> {
    let job = state.job(&owner.job).filter(|job| job.is_current(owner))?;
    let attempt = job.current().filter(|a| a.phase == AttemptPhase::Active)?;
    let group_rank = attempt.placements.iter().position(|p| p.node == *id)?;
    let placement = attempt.placements.get(group_rank)?;
    if matches!(placement.state, PlacementState::Exited | PlacementState::Lost) {
        return None;
    }
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let rank = |(i, unit): (usize, &trainyard_jobs::UnitId)| v1::RankSlot {
        rank: placement.first_rank.saturating_add(number(i)),
        unit: unit.to_string(),
    };
    Some(v1::DesiredAttempt {
        attempt: Some(owner.into()),
        started: Some(attempt.started_at.into()),
        spec_json: job.spec.canonical_json().into_bytes(),
        ranks: placement.units.iter().enumerate().map(rank).collect(),
        world_size: attempt.world_size(),
        group_rank: number(group_rank),
        group_world_size: number(attempt.placements.len()),
        master_addr: attempt.master_addr.clone(),
        master_port: u32::from(attempt.master_port),
        bundle: job.bundle.map(|d| d.to_string()).unwrap_or_default(),
        resume: resume(job, attempt),
        time_allowance_ms: job.allowance().map_or(0, |left| left.0.max(1)),
        restarts: attempt.number.0.saturating_sub(1),
        save_before_unix_ms: attempt.leaving.as_ref().map_or(0, |leaving| leaving.by.0),
    })
}

/// The manifests of the checkpoint that the attempt resumes from.
fn resume(job: &Job, attempt: &Attempt) -> Vec<v1::File> {
    let checkpoint = attempt.resume.and_then(|id| job.checkpoint(id));
    checkpoint.map_or_else(Vec::new, |c| c.manifests.iter().map(Into::into).collect())
}

#[cfg(test)]
mod tests;
