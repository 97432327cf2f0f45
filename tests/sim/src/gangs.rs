//! The programs that train: ranks that wait for each other, take steps while their gang is whole,
//! leave checkpoints, fail as their job says, and give up when the others are gone for too long.

use std::collections::{BTreeMap, BTreeSet};

use trainyard_jobs::{AttemptRef, JobSpec, RankExit};

use crate::{around::Ms, facts::Gone};

/// A step takes so long.
pub const STEP: Ms = 100;

/// Ranks whose peers left give up after this long; those that never met them wait for longer.
const LONELY: Ms = 4_000;
const NEVER_MET: Ms = 120_000;

/// What a job's program does, told by its arguments.
#[derive(Debug, Clone, Copy, Default)]
pub struct Script {
    /// Steps to the end.
    pub total: u64,
    /// Steps between checkpoints.
    pub every: u64,
    /// The first so many attempts fail at this step.
    pub fails: (u32, u64),
    /// Each node leaves a part of a checkpoint; else rank 0's alone does.
    pub parts: bool,
    /// Does not listen to SIGTERM.
    pub stubborn: bool,
    /// Its artifacts are damaged in its first so many attempts.
    pub damaged: u32,
}

impl Script {
    /// The arguments of the program.
    pub fn command(&self) -> Vec<String> {
        let Self { total, every, fails, parts, stubborn, damaged } = *self;
        let numbers =
            [total, every, fails.0.into(), fails.1, parts.into(), stubborn.into(), damaged.into()];
        let numbers = numbers.iter().map(ToString::to_string);
        std::iter::once("train".to_owned()).chain(numbers).collect()
    }

    pub fn of(spec: &JobSpec) -> Self {
        let number = |at: usize| spec.run.command.get(at).and_then(|n| n.parse().ok()).unwrap_or(0);
        Self {
            total: number(1),
            every: number(2).max(1),
            fails: (number(3) as u32, number(4)),
            parts: number(5) > 0,
            stubborn: number(6) > 0,
            damaged: number(7) as u32,
        }
    }
}

/// What a program does now.
#[derive(Debug)]
pub enum Deed {
    /// Leaves a checkpoint in the spool of a machine.
    Spool { machine: usize, attempt: AttemptRef, step: u64, parts: u32 },
    /// Ends.
    Exit { machine: usize, attempt: AttemptRef, rank: u32, how: Gone },
}

#[derive(Debug)]
struct Gang {
    script: Script,
    world: u32,
    nodes: u32,
    step: u64,
    /// Time towards the next step.
    spare: Ms,
    ranks: BTreeMap<u32, usize>,
    met: bool,
    lonely_since: Option<Ms>,
    /// An exit was decided for these.
    ending: BTreeSet<u32>,
}

/// All gangs that have a rank somewhere.
#[derive(Debug, Default)]
pub struct Gangs(BTreeMap<AttemptRef, Gang>);

impl Gangs {
    /// A rank runs from now on.
    pub fn joins(
        &mut self,
        attempt: &AttemptRef,
        rank: u32,
        machine: usize,
        (world, nodes): (u32, u32),
        from_step: u64,
        script: Script,
    ) {
        let gang = self.0.entry(attempt.clone()).or_insert_with(|| Gang {
            script,
            world,
            nodes,
            step: from_step,
            spare: 0,
            ranks: BTreeMap::new(),
            met: false,
            lonely_since: None,
            ending: BTreeSet::new(),
        });
        gang.ranks.insert(rank, machine);
    }

    /// A rank is gone.
    pub fn leaves(&mut self, attempt: &AttemptRef, rank: u32) {
        if let Some(gang) = self.0.get_mut(attempt) {
            gang.ranks.remove(&rank);
            if gang.ranks.is_empty() {
                self.0.remove(attempt);
            }
        }
    }

    /// The step that a gang has reached.
    pub fn step(&self, attempt: &AttemptRef) -> u64 {
        self.0.get(attempt).map_or(0, |gang| gang.step)
    }

    /// Time has passed.
    pub fn pass(&mut self, now: Ms, passed: Ms) -> Vec<Deed> {
        let mut deeds = Vec::new();
        for (attempt, gang) in &mut self.0 {
            gang.pass(attempt, now, passed, &mut deeds);
        }
        deeds
    }
}

impl Gang {
    fn pass(&mut self, attempt: &AttemptRef, now: Ms, passed: Ms, deeds: &mut Vec<Deed>) {
        let running = self.ranks.len() - self.ending.len().min(self.ranks.len());
        if running < self.world as usize {
            let since = *self.lonely_since.get_or_insert(now);
            let patience = if self.met { LONELY } else { NEVER_MET };
            if now - since >= patience {
                self.end_all(attempt, Gone::Lonely(RankExit::Code { code: 1 }), deeds);
            }
            return;
        }
        self.met = true;
        self.lonely_since = None;
        self.spare += passed;
        while self.spare >= STEP {
            self.spare -= STEP;
            self.step += 1;
            let (failures, at) = self.script.fails;
            if attempt.attempt.0 <= failures && self.step >= at {
                // One rank fails; the others stand without it.
                let rank = (self.step % u64::from(self.world)) as u32;
                let how = Gone::Own(RankExit::Code { code: 3 });
                self.end(attempt, rank, how, deeds);
                return;
            }
            if self.step >= self.script.total {
                self.end_all(attempt, Gone::Own(RankExit::Code { code: 0 }), deeds);
                return;
            }
            if self.step.is_multiple_of(self.script.every) {
                self.spool(attempt, deeds);
            }
        }
    }

    fn spool(&self, attempt: &AttemptRef, deeds: &mut Vec<Deed>) {
        let (step, attempt) = (self.step, attempt.clone());
        if self.script.parts {
            let machines: BTreeSet<usize> = self.ranks.values().copied().collect();
            let parts = self.nodes;
            deeds.extend(machines.into_iter().map(|machine| {
                let attempt = attempt.clone();
                Deed::Spool { machine, attempt, step, parts }
            }));
        } else if let Some(machine) = self.ranks.get(&0) {
            deeds.push(Deed::Spool { machine: *machine, attempt, step, parts: 1 });
        }
    }

    fn end(&mut self, attempt: &AttemptRef, rank: u32, how: Gone, deeds: &mut Vec<Deed>) {
        if let Some(machine) = self.ranks.get(&rank)
            && self.ending.insert(rank)
        {
            let (machine, attempt) = (*machine, attempt.clone());
            deeds.push(Deed::Exit { machine, attempt, rank, how });
        }
    }

    fn end_all(&mut self, attempt: &AttemptRef, how: Gone, deeds: &mut Vec<Deed>) {
        for rank in self.ranks.keys().copied().collect::<Vec<_>>() {
            self.end(attempt, rank, how, deeds);
        }
    }
}
