//! The order in which a pass comes to jobs: groups take turns by what their queues have, and in a
//! group the lines are merged.

use std::collections::{BTreeMap, BTreeSet};

use trainyard_jobs::{JobId, ProjectName};

use crate::placement::{
    fit::Request,
    order::{LineId, Step, Walk},
    planner::Planner,
    share::Shares,
};

/// What a group's turn depends on, and the group.
type Turn<'a> = (Vec<(u64, &'a ProjectName)>, &'a ProjectName);

/// All groups.
pub(super) struct Turns<'a> {
    planner: &'a Planner,
    walks: BTreeMap<&'a ProjectName, Walk<'a>>,
    /// Lines of which nobody can be helped any more, by their numbers.
    ended: Vec<bool>,
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
    step: Step<'a>,
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
        let lines = planner.lines();
        let groups = || lines.groups().filter(|group| takes_part(group));
        let mut turns = Self {
            planner,
            walks: groups().filter_map(|group| Some((group, lines.walk(group)?))).collect(),
            ended: vec![false; lines.numbers()],
            order: BTreeSet::new(),
            keys: BTreeMap::new(),
            alike: BTreeMap::new(),
        };
        for group in groups() {
            turns.put(group, shares);
            if let Some(top) = turns.top(group) {
                turns.alike.entry(top).or_default().push(group);
            }
        }
        turns
    }

    fn put(&mut self, group: &'a ProjectName, shares: &Shares<'a>) {
        let settings = self.planner.settings_of(group);
        let next = if shares.looks_at_next() { self.peek(group) } else { None };
        let turn = (settings.map(|s| shares.turn(s, next)).unwrap_or_default(), group);
        if let Some(before) = self.keys.insert(group, turn.clone()) {
            self.order.remove(&before);
        }
        self.order.insert(turn);
    }

    /// What the next job of a group asks for.
    fn peek(&mut self, group: &ProjectName) -> Option<&'a Request> {
        let walk = self.walks.get_mut(group)?;
        loop {
            let step = walk.peek()?;
            if !self.ended.get(step.line).is_some_and(|ended| *ended) {
                return Some(step.request);
            }
            walk.next();
        }
    }

    /// The job whose turn it is. Its line goes on only once it is gone past.
    pub(super) fn next(&mut self) -> Option<Next<'a>> {
        loop {
            let group = self.order.first()?.1;
            let Some(step) = self.walks.get_mut(group).and_then(Walk::next) else {
                self.order.pop_first();
                self.keys.remove(group);
                self.walks.remove(group);
                continue;
            };
            if !self.has_ended(step.line) {
                return Some(Next { group, job: step.job, request: step.request, step });
            }
        }
    }

    fn has_ended(&self, line: LineId) -> bool {
        self.ended.get(line).is_some_and(|ended| *ended)
    }

    /// The next in the job's line comes forward.
    pub(super) fn go_past(&mut self, next: Next<'a>, shares: &Shares<'a>) {
        if let Some(walk) = self.walks.get_mut(next.group) {
            walk.go_past(next.step);
        }
        self.another(next.group, shares);
    }

    /// Nobody behind the job in its line can be helped.
    pub(super) fn end_line(&mut self, next: Next<'a>, shares: &Shares<'a>) {
        if let Some(ended) = self.ended.get_mut(next.step.line) {
            *ended = true;
        }
        self.another(next.group, shares);
    }

    /// The next job of a group is another.
    fn another(&mut self, group: &'a ProjectName, shares: &Shares<'a>) {
        if shares.looks_at_next() {
            self.put(group, shares);
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
