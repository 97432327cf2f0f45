//! The simulation itself: processes, what is around them, and the order in which things happen.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
};

use trainyard_core::Planner;
use trainyard_jobs::{JobPhase, Timestamp};
use trainyard_raft::Input;

use crate::{
    around::{Around, Due, Ms},
    checks::Violation,
    client::Client,
    gangs::{Deed, Gangs},
    letters::{Letter, Place},
    machine::Machine,
    note,
    operator::Replacement,
    scenario::Scenario,
    scheduler::Scheduler,
};

/// How often machines and clients look around.
const LOOK: Ms = 50;

/// How often it is looked whether everything has come to rest.
const REST: Ms = 500;

pub struct World {
    pub(crate) scenario: Scenario,
    pub(crate) around: Around,
    pub(crate) schedulers: BTreeMap<u64, Scheduler>,
    pub(crate) machines: Vec<Machine>,
    pub(crate) clients: Vec<Client>,
    pub(crate) gangs: Gangs,
    pub(crate) replacement: Replacement,
    /// The next message between schedulers goes to another than it was meant for.
    pub(crate) astray: bool,
    /// A disk has rotted in this run.
    pub(crate) rotted: bool,
    peace: bool,
}

/// What a run came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub seed: u64,
    pub violation: Option<Violation>,
    /// The digest of everything that happened, and how many lines that were.
    pub digest: (u64, u64),
    /// When everything had come to rest.
    pub rest: Ms,
    /// How often each kind of command came to each outcome.
    pub outcomes: BTreeMap<String, u64>,
}

