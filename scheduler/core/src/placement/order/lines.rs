//! The jobs that wait, in lines: those of one group that ask for the same stand behind each
//! other, because once the first of them finds no place the others find none either. A pass
//! merges the lines and looks at few jobs of a long queue.
//!
//! Most jobs of a line say nothing of themselves: what they are worth follows from other runs, and
//! is the same for all of which the same runs tell. They are a *cohort*, whose worth is kept once:
//! news of those runs move thousands of jobs by one number.

mod cohort;
#[cfg(test)]
mod tests;
mod walk;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
};

use trainyard_jobs::{JobId, ProjectName, Timestamp};

use self::cohort::{Cohort, Overdue};
pub(in crate::placement) use self::{
    cohort::Peers,
    walk::{Step, Walk},
};
use crate::placement::{fit::Request, score::Mix};

/// Shapes that are looked out for when a place is chosen: the most frequent ones.
const SHAPES: usize = 16;

/// Orders jobs of one group: priority, the policy's value, then age.
pub(in crate::placement) type Rank = (Reverse<i32>, u64, u64, JobId);

/// Where a cohort is kept.
pub(in crate::placement) type CohortId = usize;

/// The number of a line, among those that there are.
pub(in crate::placement) type LineId = usize;

/// One line: its cohorts. Jobs that are judged by themselves are one of them.
#[derive(Debug, Clone, Default)]
struct Line {
    number: LineId,
    cohorts: BTreeMap<Option<Peers>, CohortId>,
}

/// The lines of one group.
#[derive(Debug, Clone, Default)]
struct Group {
    lines: BTreeMap<Request, Line>,
    /// The first of each cohort.
    heads: BTreeSet<(Rank, CohortId)>,
}

/// Where a job stands.
#[derive(Debug, Clone)]
struct Place {
    cohort: CohortId,
    /// As its cohort knows it.
    rank: Rank,
    stretch: u64,
    patience: Timestamp,
}

/// What a job's place in its line depends on, and what it is worth there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::placement) struct Merit {
    /// By its policy.
    pub(in crate::placement) value: u64,
    /// Unit-milliseconds in which it stays worth that.
    pub(in crate::placement) stretch: u64,
    /// When it has waited too long.
    pub(in crate::placement) patience: Timestamp,
}

/// A job that comes to its line.
#[derive(Debug, Clone)]
pub(in crate::placement) struct Comer {
    pub(in crate::placement) id: JobId,
    pub(in crate::placement) priority: i32,
    pub(in crate::placement) sequence: u64,
    /// Since when it waits.
    pub(in crate::placement) since: Timestamp,
    pub(in crate::placement) merit: Merit,
    /// Those whose merit is alike, but for how long they have waited.
    pub(in crate::placement) peers: Option<Peers>,
}

/// Numbers from 0 on; those that are given back are used again.
#[derive(Debug, Clone, Default)]
struct Numbers {
    count: usize,
    unused: Vec<usize>,
}

impl Numbers {
    fn take(&mut self) -> usize {
        self.unused.pop().unwrap_or_else(|| {
            self.count += 1;
            self.count - 1
        })
    }
}

/// All lines.
#[derive(Debug, Clone, Default)]
pub(in crate::placement) struct Lines {
    groups: BTreeMap<ProjectName, Group>,
    /// By their numbers.
    cohorts: Vec<Cohort>,
    cohort_ids: Numbers,
    line_ids: Numbers,
    /// Never walked, so that nothing depends on its order.
    places: HashMap<JobId, Place>,
    /// By the time at which the first of a cohort has waited too long.
    patience: BTreeSet<(Timestamp, CohortId)>,
    /// By the class of runs that tells of them, those of which any does.
    classes: BTreeMap<Option<usize>, BTreeSet<CohortId>>,
    /// How many jobs ask for the same, in all groups.
    counts: BTreeMap<Request, u64>,
}

impl Lines {
    /// Puts a job into its line.
    pub(in crate::placement) fn insert(
        &mut self,
        group: &ProjectName,
        request: &Request,
        comer: Comer,
    ) {
        let Comer { id, priority, sequence, since, merit, peers } = comer;
        self.remove(&id);
        let cohort = self.cohort(group, request, peers);
        match self.counts.get_mut(request) {
            Some(count) => *count += 1,
            None => drop(self.counts.insert(request.clone(), 1)),
        }
        self.change(cohort, |known| {
            let place = known.insert((priority, sequence, &id), since, merit);
            Some(Place { cohort, ..place })
        })
        .map(|place| self.places.insert(id, place));
    }

