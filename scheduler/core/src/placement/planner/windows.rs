//! What reservations mean to jobs and nodes: who may run where, and until when.

use std::{collections::BTreeSet, iter::once, mem::take};

use trainyard_jobs::{
    Millis, NodeId, ProjectName, Purpose, ReservationName, ReservationSpec, Timestamp,
};

use super::Planner;
use crate::placement::{
    explain::could_fit,
    fit::{Hints, Request},
    running::Running,
    score::Stakes,
    time::longest,
    view::{PlanNode, Waiting},
    windows::{During, Windows},
};

impl Planner {
    /// Takes in a reservation, or that it is no more. Only nodes that it covers, or did, are set
    /// anew; jobs stand in other lines if it is for some of them.
    pub(super) fn reserve(&mut self, name: &ReservationName, spec: Option<ReservationSpec>) {
        let before = self.windows.set(name, spec.clone());
        for node in self.nodes.values() {
            let covers = |spec: &ReservationSpec| spec.nodes.covers(&node.name, &node.labels);
            let covered = spec.as_ref().is_some_and(covers);
            if covered {
                self.windows.join(name, &node.id);
            }
            if self.yard.cover(&node.id, name, covered) {
                self.yard.set(node, self.unusable.get(&node.id));
            }
        }
        let is_for = |spec: &ReservationSpec| matches!(spec.purpose, Purpose::For { .. });
        if before.iter().chain(&spec).any(is_for) {
            let waiting = take(&mut self.waiting);
            waiting.values().for_each(|job| self.line_up(job));
            self.waiting = waiting;
        }
    }

    /// Puts a node into the yard, as it is now.
    pub(super) fn put(&mut self, node: &PlanNode) {
        let same = |known: &&PlanNode| known.name == node.name && known.labels == node.labels;
        if !self.windows.is_empty() && !self.nodes.get(&node.id).is_some_and(|k| same(&k)) {
            let covers = self.windows.enter(node);
            self.yard.cover_all(&node.id, covers);
        }
        self.yard.set(node, self.unusable.get(&node.id));
    }

    /// Takes a node out of the yard.
    pub(super) fn drop_node(&mut self, node: &NodeId) {
        self.windows.leave(node);
        self.yard.remove(node);
    }

    /// The reservations.
    pub(in crate::placement) const fn windows(&self) -> &Windows {
        &self.windows
    }

    /// What a job asks for, with the reservations that are for it.
    pub(in crate::placement) fn request_of(&self, job: &Waiting) -> Request {
        let entitled = self.entitled(&job.project, &job.principal);
        Request { entitled, ..Request::from(&job.resources) }
    }

    /// The same of a job that runs.
    pub(in crate::placement) fn request_of_running(&self, job: &Running) -> Request {
        let entitled = self.entitled(&job.project, &job.principal);
        Request { entitled, ..Request::from(&job.resources) }
    }

    fn entitled(&self, project: &ProjectName, user: &str) -> BTreeSet<ReservationName> {
        if self.windows.is_empty() {
            return BTreeSet::new();
        }
        self.windows.entitled(self.queues_of(project), user)
    }

    /// A project and the queues above it.
    fn queues_of<'a>(
        &'a self,
        project: &'a ProjectName,
    ) -> impl Iterator<Item = &'a ProjectName> + Clone {
        let above = self.settings_of(project).map_or(&[][..], |settings| &settings.path);
        once(project).chain(above)
    }

    /// Whether a running job may stay on nodes that are reserved so.
    pub(in crate::placement) fn may_stay(&self, job: &Running, spec: &ReservationSpec) -> bool {
        spec.purpose.admits(self.queues_of(&job.project), &job.principal)
    }

    /// The time for which a waiting job will hardly run longer, if it started then. Nothing where
    /// there are no reservations.
    pub(in crate::placement) fn during(&self, job: &Waiting, at: Timestamp) -> Option<During<'_>> {
        if self.windows.is_empty() { None } else { self.windows.during(at, self.longest(job)) }
    }

    /// The same of a running job, with its whole gang.
    pub(in crate::placement) fn during_rest(
        &self,
        job: &Running,
        now: Timestamp,
    ) -> Option<During<'_>> {
        if self.windows.is_empty() { None } else { self.windows.during(now, self.rest(job, now)) }
    }

    /// When a running job will hardly run any longer.
    pub(in crate::placement) fn latest_end_of(&self, job: &Running, now: Timestamp) -> Timestamp {
        Timestamp(now.0.saturating_add(self.rest(job, now)))
    }

    fn rest(&self, job: &Running, now: Timestamp) -> u64 {
        longest(&self.facts_of_running(job, now), &self.history)
    }

    /// What else is known of a job, if it were placed then.
    pub(in crate::placement) fn hints_of<'a>(
        &'a self,
        job: &'a Waiting,
        at: Timestamp,
    ) -> Hints<'a> {
        let stakes = self.stakes(&job.project, job.checkpoint_every);
        Hints { during: self.during(job, at), stakes, ..Hints::of(&job.resources) }
    }

    /// The same of a running job, if it went on elsewhere.
    pub(in crate::placement) fn hints_of_running<'a>(
        &'a self,
        job: &'a Running,
        now: Timestamp,
    ) -> Hints<'a> {
        let stakes = self.stakes(&job.project, job.checkpoint_every);
        Hints { during: self.during_rest(job, now), stakes, ..Hints::of(&job.resources) }
    }

    /// What a job of a project has to lose that saves its state so often.
    fn stakes(&self, project: &ProjectName, every: Millis) -> Stakes {
        self.settings_of(project).map_or_else(Stakes::default, |settings| {
            Stakes::of(settings.value, every, settings.restart_cost)
        })
    }

    /// The reservations that are in a job's way, by name.
    pub(in crate::placement) fn in_the_way(
        &self,
        request: &Request,
        hints: &Hints<'_>,
    ) -> Vec<ReservationName> {
        self.yard.reserved(request, hints).by_name.into_keys().collect()
    }

    /// Whether a job would find units enough if none were in use, beside what is reserved.
    pub(in crate::placement) fn could_fit(&self, request: &Request, hints: &Hints<'_>) -> bool {
        could_fit(&self.yard, request, hints)
    }

    /// The first time from `start` on at which `there_is_room`: that, or the end of a reservation.
    pub(in crate::placement) fn after_reservations(
        &self,
        start: Timestamp,
        mut there_is_room: impl FnMut(Timestamp) -> bool,
    ) -> Option<Timestamp> {
        if self.windows.is_empty() {
            return Some(start);
        }
        let ends = self.windows.all().values().map(|spec| spec.until).filter(|end| *end > start);
        let starts: BTreeSet<Timestamp> = once(start).chain(ends).collect();
        starts.into_iter().find(|at| there_is_room(*at))
    }
}
