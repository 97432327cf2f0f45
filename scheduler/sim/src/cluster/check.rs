//! What a cluster file cannot mean, told with what to write instead.

use std::collections::BTreeSet;

use trainyard_jobs::{Millis, NodeName, spec::Speeds};

use super::{Cluster, NodeGroup, tariff};
use crate::SimError;

/// The most nodes that a replay takes.
const MAX_NODES: u64 = 100_000;
/// The most GPUs of one node.
const MAX_GPUS: u32 = 1024;
/// The most reservations: as many as a cluster holds at once.
const MAX_RESERVATIONS: usize = 1000;

impl Cluster {
    pub(super) fn check(&self, file: &str) -> Result<(), SimError> {
        let wrong = |what: String| Err(SimError::Cluster { file: file.to_owned(), what });
        if self.gpus() == 0 {
            return wrong("it has no GPU; give `[[nodes]]` with `count` and `gpus` above 0".into());
        }
        let count: u64 = self.nodes.iter().map(|group| u64::from(group.count)).sum();
        if count > MAX_NODES {
            return wrong(format!("{count} nodes; a replay takes {MAX_NODES} at most"));
        }
        for group in &self.nodes {
            if let Some(problem) = group.problem() {
                return wrong(format!("{}: {problem}", group.name));
            }
        }
        let mut names = BTreeSet::new();
        if !self.nodes.iter().all(|group| names.insert(&group.name)) {
            return wrong("two groups have one name; give each a `name` of its own".into());
        }
        let unlike = |group: &&NodeGroup| {
            let speeds = group.speeds.values().chain([&group.speed]);
            speeds.into_iter().any(|speed| *speed != 1.0)
        };
        let kinds =
            self.nodes.iter().filter(unlike).map(|group| group.gpu_type.to_ascii_lowercase());
        let kinds = kinds.collect::<BTreeSet<_>>().len();
        if kinds > Speeds::MOST {
            let most = Speeds::MOST;
            return wrong(format!("{kinds} types of GPUs have a speed; {most} at most"));
        }
        match self.window_problem() {
            Some(problem) => wrong(problem),
            None => Ok(()),
        }
    }

    fn window_problem(&self) -> Option<String> {
        if self.reservations.len() > MAX_RESERVATIONS {
            let count = self.reservations.len();
            return Some(format!("{count} reservations; a cluster holds {MAX_RESERVATIONS}"));
        }
        let mut names = BTreeSet::new();
        for (name, window) in self.windows() {
            if let Some(problem) = window.problem(&self.nodes) {
                return Some(format!("{name}: {problem}"));
            }
            if !names.insert(name) {
                return Some(
                    "two reservations have one name; give each a `name` of its own".into(),
                );
            }
        }
        None
    }
}

impl NodeGroup {
    /// What is wrong with it, if anything.
    fn problem(&self) -> Option<String> {
        if format!("{}-0", self.name).parse::<NodeName>().is_err() {
            return Some("that cannot begin a node's name; use a-z, 0-9 and `-`".into());
        }
        if self.gpus > MAX_GPUS {
            return Some(format!("{} GPUs a node; {MAX_GPUS} at most", self.gpus));
        }
        // As in a job's spec: the planner is told of them there.
        let believed = 0.001..=1000.0;
        let mut speeds = self.speeds.values().chain([&self.speed]);
        if let Some(odd) = speeds.find(|speed| !believed.contains(*speed)) {
            return Some(format!("speed {odd}; give a number above 0, from 0.001 to 1000"));
        }
        let mut prices = self.prices.iter().map(|(_, price)| *price).chain([self.price]);
        if let Some(problem) = prices.find_map(tariff::problem) {
            return Some(problem);
        }
        let never = |every: Option<Millis>| every == Some(Millis(0));
        if never(self.mtbf) || never(self.interrupted_every) {
            return Some("a time between failures of 0; leave it out".into());
        }
        if self.cpus == 0 || self.memory.0 == 0 {
            return Some("a node without processors or memory; leave them out".into());
        }
        self.parts_problem()
    }
}
