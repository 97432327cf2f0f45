//! The cluster of a replay: groups of equal nodes, what they cost, how fast they are and how often
//! they fail. Read from TOML, or from the short form `8x8` (nodes x GPUs) with a type: `8x8:v100`.

use std::path::Path;

use serde::Deserialize;
use trainyard_jobs::{Bytes, Millis, NodeName};

use crate::SimError;

/// The most nodes that a replay takes.
const MAX_NODES: u64 = 100_000;
/// The most GPUs of one node.
const MAX_GPUS: u32 = 1024;

/// All nodes.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Groups of equal nodes.
    pub nodes: Vec<NodeGroup>,
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
    /// Logical processors of each.
    pub cpus: u32,
    /// Main memory of each.
    pub memory: Bytes,
    /// The rack label, if they stand in one.
    pub rack: Option<String>,
    /// How fast they work, against the GPUs that the trace's run times were measured on.
    pub speed: f64,
    /// US dollars an hour for each node.
    pub price: f64,
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
            cpus: 64,
            memory: Bytes(512 << 30),
            rack: None,
            speed: 1.0,
            price: 0.0,
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

    /// Reads a cluster file's text.
    ///
    /// # Errors
    /// When it describes no cluster.
    pub fn parse(file: &str, text: &str) -> Result<Self, SimError> {
        let wrong = |what: String| SimError::Cluster { file: file.to_owned(), what };
        let cluster: Self = toml::from_str(text).map_err(|error| wrong(error.to_string()))?;
        cluster.check(file)?;
        Ok(cluster)
    }

    /// `8x8` or `8x8:v100`.
    fn short(text: &str) -> Option<Self> {
        let (shape, gpu_type) = text.split_once(':').unwrap_or((text, "gpu"));
        let (count, gpus) = shape.split_once('x')?;
        let (count, gpus) = (count.parse().ok()?, gpus.parse().ok()?);
        let group = NodeGroup { count, gpus, gpu_type: gpu_type.into(), ..NodeGroup::default() };
        Some(Self { nodes: vec![group] })
    }

    /// GPUs of all nodes.
    #[must_use]
    pub fn gpus(&self) -> u64 {
        self.nodes.iter().map(|group| u64::from(group.count) * u64::from(group.gpus)).sum()
    }

    /// US dollars an hour for all nodes.
    #[must_use]
    pub fn price(&self) -> f64 {
        self.nodes.iter().map(|group| f64::from(group.count) * group.price).sum()
    }

    fn check(&self, file: &str) -> Result<(), SimError> {
        let wrong = |what: String| Err(SimError::Cluster { file: file.to_owned(), what });
        if self.gpus() == 0 {
            return wrong("it has no GPU; give `[[nodes]]` with `count` and `gpus` above 0".into());
        }
        let count: u64 = self.nodes.iter().map(|group| u64::from(group.count)).sum();
        if count > MAX_NODES {
            return wrong(format!("{count} nodes; a replay takes {MAX_NODES} at most"));
        }
        for group in &self.nodes {
            let name = &group.name;
            if format!("{name}-0").parse::<NodeName>().is_err() {
                return wrong(format!("`{name}` cannot begin a node's name; use a-z, 0-9 and `-`"));
            }
            if group.gpus > MAX_GPUS {
                return wrong(format!("{name}: {} GPUs a node; {MAX_GPUS} at most", group.gpus));
            }
            if !(group.speed.is_finite() && group.speed > 0.0) {
                return wrong(format!("{name}: speed {}; give a number above 0", group.speed));
            }
            if !(group.price.is_finite() && group.price >= 0.0) {
                return wrong(format!("{name}: price {}; give dollars an hour", group.price));
            }
            let never = |every: Option<Millis>| every == Some(Millis(0));
            if never(group.mtbf) || never(group.interrupted_every) {
                return wrong(format!("{name}: a time between failures of 0; leave it out"));
            }
        }
        let mut names: Vec<_> = self.nodes.iter().map(|group| &group.name).collect();
        names.sort();
        if names.windows(2).any(|pair| pair.first() == pair.get(1)) {
            return wrong("two groups have one name; give each a `name` of its own".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
