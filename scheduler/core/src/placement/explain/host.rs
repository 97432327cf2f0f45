//! What there is to say of processors and memory: free units on nodes that have too little left of
//! them.

use trainyard_jobs::Bytes;

use super::{Blocker, BlockerKind, counted};
use crate::placement::{
    fit::{Host, Request},
    planner::Planner,
    view::PlanNode,
};

/// Nodes that are named.
const SHOWN: usize = 2;

/// Free units for which nodes lack processors, and those for which they lack memory.
pub(super) fn lacking(planner: &Planner, asked: &Request) -> Vec<Blocker> {
    let each = asked.host();
    let cpus = Host { memory: Bytes(0), ..each };
    let memory = Host { cpu_milli: 0, ..each };
    let wishes = [cpus, memory].into_iter().filter(|each| !each.is_none());
    wishes.filter_map(|each| lacking_one(planner, asked, each)).collect()
}

fn lacking_one(planner: &Planner, asked: &Request, each: Host) -> Option<Blocker> {
    let nodes = planner.nodes().values().filter(|node| asked.allows(&node.labels));
    let lacking = |node| {
        let free = free_units(planner, node, asked);
        let spare = node.host.without(node.taken).ranks(each);
        (free.saturating_sub(spare), node)
    };
    let mut found: Vec<(u32, &PlanNode)> =
        nodes.map(lacking).filter(|(lacking, _)| *lacking > 0).collect();
    found.sort_by(|(a, x), (b, y)| b.cmp(a).then_with(|| x.name.cmp(&y.name)));
    let units = found.iter().map(|(lacking, _)| *lacking).fold(0, u32::saturating_add);
    let shown = found.iter().take(SHOWN).map(|(_, node)| {
        let (free, all) = (node.host.without(node.taken), node.host);
        if each.cpu_milli > 0 {
            format!("{} has {} of {} free", node.name, free.cpu_milli / 1000, all.cpu_milli / 1000)
        } else {
            format!("{} has {} of {} free", node.name, free.memory, all.memory)
        }
    });
    let shown: Vec<String> = shown.collect();
    let what = if each.cpu_milli > 0 { "CPUs" } else { "memory" };
    let units = counted(units, "free unit");
    let lack = if units.starts_with("1 ") { "lacks" } else { "lack" };
    let message = format!("{units} {lack} {what} on the node: {}", shown.join("; "));
    (!found.is_empty()).then_some(Blocker { kind: BlockerKind::Host, message })
}

/// Units of a node that answer, that nobody has and that can be used.
fn free_units(planner: &Planner, node: &PlanNode, asked: &Request) -> u32 {
    let out = planner.unusable(&node.id);
    let free = node.devices.iter().filter(|(unit, device)| {
        asked.takes(device.kind, &device.model, device.memory, device.part.milli())
            && !node.owners.contains_key(*unit)
            && !out.is_some_and(|out| out.contains_key(*unit))
    });
    u32::try_from(free.count()).unwrap_or(u32::MAX)
}
