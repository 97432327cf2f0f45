//! Rounds of planning: feed the planner what changed, ask it, and know when to ask again.

use std::collections::BTreeMap;

use trainyard_core::{
    Event, Planner, State,
    command::StartAttempt,
    placement::{Delta, WorkBudget},
};
use trainyard_jobs::{NodeId, Timestamp, UnitId};
use trainyard_probe::planted;

/// Work that one plan may do: about 50 ms of it. Doubled while a plan ends without having seen
/// the whole queue and without a start, so that no job is out of sight for good.
const BUDGET: WorkBudget = WorkBudget(2_000_000);

/// The planner of one term of leadership.
#[derive(Debug)]
pub struct Planning {
    planner: Planner,
    budget: WorkBudget,
}

/// What one round says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Gangs to start, to be proposed in this order: a second start on a node names the version
    /// that the first one leaves.
    pub starts: Vec<StartAttempt>,
    /// Whether to plan again at once.
    pub more_to_do: bool,
}

impl Planning {
    /// A planner that knows all of `state`.
    #[must_use]
    pub fn of(state: &State) -> Self {
        Self { planner: Planner::of(state), budget: BUDGET }
    }

    /// Looks at everything: too much happened to follow.
    pub fn start_over(&mut self, state: &State) {
        self.planner = Planner::of(state);
    }

    /// Takes in what changed. `state` may be newer than the events.
    pub fn take_in(&mut self, state: &State, events: &[Event]) {
        for event in events {
            if matches!(event, Event::Node(_)) && planted("a planner deaf to nodes") {
                continue;
            }
            if let Some(delta) = Delta::of_event(state, event) {
                self.planner.update(delta);
            }
        }
    }

    /// Plans, with the units that workers say cannot be used.
    pub fn round(
        &mut self,
        unusable: BTreeMap<NodeId, BTreeMap<UnitId, String>>,
        now: Timestamp,
    ) -> Round {
        for (node, units) in unusable {
            self.planner.update(Delta::Unusable(node, units));
        }
        let plan = self.planner.plan(now, self.budget);
        let started = !plan.starts.is_empty();
        self.budget = if plan.complete || started {
            BUDGET
        } else {
            WorkBudget(self.budget.0.saturating_mul(2))
        };
        Round { starts: plan.starts, more_to_do: started || !plan.complete }
    }
}
