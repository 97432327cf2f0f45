//! A planner that follows the state and what workers say: it is told what changed, and nothing
//! else, however many nodes and jobs there are.

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, mem::take};

use trainyard_core::{Event, Planner, State, placement::Delta, state::NodeState};
use trainyard_jobs::{JobId, NodeId};
use trainyard_probe::planted;

use super::contacts::{Contacts, Moment, Place, tenants};

/// The planner, and up to where it knows what happened.
#[derive(Debug)]
pub struct Following {
    planner: Planner,
    /// The feature level that it plans for.
    level: u16,
    /// Up to where it knows what workers said.
    place: Place,
    /// Nodes and jobs that changed in the state: what workers say of them means something else now.
    nodes: BTreeSet<NodeId>,
    jobs: BTreeSet<JobId>,
    /// It began with a state whose past nobody followed.
    begins: bool,
}

impl Following {
    /// A planner that knows all of `state`.
    #[must_use]
    pub fn of(state: &State) -> Self {
        Self {
            planner: Planner::of(state),
            level: state.feature_level(),
            place: Place::default(),
            nodes: BTreeSet::new(),
            jobs: BTreeSet::new(),
            begins: true,
        }
    }

    /// Looks at everything: too much happened to follow.
    pub fn start_over(&mut self, state: &State) {
        *self = Self::of(state);
    }

    /// The planner.
    pub const fn planner(&mut self) -> &mut Planner {
        &mut self.planner
    }

    /// The feature level that it plans for.
    #[must_use]
    pub const fn level(&self) -> u16 {
        self.level
    }

    /// Takes in what changed. `state` may be newer than the events.
    pub fn take_in(&mut self, state: &State, events: &[Event]) {
        if !self.is_of_level(state) || events.contains(&Event::Restored) {
            return self.start_over(state);
        }
        for event in events {
            if let Event::Node(node) = event {
                if planted("a planner deaf to nodes") {
                    continue;
                }
                self.nodes.insert(node.clone());
            }
            self.jobs.extend(event.job().cloned());
            if let Some(delta) = Delta::of_event(state, event) {
                self.planner.update(delta);
            }
        }
    }

    /// What the planner has to be told of what workers said since, for [`Self::tell`].
    pub fn hear(&mut self, state: &State, contacts: &mut Contacts, now: Moment) -> Vec<Delta> {
        if take(&mut self.begins) {
            contacts.recall(state);
        }
        self.jobs.iter().filter_map(|id| state.job(id)).for_each(|job| contacts.learn(job));
        contacts.look(state, now);
        let mut news = contacts.since(&mut self.place);
        if news.anew || !self.is_of_level(state) {
            self.start_over(state);
            news = contacts.since(&mut self.place);
        }
        news.nodes.append(&mut take(&mut self.nodes));
        news.jobs.append(&mut take(&mut self.jobs));
        let mut deltas = Vec::new();
        for id in news.nodes {
            // Of one that does not count nothing is kept.
            if state.node(&id).is_some_and(|node| node.state == NodeState::Up) {
                let condition = contacts.condition(&id, &tenants(state, &id), now.wall);
                deltas.push(Delta::Unusable(id.clone(), contacts.unusable(&id)));
                deltas.push(Delta::Condition(id, condition));
            }
        }
        for id in news.jobs {
            // What an attempt says that its job has left behind is not how far the job is.
            let owner = state.job(&id).and_then(|job| Some(job.attempt_ref(job.current()?)));
            let progress = owner.and_then(|owner| contacts.progress_of(&owner));
            if let Some(mut progress) = progress {
                // Nothing is known of the future, whatever a worker's clock says.
                progress.at = progress.at.min(now.wall);
                deltas.push(Delta::Progress(id, progress));
            }
        }
        deltas
    }

    /// Tells the planner.
    pub fn tell(&mut self, deltas: Vec<Delta>) {
        for delta in deltas {
            self.planner.update(delta);
        }
    }

    /// The level rises by a command of which no event tells: what it changes concerns everything.
    fn is_of_level(&self, state: &State) -> bool {
        self.level == state.feature_level()
    }
}
