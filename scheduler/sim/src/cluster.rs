//! The cluster of a replay: groups of equal nodes, what they cost, how fast they are, how often
//! they fail, and when they are reserved. Read from TOML, or from the short form `8x8` (nodes x
//! GPUs) with a type: `8x8:v100`.

mod check;
mod parts;
mod tariff;
mod window;

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;
use trainyard_jobs::{Bytes, JobName, Millis, WHOLE_GPU};

use crate::SimError;

pub use tariff::{At, Tariff};
pub use window::Window;

/// All nodes.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Groups of equal nodes.
    pub nodes: Vec<NodeGroup>,
    /// When nodes are reserved, and for whom.
    #[serde(default)]
    pub reservations: Vec<Window>,
}

/// Equal nodes.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NodeGroup {
    /// What their names begin with.
    pub name: String,
    /// How many there are.
    pub count: u32,
    /// GPUs of each.
    pub gpus: u32,
    /// The GPUs' type in lower case.
    pub gpu_type: String,
    /// Memory of each GPU.
    pub gpu_memory: Bytes,
    /// Each GPU is offered as so many equal shares.
    pub shares: Option<u16>,
    /// Each GPU is offered as these MIG slices, such as `3g.20gb`.
    pub mig: Vec<String>,
    /// Logical processors of each; more than anybody asks for where this is left out.
    pub cpus: u32,
    /// Main memory of each; as with processors.
    pub memory: Bytes,
    /// The rack label, if they stand in one.
    pub rack: Option<String>,
    /// Other labels, such as `fabric` and `nvlink`.
    pub labels: BTreeMap<String, String>,
    /// How fast they work, against the GPUs that the trace's run times were measured on.
    pub speed: f64,
    /// How fast jobs of these names work on them, where that is something else.
    pub speeds: BTreeMap<JobName, f64>,
    /// US dollars an hour for each node.
    pub price: f64,
    /// What it costs instead from instants of the trace on: `[[0, 2.5], ["1d", 1.2]]`.
    pub prices: Vec<(At, f64)>,
    /// The same in a table beside the cluster file, with the columns `time_s` and `usd_per_hour`.
    pub price_file: Option<String>,
    /// Mean time between failures of one node; none fails where this is left out.
    pub mtbf: Option<Millis>,
    /// How long a failed node is away.
    pub repair: Millis,
    /// Mean time until the provider takes one node back; a spot node where this is given.
    pub interrupted_every: Option<Millis>,
    /// How long before it goes a spot node is told.
    pub notice: Millis,
    /// How long until the provider gives another in its place.
    pub replaced_after: Millis,
}

impl Default for NodeGroup {
    fn default() -> Self {
        Self {
            name: "node".into(),
            count: 1,
            gpus: 8,
            gpu_type: "gpu".into(),
            gpu_memory: Bytes(32 << 30),
            shares: None,
            mig: Vec::new(),
            cpus: 1 << 16,
            memory: Bytes(1 << 50),
            rack: None,
            labels: BTreeMap::new(),
            speed: 1.0,
            speeds: BTreeMap::new(),
            price: 0.0,
            prices: Vec::new(),
            price_file: None,
            mtbf: None,
            repair: Millis(3_600_000),
            interrupted_every: None,
            notice: Millis(120_000),
            replaced_after: Millis(300_000),
        }
    }
}

impl Cluster {
    /// Reads a cluster file, or the short form if there is no such file.
    ///
    /// # Errors
    /// When there is neither, or it describes no cluster.
    pub fn read(text_or_path: &str) -> Result<Self, SimError> {
        let path = Path::new(text_or_path);
        if !path.exists()
            && let Some(cluster) = Self::short(text_or_path)
        {
            cluster.check(text_or_path)?;
            return Ok(cluster);
        }
        let text = std::fs::read_to_string(path).map_err(|source| SimError::File {
            doing: "read the cluster",
            path: path.to_owned(),
            source,
        })?;
        Self::parse(text_or_path, &text)
    }

