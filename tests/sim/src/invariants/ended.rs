//! Invariant 5: Ended is ended: a final phase never changes, and is come to once.

use std::collections::BTreeMap;

use trainyard_core::Event;
use trainyard_jobs::{JobId, JobPhase};

use super::{Invariant, hold};
use crate::{around::Ms, facts::Fact};

#[derive(Default)]
pub struct Ended(BTreeMap<JobId, JobPhase>);

impl Invariant for Ended {
    fn name(&self) -> &'static str {
        "ended is ended"
    }

    fn see(&mut self, _now: Ms, fact: &Fact<'_>) -> Result<(), String> {
        let Fact::Committed { events, state, .. } = fact else { return Ok(()) };
        for event in *events {
            let Event::Job { job, phase } = event else { continue };
            if let Some(end) = self.0.get(job) {
                return Err(format!("job {job} had ended as {end} and is {phase}"));
            }
            if phase.is_final() {
                self.0.insert(job.clone(), *phase);
            }
        }
        for (job, end) in &self.0 {
            let phase = state.job(job).map(|job| job.phase);
            hold(phase.is_none_or(|phase| phase == *end), || {
                format!("job {job} had ended as {end} and is {phase:?}")
            })?;
        }
        Ok(())
    }
}
