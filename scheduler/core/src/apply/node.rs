//! Nodes that register and nodes that are called lost.

use std::collections::BTreeSet;

use trainyard_jobs::{AttemptRef, EndReason, Inventory, JobId, NodeId, RankExit, SessionId};
use trainyard_probe::{planted, reached};

use super::Applied;
use crate::{
    command::Reply,
    event::Event,
    refusal::Refusal,
    state::{Node, NodeState, PlacementState, State},
};

impl State {
    pub(super) fn register_node(
        &mut self,
        id: &NodeId,
        session: SessionId,
        inventory: Inventory,
        running: &BTreeSet<AttemptRef>,
        gone: Option<&BTreeSet<AttemptRef>>,
        events: &mut Vec<Event>,
    ) -> Applied {
        self.take_name(id, &inventory)?;
        let registered = self.time;
        if !self.nodes.contains_key(id) {
            let newcomer = Node {
                id: id.clone(),
                session,
                inventory: inventory.clone(),
                state: NodeState::Up,
                owners: std::collections::BTreeMap::new(),
                version: 0,
                registered,
                seen: registered,
                releasing: BTreeSet::new(),
            };
            self.nodes.insert(id.clone(), newcomer);
        }
        let node = self.nodes.get_mut(id).ok_or_else(|| Refusal::NoNode(id.clone()))?;
        node.session = session;
        node.inventory = inventory;
        node.state = NodeState::Up;
        node.registered = registered;
        node.seen = registered;
        node.version += 1;
        let is_gone = |attempt: &AttemptRef| {
            !running.contains(attempt) && gone.is_none_or(|gone| gone.contains(attempt))
        };
        node.releasing.retain(|attempt| !is_gone(attempt));
        events.push(Event::Node(id.clone()));
        let gone: BTreeSet<AttemptRef> =
            node.owners.values().filter(|owner| is_gone(owner)).cloned().collect();
        for attempt in gone {
            self.ranks_missing(id, &attempt, events);
        }
        Ok(Reply::Done)
    }

    /// A name belongs to one node. A lost node loses it to whoever comes next under it, and
    /// its record goes: if that machine comes back, it is a newcomer with a name that is taken.
    fn take_name(&mut self, id: &NodeId, inventory: &Inventory) -> Result<(), Refusal> {
        let same_name = |n: &&Node| n.inventory.name == inventory.name && n.id != *id;
        let Some(holder) = self.nodes.values().find(same_name) else { return Ok(()) };
        if holder.state == NodeState::Up {
            let name = inventory.name.to_string();
            return Err(Refusal::NameTaken { name, holder: holder.id.clone() });
        }
        reached("core: a lost node gives its name up");
        let holder = holder.id.clone();
        self.nodes.remove(&holder);
        Ok(())
    }

    /// A node registered without an attempt that owns units there.
    fn ranks_missing(&mut self, id: &NodeId, attempt: &AttemptRef, events: &mut Vec<Event>) {
        let state = self.placement_state(id, attempt);
        match state {
            // Not started yet: its desired set will do that.
            Some(PlacementState::Assigned) if self.is_to_start(id, attempt) => {
                reached("core: a worker returns before its ranks were started");
            }
            Some(PlacementState::Assigned | PlacementState::Started) => {
                reached("core: a worker returns without ranks that it had");
                let ranks = self.ranks_on(id, attempt);
                let exits = ranks.map(|rank| (rank, RankExit::Vanished)).collect();
                self.confirm_exit(id, attempt, exits, events);
                let node = self.node_name(id);
                self.fail_if_current(attempt, &EndReason::NodeLost { node }, events);
                self.settle(&attempt.job, events);
            }
            Some(PlacementState::Exited | PlacementState::Lost) | None => {
                reached("core: a lost node returns without what it ran");
                if let Some(node) = self.nodes.get_mut(id) {
                    node.release(attempt);
                }
            }
        }
    }

