//! A shim with its ranks: the shim's own supervisor decides, and signals take their time.

use std::{collections::BTreeMap, time::Duration};

use trainyard_jobs::{AttemptRef, RankExit, UnitId};
use trainyard_worker::shim::supervisor::{Action, Supervisor};

use super::Machine;
use crate::{
    around::{Around, Ms},
    facts::{Blow, Fact, Gone},
    gangs::{Gangs, Script},
    note,
};

/// A rank's process.
#[derive(Debug)]
pub struct Process {
    pub unit: UnitId,
    /// When it ends, and how, once that is decided.
    pub ends: Option<(Ms, Gone)>,
}

/// A shim that runs.
#[derive(Debug)]
pub struct Shim {
    pub supervisor: Supervisor,
    pub began: Ms,
    pub processes: BTreeMap<u32, Process>,
    pub script: Script,
    /// The agent has told it to stop.
    pub told: bool,
}

impl Shim {
    fn since(&self, now: Ms) -> Duration {
        Duration::from_millis(now - self.began)
    }

    /// A program ends at once, as it decided.
    pub fn ends(&mut self, rank: u32, now: Ms, how: Gone) {
        if let Some(process) = self.processes.get_mut(&rank) {
            process.ends.get_or_insert((now, how));
        }
    }

    /// The agent tells it to stop.
    pub fn stop(&mut self, around: &mut Around) {
        if !std::mem::replace(&mut self.told, true) {
            let actions = self.supervisor.stop(self.since(around.now));
            self.carry_out(around, &actions);
        }
    }

    /// Whether a checkpoint was asked for.
    fn carry_out(&mut self, around: &mut Around, actions: &[Action]) -> bool {
        let mut asked = false;
        for action in actions {
            match action {
                Action::RequestCheckpoint { .. } => asked = true,
                Action::Terminate if self.script.stubborn => {}
                Action::Terminate => {
                    for process in self.processes.values_mut() {
                        let at = around.now + around.rng.below(300);
                        let how = Gone::Told(RankExit::Code { code: 143 });
                        process.ends.get_or_insert((at, how));
                    }
                }
                Action::Kill => {
                    for process in self.processes.values_mut() {
                        let how = Gone::Told(RankExit::Signal { signal: 9 });
                        process.ends.get_or_insert((around.now, how));
                    }
                }
            }
        }
        asked
    }
}

impl Machine {
    /// Every shim looks at its ranks and its clock; one whose ranks have all ended leaves a record.
    pub(super) fn look_at_shims(&mut self, around: &mut Around, gangs: &mut Gangs) {
        let attempts: Vec<AttemptRef> = self.shims.keys().cloned().collect();
        for attempt in attempts {
            self.look_at_shim(around, gangs, &attempt);
            let shim = &self.shims[&attempt];
            if shim.supervisor.is_done() {
                let record = shim.supervisor.record();
                note!(around, "w{} ranks of {attempt} have ended", self.n);
                if record.time_limit {
                    let attempt = &attempt;
                    around.tell(Fact::Blow { attempt, what: Blow::Allowance });
                }
                self.shims.remove(&attempt);
                if let Some(dir) = self.disk.dirs.get_mut(&attempt) {
                    dir.exit = Some(record);
                }
            }
        }
    }

    fn look_at_shim(&mut self, around: &mut Around, gangs: &mut Gangs, attempt: &AttemptRef) {
        let now = around.now;
        let Some(shim) = self.shims.get_mut(attempt) else { return };
        let due = |process: &Process| process.ends.is_some_and(|(at, _)| at <= now);
        let ended: Vec<u32> =
            shim.processes.iter().filter(|(_, p)| due(p)).map(|(rank, _)| *rank).collect();
        for rank in ended {
            let Some(Process { unit, ends: Some((_, how)) }) = shim.processes.remove(&rank) else {
                continue;
            };
            let (Gone::Own(exit) | Gone::Lonely(exit) | Gone::Told(exit)) = how else { continue };
            gangs.leaves(attempt, rank);
            let node = &self.node;
            around.tell(Fact::RankEnded { node, unit: &unit, attempt, how });
            let actions = shim.supervisor.exited(rank, exit, shim.since(now));
            shim.carry_out(around, &actions);
        }
        let actions = shim.supervisor.tick(shim.since(now));
        if shim.carry_out(around, &actions)
            && let Some(dir) = self.disk.dirs.get_mut(attempt)
            && shim.processes.contains_key(&0)
            && !shim.script.parts
        {
            dir.spool.insert(gangs.step(attempt).max(1), 1);
        }
    }

    /// A program on this machine does something of itself.
    pub fn rank_ends(&mut self, now: Ms, attempt: &AttemptRef, rank: u32, how: Gone) {
        if let Some(shim) = self.shims.get_mut(attempt) {
            shim.ends(rank, now, how);
        }
    }

    /// A program on this machine leaves a checkpoint.
    pub fn spool(&mut self, attempt: &AttemptRef, step: u64, parts: u32) {
        if let Some(dir) = self.disk.dirs.get_mut(attempt) {
            dir.spool.insert(step, parts);
        }
    }
}
