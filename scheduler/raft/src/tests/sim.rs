//! A cluster of drivers in one thread: a seeded network and torn disks, so that a seed replays
//! exactly.
//!
//! Real redb on a simulated disk, real snapshot files. What is checked while it runs: members agree
//! about each index, a read never misses what was acknowledged before it, a refused command never
//! appears.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, Mutex},
};

use tempfile::TempDir;

use super::machine::{History, Recorder, Truth};
use crate::{
    Applied, Config, Driver, Input, ProposeError, ReadError, Reply, Role,
    counters::SharedCounters,
    sim::{Faults, Network, Outbox, Rng, SimDisk},
};

const GENTLE: Faults = Faults { loss: 0, doubled: 0, delay: 2, late: 0, very: 0 };

pub(super) const CLUSTER: [u8; 16] = *b"simulated-------";

/// A directory in memory where there is one: the files are real, the waiting is not.
pub(super) fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { TempDir::new_in(memory).unwrap() } else { TempDir::new().unwrap() }
}

pub(super) fn peers(ids: impl IntoIterator<Item = u64>) -> BTreeMap<u64, String> {
    ids.into_iter().map(|id| (id, format!("member-{id}"))).collect()
}

pub(super) struct Node {
    pub(super) config: Config,
    pub(super) dir: TempDir,
    pub(super) disk: SimDisk,
    pub(super) driver: Option<Driver>,
    pub(super) history: History,
    pub(super) counters: SharedCounters,
}

struct Flying {
    at: u64,
    from: u64,
    to: u64,
    bytes: Vec<u8>,
    snapshot: bool,
}

/// What became of proposals and reads.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    pub(super) acked: BTreeMap<u64, Applied>,
    pub(super) unknown: BTreeSet<u64>,
    pub(super) refused: BTreeMap<u64, ProposeError>,
    pub(super) reads: u64,
    pub(super) read_errors: Vec<ReadError>,
}

pub(super) struct Sim {
    pub(super) rng: Rng,
    pub(super) nodes: BTreeMap<u64, Node>,
    pub(super) truth: Truth,
    pub(super) outcomes: Arc<Mutex<Outcomes>>,
    /// Delays are in steps.
    pub(super) network: Network<u64>,
    /// Snapshots vanish, and nobody tells the sender.
    pub(super) swallow_snapshots: bool,
    /// The election timeout of all who start, in ticks, if it is not drawn.
    pub(super) timeout: Option<u32>,
    flying: Vec<Flying>,
    now: u64,
    commands: u64,
}

impl Sim {
    pub(super) fn new(seed: u64, members: u64) -> Self {
        let mut sim = Self {
            rng: Rng(seed),
            nodes: BTreeMap::new(),
            truth: Truth::default(),
            outcomes: Arc::default(),
            network: Network::new(GENTLE),
            swallow_snapshots: false,
            timeout: None,
            flying: Vec::new(),
            now: 0,
            commands: 0,
        };
        for id in 1..=members {
            sim.add(id, |config| config.peers = peers(1..=members));
        }
        sim
    }

    /// Adds a member and starts it.
    pub(super) fn add(&mut self, id: u64, adjust: impl FnOnce(&mut Config)) {
        let dir = scratch();
        let mut config = Config::new(id, CLUSTER, dir.path(), peers([id]));
        config.snapshot_every = 25;
        config.keep_entries = 5;
        // Small, so that regions are used over and over.
        config.max_command_bytes = 1 << 12;
        config.log_region_bytes = 1 << 13;
        config.read_timeout_ticks = 100;
        config.snapshot_send_ticks = 30;
        adjust(&mut config);
        let node = Node {
            config,
            dir,
            disk: SimDisk::default(),
            driver: None,
            history: History::default(),
            counters: SharedCounters::default(),
        };
        self.nodes.insert(id, node);
        self.start(id);
    }

    pub(super) fn start(&mut self, id: u64) {
        let drawn = 10 + self.rng.below(10) as u32;
        let wait = self.timeout.unwrap_or(drawn);
        let node = self.nodes.get_mut(&id).unwrap();
        node.config.election_window = Some(wait..wait + 1);
        node.history = History::default();
        node.counters = SharedCounters::default();
        let machine = Box::new(Recorder::new(node.history.clone(), self.truth.clone()));
        let driver = Driver::open_on(
            &node.config,
            node.disk.open().unwrap(),
            machine,
            node.counters.clone(),
        );
        node.driver = Some(driver.unwrap());
    }

    /// Kills a member as a power cut would.
    pub(super) fn crash(&mut self, id: u64) {
        let node = self.nodes.get_mut(&id).unwrap();
        node.disk.cut_power(&mut self.rng);
        node.driver = None;
    }

    pub(super) fn restart(&mut self, id: u64) {
        if self.nodes[&id].driver.is_none() {
            self.start(id);
        }
    }

    pub(super) fn partition(&mut self, alone: &[u64]) {
        self.network.partition(&self.ids(), |id| alone.contains(id));
    }

    pub(super) fn heal(&mut self) {
        self.network.heal();
    }

    /// One step of time: messages that are due arrive, members tick, and each flushes once.
    pub(super) fn step(&mut self) {
        self.now += 1;
        let (due, later) =
            std::mem::take(&mut self.flying).into_iter().partition(|m: &Flying| m.at <= self.now);
        self.flying = later;
        for message in due {
            self.deliver(message);
        }
        for id in self.ids() {
            // Clocks that drift: now and then a tick is missed.
            let tick = !self.rng.chance(5);
            if let (true, Some(driver)) = (tick, self.nodes.get_mut(&id).unwrap().driver.as_mut()) {
                driver.step(Input::Tick);
            }
            self.flush(id);
        }
    }

