//! The last step of a pass, after jobs changed places one for another: a few of those that it
//! placed, and the nodes around them, are placed all at once at the least that they can cost
//! together.

use std::collections::BTreeSet;

use super::{Pass, exchange::Party};
use crate::placement::yard::{Gang, SITES, Sites};

/// Jobs that are placed together, if there are no more.
const FEW: usize = 8;

/// Jobs that are otherwise placed together with each.
const OTHERS: usize = 3;

/// Jobs that are looked at with those around them.
const CENTRES: usize = 64;

/// Steps of one pass, in a yard of up to so many nodes; in a larger one fewer.
const STEPS: u64 = 200_000;
const NODES: u64 = 1000;

/// Steps that are as much work as a job that is looked at.
const A_JOB: u64 = 64;

impl<'a> Pass<'a> {
    /// Places jobs anew where some of them cost less together.
    pub(super) fn place_together(&mut self, parties: &mut [Party<'a>]) {
        let nodes = u64::try_from(self.planner.nodes().len()).unwrap_or(u64::MAX).max(NODES);
        let mut steps = (STEPS.saturating_mul(NODES) / nodes).min(self.work.saturating_mul(A_JOB));
        let before = steps;
        let mut seen = BTreeSet::new();
        for centre in 0..parties.len().min(CENTRES) {
            let Some((group, sites)) = self.around(parties, centre) else { continue };
            if steps > 0 && seen.insert((group.clone(), sites.clone())) {
                self.place_group(parties, &group, &sites, &mut steps);
            }
        }
        self.work = self.work.saturating_sub((before - steps) / A_JOB);
    }

    /// Who is placed together with one, and on which nodes: all, if they are few; otherwise those
    /// that share a node with it, or came next.
    fn around(&self, parties: &[Party<'a>], centre: usize) -> Option<(Vec<usize>, Vec<u32>)> {
        let of = |at: usize| self.yard.sites_of(&parties.get(at)?.place);
        let mut sites = of(centre)?;
        if sites.len() > SITES {
            return None;
        }
        let mut group = vec![centre];
        let mut others: Vec<usize> = (0..parties.len()).filter(|at| *at != centre).collect();
        if parties.len() > FEW {
            let apart = |at: &usize| of(*at).is_none_or(|theirs| theirs.is_disjoint(&sites));
            others.sort_by_key(|at| (apart(at), at.abs_diff(centre)));
            others.truncate(OTHERS);
        }
        for other in others {
            let Some(theirs) = of(other) else { continue };
            let both: Sites = sites.union(&theirs).copied().collect();
            if both.len() <= SITES {
                sites = both;
                group.push(other);
            }
        }
        group.sort_unstable();
        for party in group.iter().filter_map(|at| parties.get(*at)) {
            self.yard.add_sites(&self.gang(party), &mut sites);
        }
        Some((group, sites.into_iter().map(|(_, slot)| slot).collect()))
    }

    fn place_group(
        &mut self,
        parties: &mut [Party<'a>],
        group: &[usize],
        sites: &[u32],
        steps: &mut u64,
    ) {
        let mark = self.yard.mark();
        let members: Vec<&Party<'a>> = group.iter().filter_map(|at| parties.get(*at)).collect();
        let gangs: Vec<Gang<'_>> = members.iter().map(|party| self.gang(party)).collect();
        let places = members.iter().map(|party| &party.place);
        let hours =
            |((request, hints), place): (&Gang<'_>, _)| self.yard.hours_of(request, hints, place);
        let cost: i128 = gangs.iter().zip(places.clone()).map(hours).sum();
        let cost = cost + self.yard.waste_on(sites);
        for place in places {
            self.yard.give_back(place);
        }
        let counts = self.yard.together(&gangs, sites, cost, steps);
        let mut found = Vec::with_capacity(group.len());
        for ((at, gang), counts) in group.iter().zip(&gangs).zip(counts.iter().flatten()) {
            let Some(place) = self.yard.on(gang, counts) else { break };
            self.yard.take(&place);
            found.push((*at, place));
        }
        if found.len() < group.len() || !self.settle(parties, &found) {
            self.yard.rewind(mark);
            return;
        }
        for (at, place) in found {
            if let Some(party) = parties.get_mut(at) {
                party.place = place;
            }
        }
    }

    fn gang<'b>(&self, party: &'b Party<'a>) -> Gang<'b>
    where
        'a: 'b,
    {
        (&party.request, self.hints(party))
    }
}
