//! What a pass does for a job that finds no place: it lays the job's hand on units that are
//! becoming free, and has others stopped where that is worth it or owed.

use std::{cell::Cell, collections::BTreeSet};

use trainyard_jobs::{Policy, StopCause, Timestamp};

use super::{Pass, reclaim::Reclaim};
use crate::placement::{
    fit::{Hints, Request},
    order::{Merit, Settings, Worth, preempts, stops_for, value},
    planner::Ask,
    running::Stop,
    share::{OverQuota, Owed},
    victims::{Chosen, Standing, Victim, choose_sparing},
    view::Waiting,
};

/// What a job may have others of its group stopped for.
struct Claim {
    policy: Policy,
    worth: Worth,
    /// It has waited too long: nobody is worth more.
    all: bool,
}

impl Claim {
    fn is_worth(&self, standing: &Standing<'_>) -> bool {
        self.all || stops_for(self.policy, &self.worth, &standing.worth, standing.cost)
    }
}

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
        let claim = self.own(job, settings);
        // What is guaranteed of one type is taken back of that type alone.
        let of_type = self.shares.owed_of_type(settings, request);
        if let Some(gpu_type) = of_type.and_then(|owed| owed.gpu_type) {
            let only = Request { types: vec![gpu_type.to_owned()], ..request.clone() };
            let owed = of_type.map(|owed| (owed, u64::MAX));
            if self.take_back(job, settings, &claim, owed, (&only, hints)) {
                return true;
            }
        }
        let owed = self.owed(job, settings, request);
        self.take_back(job, settings, &claim, owed, (request, hints))
    }

    /// Lays a hand on units for a job, of its own group's jobs and of those that owe its queue some.
    fn take_back(
        &mut self,
        job: &Waiting,
        settings: &'a Settings,
        claim: &Claim,
        owed: Option<(Owed<'a>, u64)>,
        asked: (&Request, &Hints<'_>),
    ) -> bool {
        if let Some((owed, _)) = owed {
            self.know_spare(owed);
        }
        let mut reclaim = owed.and_then(|owed| {
            let (_, spare) = self.spares.get(&owed.0.key()).filter(|(_, s)| !s.is_empty())?;
            let passed = [&self.stopped, self.gone];
            let (planner, losses) = (self.planner, &mut self.losses);
            Some(Reclaim::of(planner, self.now, owed, &self.shares, losses, spare, passed))
        });
        let others = reclaim.iter_mut().flatten().map(|s| (s, StopCause::Reclaim));
        let known = self.standings.get(&settings.group).map_or(&[][..], |(_, known)| known);
        let own = known.iter().filter(|s| claim.is_worth(s) && !self.stopped.contains(&s.job));
        let candidates = others.chain(own.map(|s| (s.clone(), StopCause::Policy)));
        let (budgets, later) = (&self.budgets, Cell::new(None::<Timestamp>));
        let candidates = candidates.filter(|(s, _)| {
            let allowed = budgets.allow([(s.settings, s.running.units())].into_iter());
            allowed.map_err(|at| later.set(later.get().into_iter().chain(at).min())).is_ok()
        });
        let spare = self.planner.keeps().then(|| self.planner.time_left(job));
        let (found, tried) = choose_sparing(self.yard, &self.pending, candidates, asked, spare);
        self.work = self.work.saturating_sub(tried);
        let of_others = reclaim.and_then(|reclaim| reclaim.later);
        for at in of_others.into_iter().chain(later.get()) {
            self.again(at);
        }
        let Some(Chosen { place, victims }) = found else { return false };
        let gone = victims.iter().map(|v| (v.standing.settings, v.standing.running.units()));
        if !self.may_all_go(gone) {
            return false;
        }
        self.yard.take_free(&place);
        for victim in &victims {
            self.give_way(victim, job);
        }
        for pending in &mut self.pending {
            *pending = pending.without(&place);
        }
        self.pending.retain(|pending| !pending.is_empty());
        self.handed_out(job, &place);
        let models = self.shares.models(&self.yard.assignments(&place));
        self.shares.count_types(settings, &models, true);
        self.counts(job, settings, None);
        true
    }

    /// Whether the budgets of their queues let all of these be stopped for one job.
    pub(super) fn may_all_go<'s>(
        &mut self,
        victims: impl Iterator<Item = (&'s Settings, u64)> + Clone,
    ) -> bool {
        match self.budgets.allow(victims) {
            Ok(()) => true,
            Err(next) => {
                if let Some(next) = next {
                    self.again(next);
                }
                false
            }
        }
    }

    /// Stops a running job for another, whole or so that it goes on with fewer ranks.
    fn give_way(&mut self, victim: &Victim<'a>, job: &Waiting) {
        match &victim.kept {
            Some(kept) => self.shrink(&victim.standing, kept, job),
            None => self.stop(&victim.standing, victim.cause),
        }
    }

    /// Stops a running job. Its units are nobody's for now.
    fn stop(&mut self, victim: &Standing<'a>, cause: StopCause) {
        self.stopped.insert(victim.job.clone());
        self.budgets.stop(victim.settings, victim.running.units());
        let models = self.shares.models_of(victim.running);
        self.shares.going(victim.settings, victim.running.units(), &models);
        self.pending.push(victim.place(self.yard));
        self.plan.stops.push(Stop {
            job: victim.job.clone(),
            version: victim.version,
            attempt: victim.attempt,
            why: cause,
            checkpoint_by: victim
                .notice
                .map(|notice| Timestamp(self.now.0.saturating_add(notice.0))),
            goes_on: None,
        });
    }

    /// What the job may have jobs of its own group stopped for. Those of them are known then.
    fn own(&mut self, job: &Waiting, settings: &'a Settings) -> Claim {
        let known = self.planner.lines().merit(&job.id);
        let Merit { value, stretch, .. } = known.unwrap_or_else(|| self.planner.merit_of(job));
        let (value, attained) = match self.planner.claim_of(job, settings) {
            Some(service) => (self::value(settings.policy, service, 0, 0), service),
            None => (value, self.planner.service_of(job)),
        };
        let worth = Worth { priority: job.priority, value, attained, stretch };
        let all = self.overdue && preempts(settings.policy);
        let part = self.part(settings, job.resources.device);
        self.stand(&settings.group, if all { Ask::All } else { Ask::WorthLess(worth) }, part);
        Claim { policy: settings.policy, worth, all }
    }

    /// What the job's queue is owed, if anything, and the loss from which on no job of another
    /// queue is stopped for it.
    fn owed(
        &self,
        job: &Waiting,
        settings: &'a Settings,
        request: &Request,
    ) -> Option<(Owed<'a>, u64)> {
        let owed = self.shares.owed(settings, request)?;
        // A guarantee is a promise; a fair share is worth no more than what is done with it.
        let left = || value(Policy::Srsf, 0, self.planner.time_left(job), job.resources.gpus);
        Some((owed, if owed.guaranteed { u64::MAX } else { left() }))
    }

    /// Knows the groups from which a queue may take back what it is owed.
    fn know_spare(&mut self, owed: Owed<'a>) {
        let (planner, revision) = (self.planner, self.shares.revision());
        if self.spares.get(&owed.key()).is_some_and(|(known, _)| *known == revision) {
            return;
        }
        let mut spare = BTreeSet::new();
        for group in planner.groups() {
            let of_group = planner.settings_of(group);
            if of_group.is_some_and(|of_group| !self.shares.may_spare(of_group, owed)) {
                continue;
            }
            if let Some(next) = self.losses.know(planner, group, self.now) {
                self.again(next);
            }
            spare.insert(group);
        }
        self.spares.insert(owed.key(), (revision, spare));
    }

    /// A queue has as much as it may, of all types or of one: jobs of it that go after this one by
    /// its policy, and have such units, make room.
    /// Says whether enough of them are stopped.
    pub(super) fn make_room(
        &mut self,
        job: &Waiting,
        settings: &'a Settings,
        over: &OverQuota<'a>,
    ) -> bool {
        let needs = over.used.saturating_add(u64::from(job.resources.gpus));
        let mut excess = needs.saturating_sub(u64::from(over.limit));
        if job.resources.gpus > over.limit {
            return false;
        }
        let claim = self.own(job, settings);
        let mut goes = Vec::new();
        for standing in self.standings.get(&settings.group).iter().flat_map(|(_, known)| known) {
            if excess == 0 {
                break;
            }
            let may_go = claim.is_worth(standing) && !self.stopped.contains(&standing.job);
            if may_go && standing.settings.path.contains(over.queue) {
                let gives = match over.gpu_type {
                    None => standing.running.units(),
                    Some(model) => {
                        let models = self.shares.models_of(standing.running);
                        models.get(model).copied().unwrap_or_default()
                    }
                };
                if gives > 0 {
                    excess = excess.saturating_sub(gives);
                    goes.push(standing.clone());
                }
            }
        }
        let gone = goes.iter().map(|standing| (standing.settings, standing.running.units()));
        if excess > 0 || !self.may_all_go(gone) {
            return false;
        }
        for standing in &goes {
            self.stop(standing, StopCause::Policy);
        }
        true
    }
}
