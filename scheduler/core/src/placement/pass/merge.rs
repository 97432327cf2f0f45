//! The order in which a pass comes to jobs: groups take turns by what their queues have, and in a
//! group the lines are merged.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, btree_set},
};

use trainyard_jobs::{JobId, ProjectName};

use crate::placement::{fit::Request, order::Rank, planner::Planner, share::Shares};

/// A group's lines, merged.
struct Merge<'a> {
    heads: BinaryHeap<Reverse<(&'a Rank, usize)>>,
    lines: Vec<(&'a Request, btree_set::Iter<'a, Rank>)>,
}

impl<'a> Merge<'a> {
    fn of(lines: &'a BTreeMap<Request, BTreeSet<Rank>>) -> Self {
        let mut merge = Self { heads: BinaryHeap::new(), lines: Vec::with_capacity(lines.len()) };
        for (at, (request, line)) in lines.iter().enumerate() {
            merge.lines.push((request, line.iter()));
            merge.step(at);
        }
        merge
    }

    /// The next of a line comes forward.
    fn step(&mut self, at: usize) {
        if let Some(rank) = self.lines.get_mut(at).and_then(|(_, line)| line.next()) {
            self.heads.push(Reverse((rank, at)));
        }
    }

    fn next(&mut self) -> Option<(&'a JobId, &'a Request, usize)> {
        let Reverse((rank, at)) = self.heads.pop()?;
        Some((&rank.3, self.lines.get(at)?.0, at))
    }
}

/// What a group's turn depends on, and the group.
type Turn<'a> = (Vec<(u64, &'a ProjectName)>, &'a ProjectName);

/// All groups.
pub(super) struct Turns<'a> {
    planner: &'a Planner,
    merges: BTreeMap<&'a ProjectName, Merge<'a>>,
    order: BTreeSet<Turn<'a>>,
    keys: BTreeMap<&'a ProjectName, Turn<'a>>,
    /// Groups by the queue below the root that they are below, or are.
    alike: BTreeMap<&'a ProjectName, Vec<&'a ProjectName>>,
}

/// A job whose turn it is.
#[derive(Clone, Copy)]
pub(super) struct Next<'a> {
    pub(super) group: &'a ProjectName,
    pub(super) job: &'a JobId,
    pub(super) request: &'a Request,
    line: usize,
}

impl<'a> Turns<'a> {
    pub(super) fn of(planner: &'a Planner, shares: &Shares<'a>) -> Self {
        Self::among(planner, shares, |_| true)
    }

    /// Of some groups alone.
    pub(super) fn among(
        planner: &'a Planner,
        shares: &Shares<'a>,
        takes_part: impl Fn(&ProjectName) -> bool,
    ) -> Self {
        let groups = || planner.lines().groups().iter().filter(|(group, _)| takes_part(group));
        let merges = groups().map(|(group, lines)| (group, Merge::of(lines))).collect();
        let (order, keys) = (BTreeSet::new(), BTreeMap::new());
        let mut turns = Self { planner, merges, order, keys, alike: BTreeMap::new() };
        for (group, _) in groups() {
            turns.put(group, shares);
            if let Some(top) = turns.top(group) {
                turns.alike.entry(top).or_default().push(group);
            }
        }
        turns
    }

    fn put(&mut self, group: &'a ProjectName, shares: &Shares<'a>) {
        let settings = self.planner.settings_of(group);
        let turn = (settings.map(|s| shares.turn(s)).unwrap_or_default(), group);
        if let Some(before) = self.keys.insert(group, turn.clone()) {
            self.order.remove(&before);
        }
        self.order.insert(turn);
    }

    /// The job whose turn it is. Its line stands still until it is stepped.
    pub(super) fn next(&mut self) -> Option<Next<'a>> {
        loop {
            let group = self.order.first()?.1;
            if let Some((job, request, line)) = self.merges.get_mut(group).and_then(Merge::next) {
                return Some(Next { group, job, request, line });
            }
            self.order.pop_first();
            self.keys.remove(group);
            self.merges.remove(group);
        }
    }

    /// The next in the job's line comes forward.
    pub(super) fn step(&mut self, next: Next<'a>) {
        if let Some(merge) = self.merges.get_mut(next.group) {
            merge.step(next.line);
        }
    }

    /// What the group's queues have has changed, and so have the turns of all that share the
    /// queue below the root with it.
    pub(super) fn changed(&mut self, group: &'a ProjectName, shares: &Shares<'a>) {
        let Some(top) = self.top(group) else { return };
        let Some(alike) = self.alike.remove(top) else { return };
        for group in &alike {
            // Those whose lines have come to an end take no turns any more.
            if self.keys.contains_key(group) {
                self.put(group, shares);
            }
        }
        self.alike.insert(top, alike);
    }

    fn top(&self, group: &ProjectName) -> Option<&'a ProjectName> {
        self.planner.settings_of(group)?.ordered_path().first()
    }
}
