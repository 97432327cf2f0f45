//! What the planner knows of the types on which jobs should run, where a policy asks for that, and
//! what it counts as service there.

use std::collections::BTreeSet;

use trainyard_jobs::{JobId, Policy, ProjectName, spec::Resources};

use super::Planner;
use crate::placement::{
    gavel::{Aim, Target, capacity, times},
    order::Settings,
    running::Running,
    time::work,
    view::Waiting,
};

impl Planner {
    /// A job of the project is there, or is not any more.
    pub(super) fn takes_part(&mut self, project: &ProjectName, asked: &Resources, comes: bool) {
        let Some(settings) = self.settings.get(project) else { return };
        if settings.policy != Policy::Gavel {
            return;
        }
        if comes {
            self.gavel.enter(&settings.group, asked);
        } else {
            self.gavel.leave(&settings.group, asked);
        }
    }

    /// The same of running jobs that are supposed to have ended.
    pub(super) fn take_part(&mut self, jobs: &BTreeSet<JobId>, come: bool) {
        for id in jobs {
            let Some(job) = self.running.get(id) else { continue };
            let (project, asked) = (job.project.clone(), job.resources.clone());
            self.takes_part(&project, &asked, come);
        }
    }

    /// Finds out anew what jobs should have, and what those that they have had are worth.
    pub(super) fn aim(&mut self) {
        let nodes = &self.nodes;
        for group in self.gavel.settle(|| capacity(nodes.values())) {
            let of_group = |project: &ProjectName| {
                self.settings.get(project).is_some_and(|settings| settings.group == group)
            };
            let projects = self.queued.iter().filter(|(project, _)| of_group(project));
            let waiting = projects.flat_map(|(_, jobs)| jobs).map(|(_, id)| id);
            for job in waiting.filter_map(|id| self.waiting.get(id)) {
                self.lines.shift(&job.id, self.merit_of(job));
            }
            let running = self.running.values().filter(|job| of_group(&job.project));
            let stay: Vec<Running> = running.filter(|job| !job.is_leaving()).cloned().collect();
            stay.iter().for_each(|job| self.herd(job));
        }
    }

    /// Whether any group's jobs are placed by what they should have.
    pub(in crate::placement) fn has_aims(&self) -> bool {
        !self.gavel.is_empty()
    }

    /// Whether a group's jobs are placed by what they should have.
    pub(in crate::placement) fn has_targets(&self, group: &ProjectName) -> bool {
        self.settings.get(group).is_some_and(|settings| settings.policy == Policy::Gavel)
    }

    fn target(&self, settings: &Settings, asked: &Resources) -> Option<&Target> {
        if settings.policy != Policy::Gavel {
            return None;
        }
        self.gavel.target(&settings.group, asked)
    }

    /// Where a waiting job should go first, if that matters.
    pub(in crate::placement) fn aim_of(&self, job: &Waiting, settings: &Settings) -> Option<Aim> {
        self.target(settings, &job.resources)?.aim(&job.ran_on)
    }

    /// What a waiting job has had, as its policy counts: unit-milliseconds, and under `gavel` those
    /// of the work that it did, over what it should have.
    pub(in crate::placement) fn service_of(&self, job: &Waiting) -> u64 {
        let target = self.settings_of(&job.project).and_then(|s| self.target(s, &job.resources));
        let Some(target) = target else { return job.attained };
        target.service(work(&job.ran_on, job.used, &job.resources.speed))
    }

    /// What a waiting job has had of the units that it would have others stopped for, if its policy
    /// counts that apart.
    pub(in crate::placement) fn claim_of(&self, job: &Waiting, settings: &Settings) -> Option<u64> {
        let target = self.target(settings, &job.resources)?;
        let types = target.aim(&job.ran_on)?.types;
        Some(target.claim(self.service_of(job), &job.ran_on, &types))
    }

    /// What a running job had before this attempt, and the thousandths of it that each millisecond
    /// adds: of the type that it has, where others should have that too.
    pub(super) fn service_of_running(&self, job: &Running, settings: &Settings) -> (u64, u64) {
        let Some(target) = self.target(settings, &job.resources) else {
            return (job.attained, job.units().saturating_mul(1000));
        };
        let gpus = u64::from(job.resources.gpus.max(1));
        let on_type = job.gpu_type.as_ref().and_then(|model| Some((model, target.rate_on(model)?)));
        match on_type {
            // Whoever should have the type goes first there.
            Some((_, u64::MAX)) => return (u64::MAX, 0),
            Some((model, rate)) => {
                let before = job.ran_on.get(model).map_or(0, |ran| times(ran.0, rate));
                return (before, rate.saturating_mul(job.units()) / gpus);
            }
            None => {}
        }
        let before = target.service(work(&job.ran_on, job.used, &job.resources.speed));
        let ranks = job.speed.milli().saturating_mul(job.units());
        (before, target.service(ranks / gpus))
    }
}
