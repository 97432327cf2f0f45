//! Whether and where a gang fits: whole or not at all, on as few nodes as possible.

use std::collections::{BTreeMap, BTreeSet};

use trainyard_jobs::{Device, DeviceKind, NodeId, UnitId, spec::Resources};

use super::view::PlanNode;

/// One node during planning: what this plan has taken already is not free any more.
#[derive(Debug, Clone)]
pub(super) struct Yard<'a> {
    pub(super) nodes: BTreeMap<&'a NodeId, Spot<'a>>,
}

/// A node's free units in the order in which they are handed out.
#[derive(Debug, Clone)]
pub(super) struct Spot<'a> {
    pub(super) node: &'a PlanNode,
    pub(super) free: Vec<(&'a UnitId, &'a Device)>,
    pub(super) ports_taken: BTreeSet<u16>,
    /// Held for a job that has waited too long, against everybody after it.
    pub(super) held: bool,
}

/// Node by node, the units that a gang gets.
pub(super) type Gang<'a> = Vec<(&'a NodeId, Vec<UnitId>)>;

/// Whether a unit is of the kind that is asked for.
#[must_use]
pub fn matches(request: &Resources, device: &Device) -> bool {
    let of_type = |name: &String| name.eq_ignore_ascii_case(&device.model);
    device.kind == request.device
        && (request.gpu_type.is_empty() || request.gpu_type.iter().any(of_type))
        && request.min_gpu_memory.is_none_or(|least| device.memory >= least)
}

/// Whether a node carries the labels that are asked for.
pub(super) fn labels_match(request: &Resources, node: &PlanNode) -> bool {
    request.node_labels.iter().all(|(key, value)| node.labels.get(key) == Some(value))
}

fn limit(request: &Resources) -> usize {
    let most = request.max_ranks_per_node.unwrap_or(u32::MAX);
    usize::try_from(most).unwrap_or(usize::MAX)
}

/// The units that `request` may take on a node, at most as many as it may use there.
fn usable<'a>(request: &Resources, spot: &Spot<'a>) -> Vec<&'a UnitId> {
    if spot.held || !labels_match(request, spot.node) {
        return Vec::new();
    }
    let wanted = spot.free.iter().filter(|(_, device)| matches(request, device));
    wanted.map(|(unit, _)| *unit).take(limit(request)).collect()
}

/// Places a gang: on the one node that it leaves least unused, or else on the fewest nodes.
pub(super) fn fit<'a>(request: &Resources, yard: &Yard<'a>) -> Option<Gang<'a>> {
    let ranks = usize::try_from(request.gpus).ok()?;
    let mut offers: Vec<(&NodeId, Vec<&UnitId>, usize)> = yard
        .nodes
        .iter()
        .map(|(id, spot)| (*id, usable(request, spot), spot.free.len()))
        .filter(|(_, units, _)| !units.is_empty())
        .collect();
    let whole = offers.iter().filter(|(_, units, _)| units.len() >= ranks);
    if let Some((node, units, _)) = whole.min_by_key(|(node, _, free)| (*free, *node)) {
        return Some(vec![(node, units.iter().take(ranks).map(|u| (*u).clone()).collect())]);
    }
    offers.sort_by_key(|(node, units, free)| (std::cmp::Reverse(units.len()), *free, *node));
    let mut missing = ranks;
    let mut gang = Vec::new();
    for (node, units, _) in offers {
        let take = missing.min(units.len());
        gang.push((node, units.into_iter().take(take).cloned().collect()));
        missing -= take;
        if missing == 0 {
            return Some(gang);
        }
    }
    None
}

impl<'a> Yard<'a> {
    /// Takes a gang's units away.
    pub(super) fn take(&mut self, gang: &Gang<'a>) {
        for (node, units) in gang {
            if let Some(spot) = self.nodes.get_mut(node) {
                spot.free.retain(|(unit, _)| !units.contains(unit));
            }
        }
    }

    /// Whether no unit is left to hand out.
    pub(super) fn is_full(&self) -> bool {
        self.nodes.values().all(|spot| spot.held || spot.free.is_empty())
    }

    /// Takes a free port of a node for rank 0, beginning at the `turn`-th.
    pub(super) fn take_port(&mut self, node: &'a NodeId, turn: u64) -> Option<u16> {
        let spot = self.nodes.get_mut(node)?;
        let (first, last) = spot.node.ports;
        let count = u64::from(last.checked_sub(first)?) + 1;
        let port = (0..count)
            .filter_map(|i| u16::try_from(u64::from(first) + (turn + i) % count).ok())
            .find(|port| {
                !spot.node.ports_in_use.contains(port) && !spot.ports_taken.contains(port)
            })?;
        spot.ports_taken.insert(port);
        Some(port)
    }

    /// Keeps the nodes that could serve `request` for it.
    pub(super) fn hold(&mut self, request: &Resources) {
        for spot in self.nodes.values_mut() {
            let serves = spot.node.devices.values().any(|d| matches(request, d));
            spot.held |= serves && labels_match(request, spot.node);
        }
    }
}

/// The word for what a request counts.
pub(super) fn unit_word(request: &Resources) -> String {
    match (request.device, request.gpu_type.as_slice()) {
        (DeviceKind::Cpu, _) => "CPU slot".into(),
        (DeviceKind::Gpu, []) => "GPU".into(),
        (DeviceKind::Gpu, types) => format!("{} GPU", types.join(" or ")),
    }
}
