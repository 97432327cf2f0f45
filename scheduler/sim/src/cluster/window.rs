//! Nodes of a replay that are reserved for a time, as an operator of the cluster would reserve
//! them.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use trainyard_jobs::{
    NodeName, NodeSelection, ProjectName, Purpose, ReservationName, ReservationSpec, Timestamp,
};

use super::{Cluster, NodeGroup, tariff::At};

/// A reservation.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Its name; `reservation-1` and so on where none is given.
    pub name: Option<ReservationName>,
    /// Nodes by name; all of them where neither names nor labels are given.
    #[serde(default)]
    pub nodes: BTreeSet<NodeName>,
    /// Nodes that carry all of these labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// When it begins.
    pub from: At,
    /// When it ends.
    pub to: At,
    /// Only jobs of these projects, or below them, run there; nobody's where this and `users` are
    /// left out.
    #[serde(default, rename = "for")]
    pub projects: BTreeSet<ProjectName>,
    /// Only jobs of these users run there.
    #[serde(default)]
    pub users: BTreeSet<String>,
    /// When it is made; before the trace begins unless it is said.
    #[serde(default)]
    pub announced: At,
}

impl Window {
    /// What an operator asks for, with the trace beginning at `begin`.
    pub(crate) fn spec(&self, begin: Timestamp) -> ReservationSpec {
        let instant = |at: At| Timestamp(begin.0.saturating_add(at.0.0));
        let nodes = if !self.nodes.is_empty() {
            NodeSelection::Names(self.nodes.clone())
        } else if self.labels.is_empty() {
            NodeSelection::All
        } else {
            NodeSelection::Labels(self.labels.clone())
        };
        let (projects, users) = (self.projects.clone(), self.users.clone());
        let purpose = if projects.is_empty() && users.is_empty() {
            Purpose::Maintenance
        } else {
            Purpose::For { projects, users }
        };
        let (from, until) = (instant(self.from), instant(self.to));
        ReservationSpec { from, until, nodes, purpose, reason: String::new() }
    }

    /// What is wrong with it on these nodes, if anything.
    pub(super) fn problem(&self, groups: &[NodeGroup]) -> Option<String> {
        if !self.nodes.is_empty() && !self.labels.is_empty() {
            return Some("it names nodes and labels: keep one of them".into());
        }
        let known = |name: &&NodeName| groups.iter().any(|group| group.has(name.as_str()));
        if let Some(unknown) = self.nodes.iter().find(|name| !known(name)) {
            return Some(format!("there is no node `{unknown}`; they are called `node-0` and on"));
        }
        let spec = self.spec(Timestamp(0));
        let covers = |group: &NodeGroup| spec.nodes.covers("", &group.labels(None));
        if !self.labels.is_empty() && !groups.iter().any(covers) {
            return Some("no node carries its labels; give them to a group as `labels`".into());
        }
        spec.problem(Timestamp(self.announced.0.0))
    }
}

impl Cluster {
    /// Every reservation under its name.
    pub(crate) fn windows(&self) -> Vec<(ReservationName, &Window)> {
        let mut named = Vec::new();
        for (at, window) in self.reservations.iter().enumerate() {
            let given = window.name.clone();
            let name = given.or_else(|| format!("reservation-{}", at + 1).parse().ok());
            named.extend(name.map(|name| (name, window)));
        }
        named
    }

    /// GPU-milliseconds that are reserved between two instants.
    pub(crate) fn reserved_gpu_ms(&self, from: u64, to: u64) -> u128 {
        let specs: Vec<ReservationSpec> =
            self.reservations.iter().map(|window| window.spec(Timestamp(0))).collect();
        let mut sum = 0;
        for group in self.nodes.iter().filter(|_| !specs.is_empty()) {
            let labels = group.labels(None);
            for place in 0..group.count {
                let name = group.node_name(place);
                let mut spans: Vec<(u64, u64)> = specs
                    .iter()
                    .filter(|spec| spec.nodes.covers(&name, &labels))
                    .map(|spec| (spec.from.0.max(from), spec.until.0.min(to)))
                    .collect();
                spans.sort_unstable();
                sum += u128::from(covered(&spans)) * u128::from(group.gpus);
            }
        }
        sum
    }
}

/// The length of what lies in any of these spans, which are in order.
fn covered(spans: &[(u64, u64)]) -> u64 {
    let (mut sum, mut until) = (0, 0);
    for (from, to) in spans {
        sum += to.saturating_sub(until.max(*from));
        until = until.max(*to);
    }
    sum
}
