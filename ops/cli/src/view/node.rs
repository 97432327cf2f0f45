//! Nodes: what they offer, what of it is in use, when they were last heard.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use trainyard_jobs::BitRate;
use trainyard_proto::v1;

use super::gpu::DeviceView;
use crate::output::{
    Cell, Look, Row, Tone,
    human::{largest, short, size},
};

/// A worker node.
#[derive(Debug, Serialize)]
pub(crate) struct NodeView {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) state: String,
    address: String,
    cpus: u32,
    cpu_percent: Option<f64>,
    memory_bytes: u64,
    memory_used_bytes: Option<u64>,
    disk_free_bytes: Option<u64>,
    /// What its attempts may have in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    network_bits_per_second: Option<u64>,
    telemetry: Option<String>,
    labels: BTreeMap<String, String>,
    agent_version: String,
    seen_ms_ago: u64,
    registered_unix_ms: u64,
    jobs: BTreeSet<String>,
    devices: Vec<DeviceView>,
    /// What runs here although the cluster does not know it.
    held: Vec<HeldView>,
    /// What holds on it now, or else comes next.
    #[serde(skip_serializing_if = "Option::is_none")]
    reservation: Option<ReservedView>,
    /// Why it, or which of its units, is used last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    used_last: Vec<String>,
}

/// A reservation of a node.
#[derive(Debug, Serialize)]
struct ReservedView {
    name: String,
    maintenance: bool,
    from_unix_ms: u64,
    until_unix_ms: u64,
}

impl ReservedView {
    /// `upgrade in 2h`, or `upgrade, 1h left`.
    fn words(&self, now_ms: u64) -> String {
        let name = &self.name;
        match self.from_unix_ms.saturating_sub(now_ms) {
            0 => format!("{name}, {} left", largest(self.until_unix_ms.saturating_sub(now_ms))),
            left => format!("{name} in {}", largest(left)),
        }
    }
}

/// An attempt of a history that a recovery cut off.
#[derive(Debug, Serialize)]
struct HeldView {
    /// `JOB.ATTEMPT.GENERATION`.
    attempt: String,
    job_name: String,
    units: Vec<String>,
    world_size: u32,
}

impl From<v1::HeldAttempt> for HeldView {
    fn from(held: v1::HeldAttempt) -> Self {
        let a = held.attempt.unwrap_or_default();
        Self {
            attempt: format!("{}.{}.{}", a.job, a.attempt, a.generation),
            job_name: held.job_name,
            units: held.units,
            world_size: held.world_size,
        }
    }
}

impl From<v1::Node> for NodeView {
    fn from(node: v1::Node) -> Self {
        let inventory = node.inventory.clone().unwrap_or_default();
        let devices = DeviceView::all_of(&node);
        let owners = node.owners.into_iter().filter_map(|owner| owner.attempt);
        let sample = node.sample.unwrap_or_default();
        Self {
            id: node.id,
            name: inventory.name,
            state: node.state,
            address: inventory.address,
            cpus: inventory.cpus,
            cpu_percent: sample.cpu_percent,
            memory_bytes: inventory.memory,
            memory_used_bytes: sample.memory_used,
            disk_free_bytes: sample.disk_free,
            disk_bytes: told(inventory.disk),
            network_bits_per_second: told(inventory.network),
            telemetry: super::text(sample.telemetry),
            labels: inventory.labels.into_iter().collect(),
            agent_version: inventory.version,
            seen_ms_ago: node.seen_ms_ago,
            registered_unix_ms: node.registered_ms,
            jobs: owners.map(|attempt| attempt.job).collect(),
            devices,
            held: node.held.into_iter().map(HeldView::from).collect(),
            reservation: node.reservation.map(|reservation| ReservedView {
                name: reservation.name,
                maintenance: reservation.maintenance,
                from_unix_ms: reservation.from_ms,
                until_unix_ms: reservation.until_ms,
            }),
            used_last: node.used_last,
        }
    }
}

/// What an agent says of its node; one of an earlier version says nothing.
fn told(amount: u64) -> Option<u64> {
    Some(amount).filter(|amount| *amount > 0)
}

impl NodeView {
    fn network(&self) -> String {
        self.network_bits_per_second.map(|bits| BitRate(bits).to_string()).unwrap_or_default()
    }

    /// The jobs that hold its units.
    pub(crate) fn jobs(&self) -> impl Iterator<Item = &str> {
        self.jobs.iter().map(String::as_str)
    }