    /// Reads a cluster file's text, and the tables of prices that it names, beside it.
    ///
    /// # Errors
    /// When it describes no cluster.
    pub fn parse(file: &str, text: &str) -> Result<Self, SimError> {
        let wrong = |what: String| SimError::Cluster { file: file.to_owned(), what };
        let mut cluster: Self = toml::from_str(text).map_err(|error| wrong(error.to_string()))?;
        for group in &mut cluster.nodes {
            if let Some(table) = &group.price_file {
                group.prices.extend(tariff::read(&Path::new(file).with_file_name(table))?);
            }
        }
        cluster.check(file)?;
        Ok(cluster)
    }

    /// `8x8` or `8x8:v100`.
    fn short(text: &str) -> Option<Self> {
        let (shape, gpu_type) = text.split_once(':').unwrap_or((text, "gpu"));
        let (count, gpus) = shape.split_once('x')?;
        let (count, gpus) = (count.parse().ok()?, gpus.parse().ok()?);
        let group = NodeGroup { count, gpus, gpu_type: gpu_type.into(), ..NodeGroup::default() };
        Some(Self { nodes: vec![group], reservations: Vec::new() })
    }

    /// GPUs of all nodes.
    #[must_use]
    pub fn gpus(&self) -> u64 {
        self.nodes.iter().map(|group| u64::from(group.count) * u64::from(group.gpus)).sum()
    }

    /// GPU time of work that all nodes do in a unit of time at the most: GPUs of speed 1.
    #[must_use]
    pub fn pace(&self) -> f64 {
        let of = |group: &NodeGroup| {
            let gpus = f64::from(group.count) * f64::from(group.gpus) * group.fastest();
            gpus * f64::from(group.milli_per_gpu()) / f64::from(WHOLE_GPU)
        };
        self.nodes.iter().map(of).sum()
    }

    /// What all nodes cost.
    #[must_use]
    pub fn tariff(&self) -> Tariff {
        let each: Vec<(u32, Tariff)> =
            self.nodes.iter().map(|group| (group.count, group.tariff())).collect();
        Tariff::sum(&each.iter().map(|(count, tariff)| (*count, tariff)).collect::<Vec<_>>())
    }
}

impl NodeGroup {
    /// What each of its nodes costs.
    #[must_use]
    pub fn tariff(&self) -> Tariff {
        Tariff::new(self.price, &self.prices)
    }

    /// How fast jobs of a name work on it.
    #[must_use]
    pub fn pace(&self, name: &JobName) -> f64 {
        self.speeds.get(name).copied().unwrap_or(self.speed)
    }

    /// How fast any job works on it at the most.
    pub(crate) fn fastest(&self) -> f64 {
        self.speeds.values().copied().fold(self.speed, f64::max)
    }

    /// The name of one of its nodes.
    pub(crate) fn node_name(&self, place: u32) -> String {
        format!("{}-{place}", self.name)
    }

    /// Whether one of its nodes is called so.
    fn has(&self, name: &str) -> bool {
        let place = name.strip_prefix(&self.name).and_then(|rest| rest.strip_prefix('-'));
        let place = place.and_then(|place| place.parse().ok()).filter(|at| *at < self.count);
        place.is_some_and(|place| self.node_name(place) == name)
    }

    /// The labels of each of its nodes, how often it is taken away and what it costs among them.
    pub(crate) fn labels(&self, usd_per_hour: Option<f64>) -> BTreeMap<String, String> {
        let mut labels = self.labels.clone();
        labels.extend(self.rack.iter().map(|rack| ("rack".to_owned(), rack.clone())));
        if let Some(usd) = usd_per_hour {
            let each = usd / f64::from(self.gpus.max(1));
            labels.insert("usd_per_unit_hour".into(), format!("{each:.6}"));
        }
        if let Some(every) = self.interrupted_every {
            let daily = 86_400_000.0 / crate::num::float(every.0.max(1));
            labels.insert("interruptions_per_day".into(), format!("{daily:.6}"));
        }
        labels
    }
}

#[cfg(test)]
mod tests;
