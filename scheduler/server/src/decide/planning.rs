//! Rounds of planning: feed the planner what changed, ask it, and know when to ask again.

use std::collections::BTreeMap;

use trainyard_core::{
    Event, Planner, State,
    command::StartAttempt,
    placement::{Condition, Delta, Progress, Stop, WorkBudget},
};
use trainyard_jobs::{JobId, NodeId, Timestamp, UnitId};
use trainyard_probe::planted;

/// Work that one plan may do: about 50 ms of it, in jobs looked at and places tried. Doubled while a plan ends without having seen
/// the whole queue and without a start, so that no job is out of sight for good.
const BUDGET: WorkBudget = WorkBudget(20_000);

/// The feature level from which attempts are stopped for others.
const STOPS_LEVEL: u16 = 3;

/// The planner of one term of leadership.
#[derive(Debug)]
pub struct Planning {
    planner: Planner,
    budget: WorkBudget,
    /// Whether the cluster's level knows stops.
    stops: bool,
}

/// What one round says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Attempts to stop so that their jobs wait again; before the starts.
    pub stops: Vec<Stop>,
    /// Gangs to start, to be proposed in this order: a second start on a node names the version
    /// that the first one leaves.
    pub starts: Vec<StartAttempt>,
    /// Whether to plan again at once.
    pub more_to_do: bool,
    /// When time alone may change the plan.
    pub again: Option<Timestamp>,
}

impl Planning {
    /// A planner that knows all of `state`.
    #[must_use]
    pub fn of(state: &State) -> Self {
        Self { planner: Planner::of(state), budget: BUDGET, stops: knows_stops(state) }
    }

    /// Looks at everything: too much happened to follow.
    pub fn start_over(&mut self, state: &State) {
        *self = Self::of(state);
    }

    /// Takes in what changed. `state` may be newer than the events.
    pub fn take_in(&mut self, state: &State, events: &[Event]) {
        if self.stops != knows_stops(state) {
            return self.start_over(state);
        }
        for event in events {
            if matches!(event, Event::Node(_)) && planted("a planner deaf to nodes") {
                continue;
            }
            if let Some(delta) = Delta::of_event(state, event) {
                self.planner.update(delta);
            }
        }
    }

    /// Plans, with the units that workers say cannot be used or are better left alone, and what
    /// their jobs say of how far they are.
    pub fn round(
        &mut self,
        unusable: BTreeMap<NodeId, BTreeMap<UnitId, String>>,
        conditions: BTreeMap<NodeId, Condition>,
        progress: Vec<(JobId, Progress)>,
        now: Timestamp,
    ) -> Round {
        for (node, condition) in conditions {
            self.planner.update(Delta::Condition(node, condition));
        }
        for (job, mut progress) in progress {
            // Nothing is known of the future, whatever a worker's clock says.
            progress.at = progress.at.min(now);
            self.planner.update(Delta::Progress(job, progress));
        }
        for (node, units) in unusable {
            self.planner.update(Delta::Unusable(node, units));
        }
        let plan = self.planner.plan(now, self.budget);
        let stops = if self.stops { plan.stops } else { Vec::new() };
        let started = !plan.starts.is_empty();
        self.budget = if plan.complete || started {
            BUDGET
        } else {
            WorkBudget(self.budget.0.saturating_mul(2))
        };
        let more_to_do = started || !stops.is_empty() || !plan.complete;
        Round { stops, starts: plan.starts, more_to_do, again: plan.again }
    }
}

/// The level that stops need. In a cluster of an older one nobody is stopped for another.
fn knows_stops(state: &State) -> bool {
    state.feature_level() >= STOPS_LEVEL
}
