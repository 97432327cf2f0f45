//! Jobs of one line whose merit is alike but for how long they have waited, or those that are
//! judged by themselves.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BTreeSet, BinaryHeap, btree_set},
};

use trainyard_jobs::{JobId, ProjectName, Timestamp, spec::Speed};

use super::{LineId, Merit, Place, Rank};
use crate::placement::fit::Request;

/// What jobs of one line have in common that say nothing of themselves.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::placement) struct Peers {
    /// Whose settings count.
    pub(in crate::placement) project: ProjectName,
    /// The class of runs that tells of them, if any does.
    pub(in crate::placement) class: Option<usize>,
    /// How fast they can be counted on to run: what others took is scaled by it.
    pub(in crate::placement) speed: Speed,
}

/// What is the same for all of a cohort.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Common {
    value: u64,
    stretch: u64,
    /// The wait that is too long.
    bound: u64,
}

/// Those that go together. Of peers the ranks have no value and the times are those since when
/// they wait: what they have in common is added.
#[derive(Debug, Clone)]
pub(super) struct Cohort {
    pub(super) group: ProjectName,
    pub(super) request: Request,
    pub(super) line: LineId,
    pub(super) peers: Option<Peers>,
    common: Common,
    ranks: BTreeSet<Rank>,
    patience: BTreeSet<(Timestamp, JobId)>,
}

impl Cohort {
    pub(super) fn new(
        group: ProjectName,
        request: Request,
        line: LineId,
        peers: Option<Peers>,
    ) -> Self {
        let (ranks, patience) = (BTreeSet::new(), BTreeSet::new());
        Self { group, request, line, peers, common: Common::default(), ranks, patience }
    }

    /// Takes a job in. Its merit is that of its peers from now on.
    pub(super) fn insert(
        &mut self,
        (priority, sequence, job): (i32, u64, &JobId),
        since: Timestamp,
        merit: Merit,
    ) -> Place {
        let (mut value, mut patience) = (merit.value, merit.patience);
        if self.peers.is_some() {
            self.revalue(since, merit);
            (value, patience) = (0, since);
        }
        let rank = (Reverse(priority), value, sequence, job.clone());
        self.ranks.insert(rank.clone());
        self.patience.insert((patience, job.clone()));
        Place { cohort: 0, rank, stretch: merit.stretch, patience }
    }

    pub(super) fn remove(&mut self, place: &Place, job: &JobId) {
        self.ranks.remove(&place.rank);
        self.patience.remove(&(place.patience, job.clone()));
    }

    /// Puts one that is judged by itself where it belongs now; nothing of one that is not.
    pub(super) fn shift(&mut self, place: &mut Place, job: &JobId, merit: Merit) -> Option<()> {
        if self.peers.is_some() {
            return None;
        }
        place.stretch = merit.stretch;
        if place.patience != merit.patience {
            self.patience.remove(&(place.patience, job.clone()));
            place.patience = merit.patience;
            self.patience.insert((place.patience, job.clone()));
        }
        if place.rank.1 != merit.value {
            self.ranks.remove(&place.rank);
            place.rank.1 = merit.value;
            self.ranks.insert(place.rank.clone());
        }
        Some(())
    }

    /// The merit of one that waits since some time is that of all.
    pub(super) fn revalue(&mut self, since: Timestamp, merit: Merit) {
        let Merit { value, stretch, patience } = merit;
        self.common = Common { value, stretch, bound: patience.since(since).0 };
    }

    /// What a job's own merit comes to among these.
    pub(super) fn merit(&self, own: Merit) -> Merit {
        if self.peers.is_none() {
            return own;
        }
        let Common { value, stretch, .. } = self.common;
        Merit { value, stretch, patience: self.too_long(own.patience) }
    }

    fn too_long(&self, since: Timestamp) -> Timestamp {
        Timestamp(since.0.saturating_add(self.common.bound))
    }

    pub(super) fn first(&self) -> Option<&JobId> {
        self.ranks.first().map(|rank| &rank.3)
    }

    pub(super) fn jobs(&self) -> impl Iterator<Item = &JobId> {
        self.ranks.iter().map(|rank| &rank.3)
    }

    /// In their order.
    pub(super) fn ranks(&self) -> btree_set::Iter<'_, Rank> {
        self.ranks.iter()
    }

    /// The value of one of its ranks. Its own is 0 where there are peers.
    pub(super) const fn value(&self, rank: &Rank) -> u64 {
        self.common.value.saturating_add(rank.1)
    }

    /// The first, as it stands among others.
    pub(super) fn head(&self) -> Option<Rank> {
        let first = self.ranks.first()?;
        Some((first.0, self.value(first), first.2, first.3.clone()))
    }

    /// When the first of them has waited too long.
    pub(super) fn patience(&self) -> Option<Timestamp> {
        self.patience.first().map(|(since, _)| self.too_long(*since))
    }

    /// How many of them stand before one with this rank.
    pub(super) fn before(&self, rank: &Rank) -> usize {
        let (priority, value, sequence, job) = rank;
        if self.peers.is_none() {
            return self.ranks.range(..rank).count();
        }
        // All of one priority have one value.
        let end = match self.common.value.cmp(value) {
            Ordering::Less => match priority.0.checked_sub(1) {
                Some(lower) => (Reverse(lower), 0, 0, JobId::from_random(0)),
                None => return self.ranks.len(),
            },
            Ordering::Equal => (*priority, 0, *sequence, job.clone()),
            Ordering::Greater => (*priority, 0, 0, JobId::from_random(0)),
        };
        self.ranks.range(..end).count()
    }

    /// When the next of them will have waited too long after `now`.
    pub(super) fn next_overdue(&self, now: Timestamp) -> Option<Timestamp> {
        let since = now.0.checked_sub(self.common.bound).map_or(0, |since| since + 1);
        let after = (Timestamp(since), JobId::from_random(0));
        self.patience.range(after..).next().map(|(since, _)| self.too_long(*since))
    }
}

/// Those that have waited too long at some time, of several cohorts, the longest first.
pub(super) struct Overdue<'a> {
    now: Timestamp,
    heads: BinaryHeap<Reverse<(Timestamp, &'a JobId, usize)>>,
    cohorts: Vec<(&'a Cohort, btree_set::Iter<'a, (Timestamp, JobId)>)>,
}

impl<'a> Overdue<'a> {
    pub(super) fn of(cohorts: impl Iterator<Item = &'a Cohort>, now: Timestamp) -> Self {
        let cohorts: Vec<_> = cohorts.map(|cohort| (cohort, cohort.patience.iter())).collect();
        let heads = BinaryHeap::with_capacity(cohorts.len());
        let mut overdue = Self { now, heads, cohorts };
        for at in 0..overdue.cohorts.len() {
            overdue.step(at);
        }
        overdue
    }

    fn step(&mut self, at: usize) {
        let Some((cohort, waits)) = self.cohorts.get_mut(at) else { return };
        if let Some((since, job)) = waits.next() {
            let too_long = cohort.too_long(*since);
            if too_long <= self.now {
                self.heads.push(Reverse((too_long, job, at)));
            }
        }
    }
}

impl<'a> Iterator for Overdue<'a> {
    type Item = &'a JobId;

    fn next(&mut self) -> Option<&'a JobId> {
        let Reverse((_, job, at)) = self.heads.pop()?;
        self.step(at);
        Some(job)
    }
}
