//! How far the jobs have come that have run and not ended, so that they count among those from
//! which is learned how long jobs take.

use std::collections::HashMap;

use trainyard_jobs::{JobId, Timestamp, spec::Speed};

use crate::placement::time::{History, Kin, bucket, times};

/// How far a job has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Age {
    /// It waits, and had come to this bucket of work.
    Stands(usize),
    /// It runs at this speed, and has since then or as if it had run since then.
    Runs(Timestamp, Speed),
}

/// All of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Census(HashMap<JobId, (Kin, Age)>);

impl Census {
    /// A job has done so many milliseconds of work, and goes on from `since` at some speed if it
    /// runs.
    pub(super) fn count(
        &mut self,
        job: &JobId,
        kin: Kin,
        work: u64,
        since: Option<(Timestamp, Speed)>,
        history: &mut History,
    ) {
        let age = match since {
            Some((since, speed)) => {
                let took = times(work, 1000, speed.milli());
                Age::Runs(Timestamp(since.0.saturating_sub(took)), speed)
            }
            None => Age::Stands(bucket(work)),
        };
        // Most news of a job say nothing of its age.
        if self.0.get(job) == Some(&(kin, age)) {
            return;
        }
        self.forget(job, history);
        match age {
            Age::Stands(bucket) => history.enter(&kin, bucket),
            Age::Runs(origin, speed) => history.begin(&kin, origin, speed),
        }
        self.0.insert(job.clone(), (kin, age));
    }

    /// A job counts no more.
    pub(super) fn forget(&mut self, job: &JobId, history: &mut History) {
        match self.0.remove(job) {
            Some((kin, Age::Stands(bucket))) => history.leave(&kin, bucket),
            Some((kin, Age::Runs(origin, speed))) => history.end(&kin, origin, speed),
            None => {}
        }
    }
}
