//! Who may pass jobs that wait, where a queue says more of it than the default. Under
//! *conservative* each of the first jobs that find no room is promised a start: the first time at
//! which there is room for it by what is predicted to end, beside what was promised before; a job
//! starts now only if it delays no promise. Under *none* nobody of the queue takes units that one
//! before it could use. Units are counted by who may use them: which of them it will be is open.

use std::collections::BTreeMap;

use trainyard_jobs::{Backfill, JobId, ProjectName, ReservationName, Timestamp};

use super::{Look, Pass};
use crate::placement::{
    explain::{Blocker, could_fit},
    fit::{Hints, Request},
    order::{Settings, preempts},
    planner::Planner,
    time::{Profile, ends, first_fit},
    view::Waiting,
    windows::Covers,
    yard::{Placement, Scope, Yard},
};

/// Jobs of one group that are promised a start in one pass. Each costs a look at all that ends and
/// at each promise before it, and what is predicted behind so many is little to rely on.
const MOST: usize = 64;

/// Different wishes for units for which it is counted what will be free. A job with another one is
/// promised nothing.
const FIELDS: usize = 16;

/// Jobs without a promise of their own that are looked at in one pass although promises are in the
/// way: a long line is not gone through for a small gap.
const LOOKS: usize = 1000;

/// The units that answer to a wish, and when how many of them are free.
struct Field {
    scope: Scope,
    profile: Profile,
}

/// A promised start.
struct Promise {
    job: JobId,
    scope: Scope,
    units: u64,
    /// When it starts, and when it will be gone.
    at: Timestamp,
    until: Timestamp,
}

/// The waiting jobs of a group that lets nobody past.
#[derive(Default)]
struct Strict {
    jobs: usize,
    /// What they could use.
    scopes: Vec<Scope>,
}

/// All that keeps jobs in order.
#[derive(Default)]
pub(super) struct Promises<'a> {
    made: Vec<Promise>,
    fields: Vec<Field>,
    /// How many each group has.
    counts: BTreeMap<&'a ProjectName, usize>,
    strict: BTreeMap<&'a ProjectName, Strict>,
    /// What this pass handed out, and until when.
    handed: Vec<(Placement, Timestamp)>,
    /// When gangs fit first for which a number of units is not enough.
    fits: BTreeMap<Request, Option<Timestamp>>,
    looks: usize,
}

impl<'a> Promises<'a> {
    fn count(&self, group: &ProjectName) -> usize {
        self.counts.get(group).copied().unwrap_or(0)
    }

    /// Whether the group has jobs that others may not be stopped behind: what such a stop frees is
    /// part of a promise.
    pub(super) fn is_behind(&self, group: &'a ProjectName) -> bool {
        self.counts.contains_key(group) || self.strict.contains_key(group)
    }

    /// The start that a job was promised.
    pub(super) fn of(&self, job: &JobId) -> Option<Timestamp> {
        self.made.iter().find(|promise| promise.job == *job).map(|promise| promise.at)
    }

    /// Every start that was promised.
    pub(super) fn all(&self) -> impl Iterator<Item = (&JobId, Timestamp)> {
        self.made.iter().map(|promise| (&promise.job, promise.at))
    }

    /// The wishes with which a place is in the way until then, and how many jobs it would delay.
    fn delayed(
        &self,
        yard: &Yard,
        place: &Placement,
        (now, until): (Timestamp, Timestamp),
    ) -> (Vec<&Scope>, usize) {
        let taken = self.fields.iter().map(|field| (field, yard.units_in(&field.scope, place)));
        let short: Vec<(&Field, u64)> = taken
            .filter(|(field, units)| *units > 0 && field.profile.free(now, until) < *units)
            .collect();
        let delays = |promise: &&Promise| {
            let met = until.min(promise.until);
            let lacks = |(Field { scope, profile }, units): &(&Field, u64)| {
                profile.free(promise.at, met) < *units && yard.overlap(scope, &promise.scope)
            };
            promise.at < until && short.iter().any(lacks)
        };
        let count = self.made.iter().filter(|_| !short.is_empty()).filter(delays).count();
        (short.into_iter().map(|(field, _)| &field.scope).collect(), count.max(1))
    }
}

impl<'a> Pass<'a> {
    /// Whether some job is in anybody's way as yet.
    pub(super) fn is_open(&self) -> bool {
        self.promises.made.is_empty() && self.promises.strict.is_empty()
    }

