//! The last step of a pass: jobs that it placed one after another are placed anew, in another
//! order, where all of them together cost less so. Who came first took what was best for itself
//! and may need it least. Nothing that runs is touched, nobody starts who did not, and the number of
//! tries is bounded.

use std::{cmp::Reverse, mem::take};

use trainyard_jobs::Policy;

use super::Pass;
use crate::placement::{
    fit::{Hints, Request},
    order::Settings,
    view::Waiting,
    yard::{KindId, Placement},
};

/// Jobs that take part, the first that a pass places: each is looked at beside the others.
const PARTIES: usize = 256;

/// Those of them that are tried first in an order: who has most to gain.
const FIRST: usize = 64;

/// Others that each is tried with: those that have most to give.
const PARTNERS: usize = 8;

/// Places that are sought in one pass, in a yard of up to so many nodes. In a larger one each costs
/// more, and fewer are sought: a pass that has one change to deal with stays short.
const PLACES: usize = 2000;
const NODES: usize = 1000;

/// A job that was placed.
#[derive(Debug)]
pub(super) struct Party<'a> {
    job: &'a Waiting,
    pub(super) request: Request,
    pub(super) place: Placement,
    /// Which of the plan's starts it is.
    start: usize,
}

/// What a job would cost.
struct Bill {
    /// On its place, and at best.
    now: i128,
    least: i128,
    kind: Option<KindId>,
    kinds: Vec<(KindId, i128)>,
}

impl Bill {
    fn on(&self, kind: Option<KindId>) -> Option<i128> {
        self.kinds.iter().find(|(known, _)| Some(*known) == kind).map(|(_, cost)| *cost)
    }

    /// What both together would gain if each had units of the other's kind.
    fn gain(&self, other: &Self) -> Option<i128> {
        Some(self.now + other.now - self.on(other.kind)? - other.on(self.kind)?)
    }
}

impl<'a> Pass<'a> {
    /// Notes a job that is about to start, if it may be placed elsewhere as well: not one that keeps
    /// off nodes, nor one whose type was chosen for it, nor one that was let in before a kept place
    /// is needed.
    pub(super) fn may_exchange(
        &mut self,
        job: &'a Waiting,
        settings: &'a Settings,
        request: &Request,
        place: &Placement,
    ) {
        let is_question = self.asked.is_some() || self.why.is_some();
        let is_kept = !self.reserved.is_empty() || !self.is_open();
        if self.parties.len() >= PARTIES
            || is_question
            || is_kept
            || settings.policy == Policy::Gavel
            || !job.failed_on.is_empty()
            || place.ranks() != request.ranks
            || self.shares.has_types()
        {
            return;
        }
        let start = self.plan.starts.len();
        let (request, place) = (request.clone(), place.clone());
        self.parties.push(Party { job, request, place, start });
    }

    /// Places jobs anew where all together cost less so.
    pub(super) fn exchange(&mut self) {
        let mut parties = take(&mut self.parties);
        if parties.is_empty() || !self.is_open() {
            return;
        }
        self.swap(&mut parties);
        self.place_together(&mut parties);
    }

