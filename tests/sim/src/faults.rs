//! What goes wrong, and when it is put right again.

use crate::{
    around::{Around, Due, Ms},
    facts::Fact,
    letters::{Letter, Place},
    note,
    scheduler::GRACE,
    world::World,
};

/// Kinds of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    CrashScheduler,
    CrashAll,
    CrashAfterVotes,
    BurnDisk,
    SlowDisk,
    StallScheduler,
    DeposeAsleep,
    SkewClock,
    RotSnapshot,
    CutOneWay,
    IsolateScheduler,
    IsolateWorkers,
    HealNetwork,
    HandOver,
    ReplaceMember,
    Garbage,
    KillAgent,
    FreezeAgent,
    PowerCut,
    KillShim,
    FullDisk,
    SickUnit,
    StoreAway,
}

impl Kind {
    pub const ALL: [Self; 23] = [
        Self::CrashScheduler,
        Self::CrashAll,
        Self::CrashAfterVotes,
        Self::BurnDisk,
        Self::SlowDisk,
        Self::StallScheduler,
        Self::DeposeAsleep,
        Self::SkewClock,
        Self::RotSnapshot,
        Self::CutOneWay,
        Self::IsolateScheduler,
        Self::IsolateWorkers,
        Self::HealNetwork,
        Self::HandOver,
        Self::ReplaceMember,
        Self::Garbage,
        Self::KillAgent,
        Self::FreezeAgent,
        Self::PowerCut,
        Self::KillShim,
        Self::FullDisk,
        Self::SickUnit,
        Self::StoreAway,
    ];
}

/// What is put right again.
#[derive(Debug, Clone, Copy)]
pub enum Repair {
    Scheduler(u64),
    Power(usize),
    Agent(usize),
    Disk(usize),
    Unit(usize),
    Store,
    Network,
}

/// Now and then at once: what a process had under way then meets its next life.
fn later(around: &mut Around, least: Ms, most: Ms, repair: Repair) {
    let most = if around.rng.chance(30) { least + 150 } else { most };
    let at = around.now + least + around.rng.below(most - least);
    around.at(at, Due::Repair(repair));
}

impl World {
    /// One fault, if the seed has any.
    pub(crate) fn strike(&mut self) {
        let kinds = &self.scenario.kinds;
        if kinds.is_empty() {
            return;
        }
        let kind = kinds[self.around.rng.below(kinds.len() as u64) as usize];
        note!(self.around, "fault: {kind:?}");
        match kind {
            Kind::CrashScheduler
            | Kind::CrashAll
            | Kind::CrashAfterVotes
            | Kind::BurnDisk
            | Kind::SlowDisk
            | Kind::StallScheduler
            | Kind::SkewClock
            | Kind::RotSnapshot
            | Kind::Garbage
            | Kind::HandOver => self.strike_scheduler(kind),
            Kind::DeposeAsleep => self.depose_asleep(),
            Kind::ReplaceMember => self.replace_member(),
            Kind::CutOneWay | Kind::IsolateScheduler | Kind::IsolateWorkers | Kind::HealNetwork => {
                self.strike_network(kind)
            }
            Kind::KillAgent
            | Kind::FreezeAgent
            | Kind::PowerCut
            | Kind::KillShim
            | Kind::FullDisk
            | Kind::SickUnit
            | Kind::StoreAway => self.strike_worker(kind),
        }
    }

    fn strike_scheduler(&mut self, kind: Kind) {
        let around = &mut self.around;
        let ids: Vec<u64> = self.schedulers.keys().copied().collect();
        let id = ids[around.rng.below(ids.len() as u64) as usize];
        let Some(scheduler) = self.schedulers.get_mut(&id) else { return };
        match kind {
            Kind::CrashScheduler => {
                scheduler.crash(around);
                later(around, 1, 8_000, Repair::Scheduler(id));
            }
            Kind::CrashAll => {
                for scheduler in self.schedulers.values_mut() {
                    scheduler.crash(around);
                    later(around, 1, 4_000, Repair::Scheduler(scheduler.id));
                }
            }
            Kind::CrashAfterVotes => {
                for scheduler in self.schedulers.values_mut() {
                    scheduler.dies_after_votes = 50;
                }
                // And an election to vote in.
                if let Some(scheduler) = self.schedulers.get_mut(&id) {
                    scheduler.crash(around);
                    later(around, 1, 3_000, Repair::Scheduler(id));
                }
            }
            Kind::BurnDisk => {
                let operations = around.rng.below(40);
                scheduler.disk.burn(operations);
                later(around, 1_000, 6_000, Repair::Scheduler(id));
            }
            Kind::SlowDisk => scheduler.slow = around.rng.below(4) * around.rng.below(150),
            Kind::StallScheduler => {
                let until = around.now + around.rng.below(8_000);
                if let Some(life) = &mut scheduler.life {
                    life.busy_until = until;
                }
                around.at(until, Due::Thaw(id));
            }
            Kind::Garbage => {
                // What no member sent; and below, what was sent to another.
                let bytes = (0..around.rng.below(60)).map(|_| around.rng.draw() as u8).collect();
                let from = Place::Scheduler(1 + around.rng.below(7));
                let letter = Letter::Raft { bytes, snapshot: false };
                scheduler.take(around, from, letter);
                self.astray = true;
            }
            Kind::SkewClock => {
                scheduler.skew = around.rng.below(7_000) as i64 - 3_500;
                around.tell(Fact::ClockSkewed);
            }
            Kind::RotSnapshot => {
                // One at a time, and only where others are left.
                let others = ids.len() >= 3 && !self.rotted;
                scheduler.crash(around);
                if others {
                    scheduler.rot(around);
                    self.rotted = true;
                }
                later(around, 200, 3_000, Repair::Scheduler(id));
            }
            _ => {
                if let Some(life) = &mut scheduler.life {
                    life.feed(trainyard_raft::Input::Transfer(None));
                    scheduler.wake(around);
                }
            }
        }
    }

