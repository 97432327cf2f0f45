//! Rounds of planning: feed the planner what changed, ask it, and know when to ask again.

use trainyard_core::{
    Event, State,
    command::StartAttempt,
    placement::{Delta, Stop, WorkBudget},
};
use trainyard_jobs::Timestamp;

use super::{
    contacts::{Contacts, Moment},
    following::Following,
};

/// Work that one plan may do: about 50 ms of it, in jobs looked at and places tried. Doubled while a plan ends without having seen
/// the whole queue and without a start, so that no job is out of sight for good.
const BUDGET: WorkBudget = WorkBudget(20_000);

/// The feature level from which attempts are stopped for others.
const STOPS_LEVEL: u16 = 3;

/// The planner of one term of leadership.
#[derive(Debug)]
pub struct Planning {
    following: Following,
    budget: WorkBudget,
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
        Self { following: Following::of(state), budget: BUDGET }
    }

    /// Looks at everything: too much happened to follow.
    pub fn start_over(&mut self, state: &State) {
        *self = Self::of(state);
    }

    /// Takes in what changed. `state` may be newer than the events.
    pub fn take_in(&mut self, state: &State, events: &[Event]) {
        self.following.take_in(state, events);
    }

    /// What workers have said since the last round of units that cannot be used or are better left
    /// alone, and of how far their jobs are: for [`Self::round`].
    pub fn hear(&mut self, state: &State, contacts: &mut Contacts, now: Moment) -> Vec<Delta> {
        self.following.hear(state, contacts, now)
    }

    /// Plans, with what was heard.
    pub fn round(&mut self, heard: Vec<Delta>, now: Timestamp) -> Round {
        self.following.tell(heard);
        let plan = self.following.planner().plan(now, self.budget);
        // In a cluster of an older level nobody is stopped for another.
        let knows_stops = self.following.level() >= STOPS_LEVEL;
        let stops = if knows_stops { plan.stops } else { Vec::new() };
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
