//! Hands every fact to every checker, and keeps the first contradiction.

use std::collections::BTreeMap;

use crate::{
    around::Ms,
    facts::Fact,
    invariants::{Invariant, all},
    reference::Reference,
};

/// What must not be, and was.
#[derive(Debug, Clone)]
pub struct Violation {
    /// The checker that saw it.
    pub invariant: &'static str,
    /// When, in milliseconds of the simulation.
    pub at: Ms,
    pub what: String,
}

impl Violation {
    /// What was seen, and the line that shows it again.
    pub fn told(&self, seed: u64) -> String {
        let Self { invariant, at, what } = self;
        format!(
            "seed {seed}: «{invariant}» violated at {at} ms: {what}\n  cargo run -p trainyard-sim-tests -- --seed {seed} --trace"
        )
    }
}

pub struct Checks {
    pub reference: Reference,
    invariants: Vec<Box<dyn Invariant>>,
    pub violation: Option<Violation>,
    /// How often each kind of command came to each outcome.
    pub outcomes: BTreeMap<String, u64>,
}

impl Checks {
    pub fn new() -> Self {
        Self {
            reference: Reference::new(),
            invariants: all(),
            violation: None,
            outcomes: BTreeMap::new(),
        }
    }

    pub fn fail(&mut self, invariant: &'static str, at: Ms, what: String) {
        self.violation.get_or_insert(Violation { invariant, at, what });
    }

    pub fn see(&mut self, now: Ms, fact: Fact<'_>) {
        if self.violation.is_some() {
            return;
        }
        self.show(now, fact);
        let Fact::Applied { member, index, term, command, hash } = fact else { return };
        match self.reference.applied(index, term, command, hash) {
            Ok(None) => {}
            Ok(Some(new)) => {
                let kind = crate::invariants::coverage::name(&new.command, &new.outcome);
                *self.outcomes.entry(kind).or_default() += 1;
                // Lent to the checkers beside them.
                let reference = std::mem::replace(&mut self.reference, Reference::new());
                self.show(
                    now,
                    Fact::Committed {
                        command: &new.command,
                        outcome: &new.outcome,
                        events: &new.events,
                        state: &reference.state,
                    },
                );
                self.reference = reference;
            }
            Err(what) => self.fail("replicas agree", now, format!("member {member}: {what}")),
        }
    }

    fn show(&mut self, now: Ms, fact: Fact<'_>) {
        for invariant in &mut self.invariants {
            if let Err(what) = invariant.see(now, &fact) {
                let violation = Violation { invariant: invariant.name(), at: now, what };
                self.violation.get_or_insert(violation);
            }
        }
    }

    /// Once everything has come to rest.
    pub fn finish(&mut self, now: Ms, store: &trainyard_store::Store) {
        for invariant in &mut self.invariants {
            if let Err(what) = invariant.at_end(&self.reference.state, store) {
                let violation = Violation { invariant: invariant.name(), at: now, what };
                self.violation.get_or_insert(violation);
            }
        }
    }
}