    /// Puts a job that stands in a line where it belongs now, if it is judged by itself.
    pub(in crate::placement) fn shift(&mut self, job: &JobId, merit: Merit) {
        let Some(mut place) = self.places.remove(job) else { return };
        let shifted = self.change(place.cohort, |cohort| cohort.shift(&mut place, job, merit));
        debug_assert!(shifted.is_some() || self.merit_at(&place).value == merit.value);
        self.places.insert(job.clone(), place);
    }

    /// All of a cohort are worth this now: the merit of one that waits since some time.
    pub(in crate::placement) fn revalue(
        &mut self,
        cohort: CohortId,
        since: Timestamp,
        merit: Merit,
    ) {
        self.change(cohort, |cohort| {
            cohort.revalue(since, merit);
            Some(())
        });
    }

    /// The cohorts of which a class of runs tells, each with one of its jobs.
    pub(in crate::placement) fn told_by(&self, class: Option<usize>) -> Vec<(CohortId, JobId)> {
        let cohorts = self.classes.get(&class).into_iter().flatten();
        cohorts.filter_map(|id| Some((*id, self.cohorts.get(*id)?.first()?.clone()))).collect()
    }

    /// From now on a class of runs tells of all jobs of which none told before.
    pub(in crate::placement) fn told_at_last(&mut self, class: usize) {
        let Some(cohorts) = self.classes.remove(&None) else { return };
        for id in &cohorts {
            let Some(cohort) = self.cohorts.get_mut(*id) else { continue };
            let Some(peers) = cohort.peers.clone() else { continue };
            let told = Peers { class: Some(class), ..peers };
            let group = self.groups.get_mut(&cohort.group);
            if let Some(line) = group.and_then(|group| group.lines.get_mut(&cohort.request)) {
                line.cohorts.remove(&cohort.peers);
                line.cohorts.insert(Some(told.clone()), *id);
            }
            cohort.peers = Some(told);
        }
        self.classes.entry(Some(class)).or_default().extend(cohorts);
    }

    /// Takes a job out.
    pub(in crate::placement) fn remove(&mut self, job: &JobId) {
        let Some(place) = self.places.remove(job) else { return };
        self.change(place.cohort, |cohort| {
            cohort.remove(&place, job);
            Some(())
        });
        self.leave(place.cohort);
    }

    /// The cohort of these peers in a line, new if need be.
    fn cohort(&mut self, group: &ProjectName, request: &Request, peers: Option<Peers>) -> CohortId {
        let of_group = match self.groups.get_mut(group) {
            Some(known) => known,
            None => self.groups.entry(group.clone()).or_default(),
        };
        let line = match of_group.lines.get_mut(request) {
            Some(line) => line,
            None => {
                let (number, cohorts) = (self.line_ids.take(), BTreeMap::new());
                of_group.lines.entry(request.clone()).or_insert(Line { number, cohorts })
            }
        };
        if let Some(known) = line.cohorts.get(&peers) {
            return *known;
        }
        let cohort = Cohort::new(group.clone(), request.clone(), line.number, peers.clone());
        let id = self.cohort_ids.take();
        line.cohorts.insert(peers.clone(), id);
        if let Some(peers) = peers {
            self.classes.entry(peers.class).or_default().insert(id);
        }
        match self.cohorts.get_mut(id) {
            Some(unused) => *unused = cohort,
            None => self.cohorts.push(cohort),
        }
        id
    }

    /// Changes a cohort, and what is known of its first ones with it.
    fn change<T>(
        &mut self,
        id: CohortId,
        change: impl FnOnce(&mut Cohort) -> Option<T>,
    ) -> Option<T> {
        let cohort = self.cohorts.get_mut(id)?;
        let (head, patience) = (cohort.head(), cohort.patience());
        let changed = change(cohort)?;
        let (new_head, new_patience) = (cohort.head(), cohort.patience());
        if head != new_head
            && let Some(group) = self.groups.get_mut(&cohort.group)
        {
            head.map(|head| group.heads.remove(&(head, id)));
            new_head.map(|head| group.heads.insert((head, id)));
        }
        if patience != new_patience {
            patience.map(|at| self.patience.remove(&(at, id)));
            new_patience.map(|at| self.patience.insert((at, id)));
        }
        Some(changed)
    }

