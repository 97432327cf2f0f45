//! What a node has to offer: devices, processors, memory, disk, network.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::{BitRate, Bytes, NodeName};

mod part;

pub use part::{GpuPart, InvalidParts, MAX_SHARES, WHOLE_GPU, check_parts};

/// A device unit within its node: the UUID of a GPU or MIG slice, `UUID/0-of-4` for a share of a
/// GPU, or `cpu-0`, `cpu-1` … for CPU slots.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnitId(pub String);

impl fmt::Display for UnitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What a rank runs on.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    /// One GPU a rank.
    #[default]
    Gpu,
    /// One CPU slot a rank.
    Cpu,
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Gpu => "gpu",
            Self::Cpu => "cpu",
        })
    }
}

/// One unit that a rank can hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its kind.
    pub kind: DeviceKind,
    /// For a GPU or a part of one the GPU's index on the node, for a CPU slot its number.
    pub index: u32,
    /// The GPU's type in lower case without vendor, such as `h100`; `cpu` for a slot.
    pub model: String,
    /// The device's memory; 0 for a CPU slot.
    pub memory: Bytes,
    /// How much of a GPU it is.
    #[serde(default, skip_serializing_if = "GpuPart::is_whole")]
    pub part: GpuPart,
}

/// All that a node offers, as its agent saw it. Telemetry is not part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// The node's name, unique in the cluster.
    pub name: NodeName,
    /// Where its ranks reach each other: a host name or address.
    pub address: String,
    /// Device units by id.
    pub devices: BTreeMap<UnitId, Device>,
    /// Logical processors.
    pub cpus: u32,
    /// Main memory.
    pub memory: Bytes,
    /// Ports from which an attempt's `MASTER_PORT` is chosen: first and last.
    pub ports: (u16, u16),
    /// Free-form labels for placement, such as `rack`.
    pub labels: BTreeMap<String, String>,
    /// The agent's version.
    pub version: String,
    /// Disk space for attempts, in all; none where the agent does not tell.
    #[serde(default, skip_serializing_if = "Bytes::is_zero")]
    pub disk: Bytes,
    /// Bandwidth of its network; none where the agent does not tell.
    #[serde(default, skip_serializing_if = "BitRate::is_zero")]
    pub network: BitRate,
}