    pub(super) fn ids(&self) -> Vec<u64> {
        self.nodes.keys().copied().collect()
    }

    pub(super) fn input(&mut self, id: u64, input: Input) {
        if let Some(driver) = self.nodes.get_mut(&id).unwrap().driver.as_mut() {
            driver.step(input);
        }
    }

    fn deliver(&mut self, message: Flying) {
        let Flying { from, to, bytes, snapshot, .. } = message;
        let lost = !self.network.reaches(from, to)
            || self.nodes.get(&to).is_none_or(|node| node.driver.is_none());
        if !lost {
            self.input(to, Input::Message(bytes));
        }
        if snapshot && self.nodes.contains_key(&from) {
            self.input(from, Input::SnapshotSent(to, !lost));
        } else if lost && self.nodes.contains_key(&from) && self.rng.chance(50) {
            self.input(from, Input::Unreachable(to));
        }
    }

    /// Flushes a member; one whose disk fails in the middle dies, with what it had sent already
    /// under way.
    fn flush(&mut self, id: u64) {
        let mut out = Outbox::default();
        let Some(driver) = self.nodes.get_mut(&id).unwrap().driver.as_mut() else { return };
        let fatal = driver.flush(&mut out).is_err();
        for (to, bytes, snapshot) in out.0 {
            if snapshot && self.swallow_snapshots {
                continue;
            }
            for delay in self.network.arrivals(&mut self.rng, !snapshot) {
                let at = self.now + delay;
                self.flying.push(Flying { at, from: id, to, bytes: bytes.clone(), snapshot });
            }
        }
        if fatal {
            self.crash(id);
        }
    }

    /// Proposes a command that was never used before; gives its number.
    pub(super) fn propose(&mut self, id: u64) -> u64 {
        self.commands += 1;
        let command = self.commands;
        let outcomes = Arc::clone(&self.outcomes);
        let reply = Reply::new(move |result| {
            let mut outcomes = outcomes.lock().unwrap();
            match result {
                Ok(applied) => drop(outcomes.acked.insert(command, applied)),
                Err(ProposeError::Unknown) => drop(outcomes.unknown.insert(command)),
                Err(error) => drop(outcomes.refused.insert(command, error)),
            }
        });
        self.input(id, Input::Propose(command.to_le_bytes().to_vec(), reply));
        command
    }

    /// Reads, and checks on the answer that nothing acknowledged before the question is missing.
    pub(super) fn read(&mut self, id: u64) {
        let outcomes = Arc::clone(&self.outcomes);
        let floor = outcomes.lock().unwrap().acked.values().map(|a| a.index).max().unwrap_or(0);
        let reply = Reply::new(move |result| {
            let mut outcomes = outcomes.lock().unwrap();
            match result {
                Ok(applied) => {
                    assert!(
                        applied >= floor,
                        "a read at {applied} misses what was acknowledged at {floor}"
                    );
                    outcomes.reads += 1;
                }
                Err(error) => outcomes.read_errors.push(error),
            }
        });
        self.input(id, Input::Read(reply));
    }

    /// The leader of the highest term that can serve.
    pub(super) fn leader(&self) -> Option<u64> {
        let live =
            self.nodes.iter().filter_map(|(id, node)| Some((id, node.driver.as_ref()?.status())));
        let leaders = live.filter(|(_, status)| status.role == Role::Leader && status.leader_ready);
        leaders.max_by_key(|(_, status)| status.term).map(|(id, _)| *id)
    }

    /// Steps until `done`, which must come within `limit` steps.
    pub(super) fn run_until(
        &mut self,
        limit: u64,
        what: &str,
        mut done: impl FnMut(&Self) -> bool,
    ) {
        for _ in 0..limit {
            if done(self) {
                return;
            }
            self.step();
        }
        let states: Vec<_> =
            self.nodes.values().map(|n| n.driver.as_ref().map(Driver::status)).collect();
        panic!("{what} did not happen within {limit} steps: {states:#?}");
    }

    pub(super) fn elect(&mut self) -> u64 {
        self.run_until(500, "an election", |sim| sim.leader().is_some());
        self.leader().unwrap()
    }

    pub(super) fn status(&self, id: u64) -> crate::Status {
        self.nodes[&id].driver.as_ref().unwrap().status()
    }

    /// Ends all faults and waits until every member has applied the same.
    pub(super) fn settle(&mut self) {
        self.heal();
        (self.network.faults, self.swallow_snapshots) = (GENTLE, false);
        for id in self.ids() {
            self.nodes[&id].disk.mend();
            self.restart(id);
        }
        self.run_until(3_000, "agreement", |sim| {
            let Some(leader) = sim.leader() else { return false };
            let target = sim.status(leader).last_index;
            sim.ids().iter().all(|id| sim.status(*id).applied == target)
        });
        let histories: Vec<_> =
            self.nodes.values().map(|n| n.history.lock().unwrap().clone()).collect();
        assert!(
            histories.windows(2).all(|pair| pair[0] == pair[1]),
            "members hold different states"
        );
        self.check_outcomes(&histories[0]);
    }

    /// Acknowledged commands are there, once, where they were said to be; refused ones are not.
    fn check_outcomes(&self, history: &BTreeMap<u64, u64>) {
        let commands: BTreeSet<u64> = history.values().copied().collect();
        assert_eq!(commands.len(), history.len(), "a command was applied twice");
        let outcomes = self.outcomes.lock().unwrap();
        for (command, applied) in &outcomes.acked {
            assert_eq!(
                history.get(&applied.index),
                Some(command),
                "an acknowledged command is lost"
            );
        }
        for command in outcomes.refused.keys() {
            assert!(!commands.contains(command), "refused command {command} was applied");
        }
    }
}
