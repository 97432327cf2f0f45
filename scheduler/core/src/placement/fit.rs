//! What a gang asks of the nodes, and which of a node's units answer to it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use trainyard_jobs::{
    Bytes, Device, DeviceKind, Inventory, NodeId, ReservationName,
    spec::{Resources, Speed, Speeds},
};

use super::windows::During;

/// Thousandths of a unit: a rank that asks for a whole one asks for this many.
pub const WHOLE: u16 = 1000;

/// Thousandths of a processor.
const CPU: u64 = 1000;

/// Processors and main memory: a node's, or what a rank takes of them beside its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Host {
    /// Thousandths of logical processors.
    pub cpu_milli: u64,
    /// Main memory.
    pub memory: Bytes,
}

/// What one gang needs, rank by rank. Equal requests are served alike, so it is also the key
/// under which what was found out about one is kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Request {
    /// How many ranks, all at once.
    pub ranks: u32,
    /// What each runs on.
    pub device: DeviceKind,
    /// Any of these types in lower case; empty for every type.
    pub types: Vec<String>,
    /// The least memory of each unit.
    pub unit_memory: Bytes,
    /// Thousandths of a unit that each rank takes: [`WHOLE`], or less for a fraction.
    pub share: u16,
    /// The least part of a GPU, in thousandths, that each unit has to be. [`WHOLE`] takes whole
    /// units alone, less than that takes parts alone.
    pub part: u16,
    /// At most this many ranks on one node.
    pub most_per_node: u32,
    /// On no more nodes than so many ranks need: wait rather than spread.
    pub compact: bool,
    /// Thousandths of a processor that each rank takes on its node.
    pub cpu_milli: u64,
    /// Main memory that each rank takes on its node.
    pub memory: Bytes,
    /// Only nodes that carry all of these.
    pub labels: BTreeMap<String, String>,
    /// The reservations that are for the job: they are not in its way.
    pub entitled: BTreeSet<ReservationName>,
}

/// What is known of the job beside its request.
#[derive(Debug, Clone, Copy, Default)]
pub struct Hints<'a> {
    /// Nodes on which it failed: used when it fits nowhere else.
    pub avoid: Option<&'a BTreeSet<NodeId>>,
    /// How fast it runs on units of each type.
    pub speeds: Option<&'a Speeds>,
    /// When it would run, where nodes are reserved.
    pub during: Option<During<'a>>,
}

impl<'a> Hints<'a> {
    /// How fast it runs, and nothing else.
    #[must_use]
    pub const fn of(resources: &'a Resources) -> Self {
        Self { avoid: None, speeds: Some(&resources.speed), during: None }
    }

    /// How fast it runs on units of a type.
    pub(super) fn speed(&self, model: &str) -> Speed {
        self.speeds.map_or(Speed::ONE, |speeds| speeds.on(model))
    }
}

impl From<&Resources> for Request {
    fn from(r: &Resources) -> Self {
        let mut types: Vec<String> = r.gpu_type.iter().map(|t| t.to_ascii_lowercase()).collect();
        types.sort_unstable();
        types.dedup();
        let host = Host::of_rank(r);
        Self {
            ranks: r.gpus,
            device: r.device,
            types,
            unit_memory: r.min_gpu_memory.unwrap_or(Bytes(0)),
            share: WHOLE,
            part: r.part_milli(),
            most_per_node: r.max_ranks_per_node.unwrap_or(u32::MAX),
            compact: r.compact,
            cpu_milli: host.cpu_milli,
            memory: host.memory,
            labels: r.node_labels.clone(),
            entitled: BTreeSet::new(),
        }
    }
}

impl Request {
    /// Whether units of this kind answer to it.
    #[must_use]
    pub fn takes(&self, kind: DeviceKind, model: &str, memory: Bytes, part: u16) -> bool {
        kind == self.device
            && answers_part(self.part, part)
            && memory >= self.unit_memory
            && (self.types.is_empty() || self.types.iter().any(|t| t.eq_ignore_ascii_case(model)))
    }

    /// Whether its ranks run on parts of GPUs: each on a GPU of its own, as NCCL refuses two ranks
    /// of one group on the same.
    #[must_use]
    pub const fn on_parts(&self) -> bool {
        self.part < WHOLE
    }

