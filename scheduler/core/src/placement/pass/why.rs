//! Why jobs wait, one by one and line by line. Kept only for those who read it: a plan is made far
//! more often.

use std::collections::{BTreeMap, BTreeSet};

use trainyard_jobs::{JobId, ProjectName};

use super::Pass;
use crate::placement::{
    explain::{Blocker, blockers},
    fit::{Hints, Request},
    order::Settings,
    planner::{Blockers, Planner},
    view::Waiting,
};

/// What keeps whom.
#[derive(Default)]
pub(super) struct Why<'a> {
    jobs: BTreeMap<JobId, Blockers>,
    lines: BTreeMap<(&'a ProjectName, Request), Blockers>,
    /// What was found out about a request that so many reservations are in the way of, and for
    /// which job units were held then.
    requests: BTreeMap<(Request, usize), (Option<JobId>, Blockers)>,
}

impl<'a> Pass<'a> {
    /// Notes why a job waits.
    pub(super) fn waits(&mut self, job: &Waiting, why: impl FnOnce(&Planner) -> Blockers) {
        if let Some(known) = &mut self.why {
            known.jobs.insert(job.id.clone(), why(self.planner));
        }
    }

    /// Notes why a job and all behind it in its line wait.
    pub(super) fn all_wait(
        &mut self,
        job: &Waiting,
        settings: &'a Settings,
        asked: &Request,
        why: Blockers,
    ) {
        if let Some(known) = &mut self.why {
            known.jobs.insert(job.id.clone(), Blockers::clone(&why));
            known.lines.insert((&settings.group, asked.clone()), why);
        }
    }

    /// The same of a job for which there is no place. What is found out about a request serves
    /// all that ask for the same: a long queue asks for few different things.
    pub(super) fn does_not_fit_because(
        &mut self,
        job: &Waiting,
        settings: &'a Settings,
        asked: &Request,
        hints: &Hints<'_>,
    ) {
        let (planner, held_for) = (self.planner, self.reserved.first().cloned());
        let Some(why) = &mut self.why else { return };
        let key = (asked.clone(), hints.during.map_or(0, |during| during.class()));
        let known = why.requests.remove(&key).filter(|(held, _)| *held == held_for);
        let known = known.unwrap_or_else(|| {
            let in_all = (asked, hints);
            let mut found = blockers(planner, self.yard, &job.resources, in_all, self.now);
            found.extend(held_for.as_ref().map(Blocker::held));
            (held_for, found.into())
        });
        let found = Blockers::clone(&known.1);
        why.requests.insert(key, known);
        self.all_wait(job, settings, asked, found);
    }

    /// Why one job waits, if it would not start.
    pub(in crate::placement) fn reason(&mut self, id: &JobId) -> Option<Blockers> {
        let why = self.why.take()?;
        if self.starts(id) {
            return None;
        }
        let of_line = || {
            let (group, request) = self.planner.lines().line(id)?;
            why.lines.get(&(group, request.clone()))
        };
        why.jobs.get(id).or_else(of_line).map(Blockers::clone)
    }

    /// Why each job waits that would not start.
    pub(in crate::placement) fn reasons(&mut self) -> BTreeMap<JobId, Blockers> {
        let why = self.why.take().unwrap_or_default();
        let starts: BTreeSet<&JobId> = self.plan.starts.iter().map(|start| &start.job).collect();
        let mut all = why.jobs;
        let waiting = self.planner.lines();
        for group in waiting.groups() {
            for (request, jobs) in waiting.lines_of(group) {
                let Some(shared) = why.lines.get(&(group, request.clone())) else { continue };
                for id in jobs.filter(|id| !starts.contains(id)) {
                    all.entry(id.clone()).or_insert_with(|| Blockers::clone(shared));
                }
            }
        }
        all
    }
}
