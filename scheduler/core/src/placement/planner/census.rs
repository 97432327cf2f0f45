//! How far the jobs have come that have run and not ended: from bucket to bucket of run time, so
//! that they count among those from which is learned how long jobs take.

use std::collections::{BTreeSet, HashMap};

use trainyard_jobs::{JobId, ProjectName, Timestamp};

use crate::placement::time::{History, Kin, begin, bucket};

/// How far one job has come.
#[derive(Debug, Clone)]
struct Age {
    kin: Kin,
    project: ProjectName,
    bucket: usize,
    /// When it had run for nothing, or would have: while it runs.
    origin: Option<Timestamp>,
}

/// All of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Census {
    ages: HashMap<JobId, Age>,
    /// When running jobs come to their next bucket.
    agenda: BTreeSet<(Timestamp, JobId)>,
}

impl Age {
    /// When it comes to its next bucket, if it runs.
    fn next(&self) -> Option<Timestamp> {
        Some(Timestamp(self.origin?.0.saturating_add(begin(self.bucket + 1))))
    }
}

impl Census {
    /// A job has run for so long, and runs on from `since` if it runs.
    pub(super) fn count(
        &mut self,
        job: &JobId,
        (project, kin): (&ProjectName, Kin),
        ran: u64,
        since: Option<Timestamp>,
        history: &mut History,
    ) {
        let origin = since.map(|since| Timestamp(since.0.saturating_sub(ran)));
        let age = Age { kin, project: project.clone(), bucket: bucket(ran), origin };
        // Most news of a job say nothing of its age: it has gone on since.
        if let Some(known) = self.ages.get(job)
            && (known.kin, known.origin) == (age.kin, age.origin)
            && (origin.is_some() || known.bucket == age.bucket)
        {
            return;
        }
        self.forget(job, history);
        history.enter(&age.kin, project, 0, age.bucket);
        self.agenda.extend(age.next().map(|at| (at, job.clone())));
        self.ages.insert(job.clone(), age);
    }

    /// A job counts no more.
    pub(super) fn forget(&mut self, job: &JobId, history: &mut History) {
        let Some(age) = self.ages.remove(job) else { return };
        if let Some(at) = age.next() {
            self.agenda.remove(&(at, job.clone()));
        }
        history.leave(&age.kin, &age.project, age.bucket);
    }

    /// It is `now`: some have come further.
    pub(super) fn advance(&mut self, now: Timestamp, history: &mut History) {
        while let Some((at, job)) = self.agenda.pop_first() {
            if at > now {
                self.agenda.insert((at, job));
                return;
            }
            let Some(age) = self.ages.get_mut(&job) else { continue };
            let ran = age.origin.map_or(0, |origin| now.since(origin).0);
            let reached = bucket(ran).max(age.bucket + 1);
            history.enter(&age.kin, &age.project, age.bucket + 1, reached);
            age.bucket = reached;
            self.agenda.extend(age.next().map(|at| (at, job)));
        }
    }
}