    /// A place as it was found, or elsewhere, or nowhere and why: so that no job before is delayed.
    pub(super) fn in_order(
        &self,
        job: &Waiting,
        settings: &'a Settings,
        (request, hints): (&Request, &Hints<'_>),
        place: Option<Placement>,
    ) -> (Option<Placement>, Option<Blocker>) {
        if self.is_open() {
            return (place, None);
        }
        let Some(place) = place else { return (None, None) };
        let lasts = self.planner.longest(job);
        let Some((scopes, why)) = self.in_the_way(settings, &place, lasts) else {
            return (Some(place), None);
        };
        let elsewhere = self.yard.place_outside(request, hints, &scopes);
        match elsewhere.filter(|place| self.in_the_way(settings, place, lasts).is_none()) {
            Some(place) => (Some(place), None),
            None => (None, Some(why)),
        }
    }

    /// Whether nobody is delayed by a job of the group in a place, which is gone after so long.
    pub(super) fn keeps_order(
        &self,
        settings: &'a Settings,
        place: &Placement,
        lasts: u64,
    ) -> bool {
        self.is_open() || self.in_the_way(settings, place, lasts).is_none()
    }

    /// The units that a job may not take, and why.
    fn in_the_way(
        &self,
        settings: &'a Settings,
        place: &Placement,
        lasts: u64,
    ) -> Option<(Vec<&Scope>, Blocker)> {
        if let Some(strict) = self.promises.strict.get(&settings.group)
            && strict.scopes.iter().any(|scope| self.yard.units_in(scope, place) > 0)
        {
            let why = Blocker::behind(&settings.group, strict.jobs);
            return Some((strict.scopes.iter().collect(), why));
        }
        let until = Timestamp(self.now.0.saturating_add(lasts));
        let (short, count) = self.promises.delayed(self.yard, place, (self.now, until));
        (!short.is_empty()).then(|| (short, Blocker::promised(count)))
    }

    /// There is room for a job, and it waits for those before it all the same.
    pub(super) fn makes_way(
        &mut self,
        job: &'a Waiting,
        settings: &'a Settings,
        (asked, request): (&Request, &Request),
        hints: &Hints<'_>,
        why: Blocker,
    ) -> Look {
        if self.keeps_place(job, settings, request, hints) {
            self.waits(job, |_| [why].into());
            return Look::Waits;
        }
        let is_strict = settings.backfill == Backfill::None && !preempts(settings.policy);
        if !is_strict && self.promises.looks < LOOKS {
            // One behind it may be gone sooner.
            self.promises.looks += 1;
            self.waits(job, |_| [why].into());
            return Look::Waits;
        }
        self.all_wait(job, settings, asked, [why].into());
        Look::Misfit
    }

    /// Keeps a waiting job's place in its order, as its queue has it. Says whether that may be done
    /// for the next in its line too.
    pub(super) fn keeps_place(
        &mut self,
        job: &Waiting,
        settings: &'a Settings,
        request: &Request,
        hints: &Hints<'_>,
    ) -> bool {
        // Where it may have others stopped, those that go ahead of it do not delay it.
        if preempts(settings.policy) {
            return false;
        }
        match settings.backfill {
            Backfill::Easy => false,
            Backfill::None => {
                // What no cluster like this could serve keeps nobody.
                if could_fit(self.yard, request, hints) {
                    let strict = self.promises.strict.entry(&settings.group).or_default();
                    strict.jobs += 1;
                    if !strict.scopes.iter().any(|scope| scope.is_of(request)) {
                        strict.scopes.push(self.yard.scope(request));
                    }
                }
                false
            }
            Backfill::Conservative => {
                self.promises.count(&settings.group) < MOST
                    && self.promise(job, settings, request, hints)
                    && self.promises.count(&settings.group) < MOST
            }
        }
    }

    /// Promises a job a start, if it will find room.
    fn promise(
        &mut self,
        job: &Waiting,
        settings: &'a Settings,
        request: &Request,
        hints: &Hints<'_>,
    ) -> bool {
        self.work = self.work.saturating_sub(1);
        let Some(own) = self.field(request) else { return false };
        let from = self.room_from(job, request, hints);
        let (units, lasts) = (u64::from(request.ranks), self.planner.longest(job));
        let found = self.promises.fields.get(own).zip(from);
        let found = found.and_then(|(own, from)| own.profile.earliest(units, lasts, from));
        let Some(at) = found else { return false };
        let until = Timestamp(at.0.saturating_add(lasts.max(1)));
        let scope = self.yard.scope(request);
        for field in &mut self.promises.fields {
            // Of units that may be another's as well, all may be.
            if self.yard.overlap(&field.scope, &scope) {
                field.profile.take(units, at, until);
            }
        }
        self.promises.made.push(Promise { job: job.id.clone(), scope, units, at, until });
        *self.promises.counts.entry(&settings.group).or_default() += 1;
        true
    }

    /// From when on there may be room for a job: for most now, since what they lack is a number of
    /// units. One that has to be on few nodes, on several, on parts of several GPUs, or that counts
    /// on processors and memory, waits for those; the first such job keeps them.
    fn room_from(
        &mut self,
        job: &Waiting,
        request: &Request,
        hints: &Hints<'_>,
    ) -> Option<Timestamp> {
        let is_apart = request.on_parts() && request.ranks > 1;
        let is_choosy = request.compact || request.needs_host() || is_apart;
        if !is_choosy && request.most_per_node == u32::MAX {
            return Some(self.now);
        }
        let now = self.now;
        let not_before = |at: Timestamp| at.max(now);
        let keeps = self.reserved.may_take(job);
        if let Some(known) = self.promises.fits.get(request).filter(|_| !keeps) {
            return known.map(not_before);
        }
        let found = self.first_fit(request, hints);
        // Where only kept places are in the way, the number of units has to do.
        let could = || could_fit(self.yard, request, hints).then_some(now);
        let from = found.as_ref().map(|(at, _)| *at).or_else(could);
        self.promises.fits.insert(request.clone(), from);
        if let Some((at, place)) = found.filter(|_| keeps) {
            self.reserved.keep(self.yard, &job.id, (at, &place));
        }
        from.map(not_before)
    }

    /// When and where a gang fits first.
    pub(super) fn first_fit(
        &mut self,
        request: &Request,
        hints: &Hints<'_>,
    ) -> Option<(Timestamp, Placement)> {
        let ends = self.ends();
        let (found, tried) = first_fit(self.yard, &self.pending, &ends, (request, hints));
        self.ends = Some(ends);
        self.work = self.work.saturating_sub(tried);
        found
    }

    /// When what runs ends, to be put back.
    fn ends(&mut self) -> Vec<(Timestamp, Placement)> {
        let known = self.ends.take();
        let gone = [self.gone, &self.stopped];
        known.unwrap_or_else(|| ends(self.planner, self.yard, gone, self.now))
    }

    /// Units were handed out that a promise may count on.
    pub(super) fn handed_out(&mut self, job: &Waiting, place: &Placement) {
        if !self.planner.keeps_order() {
            return;
        }
        let (now, left) = (self.now, self.planner.time_left(job));
        let until = Timestamp(now.0.saturating_add(left));
        for field in &mut self.promises.fields {
            field.profile.take(self.yard.units_in(&field.scope, place), now, until);
        }
        self.promises.handed.push((place.clone(), until));
    }

    /// The field of a request: its number.
    fn field(&mut self, request: &Request) -> Option<usize> {
        let fields = &self.promises.fields;
        if let Some(known) = fields.iter().position(|field| field.scope.is_of(request)) {
            return Some(known);
        }
        if fields.len() >= FIELDS {
            return None;
        }
        let ends = self.ends();
        let scope = self.yard.scope(request);
        let profile = self.profile(&scope, &ends);
        self.ends = Some(ends);
        self.promises.fields.push(Field { scope, profile });
        Some(self.promises.fields.len() - 1)
    }

    /// When how many units of a scope are free, beside what was promised so far.
    fn profile(&self, scope: &Scope, ends: &[(Timestamp, Placement)]) -> Profile {
        let barred = Barred { planner: self.planner, scope, now: self.now };
        // What is kept as a place, and what will be free without anybody's doing, counts as free.
        let soon = self.reserved.places().chain(&self.pending);
        let soon: u64 = soon.map(|place| self.yard.units_in(scope, place)).sum();
        let free = self.yard.free_in(scope).saturating_add(soon);
        let mut more: Vec<(Timestamp, u64)> = Vec::new();
        let handed = self.promises.handed.iter().map(|(place, until)| (until, place));
        for (at, place) in ends.iter().map(|(at, place)| (at, place)).chain(handed) {
            let parts = self.yard.parts_in(scope, place).filter(|(_, units)| *units > 0);
            more.extend(parts.map(|(covers, units)| (barred.leaves(covers, *at), units)));
        }
        more.sort_unstable();
        let mut profile = Profile::of(self.now, free, more);
        for (covers, units) in self.yard.covered_in(scope) {
            for (from, until) in barred.spans(covers) {
                profile.take(units, from, until);
            }
        }
        for promise in &self.promises.made {
            if self.yard.overlap(scope, &promise.scope) {
                profile.take(promise.units, promise.at, promise.until);
            }
        }
        profile
    }
}

/// The reservations that keep a wish off its units.
struct Barred<'a> {
    planner: &'a Planner,
    scope: &'a Scope,
    now: Timestamp,
}

impl Barred<'_> {
    fn all(&self, covers: &Covers) -> impl Iterator<Item = (Timestamp, Timestamp)> {
        let entitled = &self.scope.wish().entitled;
        let others = covers.iter().filter(|name| !entitled.contains(*name));
        let spec = |name: &ReservationName| self.planner.windows().all().get(name);
        let specs = others.filter_map(spec).filter(|spec| spec.until > self.now);
        specs.map(|spec| (spec.from.max(self.now), spec.until))
    }

    /// When who runs on a node until then leaves it: when the node is reserved at the latest.
    fn leaves(&self, covers: &Covers, at: Timestamp) -> Timestamp {
        let begin = self.all(covers).map(|(from, _)| from).filter(|from| *from > self.now);
        begin.min().map_or(at, |from| at.min(from))
    }

    /// When a node is reserved, without overlaps.
    fn spans(&self, covers: &Covers) -> Vec<(Timestamp, Timestamp)> {
        let mut all: Vec<_> = self.all(covers).collect();
        all.sort_unstable();
        let mut last = self.now;
        for (from, until) in &mut all {
            *from = (*from).max(last);
            last = last.max(*until);
        }
        all
    }
}
