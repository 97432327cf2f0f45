//! Fragmentation is repaired where that pays: a gang that finds units enough in sum, but no place
//! for all of it, has small gangs move to units that are free elsewhere. Those lose a restart, at a
//! checkpoint, and go on at once.

use std::{cmp::Reverse, collections::BTreeSet};

use trainyard_jobs::{JobId, NodeId, StopCause};

use super::Pass;
use crate::placement::{
    fit::{Hints, Request},
    order::Settings,
    running::Running,
    victims::{Candidate, Standing, choose},
    view::Waiting,
    yard::Placement,
};

/// Gangs for which others are moved, or that are looked at for it, in one pass.
const TRIES: usize = 4;

/// Nodes whose jobs are looked at for one gang, and how many of them are tried as the first.
const NODES: usize = 8;
const FIRST: usize = 3;

/// Jobs that move for one gang at most.
const MOST: usize = 8;

/// A move has to gain so many times what it costs: predictions are not exact.
const MARGIN: u64 = 2;

/// Who moves where, so that a gang gets its place.
struct Moves<'a> {
    place: Placement,
    moved: Vec<(Standing<'a>, Placement)>,
}

impl<'a> Pass<'a> {
    /// Has small gangs moved out of the way of one that finds no place. Nobody is stopped for it
    /// who does not go on at once.
    pub(super) fn make_way(
        &mut self,
        job: &Waiting,
        settings: &'a Settings,
        request: &Request,
        hints: &Hints<'_>,
    ) -> bool {
        if !self.planner.keeps() || self.moves >= TRIES {
            return false;
        }
        let nodes = self.yard.loosest(request, hints, NODES);
        if nodes.is_empty() {
            return false;
        }
        self.moves += 1;
        let Some(moves) = self.moves_for(job, request, hints, &nodes) else { return false };
        let moved = moves.moved.iter().map(|(s, _)| (s.settings, s.running.units()));
        if !self.may_all_go(moved) {
            return false;
        }
        self.yard.take_free(&moves.place);
        for (standing, to) in &moves.moved {
            self.yard.take(to);
            let leaves = standing.place(self.yard);
            self.pending.push(leaves);
            self.goes_on(standing, to, StopCause::Migration, Some(job));
        }
        for pending in &mut self.pending {
            *pending = pending.without(&moves.place);
        }
        self.pending.retain(|pending| !pending.is_empty());
        let models = self.shares.models(&self.yard.assignments(&moves.place));
        self.shares.count_types(settings, &models, true);
        self.counts(job, settings, None);
        true
    }

    /// The cheapest of a few ways to move others, if it is worth it.
    fn moves_for(
        &mut self,
        job: &Waiting,
        request: &Request,
        hints: &Hints<'_>,
        nodes: &[NodeId],
    ) -> Option<Moves<'a>> {
        let (mut best, mut waits): (Option<(u64, Moves<'a>)>, u64) = (None, u64::MAX);
        for first in 0..nodes.len().min(FIRST) {
            let movable = self.movable(nodes.get(first..).unwrap_or_default(), request);
            let candidates = movable.into_iter();
            let (found, tried) =
                choose(self.yard, &self.pending, candidates, (request, hints), |standing, yard| {
                    standing.place(yard)
                });
            self.work = self.work.saturating_sub(tried);
            let Some((place, victims)) = found else { break };
            let ends = victims.iter().map(|(s, _)| self.planner.end_of(s.running, self.now));
            let clear = ends.max().map_or(0, |end| end.since(self.now).0);
            // It would get that place without any move then.
            waits = waits.min(clear);
            let cost = victims.iter().map(|(s, _)| s.cost).fold(0, u64::saturating_add);
            if best.as_ref().is_some_and(|(least, _)| *least <= cost) {
                continue;
            }
            if let Some(moved) = self.elsewhere(&place, victims) {
                best = Some((cost, Moves { place, moved }));
            }
        }
        let (cost, moves) = best?;
        // It gains no more than what it does in that time.
        let sooner = waits.min(self.planner.time_left(job));
        let gain = sooner.saturating_mul(u64::from(request.ranks));
        (gain > cost.saturating_mul(MARGIN)).then_some(moves)
    }

    /// The small gangs on these nodes that may be moved, node by node.
    fn movable(&mut self, nodes: &[NodeId], request: &Request) -> Vec<Candidate<'a>> {
        let planner = self.planner;
        let (mut seen, mut found) = (BTreeSet::<&JobId>::new(), Vec::new());
        for node in nodes.iter().filter_map(|id| planner.nodes().get(id)) {
            for id in node.owners.values() {
                if found.len() >= MOST || !seen.insert(id) {
                    continue;
                }
                let may = |job: &&Running| {
                    job.on_request && !job.is_leaving() && job.units() < u64::from(request.ranks)
                };
                let Some(job) = planner.running().get(id).filter(may) else { continue };
                if self.stopped.contains(id) || self.gone.contains(id) {
                    continue;
                }
                match planner.standing(job, self.now) {
                    Ok(standing) => {
                        found.extend(standing.map(|s| (s, StopCause::Migration)));
                    }
                    Err(ready) => self.again(ready),
                }
            }
        }
        found
    }

    /// Where each of them goes on among what is free beside the place, as large and as fast as it
    /// is; nothing if one of them has nowhere to go.
    fn elsewhere(
        &mut self,
        place: &Placement,
        mut victims: Vec<Candidate<'a>>,
    ) -> Option<Vec<(Standing<'a>, Placement)>> {
        victims.sort_by_key(|(standing, _)| (Reverse(standing.running.units()), standing.sequence));
        let mark = self.yard.mark();
        self.yard.take_free(place);
        let mut moved = Vec::with_capacity(victims.len());
        for (standing, _) in victims {
            let Some(to) = self.place_anew(standing.running) else {
                self.yard.rewind(mark);
                return None;
            };
            self.yard.take(&to);
            moved.push((standing, to));
        }
        self.yard.rewind(mark);
        Some(moved)
    }

    fn place_anew(&mut self, job: &Running) -> Option<Placement> {
        let planner = self.planner;
        let ranks = u32::try_from(job.units()).ok()?;
        let request = Request { ranks, ..planner.request_of_running(job) };
        let hints = planner.hints_of_running(job, self.now);
        self.work = self.work.saturating_sub(1);
        let to = self.yard.place(&request, &hints)?;
        (self.yard.pace(&to, &job.resources.speed) >= job.speed).then_some(to)
    }
}