    /// The leader stands still until the others have elected another, and when it wakes it hears
    /// callers, and late letters of those who followed it, but nothing of its successor.
    fn depose_asleep(&mut self) {
        let around = &mut self.around;
        let others: Vec<u64> = self.schedulers.keys().copied().collect();
        let mut lives = self.schedulers.values_mut().filter_map(|s| Some((s.id, s.life.as_mut()?)));
        let Some((leader, life)) = lives.find(|(_, life)| life.leading_term().is_some()) else {
            return;
        };
        let until = around.now + 1_200 + around.rng.below(1_500);
        life.busy_until = until;
        note!(around, "s{leader} sleeps until {until}");
        around.at(until, Due::Thaw(leader));
        for other in others {
            around.net.cut(Place::Scheduler(other), Place::Scheduler(leader));
        }
        later(around, 2_500, 5_000, Repair::Network);
    }

    fn strike_network(&mut self, kind: Kind) {
        let places = self.places();
        let around = &mut self.around;
        let count = places.len() as u64;
        match kind {
            Kind::CutOneWay => {
                let from = places[around.rng.below(count) as usize];
                let to = places[around.rng.below(count) as usize];
                around.net.cut(from, to);
            }
            Kind::IsolateScheduler => {
                let id = 1 + around.rng.below(self.scenario.schedulers);
                around.net.partition(&places, |place| *place == Place::Scheduler(id));
            }
            Kind::IsolateWorkers => {
                let chosen: Vec<Place> = (0..self.machines.len())
                    .filter(|_| around.rng.chance(60))
                    .map(Place::Worker)
                    .collect();
                around.net.partition(&places, |place| chosen.contains(place));
            }
            _ => around.net.heal(),
        }
        later(around, 1_000, 4 * GRACE, Repair::Network);
    }

    fn strike_worker(&mut self, kind: Kind) {
        let around = &mut self.around;
        let n = around.rng.below(self.machines.len() as u64) as usize;
        let machine = &mut self.machines[n];
        match kind {
            Kind::KillAgent => {
                // All at once, one now, or one in the middle of what it will do next.
                if around.rng.chance(30) {
                    for machine in &mut self.machines {
                        machine.kill_agent(around);
                        later(around, 10, 3_000, Repair::Agent(machine.n));
                    }
                    return;
                }
                if around.rng.chance(50) {
                    machine.kill_agent(around);
                } else {
                    machine.disk.fuse = Some(around.rng.below(6));
                }
                later(around, 50, 2 * GRACE, Repair::Agent(n));
            }
            Kind::FreezeAgent => machine.frozen_until = around.now + around.rng.below(3 * GRACE),
            Kind::PowerCut => {
                machine.cut_power(around, &mut self.gangs);
                later(around, 500, 3 * GRACE, Repair::Power(n));
            }
            Kind::KillShim => machine.kill_shim(around, &mut self.gangs),
            Kind::FullDisk => {
                machine.disk.full = true;
                later(around, 500, 8_000, Repair::Disk(n));
            }
            Kind::SickUnit => {
                let unit = machine.inventory.devices.keys().next().cloned();
                machine.sick = unit;
                later(around, 500, 8_000, Repair::Unit(n));
            }
            _ => {
                around.depot.away = true;
                later(around, 500, 15_000, Repair::Store);
            }
        }
    }

    /// Puts one thing right.
    pub(crate) fn repair(&mut self, repair: Repair) {
        let around = &mut self.around;
        match repair {
            Repair::Scheduler(id) => {
                if let Some(scheduler) = self.schedulers.get_mut(&id) {
                    scheduler.start(around);
                }
            }
            Repair::Power(n) => {
                self.machines[n].power = true;
                self.machines[n].start_agent(around);
            }
            Repair::Agent(n) => self.machines[n].start_agent(around),
            Repair::Disk(n) => self.machines[n].disk.full = false,
            Repair::Unit(n) => self.machines[n].sick = None,
            Repair::Store => around.depot.away = false,
            Repair::Network => around.net.heal(),
        }
    }

    /// Ends every fault.
    pub(crate) fn make_peace(&mut self) {
        let around = &mut self.around;
        note!(around, "peace");
        around.net.heal();
        around.net.faults = crate::around::CALM;
        around.depot.away = false;
        for scheduler in self.schedulers.values_mut() {
            scheduler.disk.mend();
            scheduler.slow = 0;
            scheduler.skew = 0;
            scheduler.dies_after_votes = 0;
            scheduler.start(around);
        }
        for machine in &mut self.machines {
            machine.disk.full = false;
            machine.disk.fuse = None;
            machine.sick = None;
            machine.power = true;
            machine.start_agent(around);
        }
    }
}
