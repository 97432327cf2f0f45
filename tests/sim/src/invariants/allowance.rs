//! Invariant 6: Budgets bind: no attempt's ranks run for longer than what the attempts before it left of the
//! job's time, whoever can reach whom.

use std::collections::BTreeMap;

use trainyard_core::{Command, Event};
use trainyard_jobs::{AttemptRef, JobId, NodeId};

use super::{Invariant, hold};
use crate::{around::Ms, facts::Fact};

/// From the end of the time to the last rank's exit: the grace of the spec, and a look.
const GRACE: Ms = 2_500;

/// What an attempt used is counted by the clocks of the leaders that began and ended it, which may
/// be this far apart once one of them was set wrong.
const SKEW: Ms = 7_000;

#[derive(Default)]
pub struct Allowance {
    skewed: bool,
    limits: BTreeMap<JobId, Ms>,
    /// When the ranks of each attempt began and ended on each node, by our own clock.
    runs: BTreeMap<AttemptRef, BTreeMap<NodeId, (Ms, Ms)>>,
    /// When each node was called lost last: what runs there from then on nobody can count.
    lost: BTreeMap<NodeId, Ms>,
}

impl Invariant for Allowance {
    fn name(&self) -> &'static str {
        "budgets bind"
    }

    fn see(&mut self, now: Ms, fact: &Fact<'_>) -> Result<(), String> {
        match *fact {
            Fact::Committed { command, events, state, .. } => {
                if let Command::MarkLost { node, .. } = command {
                    self.lost.insert(node.clone(), now);
                }
                for event in events {
                    if let Event::AttemptStarted(attempt) = event {
                        let limit = state.job(&attempt.job).and_then(|job| job.spec.limits.time);
                        self.limits.extend(limit.map(|limit| (attempt.job.clone(), limit.0)));
                    }
                }
                Ok(())
            }
            Fact::ClockSkewed => {
                self.skewed = true;
                Ok(())
            }
            Fact::RankStarted { node, attempt, .. } => {
                let runs = self.runs.entry(attempt.clone()).or_default();
                runs.entry(node.clone()).or_insert((now, now));
                Ok(())
            }
            Fact::RankEnded { node, attempt, .. } => {
                let run = self.runs.get_mut(attempt).and_then(|runs| runs.get_mut(node));
                let Some(run) = run else { return Ok(()) };
                run.1 = now;
                let run = *run;
                self.check(attempt, run)
            }
            _ => Ok(()),
        }
    }
}

impl Allowance {
    /// Attempts of a job follow each other, so that what they ran adds up; one that was cut off may
    /// overlap with its successor, and each alone keeps to what was left when it began.
    fn check(&self, attempt: &AttemptRef, (began, ended): (Ms, Ms)) -> Result<(), String> {
        let Some(limit) = self.limits.get(&attempt.job) else { return Ok(()) };
        let older = self
            .runs
            .iter()
            .filter(|(other, _)| other.job == attempt.job && other.attempt < attempt.attempt);
        let over = older.filter(|(_, runs)| runs.values().all(|(_, end)| *end <= began));
        let longest = |runs: &BTreeMap<NodeId, (Ms, Ms)>| {
            let counted = |(node, (from, to)): (&NodeId, &(Ms, Ms))| {
                let lost = self.lost.get(node).filter(|lost| *lost >= from);
                lost.unwrap_or(to).min(to) - from
            };
            runs.iter().map(counted).max().unwrap_or(0)
        };
        let used: Vec<Ms> = over.map(|(_, runs)| longest(runs)).collect();
        let skew = if self.skewed { SKEW } else { 0 };
        let slack = GRACE + skew * used.len() as Ms;
        let (used, ran): (Ms, Ms) = (used.iter().sum(), ended - began);
        hold(used + ran <= limit + slack, || {
            format!("{attempt} ran {ran} ms after {used} ms of others, of {limit} ms in all")
        })
    }
}