/// Runs a scenario to its end.
pub fn run(scenario: &Scenario, print: bool) -> Outcome {
    let mut world = World::new(scenario, print);
    let gone = catch_unwind(AssertUnwindSafe(|| world.go()));
    if let Err(payload) = gone {
        let text = payload.downcast_ref::<String>().cloned();
        let text = text.or_else(|| payload.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        let now = world.around.now;
        world.around.checks.fail("nothing panics", now, text.unwrap_or_default());
    }
    let Around { checks, trace, now, .. } = world.around;
    Outcome {
        seed: scenario.seed,
        violation: checks.violation,
        digest: trace.digest(),
        rest: now,
        outcomes: checks.outcomes,
    }
}

impl World {
    fn new(scenario: &Scenario, print: bool) -> Self {
        let mut around = Around::new(scenario.seed, print);
        let ids: Vec<u64> = (1..=scenario.schedulers).collect();
        let scheduler = |id: &u64| (*id, Scheduler::new(*id, &ids, false, scenario.snapshot_every));
        let schedulers: BTreeMap<u64, Scheduler> = ids.iter().map(scheduler).collect();
        let machines = scenario.workers.iter().enumerate();
        let machines: Vec<Machine> =
            machines.map(|(n, slots)| Machine::new(n, *slots, ids.clone(), &mut around)).collect();
        let settings = |n: usize| scenario.settings.clone().filter(|_| n == 0);
        let share = |n: usize| scenario.jobs / scenario.clients + usize::from(n == 0);
        let clients = (0..scenario.clients)
            .map(|n| Client::new(n, share(n), ids.clone(), settings(n)))
            .collect();
        let mut world = Self {
            scenario: scenario.clone(),
            around,
            schedulers,
            machines,
            clients,
            gangs: Gangs::default(),
            replacement: Replacement::None,
            astray: false,
            rotted: false,
            peace: false,
        };
        note!(world.around, "{scenario:?}");
        world.around.net.faults = scenario.network;
        for scheduler in world.schedulers.values_mut() {
            scheduler.start(&mut world.around);
        }
        for machine in &mut world.machines {
            machine.start_agent(&mut world.around);
        }
        world.around.at(0, Due::Look);
        // The cluster gets a moment to come up.
        world.around.at(3_000, Due::Fault);
        world
    }

    /// Where anything is.
    pub(crate) fn places(&self) -> Vec<Place> {
        let schedulers = self.schedulers.keys().map(|id| Place::Scheduler(*id));
        let workers = (0..self.machines.len()).map(Place::Worker);
        let clients = (0..self.clients.len()).map(Place::Client);
        schedulers.chain(workers).chain(clients).collect()
    }

    fn go(&mut self) {
        let end = self.scenario.trouble + self.scenario.patience;
        let mut rest = self.scenario.trouble + REST;
        while let Some(due) = self.around.next() {
            if self.around.checks.violation.is_some() {
                return;
            }
            self.happen(due);
            let now = self.around.now;
            if !self.peace && now >= self.scenario.trouble {
                self.peace = true;
                self.make_peace();
            }
            if self.peace && now >= rest {
                rest = now + REST;
                match self.unrest() {
                    None => break,
                    Some(why) if now >= end => {
                        let what = format!(
                            "no rest {} s after the last fault: {why}",
                            (now - self.scenario.trouble) / 1000
                        );
                        self.around.checks.fail("trouble passes", now, what);
                        return;
                    }
                    Some(_) => {}
                }
            }
        }
        note!(self.around, "at rest");
        let now = self.around.now;
        self.around.checks.finish(now, &self.around.depot.store);
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Letter { from, to, letter } => self.deliver(from, to, letter),
            Due::Scheduler { id, life } => {
                if let Some(scheduler) = self.schedulers.get_mut(&id).filter(|s| s.is_life(life)) {
                    scheduler.wake(&mut self.around);
                }
            }
            Due::Thaw(id) => {
                if let Some(scheduler) = self.schedulers.get_mut(&id) {
                    scheduler.wake(&mut self.around);
                }
            }
            Due::Look => self.look(),
            Due::Fault if self.peace => {}
            Due::Fault => {
                self.strike();
                let pace = self.scenario.pace;
                let at = self.around.now + 1 + self.around.rng.below(2 * pace);
                self.around.at(at, Due::Fault);
            }
            Due::Repair(repair) => self.repair(repair),
        }
    }

    fn look(&mut self) {
        let around = &mut self.around;
        for deed in self.gangs.pass(around.now, LOOK) {
            match deed {
                Deed::Spool { machine, attempt, step, parts } => {
                    self.machines[machine].spool(&attempt, step, parts);
                }
                Deed::Exit { machine, attempt, rank, how } => {
                    self.machines[machine].rank_ends(around.now, &attempt, rank, how);
                }
            }
        }
        for machine in &mut self.machines {
            machine.look(around, &mut self.gangs);
        }
        for client in &mut self.clients {
            client.look(around, &self.scenario);
        }
        around.at(around.now + LOOK, Due::Look);
        if around.now.is_multiple_of(500) {
            self.go_on_replacing();
        }
    }

    fn deliver(&mut self, from: Place, mut to: Place, letter: Letter) {
        let around = &mut self.around;
        if self.astray && matches!(letter, Letter::Raft { snapshot: false, .. }) {
            self.astray = false;
            to = Place::Scheduler(1 + around.rng.below(self.scenario.schedulers));
        }
        // What was under way when the link was cut may have got through before.
        let open = around.net.reaches(from, to) || around.rng.chance(50);
        let snapshot = match &letter {
            Letter::Raft { snapshot, .. } => Some(*snapshot),
            _ => None,
        };
        let alive = match to {
            Place::Scheduler(id) => self.schedulers.get(&id).is_some_and(|s| s.life.is_some()),
            Place::Worker(_) | Place::Client(_) => true,
        };
        if open && alive {
            match to {
                Place::Scheduler(id) => {
                    if let Some(scheduler) = self.schedulers.get_mut(&id) {
                        scheduler.take(around, from, letter);
                    }
                }
                Place::Worker(n) => self.machines[n].take(around, from, letter),
                Place::Client(n) => self.clients[n].take(around, letter),
            }
        } else if let (true, Letter::Call { call, .. }) = (open, &letter) {
            // Nobody listens there: the caller is told at once.
            let answer = Err(tonic::Status::unavailable("the connection was refused"));
            let letter = Letter::Answer { call: *call, answer };
            around.send(to, from, letter);
        }
        self.tell_sender(from, to, snapshot, open && alive);
    }

    /// The transport tells the driver of a snapshot's fate, and of peers that it cannot reach.
    fn tell_sender(&mut self, from: Place, to: Place, snapshot: Option<bool>, arrived: bool) {
        let (Place::Scheduler(from), Place::Scheduler(to)) = (from, to) else { return };
        let Some(scheduler) = self.schedulers.get_mut(&from) else { return };
        let Some(life) = &mut scheduler.life else { return };
        match snapshot {
            Some(true) => life.feed(Input::SnapshotSent(to, arrived)),
            Some(false) if !arrived && self.around.rng.chance(50) => {
                life.feed(Input::Unreachable(to));
            }
            _ => {}
        }
    }

    /// What has not come to rest yet.
    fn unrest(&mut self) -> Option<String> {
        let damaged = self.schedulers.values().any(|s| s.damaged && !s.retired);
        if damaged || self.replacement != Replacement::None {
            return Some(format!("a member is being replaced: {:?}", self.replacement));
        }
        if let Some(client) = self.clients.iter().position(|client| !client.is_done()) {
            return Some(format!("client {client} waits for an answer"));
        }
        let live = self.schedulers.values().filter(|s| !s.retired);
        let mut applied = None;
        for scheduler in live {
            let Some(life) = &scheduler.life else {
                return Some(format!("scheduler {} is down", scheduler.id));
            };
            let status = life.status();
            let first = *applied.get_or_insert(status.applied);
            if first != status.applied || status.applied != status.last_index {
                return Some(format!(
                    "scheduler {} has applied {} of {}, another {first}",
                    scheduler.id, status.applied, status.last_index
                ));
            }
        }
        let leader = self.schedulers.values().filter_map(|s| s.life.as_ref());
        let Some(leader) = leader.into_iter().find(|life| life.leading_term().is_some()) else {
            return Some("nobody leads".to_owned());
        };
        let now = Timestamp(self.around.unix());
        let slots: u32 = self.scenario.workers.iter().sum();
        let waiting = leader.look(|state| {
            let mut planner = Planner::of(state);
            let reasons = planner.reasons(now);
            let starts = planner.plan(now, trainyard_core::placement::WorkBudget::UNLIMITED).starts;
            for job in state.live_jobs() {
                let starting = starts.iter().any(|start| start.job == job.id);
                let told = reasons.get(&job.id).is_some_and(|why| !why.is_empty());
                if job.phase == JobPhase::Queued && !starting && !told {
                    return Err(format!("job {} waits and nobody can say why", job.id));
                }
                if job.phase != JobPhase::Queued || job.spec.resources.gpus <= slots {
                    return Ok(Some(format!("job {} is {}", job.id, job.phase)));
                }
            }
            let held = state.nodes().values().find(|node| !node.owners.is_empty());
            Ok(held.map(|node| format!("units of {} are held", node.id)))
        });
        match waiting {
            Err(what) => {
                let now = self.around.now;
                self.around.checks.fail("nothing waits without a reason", now, what);
                return Some("a violation".to_owned());
            }
            Ok(Some(why)) => return Some(why),
            Ok(None) => {}
        }
        let busy = self.machines.iter().find(|machine| !machine.is_idle());
        busy.map(|machine| format!("worker {} is not idle: {:?}", machine.n, machine.business()))
    }
}
