//! What a pass does for a job that finds no place: it lays the job's hand on units that are
//! becoming free, and has others stopped where that is worth it or owed.

use trainyard_jobs::{Policy, ProjectName, StopCause, Timestamp};

use super::Pass;
use crate::placement::{
    fit::{Hints, Request},
    order::{Merit, Settings, Worth, preempts, stops_for, value},
    planner::Ask,
    running::Stop,
    share::OverQuota,
    victims::{Standing, choose},
    view::Waiting,
};

impl<'a> Pass<'a> {
    /// Lays a hand on units that are becoming free, and has jobs stopped if those are not enough
    /// and it is worth it.
    pub(super) fn claim(
        &mut self,
        job: &Waiting,
        settings: &'a Settings,
        request: &Request,
        hints: &Hints<'_>,
    ) -> bool {
        let owed = self.owed(job, settings);
        let own = self.own(job, settings);
        let candidates: Vec<(&Standing<'a>, StopCause)> = owed
            .iter()
            .map(|s| (s, StopCause::Reclaim))
            .chain(own.iter().map(|s| (s, StopCause::Policy)))
            .collect();
        if candidates.is_empty() && self.pending.is_empty() {
            return false;
        }
        let standings: Vec<&Standing<'_>> = candidates.iter().map(|(s, _)| *s).collect();
        let (found, tried) = choose(self.yard, &self.pending, &standings, request, hints);
        self.work = self.work.saturating_sub(tried);
        let Some((place, victims)) = found else { return false };
        self.yard.take_free(&place);
        for (victim, cause) in victims.into_iter().filter_map(|at| candidates.get(at)) {
            self.stop(victim, *cause);
        }
        for pending in &mut self.pending {
            *pending = pending.without(&place);
        }
        self.pending.retain(|pending| !pending.is_empty());
        self.counts(job, settings);
        true
    }

    /// Stops a running job. Its units are nobody's for now.
    fn stop(&mut self, victim: &Standing<'a>, cause: StopCause) {
        self.stopped.insert(victim.job.clone());
        self.shares.going(victim.settings, victim.running.units());
        self.pending.push(victim.place(self.yard));
        self.plan.stops.push(Stop {
            job: victim.job.clone(),
            version: victim.version,
            attempt: victim.attempt,
            why: cause,
            checkpoint_by: victim
                .notice
                .map(|notice| Timestamp(self.now.0.saturating_add(notice.0))),
        });
    }

    /// Running jobs of the job's own group that may be stopped for it, the worst first.
    fn own(&mut self, job: &Waiting, settings: &'a Settings) -> Vec<Standing<'a>> {
        let known = match self.changed.filter(|changed| changed.id == job.id) {
            Some(_) => None,
            None => self.planner.lines().merit(&job.id),
        };
        let Merit { value, stretch, .. } = known.unwrap_or_else(|| self.planner.merit_of(job));
        let worth = Worth { priority: job.priority, value, attained: job.attained, stretch };
        let overdue = self.overdue && preempts(settings.policy);
        let ask = if overdue { Ask::All } else { Ask::WorthLess(worth) };
        let mut found = self.stand(&settings.group, ask).to_vec();
        found.retain(|standing| {
            let worth_it = stops_for(settings.policy, &worth, &standing.worth, standing.cost);
            (overdue || worth_it) && !self.stopped.contains(&standing.job)
        });
        found
    }

    /// Running jobs of other queues from which the job's queue may take units back, those that
    /// lose least first.
    fn owed(&mut self, job: &Waiting, settings: &'a Settings) -> Vec<Standing<'a>> {
        let Some(owed) = self.shares.owed(settings, job.resources.device, job.resources.gpus)
        else {
            return Vec::new();
        };
        let left = value(Policy::Srsf, 0, self.planner.time_left(job), job.resources.gpus);
        let groups: Vec<&'a ProjectName> =
            self.planner.groups().filter(|group| **group != settings.group).collect();
        // A guarantee is a promise; a fair share is worth no more than what is done with it.
        let ask = if owed.guaranteed { Ask::All } else { Ask::Cheaper(left) };
        let mut found = Vec::new();
        for group in groups {
            let may = self.planner.settings_of(group);
            if may.is_none_or(|group| self.shares.may_spare(group, owed)) {
                found.extend_from_slice(self.stand(group, ask));
            }
        }
        found.retain(|s| (owed.guaranteed || s.cost < left) && !self.stopped.contains(&s.job));
        found.sort_by(|a, b| a.cost.cmp(&b.cost).then(b.sequence.cmp(&a.sequence)));
        // Each that goes leaves its queue with less: as many may go as leave it with its own.
        let mut shares = self.shares.clone();
        found.retain(|standing| {
            let job = standing.running;
            let spares = shares.spares(standing.settings, owed, job);
            if spares {
                shares.count(standing.settings, job.resources.device, job.units(), false);
            }
            spares
        });
        found
    }

    /// A queue has as much as it may: jobs of it that go after this one by its policy make room.
    /// Says whether enough of them are stopped.
    pub(super) fn make_room(
        &mut self,
        job: &Waiting,
        settings: &'a Settings,
        over: &OverQuota<'a>,
    ) -> bool {
        let needs = over.used.saturating_add(u64::from(job.resources.gpus));
        let mut excess = needs.saturating_sub(u64::from(over.limit));
        if over.gpu_type.is_some() || job.resources.gpus > over.limit {
            return false;
        }
        let mut goes = Vec::new();
        for standing in self.own(job, settings) {
            if excess == 0 {
                break;
            }
            if standing.settings.path.contains(over.queue) {
                excess = excess.saturating_sub(standing.running.units());
                goes.push(standing);
            }
        }
        if excess > 0 {
            return false;
        }
        for standing in &goes {
            self.stop(standing, StopCause::Policy);
        }
        true
    }
}
