//! Units that queues take back: the running jobs of others that may be stopped for a queue that is
//! owed units, those that lose least first. Thousands may be; who asks mostly needs a few of them,
//! so they are sorted only as far as somebody looks.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
};

use trainyard_jobs::{JobId, ProjectName, Timestamp};

use crate::placement::{
    planner::{Loss, Planner},
    share::{Owed, Shares},
    victims::Standing,
};

/// A group's running jobs by what their stop loses.
#[derive(Debug)]
struct Ranked<'a> {
    sorted: Vec<Loss<'a>>,
    rest: BinaryHeap<Reverse<Loss<'a>>>,
}

impl<'a> Ranked<'a> {
    fn get(&mut self, at: usize) -> Option<Loss<'a>> {
        while self.sorted.len() <= at {
            self.sorted.push(self.rest.pop()?.0);
        }
        self.sorted.get(at).copied()
    }
}

/// Those groups that were looked at during a pass.
#[derive(Debug, Default)]
pub(super) struct Losses<'a>(BTreeMap<&'a ProjectName, Ranked<'a>>);

impl<'a> Losses<'a> {
    /// Sees to it that a group is known, and says when time alone makes it another.
    pub(super) fn know(
        &mut self,
        planner: &'a Planner,
        group: &'a ProjectName,
        now: Timestamp,
    ) -> Option<Timestamp> {
        if self.0.contains_key(group) {
            return None;
        }
        let (losses, next) = planner.losses(group, now);
        let rest = losses.into_iter().map(Reverse).collect();
        self.0.insert(group, Ranked { sorted: Vec::new(), rest });
        next
    }
}

/// What one job's queue may take back, one running job after the other.
pub(super) struct Reclaim<'p, 'a> {
    planner: &'a Planner,
    now: Timestamp,
    owed: Owed<'a>,
    /// No stop may lose as much.
    limit: u64,
    /// As they are once those are gone that were handed out.
    shares: Shares<'a>,
    /// The next of each group.
    heads: BinaryHeap<Reverse<(Loss<'a>, usize)>>,
    groups: Vec<(&'p mut Ranked<'a>, usize)>,
    passed: [&'p BTreeSet<JobId>; 2],
    /// When one of those that were looked at may be stopped that may not be now.
    pub(super) later: Option<Timestamp>,
}

impl<'p, 'a> Reclaim<'p, 'a> {
    /// Of the groups that may spare anything. Who is among the `passed` is out of the question.
    pub(super) fn of(
        planner: &'a Planner,
        now: Timestamp,
        (owed, limit): (Owed<'a>, u64),
        shares: &Shares<'a>,
        losses: &'p mut Losses<'a>,
        spare: &BTreeSet<&'a ProjectName>,
        passed: [&'p BTreeSet<JobId>; 2],
    ) -> Self {
        let among = losses.0.iter_mut().filter(|(group, _)| spare.contains(*group));
        let groups: Vec<_> = among.map(|(_, ranked)| (ranked, 0)).collect();
        let (heads, shares) = (BinaryHeap::with_capacity(groups.len()), shares.clone());
        let mut reclaim =
            Self { planner, now, owed, limit, shares, heads, groups, passed, later: None };
        for group in 0..reclaim.groups.len() {
            reclaim.step(group);
        }
        reclaim
    }

    /// The next of a group comes forward.
    fn step(&mut self, group: usize) {
        let Some((ranked, at)) = self.groups.get_mut(group) else { return };
        if let Some(loss) = ranked.get(*at).filter(|loss| loss.cost < self.limit) {
            *at += 1;
            self.heads.push(Reverse((loss, group)));
        }
    }

    /// A running job, if it may be stopped.
    fn look(&mut self, id: &JobId) -> Option<Standing<'a>> {
        if self.passed.iter().any(|passed| passed.contains(id)) {
            return None;
        }
        let job = self.planner.running().get(id)?;
        // What it has earned in its own queue, it has earned from others too.
        let earned = self.planner.earned(job, self.now).map(|(_, until)| until);
        let standing = match (self.planner.standing(job, self.now), earned) {
            (Ok(standing), None) => standing?,
            (Ok(_), Some(ready)) | (Err(ready), _) => {
                self.later = Some(self.later.map_or(ready, |before| before.min(ready)));
                return None;
            }
        };
        if !self.shares.spares(standing.settings, self.owed, job) {
            return None;
        }
        // Each that goes leaves its queue with less: as many may go as leave it with its own.
        self.shares.count(standing.settings, &job.resources, job.units(), false);
        let models = self.shares.models_of(job);
        self.shares.count_types(standing.settings, &models, false);
        Some(standing)
    }
}

impl<'a> Iterator for Reclaim<'_, 'a> {
    type Item = Standing<'a>;

    fn next(&mut self) -> Option<Standing<'a>> {
        while let Some(Reverse((loss, group))) = self.heads.pop() {
            self.step(group);
            if let Some(standing) = self.look(loss.job) {
                return Some(standing);
            }
        }
        None
    }
}
