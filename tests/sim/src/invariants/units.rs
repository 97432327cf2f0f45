//! Invariant 3: A device unit belongs to one attempt, in the state and in the world: it is given back only
//! when no rank of its owner runs on the node, and no two ranks ever hold it.

use std::collections::BTreeMap;

use trainyard_core::{Command, State};
use trainyard_jobs::{AttemptRef, NodeId, UnitId};

use super::{Invariant, hold};
use crate::{around::Ms, facts::Fact};

type Unit = (NodeId, UnitId);

#[derive(Default)]
pub struct Units {
    /// The ranks that really run.
    ranks: BTreeMap<Unit, AttemptRef>,
    owners: BTreeMap<Unit, AttemptRef>,
}

impl Invariant for Units {
    fn name(&self) -> &'static str {
        "a unit belongs to one attempt"
    }

    fn see(&mut self, _now: Ms, fact: &Fact<'_>) -> Result<(), String> {
        match *fact {
            Fact::RankStarted { node, unit, attempt, rank } => {
                let unit = (node.clone(), unit.clone());
                let other = self.ranks.insert(unit.clone(), attempt.clone());
                hold(other.is_none(), || {
                    format!(
                        "rank {rank} of {attempt} starts on {} of {node}, where {other:?} runs",
                        unit.1
                    )
                })
            }
            Fact::RankEnded { node, unit, .. } => {
                self.ranks.remove(&(node.clone(), unit.clone()));
                Ok(())
            }
            Fact::Committed { command, outcome: Ok(_), state, .. } => {
                self.committed(command, state)
            }
            _ => Ok(()),
        }
    }
}

impl Units {
    fn committed(&mut self, command: &Command, state: &State) -> Result<(), String> {
        if matches!(command, Command::Submit(_)) {
            return Ok(());
        }
        let mut owners = BTreeMap::new();
        for node in state.nodes().values() {
            for (unit, owner) in &node.owners {
                owners.insert((node.id.clone(), unit.clone()), owner.clone());
            }
        }
        for (unit, owner) in &self.owners {
            let now = owners.get(unit);
            if now == Some(owner) {
                continue;
            }
            let (node, name) = unit;
            hold(now.is_none(), || {
                format!("{name} of {node} went from {owner} to {now:?} at once")
            })?;
            let runs = self.ranks.get(unit) == Some(owner);
            hold(!runs, || {
                let what = format!("{command:?}");
                let what = what.get(..300).unwrap_or(&what);
                format!("{name} of {node} was given back while {owner} runs on it, by {what}")
            })?;
        }
        self.owners = owners;
        Ok(())
    }
}