    pub(super) fn mark_lost(
        &mut self,
        id: &NodeId,
        session: SessionId,
        events: &mut Vec<Event>,
    ) -> Applied {
        let time = self.time;
        let node = self.nodes.get_mut(id).ok_or_else(|| Refusal::NoNode(id.clone()))?;
        if node.session != session || node.state == NodeState::Lost {
            return Err(Refusal::Stale(format!("node {id}")));
        }
        node.state = NodeState::Lost;
        node.seen = time;
        node.version += 1;
        events.push(Event::Node(id.clone()));
        let reason = EndReason::NodeLost { node: node.inventory.name.to_string() };
        let owners: BTreeSet<AttemptRef> = node.owners.values().cloned().collect();
        for attempt in owners {
            if planted("double assignment on requeue")
                && let Some(node) = self.nodes.get_mut(id)
            {
                node.release(&attempt);
            }
            self.lose_placement(id, &attempt);
            self.fail_if_current(&attempt, &reason, events);
            self.settle(&attempt.job, events);
        }
        Ok(Reply::Done)
    }

    fn lose_placement(&mut self, id: &NodeId, attempt: &AttemptRef) {
        if let Some(placement) = self.attempt_mut(attempt).and_then(|a| a.placement_mut(id))
            && !placement.state.is_settled()
        {
            placement.state = PlacementState::Lost;
        }
    }

    fn placement_state(&self, id: &NodeId, attempt: &AttemptRef) -> Option<PlacementState> {
        Some(self.attempt(attempt)?.placement(id)?.state)
    }

    fn ranks_on(&self, id: &NodeId, attempt: &AttemptRef) -> impl Iterator<Item = u32> + use<> {
        let placement = self.attempt(attempt).and_then(|a| a.placement(id));
        let (first, units) = placement.map_or((0, 0), |p| (p.first_rank, p.units.len()));
        let ranks = u32::try_from(units).unwrap_or(u32::MAX);
        first..first.saturating_add(ranks)
    }

    pub(super) fn node_name(&self, id: &NodeId) -> String {
        self.nodes.get(id).map_or_else(|| id.to_string(), |n| n.inventory.name.to_string())
    }

    /// Whether a node is to start an attempt, and has not said that it did.
    #[must_use]
    pub fn is_to_start(&self, id: &NodeId, attempt: &AttemptRef) -> bool {
        let assigned = self.placement_state(id, attempt) == Some(PlacementState::Assigned);
        let active = trainyard_jobs::AttemptPhase::Active;
        assigned && self.attempt(attempt).is_some_and(|a| a.phase == active)
    }

    /// Ends an attempt that a node holds because the state does not know it: somebody's word, as
    /// nothing else may end it.
    pub(super) fn release_attempt(
        &mut self,
        id: &NodeId,
        attempt: AttemptRef,
        events: &mut Vec<Event>,
    ) -> Applied {
        if self.attempt(&attempt).is_some() {
            return Err(Refusal::Known(attempt));
        }
        let node = self.nodes.get_mut(id).ok_or_else(|| Refusal::NoNode(id.clone()))?;
        if node.releasing.insert(attempt) {
            node.version += 1;
            events.push(Event::Node(id.clone()));
        }
        Ok(Reply::Done)
    }

    /// The node says that a released attempt has ended. Says whether it was one.
    pub(super) fn released(
        &mut self,
        id: &NodeId,
        attempt: &AttemptRef,
        events: &mut Vec<Event>,
    ) -> bool {
        let Some(node) = self.nodes.get_mut(id) else { return false };
        let released = node.releasing.remove(attempt);
        if released {
            node.version += 1;
            events.push(Event::Node(id.clone()));
        }
        released
    }

    /// The job's attempt, current or not. An equal number of another generation is another
    /// attempt: a history that was cut off may have used the number too.
    pub(super) fn attempt(&self, attempt: &AttemptRef) -> Option<&crate::state::Attempt> {
        let job: &JobId = &attempt.job;
        self.jobs.get(job)?.attempts.iter().find(|a| a.is(attempt))
    }

    pub(super) fn attempt_mut(
        &mut self,
        attempt: &AttemptRef,
    ) -> Option<&mut crate::state::Attempt> {
        self.jobs.get_mut(&attempt.job)?.attempts.iter_mut().find(|a| a.is(attempt))
    }
}
