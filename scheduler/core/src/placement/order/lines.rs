//! The jobs that wait, in lines: those of one group that ask for the same stand behind each
//! other, because once the first of them finds no place the others find none either. A pass
//! merges the lines and looks at few jobs of a long queue.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
};

use trainyard_jobs::{JobId, ProjectName, Timestamp};

use crate::placement::{fit::Request, score::Mix};

/// Shapes that are looked out for when a place is chosen: the most frequent ones.
const SHAPES: usize = 16;

/// Orders jobs of one group: priority, the policy's value, then age.
pub(in crate::placement) type Rank = (Reverse<i32>, u64, u64, JobId);

/// One line.
pub(in crate::placement) type Line = BTreeSet<Rank>;

/// Where a job stands.
#[derive(Debug, Clone)]
struct Place {
    group: ProjectName,
    request: Request,
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

/// All lines.
#[derive(Debug, Clone, Default)]
pub(in crate::placement) struct Lines {
    groups: BTreeMap<ProjectName, BTreeMap<Request, Line>>,
    /// Never walked, so that nothing depends on its order.
    places: HashMap<JobId, Place>,
    /// By the time at which a job has waited too long.
    patience: BTreeSet<(Timestamp, JobId)>,
    /// How many jobs ask for the same, in all groups.
    counts: BTreeMap<Request, u64>,
}

impl Lines {
    /// Puts a job into its line.
    pub(in crate::placement) fn insert(
        &mut self,
        group: &ProjectName,
        request: Request,
        (priority, sequence, id): (i32, u64, JobId),
        Merit { value, stretch, patience }: Merit,
    ) {
        self.remove(&id);
        let rank = (Reverse(priority), value, sequence, id.clone());
        let place = Place { group: group.clone(), request, rank: rank.clone(), stretch, patience };
        self.patience.insert((patience, id.clone()));
        match self.counts.get_mut(&place.request) {
            Some(count) => *count += 1,
            None => drop(self.counts.insert(place.request.clone(), 1)),
        }
        let lines = match self.groups.get_mut(group) {
            Some(lines) => lines,
            None => self.groups.entry(group.clone()).or_default(),
        };
        let line = match lines.get_mut(&place.request) {
            Some(line) => line,
            None => lines.entry(place.request.clone()).or_default(),
        };
        line.insert(rank);
        self.places.insert(id, place);
    }

    /// Puts a job that stands in a line where it belongs now.
    pub(in crate::placement) fn shift(
        &mut self,
        job: &JobId,
        Merit { value, stretch, patience }: Merit,
    ) {
        let Some(place) = self.places.get_mut(job) else { return };
        place.stretch = stretch;
        if place.patience != patience {
            self.patience.remove(&(place.patience, job.clone()));
            self.patience.insert((patience, job.clone()));
            place.patience = patience;
        }
        if place.rank.1 == value {
            return;
        }
        let line =
            self.groups.get_mut(&place.group).and_then(|lines| lines.get_mut(&place.request));
        let Some(line) = line else { return };
        line.remove(&place.rank);
        place.rank.1 = value;
        line.insert(place.rank.clone());
    }

    /// Takes a job out.
    pub(in crate::placement) fn remove(&mut self, job: &JobId) {
        if let Some(place) = self.places.remove(job) {
            self.leave(job, &place);
        }
    }

    /// Empties a place that a job had.
    fn leave(&mut self, job: &JobId, Place { group, request, rank, patience, .. }: &Place) {
        self.patience.remove(&(*patience, job.clone()));
        if let Some(count) = self.counts.get_mut(request) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(request);
            }
        }
        let Some(lines) = self.groups.get_mut(group) else { return };
        if let Some(line) = lines.get_mut(request) {
            line.remove(rank);
            if line.is_empty() {
                lines.remove(request);
            }
        }
        if lines.is_empty() {
            self.groups.remove(group);
        }
    }

    /// The groups that have jobs waiting, each with its lines.
    pub(in crate::placement) const fn groups(
        &self,
    ) -> &BTreeMap<ProjectName, BTreeMap<Request, Line>> {
        &self.groups
    }

    /// The shapes of the jobs that wait: those that are likely to be placed next.
    pub(in crate::placement) fn mix(&self) -> Mix {
        Mix::of(self.counts.iter().map(|(request, count)| (request, *count)), SHAPES)
    }

    /// The job's group and what its line asks for.
    pub(in crate::placement) fn line(&self, job: &JobId) -> Option<(&ProjectName, &Request)> {
        self.places.get(job).map(|place| (&place.group, &place.request))
    }

    /// What a job's place in its line depends on.
    pub(in crate::placement) fn merit(&self, job: &JobId) -> Option<Merit> {
        let Place { rank, stretch, patience, .. } = self.places.get(job)?;
        Some(Merit { value: rank.1, stretch: *stretch, patience: *patience })
    }

    /// How many jobs of its group stand before a job, and itself.
    pub(in crate::placement) fn position(&self, job: &JobId) -> Option<usize> {
        let Place { group, rank, .. } = self.places.get(job)?;
        let lines = self.groups.get(group)?.values();
        Some(lines.map(|line| line.range(..rank).count()).sum::<usize>() + 1)
    }

    /// The jobs that have waited too long at `now`, those that have waited longest first.
    pub(in crate::placement) fn overdue(&self, now: Timestamp) -> impl Iterator<Item = &JobId> {
        self.patience.iter().take_while(move |(at, _)| *at <= now).map(|(_, job)| job)
    }

    /// When the next job will have waited too long.
    pub(in crate::placement) fn next_overdue(&self, now: Timestamp) -> Option<Timestamp> {
        let after = (Timestamp(now.0.saturating_add(1)), JobId::from_random(0));
        self.patience.range(after..).next().map(|(at, _)| *at)
    }
}
