//! What a gang asks of the nodes, and which of a node's units answer to it.

mod host;

use std::collections::{BTreeMap, BTreeSet};

use trainyard_jobs::{
    Bytes, Device, DeviceKind, NodeId, ReservationName,
    spec::{Resources, Speed, Speeds},
};

pub use self::host::{Host, Supply, beside};
use super::{score::Stakes, windows::During};

/// Thousandths of a unit: a rank that asks for a whole one asks for this many.
pub const WHOLE: u16 = 1000;

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
    /// What each rank takes of its node beside its unit.
    pub host: Host,
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
    /// What it has to lose.
    pub stakes: Stakes,
    /// When it would run, where nodes are reserved.
    pub during: Option<During<'a>>,
}

impl<'a> Hints<'a> {
    /// How fast it runs, and nothing else.
    #[must_use]
    pub fn of(resources: &'a Resources) -> Self {
        Self { speeds: Some(&resources.speed), ..Self::default() }
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
        Self {
            ranks: r.gpus,
            device: r.device,
            types,
            unit_memory: r.min_gpu_memory.unwrap_or(Bytes(0)),
            share: WHOLE,
            part: r.part_milli(),
            most_per_node: r.max_ranks_per_node.unwrap_or(u32::MAX),
            compact: r.compact,
            host: Host::of_rank(r),
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

    /// Whether its ranks count on something of their nodes beside their units.
    #[must_use]
    pub const fn needs_host(&self) -> bool {
        !self.host.is_none()
    }

    /// Whether a node with these labels may be used.
    #[must_use]
    pub fn allows(&self, labels: &BTreeMap<String, String>) -> bool {
        self.labels.iter().all(|(key, value)| labels.get(key) == Some(value))
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