    /// Whether its ranks count on processors or memory of their nodes beside their units.
    #[must_use]
    pub const fn needs_host(&self) -> bool {
        self.cpu_milli > 0 || self.memory.0 > 0
    }

    /// What each of its ranks takes of its node.
    #[must_use]
    pub const fn host(&self) -> Host {
        Host { cpu_milli: self.cpu_milli, memory: self.memory }
    }

    /// Whether a node with these labels may be used.
    #[must_use]
    pub fn allows(&self, labels: &BTreeMap<String, String>) -> bool {
        self.labels.iter().all(|(key, value)| labels.get(key) == Some(value))
    }
}

impl Host {
    /// All that a node has.
    #[must_use]
    pub fn of(inventory: &Inventory) -> Self {
        Self { cpu_milli: u64::from(inventory.cpus) * CPU, memory: inventory.memory }
    }

    /// What a job's spec says that each of its ranks takes.
    #[must_use]
    pub fn of_rank(r: &Resources) -> Self {
        Self {
            cpu_milli: r.cpus_per_rank.map_or(0, |cpus| u64::from(cpus) * CPU),
            memory: r.memory_per_rank.unwrap_or(Bytes(0)),
        }
    }

    /// Whether there is nothing to it.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.cpu_milli == 0 && self.memory.0 == 0
    }

    /// For how many ranks that take so much each it is enough.
    #[must_use]
    pub fn ranks(&self, each: Self) -> u32 {
        let by = |all: u64, each: u64| all.checked_div(each).unwrap_or(u64::MAX);
        let ranks = by(self.cpu_milli, each.cpu_milli).min(by(self.memory.0, each.memory.0));
        u32::try_from(ranks).unwrap_or(u32::MAX)
    }

    /// Both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            cpu_milli: self.cpu_milli.saturating_add(other.cpu_milli),
            memory: Bytes(self.memory.0.saturating_add(other.memory.0)),
        }
    }

    /// What is left without the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self {
            cpu_milli: self.cpu_milli.saturating_sub(other.cpu_milli),
            memory: Bytes(self.memory.0.saturating_sub(other.memory.0)),
        }
    }
}

/// Whole processors and memory: `16 CPUs and 64.0 GiB of memory`, or the one that there is.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cpus = self.cpu_milli / CPU;
        let word = if cpus == 1 { "CPU" } else { "CPUs" };
        match (self.cpu_milli, self.memory.0) {
            (_, 0) => write!(f, "{cpus} {word}"),
            (0, _) => write!(f, "{} of memory", self.memory),
            _ => write!(f, "{cpus} {word} and {} of memory", self.memory),
        }
    }
}

/// What a job's spec says that each rank takes of its node, to be put behind what it counts:
/// `, with 16 CPUs for each rank`, or nothing.
#[must_use]
pub fn beside(request: &Resources) -> String {
    let host = Host::of_rank(request);
    match (host.is_none(), request.gpus) {
        (true, _) => String::new(),
        (false, 1) => format!(", with {host}"),
        (false, _) => format!(", with {host} for each rank"),
    }
}

/// Whether a unit that is such a part of a GPU is what was asked for, in thousandths.
const fn answers_part(asked: u16, part: u16) -> bool {
    if asked < WHOLE { part < WHOLE && part >= asked } else { part >= WHOLE }
}

/// Whether a unit is of the kind that is asked for.
#[must_use]
pub fn matches(request: &Resources, device: &Device) -> bool {
    let of_type = |name: &String| name.eq_ignore_ascii_case(&device.model);
    device.kind == request.device
        && answers_part(request.part_milli(), device.part.milli())
        && (request.gpu_type.is_empty() || request.gpu_type.iter().any(of_type))
        && request.min_gpu_memory.is_none_or(|least| device.memory >= least)
}

/// The word for what a request counts.
pub(super) fn unit_word(request: &Resources) -> String {
    match (request.device, request.gpu_type.as_slice()) {
        (DeviceKind::Cpu, _) => "CPU slot".into(),
        (DeviceKind::Gpu, types) if request.on_parts() => {
            format!("{} GPU part", types.join(" or ")).trim_start().to_owned()
        }
        (DeviceKind::Gpu, []) => "GPU".into(),
        (DeviceKind::Gpu, types) => format!("{} GPU", types.join(" or ")),
    }
}
