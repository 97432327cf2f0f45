//! A walk through the jobs of a group in their order: its cohorts merged, each looked into only
//! once its first has gone by. Most passes see the first of each and no more.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, btree_set},
    iter::Peekable,
};

use trainyard_jobs::JobId;

use super::{CohortId, LineId, Rank, cohort::Cohort};
use crate::placement::fit::Request;

/// A rank as it stands among others of its group.
type Key<'a> = (Reverse<i32>, u64, u64, &'a JobId);

/// The jobs of one group.
#[derive(Debug)]
pub(in crate::placement) struct Walk<'a> {
    cohorts: &'a [Cohort],
    /// The first of those that were not looked into yet.
    heads: Peekable<btree_set::Iter<'a, (Rank, CohortId)>>,
    /// The next of those that were.
    next: BinaryHeap<Reverse<(Key<'a>, usize)>>,
    open: Vec<(&'a Cohort, btree_set::Iter<'a, Rank>)>,
}

/// A job that is come to.
#[derive(Debug, Clone, Copy)]
pub(in crate::placement) struct Step<'a> {
    pub(in crate::placement) job: &'a JobId,
    pub(in crate::placement) request: &'a Request,
    pub(in crate::placement) line: LineId,
    from: From,
}

/// Where its cohort is found.
#[derive(Debug, Clone, Copy)]
enum From {
    Heads(CohortId),
    Open(usize),
}

impl<'a> Walk<'a> {
    pub(super) fn new(cohorts: &'a [Cohort], heads: btree_set::Iter<'a, (Rank, CohortId)>) -> Self {
        Self { cohorts, heads: heads.peekable(), next: BinaryHeap::new(), open: Vec::new() }
    }

    /// The next job. Those behind it in its cohort come only once it is gone past.
    pub(in crate::placement) fn next(&mut self) -> Option<Step<'a>> {
        let head = self.heads.peek().map(|(rank, _)| (rank.0, rank.1, rank.2, &rank.3));
        if let Some(Reverse((key, at))) = self.next.peek().copied()
            && head.is_none_or(|head| key < head)
        {
            self.next.pop();
            let cohort = self.open.get(at)?.0;
            return Some(cohort.step(key.3, From::Open(at)));
        }
        let (rank, id) = self.heads.next()?;
        Some(self.cohorts.get(*id)?.step(&rank.3, From::Heads(*id)))
    }

    /// The same job, which stays the next.
    pub(in crate::placement) fn peek(&mut self) -> Option<Step<'a>> {
        let head = self.heads.peek().map(|(rank, _)| (rank.0, rank.1, rank.2, &rank.3));
        if let Some(Reverse((key, at))) = self.next.peek().copied()
            && head.is_none_or(|head| key < head)
        {
            return Some(self.open.get(at)?.0.step(key.3, From::Open(at)));
        }
        let (rank, id) = self.heads.peek()?;
        Some(self.cohorts.get(*id)?.step(&rank.3, From::Heads(*id)))
    }

    /// The job behind one that was come to comes forward.
    pub(in crate::placement) fn go_past(&mut self, step: Step<'a>) {
        let at = match step.from {
            From::Open(at) => at,
            From::Heads(id) => {
                let Some(cohort) = self.cohorts.get(id) else { return };
                let mut ranks = cohort.ranks();
                ranks.next();
                self.open.push((cohort, ranks));
                self.open.len() - 1
            }
        };
        if let Some((cohort, ranks)) = self.open.get_mut(at)
            && let Some(rank) = ranks.next()
        {
            let key = (rank.0, cohort.value(rank), rank.2, &rank.3);
            self.next.push(Reverse((key, at)));
        }
    }
}

impl Cohort {
    const fn step<'a>(&'a self, job: &'a JobId, from: From) -> Step<'a> {
        Step { job, request: &self.request, line: self.line, from }
    }
}
