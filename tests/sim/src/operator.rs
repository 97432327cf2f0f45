//! An operator who replaces a member: a new one learns first, then votes in the other's place, in
//! one joint step. What the driver's own membership is used for, while everything else goes wrong.

use trainyard_raft::{Input, MemberChange, Reply};

use crate::{note, scheduler::Scheduler, world::World};

/// Entries that a learner may lack when it is promoted.
const SLACK: u64 = 20;

/// At most so many replacements a run.
const MOST: u64 = 2;

/// Where a replacement stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Replacement {
    #[default]
    None,
    /// The new member is being added as a learner.
    Adds { new: u64, old: u64 },
    /// It catches up.
    Learns { new: u64, old: u64 },
    /// It takes the other's place.
    Swaps { new: u64, old: u64 },
}

impl World {
    /// Begins to replace a member.
    pub(crate) fn replace_member(&mut self) {
        let ids: Vec<u64> = self.schedulers.values().filter(|s| !s.retired).map(|s| s.id).collect();
        let begun = self.schedulers.len() as u64 - self.scenario.schedulers;
        if self.replacement != Replacement::None || ids.len() < 3 || begun >= MOST {
            return;
        }
        let old = ids[self.around.rng.below(ids.len() as u64) as usize];
        self.replace(old);
    }

    fn replace(&mut self, old: u64) {
        let new = self.schedulers.keys().max().copied().unwrap_or(0) + 1;
        note!(self.around, "s{new} is to replace s{old}");
        let first: Vec<u64> = (1..=self.scenario.schedulers).collect();
        let mut member = Scheduler::new(new, &first, true, self.scenario.snapshot_every);
        member.start(&mut self.around);
        self.schedulers.insert(new, member);
        self.replacement = Replacement::Adds { new, old };
    }

    /// Takes the next step of a replacement, if a leader can.
    pub(crate) fn go_on_replacing(&mut self) {
        if self.replacement == Replacement::None {
            let damaged = self.schedulers.values().find(|s| s.damaged && !s.retired);
            if let Some(old) = damaged.map(|s| s.id) {
                self.replace(old);
            }
            return;
        }
        let mut leaders = self
            .schedulers
            .values()
            .filter(|s| s.life.as_ref().is_some_and(|life| life.leading_term().is_some()));
        let Some(leader) = leaders.next().map(|s| s.id) else { return };
        if self.around.rng.chance(10) {
            // Asked of the wrong member.
            let others = self.schedulers.values_mut().filter(|s| s.id != leader);
            if let Some(life) = others.filter_map(|s| s.life.as_mut()).next() {
                let changes = vec![MemberChange::Remove(99)];
                life.feed(Input::ChangeMembers(changes, Reply::new(|_| ())));
            }
        }
        let Some(scheduler) = self.schedulers.get_mut(&leader) else { return };
        let Some(life) = &mut scheduler.life else { return };
        let status = life.status().clone();
        let mut ask = |changes| {
            life.feed(Input::ChangeMembers(changes, Reply::new(|_| ())));
        };
        match self.replacement {
            Replacement::None => {}
            Replacement::Adds { new, old } if status.learners.contains(&new) => {
                self.replacement = Replacement::Learns { new, old };
            }
            Replacement::Adds { new, .. } => ask(vec![MemberChange::AddLearner(new)]),
            Replacement::Learns { new, old } => {
                let matched = status.peers.get(&new).map_or(0, |peer| peer.matched);
                if matched + SLACK >= status.commit {
                    self.replacement = Replacement::Swaps { new, old };
                }
            }
            Replacement::Swaps { new, old }
                if status.voters.contains(&new) && !status.voters.contains(&old) =>
            {
                self.retire(old, new);
                return;
            }
            Replacement::Swaps { old, .. } if old == leader => {
                life.feed(Input::Transfer(None));
            }
            Replacement::Swaps { new, old } => {
                ask(vec![MemberChange::Promote(new), MemberChange::Remove(old)]);
            }
        }
        scheduler.wake(&mut self.around);
    }

    /// The old member is never started again, and everybody knows the new one.
    fn retire(&mut self, old: u64, new: u64) {
        self.replacement = Replacement::None;
        if let Some(scheduler) = self.schedulers.get_mut(&old) {
            scheduler.crash(&mut self.around);
            scheduler.retired = true;
        }
        note!(self.around, "s{new} has replaced s{old}");
        for machine in &mut self.machines {
            machine.knows(old, new);
        }
        for client in &mut self.clients {
            client.knows(old, new);
        }
    }
}
