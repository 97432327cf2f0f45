//! Invariant 4: Gangs are whole: an attempt has a unit for each rank of its job, on one node each, or it is no
//! attempt.

use std::collections::BTreeSet;

use trainyard_core::{Event, State};
use trainyard_jobs::AttemptRef;

use super::{Invariant, hold};
use crate::{around::Ms, facts::Fact};

#[derive(Default)]
pub struct Gangs;

impl Invariant for Gangs {
    fn name(&self) -> &'static str {
        "gangs are whole"
    }

    fn see(&mut self, _now: Ms, fact: &Fact<'_>) -> Result<(), String> {
        let Fact::Committed { events, state, .. } = fact else { return Ok(()) };
        for event in *events {
            if let Event::AttemptStarted(attempt) = event {
                whole(state, attempt)?;
            }
        }
        Ok(())
    }
}

fn whole(state: &State, started: &AttemptRef) -> Result<(), String> {
    let job = state.job(&started.job).ok_or("an attempt without a job")?;
    let attempt = job.current().ok_or("a job without its attempt")?;
    let units: BTreeSet<_> =
        attempt.placements.iter().flat_map(|p| p.units.iter().map(|u| (&p.node, u))).collect();
    let wanted = job.spec.resources.gpus as usize;
    hold(units.len() == wanted, || format!("{started} has {} of {wanted} ranks", units.len()))?;
    for (node, unit) in units {
        let owner = state.node(node).and_then(|node| node.owners.get(unit));
        hold(owner == Some(started), || {
            format!("{started} was placed on {unit} of {node}, held by {owner:?}")
        })?;
    }
    Ok(())
}