    /// One job fewer asks for what a cohort asks for. An empty one is forgotten.
    fn leave(&mut self, id: CohortId) {
        let Some(cohort) = self.cohorts.get_mut(id) else { return };
        if let Some(count) = self.counts.get_mut(&cohort.request) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&cohort.request);
            }
        }
        if cohort.first().is_some() {
            return;
        }
        self.cohort_ids.unused.push(id);
        if let Some(class) = cohort.peers.as_ref().map(|peers| peers.class)
            && let Some(cohorts) = self.classes.get_mut(&class)
        {
            cohorts.remove(&id);
            if cohorts.is_empty() {
                self.classes.remove(&class);
            }
        }
        let Some(group) = self.groups.get_mut(&cohort.group) else { return };
        if let Some(line) = group.lines.get_mut(&cohort.request) {
            line.cohorts.remove(&cohort.peers);
            if line.cohorts.is_empty() {
                self.line_ids.unused.push(line.number);
                group.lines.remove(&cohort.request);
            }
        }
        if group.lines.is_empty() {
            self.groups.remove(&cohort.group);
        }
    }

    /// The groups that have jobs waiting.
    pub(in crate::placement) fn groups(&self) -> impl Iterator<Item = &ProjectName> {
        self.groups.keys()
    }

    /// Whether a group has jobs waiting.
    pub(in crate::placement) fn has(&self, group: &ProjectName) -> bool {
        self.groups.contains_key(group)
    }

    /// Above all numbers of lines.
    pub(in crate::placement) const fn numbers(&self) -> usize {
        self.line_ids.count
    }

    /// The priority of the job of a group that goes first.
    pub(in crate::placement) fn highest(&self, group: &ProjectName) -> Option<i32> {
        self.groups.get(group)?.heads.first().map(|((Reverse(priority), ..), _)| *priority)
    }

    /// The jobs of a group in their order.
    pub(in crate::placement) fn walk(&self, group: &ProjectName) -> Option<Walk<'_>> {
        let group = self.groups.get(group)?;
        Some(Walk::new(&self.cohorts, group.heads.iter()))
    }

    /// What each line of a group asks for, and its jobs in no order that says anything.
    pub(in crate::placement) fn lines_of(
        &self,
        group: &ProjectName,
    ) -> impl Iterator<Item = (&Request, impl Iterator<Item = &JobId>)> {
        let lines = self.groups.get(group).into_iter().flat_map(|group| &group.lines);
        lines.map(|(request, line)| {
            let cohorts = line.cohorts.values().filter_map(|id| self.cohorts.get(*id));
            (request, cohorts.flat_map(Cohort::jobs))
        })
    }

    /// The shapes of the jobs that wait: those that are likely to be placed next.
    pub(in crate::placement) fn mix(&self) -> Mix {
        Mix::of(self.counts.iter().map(|(request, count)| (request, *count)), SHAPES)
    }

    /// The job's group and what its line asks for.
    pub(in crate::placement) fn line(&self, job: &JobId) -> Option<(&ProjectName, &Request)> {
        let cohort = self.cohorts.get(self.places.get(job)?.cohort)?;
        Some((&cohort.group, &cohort.request))
    }

    /// Those that a job is judged with.
    pub(in crate::placement) fn peers(&self, job: &JobId) -> Option<&Peers> {
        self.cohorts.get(self.places.get(job)?.cohort)?.peers.as_ref()
    }

    /// What a job's place in its line depends on.
    pub(in crate::placement) fn merit(&self, job: &JobId) -> Option<Merit> {
        self.places.get(job).map(|place| self.merit_at(place))
    }

    fn merit_at(&self, place: &Place) -> Merit {
        let own = Merit { value: place.rank.1, stretch: place.stretch, patience: place.patience };
        self.cohorts.get(place.cohort).map_or(own, |cohort| cohort.merit(own))
    }

    /// How many jobs of its group stand before a job, and itself.
    pub(in crate::placement) fn position(&self, job: &JobId) -> Option<usize> {
        let place = self.places.get(job)?;
        let cohort = self.cohorts.get(place.cohort)?;
        let mut rank = place.rank.clone();
        rank.1 = self.merit_at(place).value;
        let cohorts = self.groups.get(&cohort.group)?.heads.iter().map(|(_, id)| id);
        let before = cohorts.filter_map(|id| self.cohorts.get(*id)).map(|c| c.before(&rank));
        Some(before.sum::<usize>() + 1)
    }

    /// The jobs that have waited too long at `now`, those that have waited longest first.
    pub(in crate::placement) fn overdue(&self, now: Timestamp) -> impl Iterator<Item = &JobId> {
        let cohorts = self.patience.iter().take_while(|(at, _)| *at <= now);
        Overdue::of(cohorts.filter_map(|(_, id)| self.cohorts.get(*id)), now)
    }

    /// When the next job will have waited too long.
    pub(in crate::placement) fn next_overdue(&self, now: Timestamp) -> Option<Timestamp> {
        let of_first = self.patience.iter().take_while(|(at, _)| *at <= now);
        let cohorts = of_first.filter_map(|(_, id)| self.cohorts.get(*id));
        let behind = cohorts.filter_map(|cohort| cohort.next_overdue(now));
        let after = (Timestamp(now.0.saturating_add(1)), 0);
        let fresh = self.patience.range(after..).next().map(|(at, _)| *at);
        behind.chain(fresh).min()
    }
}
