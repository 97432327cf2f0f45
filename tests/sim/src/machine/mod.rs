//! A worker's machine: its disk, the shims and ranks that run on it, and the agent, which comes and
//! goes without them.

mod agent;
mod attempt;
mod disk;
mod link;
mod reports;
mod shim;

use std::collections::BTreeMap;

use trainyard_jobs::{
    AttemptRef, BitRate, Bytes, Device, DeviceKind, GpuPart, Inventory, NodeId, SessionId, UnitId,
};
use trainyard_proto::v1;

use crate::{
    around::{Around, Ms},
    facts::{Blow, Fact, Gone},
    gangs::Gangs,
    letters::{Letter, Place},
    note,
};
use agent::Agent;
use disk::Disk;
use shim::Shim;

/// One worker's machine.
pub struct Machine {
    pub n: usize,
    pub node: NodeId,
    pub inventory: Inventory,
    pub power: bool,
    /// The agent is stopped until then, as by SIGSTOP.
    pub frozen_until: Ms,
    pub disk: Disk,
    shims: BTreeMap<AttemptRef, Shim>,
    agent: Option<Box<Agent>>,
    /// A unit that reports a problem.
    pub sick: Option<UnitId>,
    schedulers: Vec<u64>,
}

impl Machine {
    pub fn new(n: usize, slots: u32, schedulers: Vec<u64>, around: &mut Around) -> Self {
        let slot = |index| {
            let device = Device {
                kind: DeviceKind::Cpu,
                index,
                model: "cpu".into(),
                memory: Bytes(0),
                part: GpuPart::Whole,
            };
            (UnitId(format!("cpu-{index}")), device)
        };
        Self {
            n,
            node: NodeId::from_random(around.rng.draw()),
            inventory: Inventory {
                name: format!("w{n}").parse().unwrap(),
                address: format!("w{n}"),
                devices: (0..slots).map(slot).collect(),
                cpus: slots,
                memory: Bytes(1 << 30),
                ports: (20_000, 20_009),
                labels: BTreeMap::new(),
                version: "0".into(),
                disk: Bytes(0),
                network: BitRate(0),
            },
            power: true,
            frozen_until: 0,
            disk: Disk::default(),
            shims: BTreeMap::new(),
            agent: None,
            sick: None,
            schedulers,
        }
    }

    /// A scheduler stands in another's place.
    pub fn knows(&mut self, old: u64, new: u64) {
        self.schedulers.retain(|id| *id != old);
        self.schedulers.push(new);
        if let Some(agent) = &mut self.agent {
            agent.link.knows(old, new);
        }
    }

    /// Starts the agent on what is on the disk.
    pub fn start_agent(&mut self, around: &mut Around) {
        if !self.power || self.agent.is_some() {
            return;
        }
        self.disk.fuse = None;
        let random = u128::from(around.rng.draw()) << 64 | u128::from(around.rng.draw());
        let session = SessionId(uuid::Uuid::from_u128(random));
        note!(around, "w{} agent starts with {} attempts", self.n, self.disk.dirs.len());
        self.agent = Some(Box::new(Agent::new(session, &self.schedulers, &self.disk, around)));
    }

    /// The agent dies; shims and ranks go on.
    pub fn kill_agent(&mut self, around: &mut Around) {
        if self.agent.take().is_some() {
            note!(around, "w{} agent dies", self.n);
        }
    }

    /// The machine loses its power: nothing that runs survives.
    pub fn cut_power(&mut self, around: &mut Around, gangs: &mut Gangs) {
        if !self.power {
            return;
        }
        note!(around, "w{} loses power", self.n);
        self.power = false;
        self.agent = None;
        for (attempt, shim) in std::mem::take(&mut self.shims) {
            self.tear(around, gangs, &attempt, shim, Blow::Power);
        }
        self.disk.cut_power(&mut around.rng);
    }

    /// A shim dies, as of memory; what it parented is killed by whoever finds out.
    pub fn kill_shim(&mut self, around: &mut Around, gangs: &mut Gangs) {
        if let Some((attempt, shim)) = self.shims.pop_first() {
            note!(around, "w{} shim of {attempt} dies", self.n);
            self.tear(around, gangs, &attempt, shim, Blow::Shim);
        }
    }

    fn tear(
        &self,
        around: &mut Around,
        gangs: &mut Gangs,
        attempt: &AttemptRef,
        shim: Shim,
        what: Blow,
    ) {
        let node = &self.node;
        around.tell(Fact::Blow { attempt, what });
        for (rank, process) in shim.processes {
            let unit = &process.unit;
            around.tell(Fact::RankEnded { node, unit, attempt, how: Gone::Torn });
            gangs.leaves(attempt, rank);
        }
    }

    /// Takes a letter, if somebody is there to read it.
    pub fn take(&mut self, around: &mut Around, from: Place, letter: Letter) {
        let frozen = around.now < self.frozen_until;
        if let (true, false, Some(agent)) = (self.power, frozen, self.agent.as_mut()) {
            let mut body = Body {
                n: self.n,
                node: &self.node,
                inventory: &self.inventory,
                disk: &mut self.disk,
                shims: &mut self.shims,
                sick: self.sick.as_ref(),
            };
            if agent.take(around, &mut body, from, letter).is_err() {
                self.kill_agent(around);
            }
        }
    }

    /// Time has passed: shims look at their ranks, the agent at everything.
    pub fn look(&mut self, around: &mut Around, gangs: &mut Gangs) {
        if !self.power {
            return;
        }
        self.look_at_shims(around, gangs);
        if around.now < self.frozen_until {
            return;
        }
        if let Some(agent) = self.agent.as_mut() {
            let mut body = Body {
                n: self.n,
                node: &self.node,
                inventory: &self.inventory,
                disk: &mut self.disk,
                shims: &mut self.shims,
                sick: self.sick.as_ref(),
            };
            if agent.look(around, gangs, &mut body).is_err() {
                self.kill_agent(around);
            }
        }
    }

    /// Nothing runs here and nothing is left to deliver. A directory that could not be removed is
    /// left to the next agent.
    pub fn is_idle(&self) -> bool {
        let idle = |agent: &Agent| agent.entries.is_empty();
        self.shims.is_empty() && self.agent.as_deref().is_some_and(idle)
    }

    /// What keeps it from being idle.
    pub fn business(&self) -> Vec<String> {
        let stages = self.agent.iter().flat_map(|agent| agent.stages());
        stages.map(|stage| format!("w{} {stage}", self.n)).collect()
    }
}

/// What the agent touches of its machine.
pub struct Body<'a> {
    pub n: usize,
    pub node: &'a NodeId,
    pub inventory: &'a Inventory,
    pub disk: &'a mut Disk,
    pub shims: &'a mut BTreeMap<AttemptRef, Shim>,
    pub sick: Option<&'a UnitId>,
}

impl Body<'_> {
    /// The figures of a heartbeat.
    pub fn sample(&self) -> v1::NodeSample {
        let device = |(unit, _): (&UnitId, &Device)| v1::DeviceSample {
            unit: unit.to_string(),
            problem: (self.sick == Some(unit)).then(|| "too many errors".to_owned()),
            ..v1::DeviceSample::default()
        };
        v1::NodeSample {
            devices: self.inventory.devices.iter().map(device).collect(),
            ..v1::NodeSample::default()
        }
    }
}
