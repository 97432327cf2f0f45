//! Invariant 7: A fault of the control plane never stops a healthy job: an attempt ends because of something
//! that happened in the world, because somebody wished it, or because its node was called lost a
//! full grace after it was heard last. And no agent stops ranks that the log did not end.

use std::collections::{BTreeMap, BTreeSet};

use trainyard_core::{Command, Event, State};
use trainyard_jobs::{AttemptPhase, AttemptRef, EndReason, JobId, NodeId, SessionId};

use super::{Invariant, hold};
use crate::{
    around::Ms,
    facts::{Blow, Fact, Gone},
};

#[derive(Default)]
pub struct Healthy {
    /// When each leader began, and when it heard each worker last.
    leads: BTreeMap<u64, Ms>,
    heard: BTreeMap<(u64, NodeId, SessionId), Ms>,
    /// What of the world has ended attempts on some node.
    blows: BTreeMap<AttemptRef, Vec<Blow>>,
    /// Ranks that failed of themselves.
    failures: BTreeSet<AttemptRef>,
    cancels: BTreeSet<JobId>,
    /// Attempts that the log has ended, or is ending.
    ending: BTreeSet<AttemptRef>,
}

impl Invariant for Healthy {
    fn name(&self) -> &'static str {
        "a control-plane fault never stops a healthy job"
    }

    fn see(&mut self, now: Ms, fact: &Fact<'_>) -> Result<(), String> {
        match *fact {
            Fact::Leads { term } => {
                self.leads.entry(term).or_insert(now);
            }
            Fact::Heard { term, node, session } => {
                self.heard.insert((term, node.clone(), session), now);
            }
            Fact::CallsLost { term, node, session, grace } => {
                let heard = self.heard.get(&(term, node.clone(), session)).copied();
                let since = heard.unwrap_or(0).max(self.leads.get(&term).copied().unwrap_or(now));
                return hold(now >= since + grace, || {
                    format!(
                        "{node} is called lost {} ms after its last contact or the leader's beginning",
                        now - since
                    )
                });
            }
            Fact::RankEnded { attempt, how: Gone::Own(exit) | Gone::Lonely(exit), .. }
                if !exit.is_success() =>
            {
                self.failures.insert(attempt.clone());
            }
            Fact::Blow { attempt, what } => {
                self.blows.entry(attempt.clone()).or_default().push(what);
            }
            Fact::CancelAsked { job } => drop(self.cancels.insert(job.clone())),
            Fact::Stops { node, attempt } => {
                return hold(self.ending.contains(attempt), || {
                    format!("the agent of {node} stops {attempt}, which the log has not ended")
                });
            }
            Fact::Committed { command, outcome: Ok(_), events, state } => {
                return self.committed(command, events, state);
            }
            _ => {}
        }
        Ok(())
    }
}

impl Healthy {
    fn committed(
        &mut self,
        command: &Command,
        events: &[Event],
        state: &State,
    ) -> Result<(), String> {
        for event in events {
            let Event::AttemptEnding { attempt, reason } = event else { continue };
            self.ending.insert(attempt.clone());
            self.justified(command, attempt, reason, state)?;
        }
        // What ended well ended too.
        if let Command::ReportEnded(report) = command
            && state.job(&report.attempt.job).is_some_and(|job| {
                !job.is_current(&report.attempt)
                    || job.current().is_some_and(|a| a.phase != AttemptPhase::Active)
            })
        {
            self.ending.insert(report.attempt.clone());
        }
        Ok(())
    }

    fn struck(&self, attempt: &AttemptRef, blows: &[Blow]) -> bool {
        self.blows.get(attempt).is_some_and(|struck| struck.iter().any(|b| blows.contains(b)))
    }

    fn justified(
        &self,
        command: &Command,
        attempt: &AttemptRef,
        reason: &EndReason,
        state: &State,
    ) -> Result<(), String> {
        let justified = match reason {
            EndReason::Cancelled => self.cancels.contains(&attempt.job),
            EndReason::RankFailed { .. } => {
                self.failures.contains(attempt) || self.blows.contains_key(attempt)
            }
            EndReason::StartFailed { .. } => self.struck(attempt, &[Blow::Disk, Blow::Store]),
            EndReason::TimeLimit => self.struck(attempt, &[Blow::Allowance]),
            // A call is checked when it is made.
            EndReason::NodeLost { .. } => match command {
                Command::MarkLost { node, .. } => placed(state, attempt, node),
                _ => self.struck(attempt, &[Blow::Power, Blow::Shim]),
            },
            EndReason::BadArtifacts { .. } => self.struck(attempt, &[Blow::Artifacts]),
            EndReason::Completed => true,
            // Nothing in the simulation has GPU memory.
            EndReason::OverMemory(_) => false,
            // The planner's own wish, whose command names the job.
            EndReason::Preempted { .. } => preempted(command, attempt),
        };
        hold(justified, || {
            format!("{attempt} was ended ({reason}), and nothing had happened to it")
        })
    }
}

fn placed(state: &State, attempt: &AttemptRef, node: &NodeId) -> bool {
    let job = state.job(&attempt.job);
    let found = job.and_then(|job| job.attempts.iter().find(|a| a.number == attempt.attempt));
    found.is_some_and(|a| a.placement(node).is_some())
}

/// Whether the planner asked for it: at once, or by the checkpoint that it waited for.
fn preempted(command: &Command, attempt: &AttemptRef) -> bool {
    match command {
        Command::Preempt(preempt) => preempt.job == attempt.job,
        Command::ReportCheckpoint { part, .. } => part.attempt == *attempt,
        _ => false,
    }
}
