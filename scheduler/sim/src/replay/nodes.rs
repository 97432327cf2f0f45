//! Nodes come and go: they register, say anew what they cost, fail, and are taken back.

use std::collections::BTreeSet;

use trainyard_core::Command;
use trainyard_jobs::{AttemptRef, NodeId};

use super::{Happening, Replay};
use crate::SimError;

impl Replay<'_> {
    /// Every node registers before the trace begins.
    pub(super) fn register_all(&mut self) -> Result<(), SimError> {
        for (place, node) in self.machines.ids().into_iter().enumerate() {
            self.register(place, &node)?;
        }
        let changes: Vec<_> = self.machines.price_changes().collect();
        for (at, group) in changes {
            self.agenda.push(at, Happening::Price { group });
        }
        Ok(())
    }

    /// A node comes up, with nothing running.
    fn register(&mut self, place: usize, node: &NodeId) -> Result<(), SimError> {
        self.greet(node, BTreeSet::new())?;
        if let Some((after, told)) = self.machines.next_fall(node) {
            let at = self.now.saturating_add(after);
            self.agenda.push(at, Happening::Down { node: place, told });
        }
        Ok(())
    }

    /// A node's agent begins a life, with these attempts at work.
    fn greet(&mut self, node: &NodeId, running: BTreeSet<AttemptRef>) -> Result<(), SimError> {
        let Some((session, inventory)) = self.machines.awake(node, self.now) else { return Ok(()) };
        let node = node.clone();
        let command = Command::RegisterNode { node, session, inventory, running, gone: None };
        self.desk.apply(self.now, "a node", command)?;
        self.take_in()
    }

    /// The nodes of a group cost something else from now on: their agents start again with other
    /// labels, and what runs there runs on.
    pub(super) fn reprice(&mut self, group: usize) -> Result<(), SimError> {
        for node in self.machines.up_in(group) {
            let known = self.desk.state().node(&node);
            let running = known.map(|known| known.owners.values().cloned().collect());
            self.greet(&node, running.unwrap_or_default())?;
        }
        self.stirred = true;
        Ok(())
    }

    /// A node comes up again.
    pub(super) fn come_up(&mut self, place: usize) -> Result<(), SimError> {
        let Some(node) = self.machines.node_at(place) else { return Ok(()) };
        self.books.there_are(i64::from(self.machines.gpus(&node)));
        self.stirred = true;
        self.register(place, &node)
    }

    /// A node goes down: what ran on it is gone, and was saved if there was a notice.
    pub(super) fn go_down(&mut self, place: usize, told: bool) -> Result<(), SimError> {
        let Some(node) = self.machines.node_at(place) else { return Ok(()) };
        if told {
            self.save_all_on(&node)?;
        }
        let Some((session, gpus)) = self.machines.fall(&node) else { return Ok(()) };
        self.books.there_are(-i64::from(gpus));
        let back = self.now.saturating_add(self.machines.away(&node, told));
        self.agenda.push(back, Happening::Up { node: place });
        self.stirred = true;
        self.desk.apply(self.now, "a lost node", Command::MarkLost { node, session })?;
        self.take_in()
    }
}