    fn swap(&mut self, parties: &mut [Party<'a>]) {
        let nodes = self.planner.nodes().len().max(NODES);
        let mut places = PLACES.saturating_mul(NODES) / nodes;
        // Where each has what is best for it there is nothing to exchange.
        if parties.iter().map(|party| self.bill(party)).all(|bill| bill.now <= bill.least) {
            return;
        }
        while self.improve(parties, &mut places) {}
    }

    pub(super) fn hints(&self, party: &Party<'a>) -> Hints<'a> {
        self.planner.hints_of(party.job, self.now)
    }

    fn bill(&self, party: &Party<'a>) -> Bill {
        let hints = self.hints(party);
        let kinds = self.yard.hours_by_kind(&party.request, &hints);
        Bill {
            now: self.yard.hours_of(&party.request, &hints, &party.place),
            least: kinds.iter().map(|(_, cost)| *cost).min().unwrap_or(0),
            kind: self.yard.kind_of(&party.place),
            kinds,
        }
    }

    /// One round. Says whether it gained anything and another may.
    fn improve(&mut self, parties: &mut [Party<'a>], places: &mut usize) -> bool {
        let bills: Vec<Bill> = parties.iter().map(|party| self.bill(party)).collect();
        let mut first: Vec<usize> = (0..parties.len()).collect();
        let envy = |at: &usize| bills.get(*at).map(|bill| bill.now - bill.least);
        first.sort_by_key(|at| Reverse(envy(at)));
        let mut gained = false;
        for at in first.into_iter().take(FIRST) {
            let Some(bill) = bills.get(at) else { continue };
            let mut others: Vec<(Reverse<Option<i128>>, usize)> = (0..)
                .zip(&bills)
                .filter(|(other, _)| *other != at)
                .map(|(other, theirs)| (Reverse(bill.gain(theirs)), other))
                .collect();
            others.sort_unstable();
            let others: Vec<usize> = others.into_iter().take(PARTNERS).map(|(_, o)| o).collect();
            gained |= self.attempt(parties, &[at], places);
            for one in &others {
                gained |= self.attempt(parties, &[at, *one], places);
            }
            for one in &others {
                for two in others.iter().filter(|two| *two != one) {
                    gained |= self.attempt(parties, &[at, *one, *two], places);
                }
            }
            if *places == 0 {
                return false;
            }
        }
        gained
    }

    /// Places some jobs anew in this order. Everything stays as it is if that costs no less, or one
    /// of them found no place.
    fn attempt(&mut self, parties: &mut [Party<'a>], order: &[usize], places: &mut usize) -> bool {
        let Some(left) = places.checked_sub(order.len()) else {
            *places = 0;
            return false;
        };
        let Some(work) = self.work.checked_sub(u64::try_from(order.len()).unwrap_or(0)) else {
            *places = 0;
            return false;
        };
        (*places, self.work) = (left, work);
        let mark = self.yard.mark();
        let mut gain: i128 = 0;
        for party in order.iter().filter_map(|at| parties.get(*at)) {
            gain += self.yard.hours_of(&party.request, &self.hints(party), &party.place);
            gain += self.yard.waste_of(&party.place);
            self.yard.give_back(&party.place);
            gain -= self.yard.waste_of(&party.place);
        }
        let mut found = Vec::with_capacity(order.len());
        for at in order {
            let Some(party) = parties.get(*at) else { continue };
            let hints = self.hints(party);
            let Some(place) = self.yard.place(&party.request, &hints) else { break };
            gain -= self.yard.hours_of(&party.request, &hints, &place);
            gain += self.yard.waste_of(&place);
            self.yard.take(&place);
            gain -= self.yard.waste_of(&place);
            found.push((*at, place));
        }
        if found.len() < order.len() || gain <= 0 || !self.settle(parties, &found) {
            self.yard.rewind(mark);
            return false;
        }
        for (at, place) in found {
            if let Some(party) = parties.get_mut(at) {
                party.place = place;
            }
        }
        true
    }

    /// Lets the plan's starts follow, if there is a port for each.
    pub(super) fn settle(&mut self, parties: &[Party<'a>], found: &[(usize, Placement)]) -> bool {
        let mut changes = Vec::with_capacity(found.len());
        for (at, place) in found {
            let Some(party) = parties.get(*at) else { return false };
            let Some(start) = self.plan.starts.get(party.start) else { return false };
            let placements = self.yard.assignments(place);
            let master = |of: &[crate::command::Assignment]| of.first().map(|a| a.node.clone());
            let mut port = start.master_port;
            if master(&start.placements) != master(&placements) {
                let turn = party.job.sequence.wrapping_add(u64::from(party.job.attempts));
                let Some(other) = self.yard.take_port(place, turn) else { return false };
                port = other;
            }
            changes.push((party.start, placements, port));
        }
        for (at, placements, port) in changes {
            if let Some(start) = self.plan.starts.get_mut(at) {
                (start.placements, start.master_port) = (placements, port);
            }
        }
        true
    }
}
