//! Device units: GPUs and CPU slots, who holds them and how busy they are.

use serde::Serialize;
use trainyard_proto::v1;

use crate::output::{
    Cell, Look, Row, Tone,
    human::{short, size},
};

/// One unit that a rank can hold.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct DeviceView {
    node: String,
    unit: String,
    /// `gpu` or `cpu`.
    #[serde(rename = "device")]
    pub(crate) kind: String,
    index: u32,
    model: String,
    /// How much of a GPU it is, if not all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    part: Option<PartView>,
    memory_bytes: u64,
    memory_used_bytes: Option<u64>,
    utilisation_percent: Option<f64>,
    power_watts: Option<f64>,
    temperature_celsius: Option<f64>,
    sm_clock_mhz: Option<u32>,
    foreign_pids: Vec<u32>,
    problem: Option<String>,
    pub(crate) owner: Option<Owner>,
}

/// A part of a GPU: a MIG slice has a profile, a share is one of several.
#[derive(Debug, Clone, Serialize)]
struct PartView {
    parent: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    share: Option<String>,
}

impl From<v1::GpuPart> for PartView {
    fn from(part: v1::GpuPart) -> Self {
        let share = format!("1/{}", part.of);
        let is_share = part.profile.is_empty();
        Self {
            parent: part.parent,
            profile: (!is_share).then_some(part.profile),
            share: is_share.then_some(share),
        }
    }
}

impl PartView {
    /// `2g.20gb`, or `1/4`.
    fn word(&self) -> &str {
        self.profile.as_deref().or(self.share.as_deref()).unwrap_or_default()
    }
}

/// The attempt that holds a unit.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Owner {
    pub(crate) job: String,
    attempt: u32,
    generation: u32,
}

impl DeviceView {
    /// The units of a node, in the order of their kinds and indices.
    pub(crate) fn all_of(node: &v1::Node) -> Vec<Self> {
        let Some(inventory) = &node.inventory else { return Vec::new() };
        let samples =
            node.sample.as_ref().map(|sample| sample.devices.as_slice()).unwrap_or_default();
        let mut devices: Vec<Self> = inventory
            .devices
            .iter()
            .map(|device| {
                let sample = samples.iter().find(|sample| sample.unit == device.unit);
                let owner = node.owners.iter().find(|owner| owner.unit == device.unit);
                Self::new(&inventory.name, device, sample, owner)
            })
            .collect();
        devices.sort_by(|a, b| (&b.kind, a.index, &a.unit).cmp(&(&a.kind, b.index, &b.unit)));
        devices
    }

    fn new(
        node: &str,
        device: &v1::Device,
        sample: Option<&v1::DeviceSample>,
        owner: Option<&v1::UnitOwner>,
    ) -> Self {
        let sample = sample.cloned().unwrap_or_default();
        let owner = owner.and_then(|owner| owner.attempt.clone()).map(|attempt| Owner {
            job: attempt.job,
            attempt: attempt.attempt,
            generation: attempt.generation,
        });
        Self {
            node: node.to_owned(),
            unit: device.unit.clone(),
            kind: device.kind.clone(),
            index: device.index,
            model: device.model.clone(),
            part: device.part.clone().map(PartView::from),
            memory_bytes: device.memory,
            memory_used_bytes: sample.memory_used,
            utilisation_percent: sample.utilisation_percent,
            power_watts: sample.power_watts,
            temperature_celsius: sample.temperature_celsius,
            sm_clock_mhz: sample.sm_clock_mhz,
            foreign_pids: sample.foreign_pids,
            problem: sample.problem,
            owner,
        }
    }

    /// Whether it is a part of a GPU.
    pub(crate) const fn is_part(&self) -> bool {
        self.part.is_some()
    }

    fn state(&self) -> Cell {
        match (&self.problem, &self.owner) {
            (Some(problem), _) => Cell::cut(problem, 16).tone(Tone::Bad),
            (None, None) if !self.foreign_pids.is_empty() => {
                Cell::new("foreign process").tone(Tone::Bad)
            }
            (None, None) => Cell::new("free").tone(Tone::Meta),
            (None, Some(_)) => Cell::new("held").tone(Tone::Good),
        }
    }
}

impl Row for DeviceView {
    const KIND: &'static str = "Device";
    const LIST: &'static str = "DeviceList";

    fn key(&self) -> String {
        self.unit.clone()
    }

    fn titles(wide: bool) -> &'static [&'static str] {
        if wide {
            &["NODE", "UNIT", "MODEL", "UTIL", "MEMORY", "STATE", "JOB", "POWER", "TEMP", "CLOCK"]
        } else {
            &["NODE", "UNIT", "MODEL", "UTIL", "MEMORY", "STATE", "JOB"]
        }
    }

    fn cells(&self, look: Look) -> Vec<Cell> {
        let rounded = |value: Option<f64>, unit: &str| {
            Cell::number(value.map(|value| format!("{value:.0}{unit}")).unwrap_or_default())
        };
        let memory = match self.memory_used_bytes {
            Some(used) if self.memory_bytes > 0 => {
                format!("{:.1}/{}", gib(used), size(self.memory_bytes))
            }
            _ => size(self.memory_bytes),
        };
        let part = self.part.as_ref().map(|part| format!(" {}", part.word())).unwrap_or_default();
        let unit = format!("{}{}{part}", self.kind, self.index);
        let mut cells = vec![
            if look.wide { Cell::new(self.node.as_str()) } else { Cell::cut(&self.node, 16) },
            Cell::new(if look.wide { self.unit.clone() } else { unit }),
            if look.wide {
                Cell::new(format!("{}{part}", self.model))
            } else {
                Cell::cut(&self.model, 12)
            },
            rounded(self.utilisation_percent, "%"),
            Cell::number(memory),
            self.state(),
            Cell::new(
                self.owner.as_ref().map(|o| short(&o.job, look.id_chars)).unwrap_or_default(),
            ),
        ];
        if look.wide {
            cells.extend([
                rounded(self.power_watts, " W"),
                rounded(self.temperature_celsius, " °C"),
                rounded(self.sm_clock_mhz.map(f64::from), " MHz"),
            ]);
        }
        cells
    }
}

#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "shown to one decimal")]
fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}
