//! Invariant 2: One attempt owns a job: what an older one says changes nothing, and no attempt's ranks are
//! started twice on a node.

use std::collections::{BTreeMap, BTreeSet};

use trainyard_core::{Command, Event, State, state::Job};
use trainyard_jobs::{AttemptNo, AttemptPhase, AttemptRef, JobId, NodeId};

use super::{Invariant, hold};
use crate::{around::Ms, facts::Fact};

#[derive(Default)]
pub struct Ownership {
    /// The newest attempt of each job that was committed.
    newest: BTreeMap<JobId, AttemptNo>,
    launched: BTreeSet<(NodeId, AttemptRef)>,
}

impl Invariant for Ownership {
    fn name(&self) -> &'static str {
        "one attempt owns a job"
    }

    fn see(&mut self, _now: Ms, fact: &Fact<'_>) -> Result<(), String> {
        match *fact {
            Fact::Committed { command, outcome: Ok(_), events, state } => {
                self.committed(command, events, state)
            }
            Fact::Launched { node, attempt, .. } => {
                let first = self.launched.insert((node.clone(), attempt.clone()));
                hold(first, || format!("the ranks of {attempt} were started twice on {node}"))?;
                let known = self.newest.get(&attempt.job);
                hold(known.is_some_and(|newest| attempt.attempt <= *newest), || {
                    format!("{attempt} runs on {node}, and no majority ever started it")
                })
            }
            _ => Ok(()),
        }
    }
}

impl Ownership {
    fn committed(
        &mut self,
        command: &Command,
        events: &[Event],
        state: &State,
    ) -> Result<(), String> {
        for event in events {
            if let Event::AttemptStarted(attempt) = event {
                let before = self.newest.insert(attempt.job.clone(), attempt.attempt);
                hold(before.is_none_or(|before| attempt.attempt.0 == before.0 + 1), || {
                    format!("{attempt} was started after attempt {before:?}")
                })?;
                let others = state.job(&attempt.job).map(|job| older_open(job, attempt));
                hold(others == Some(0), || {
                    format!("{attempt} was started while an older attempt was not over")
                })?;
            }
        }
        match command {
            Command::ReportCheckpoint { part, .. } => {
                let newest = self.newest.get(&part.attempt.job).copied();
                hold(newest == Some(part.attempt.attempt), || {
                    format!(
                        "a checkpoint of {} counts, though {newest:?} owns the job",
                        part.attempt
                    )
                })
            }
            Command::Complete { job, attempt } => {
                let newest = self.newest.get(job).copied();
                hold(newest == Some(*attempt), || {
                    format!("attempt {attempt} concluded job {job}, though {newest:?} owns it")
                })
            }
            _ => Ok(()),
        }
    }
}

fn older_open(job: &Job, attempt: &AttemptRef) -> usize {
    let open = |a: &&trainyard_core::state::Attempt| {
        a.number < attempt.attempt && a.phase != AttemptPhase::Ended
    };
    job.attempts.iter().filter(open).count()
}
