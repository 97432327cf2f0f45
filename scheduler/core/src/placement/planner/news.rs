//! What is expected of jobs changes as others end, or run on: who waits moves in its line, who runs
//! may be stopped for others or not. Those that say nothing of themselves move together.

use super::{Planner, forecast::who_waits};
use crate::placement::{
    order::{Comer, Peers},
    time::News,
    view::Waiting,
};

/// Whether a job says something itself of how long it runs, or has until when.
pub(super) const fn is_alone(job: &Waiting) -> bool {
    let says = job.estimate.is_some() || job.time_left.is_some() || job.finish_by.is_some();
    says || job.used.0 > 0
}

impl Planner {
    /// Puts a waiting job into its line.
    pub(super) fn line_up(&mut self, job: &Waiting) {
        let comer = Comer {
            id: job.id.clone(),
            priority: job.priority,
            sequence: job.sequence,
            since: job.since,
            merit: self.merit_of(job),
            peers: self.peers_of(job),
        };
        let Some(settings) = self.settings.get(&job.project) else { return };
        self.lines.insert(&settings.group, &self.request_of(job), comer);
    }

    /// The jobs of its line that a waiting job is judged with: by what others like it took, as long
    /// as nothing is known of itself.
    fn peers_of(&self, job: &Waiting) -> Option<Peers> {
        if is_alone(job) || self.seen.contains_key(&job.id) {
            return None;
        }
        let class = self.history.teller(&who_waits(job));
        let speed = job.resources.least_speed();
        Some(Peers { project: job.project.clone(), class, speed })
    }

    /// Something else is expected of jobs that wait and say nothing of themselves.
    pub(super) fn tell_cohorts(&mut self, news: &News) {
        if news.first && news.project.is_none() {
            self.lines.told_at_last(news.class);
        }
        if news.of_fresh {
            for (cohort, job) in self.lines.told_by(Some(news.class)) {
                let Some(job) = self.waiting.get(&job) else { continue };
                self.lines.revalue(cohort, job.since, self.merit_of(job));
            }
        }
        let Some(project) = news.project.as_ref().filter(|_| news.first) else { return };
        let jobs = self.queued.get(project).into_iter().flatten();
        let jobs = jobs.filter_map(|(_, id)| self.waiting.get(id));
        let moved = jobs.filter(|job| self.lines.peers(&job.id) != self.peers_of(job).as_ref());
        for job in moved.cloned().collect::<Vec<_>>() {
            self.line_up(&job);
        }
    }

    /// The same of those that are judged by themselves.
    pub(super) fn tell_others(&mut self, news: &News) {
        let projects = match &news.project {
            Some(project) => self.queued.get_key_value(project).into_iter().collect(),
            None => self.queued.iter().collect::<Vec<_>>(),
        };
        for (project, jobs) in projects {
            // Who knows enough of a project's own jobs does not ask others.
            if news.project.is_none() && !news.of_bars && self.history.knows(project) {
                continue;
            }
            let alone = jobs.iter().rev().take_while(|(alone, _)| *alone);
            for job in alone.filter_map(|(_, id)| self.waiting.get(id)) {
                // Of one that says something itself nothing else is expected.
                let asks = if news.of_bars {
                    job.finish_by.is_some()
                } else {
                    job.used.0 > 0 || (news.of_fresh && job.estimate.is_none())
                };
                if asks && news.alike.is_none_or(|alike| alike == job.alike) {
                    self.lines.shift(&job.id, self.merit_of(job));
                }
            }
        }
    }

    /// Something else is expected of jobs that run.
    pub(super) fn tell_herds(&mut self, news: &News) {
        let Some(project) = &news.project else {
            return self.herds.values_mut().for_each(|herd| herd.heed(true));
        };
        if let Some(settings) = self.settings.get(project)
            && let Some(herd) = self.herds.get_mut(&settings.group)
        {
            herd.heed(false);
        }
    }

    /// Everybody stands where it belongs.
    #[cfg(test)]
    pub(super) fn check_lines(&self) {
        for job in self.waiting.values() {
            assert_eq!(
                self.lines.merit(&job.id),
                Some(self.merit_of(job)),
                "{} is where it was",
                job.id
            );
            assert_eq!(self.lines.peers(&job.id), self.peers_of(job).as_ref(), "{}", job.id);
        }
    }
}