    /// Why it, or which of its units, is used last, if so.
    pub(crate) fn why_last(&self) -> Option<String> {
        let (name, whys) = (&self.name, &self.used_last);
        (!whys.is_empty()).then(|| format!("{name} is used last: {}", whys.join("; ")))
    }

    /// What an operator has to decide about.
    pub(crate) fn notes(&self) -> impl Iterator<Item = String> {
        self.held.iter().map(|held| {
            let (name, attempt) = (&self.name, &held.attempt);
            format!(
                "{name} holds attempt {attempt} (`{}`, {} of {} ranks), which the recovered cluster does not know: it runs on to its end, or until `yard node release {name} {attempt} --stop`",
                held.job_name,
                held.units.len(),
                held.world_size
            )
        })
    }

    /// How many units of a kind it offers.
    pub(crate) fn units_of(&self, kind: &str) -> usize {
        self.devices.iter().filter(|device| device.kind == kind).count()
    }

    /// Units in use and in all, GPUs and parts of them where there are any: `3/4 gpu, 1/8 part`.
    fn units(&self) -> String {
        let counted = |word: &str, is: &dyn Fn(&DeviceView) -> bool| {
            let units = self.devices.iter().filter(|device| is(device));
            let used = units.clone().filter(|device| device.owner.is_some()).count();
            let all = units.count();
            (all > 0).then(|| format!("{used}/{all} {word}"))
        };
        let gpus = counted("gpu", &|d| d.kind == "gpu" && !d.is_part());
        let parts = counted("part", &|d| d.is_part());
        let units: Vec<String> = gpus.into_iter().chain(parts).collect();
        if units.is_empty() {
            return counted("cpu", &|d| d.kind == "cpu").unwrap_or_else(|| "0/0 cpu".into());
        }
        units.join(", ")
    }

    fn memory(&self) -> String {
        let used = self.memory_used_bytes.unwrap_or_default();
        match (used, self.memory_bytes) {
            (0, all) => size(all),
            (used, all) => format!("{}/{}", size(used), size(all)),
        }
    }
}

impl Row for NodeView {
    const KIND: &'static str = "Node";
    const LIST: &'static str = "NodeList";

    fn key(&self) -> String {
        self.name.clone()
    }

    fn titles(wide: bool) -> &'static [&'static str] {
        if wide {
            &[
                "NAME",
                "STATE",
                "USED",
                "CPU",
                "MEMORY",
                "SEEN",
                "ID",
                "ADDRESS",
                "CPUS",
                "DISK FREE",
                "DISK",
                "NETWORK",
                "TELEMETRY",
                "VERSION",
                "RESERVED",
                "JOBS",
            ]
        } else {
            &["NAME", "STATE", "USED", "CPU", "MEMORY", "SEEN", "JOBS"]
        }
    }

    fn cells(&self, look: Look) -> Vec<Cell> {
        let cpu = self.cpu_percent.map(|percent| format!("{percent:.0}%")).unwrap_or_default();
        let seen = match self.seen_ms_ago {
            0..1000 => "now".to_owned(),
            ms => format!("{} ago", largest(ms)),
        };
        let reserved = self.reservation.as_ref().map(|r| r.words(look.now_ms)).unwrap_or_default();
        let jobs: Vec<String> = self.jobs.iter().map(|id| short(id, look.id_chars)).collect();
        let mut cells = vec![
            if look.wide { Cell::new(self.name.as_str()) } else { Cell::cut(&self.name, 18) },
            Cell::state(&self.state),
            Cell::number(self.units()),
            Cell::number(cpu),
            Cell::number(self.memory()),
            Cell::new(seen).tone(Tone::Meta),
        ];
        if look.wide {
            cells.extend([
                Cell::new(self.id.as_str()),
                Cell::new(self.address.as_str()),
                Cell::number(self.cpus),
                Cell::number(size(self.disk_free_bytes.unwrap_or_default())),
                Cell::number(self.disk_bytes.map(size).unwrap_or_default()),
                Cell::number(self.network()),
                Cell::cut(self.telemetry.as_deref().unwrap_or_default(), 40),
                Cell::new(self.agent_version.as_str()),
                Cell::new(reserved),
                Cell::new(jobs.join(",")),
            ]);
        } else {
            cells.push(match jobs.as_slice() {
                [] => Cell::new(""),
                [one] => Cell::new(one.as_str()),
                [one, rest @ ..] => Cell::new(format!("{one} +{}", rest.len())),
            });
        }
        cells
    }
}
