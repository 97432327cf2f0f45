//! What there is to say of what nodes have beside their units: free units on nodes that have too
//! little of it left.

use super::{Blocker, BlockerKind, counted};
use crate::placement::{
    fit::{Request, Supply},
    planner::Planner,
    view::PlanNode,
};

/// Nodes that are named.
const SHOWN: usize = 2;

/// Free units for which nodes lack something, by what they lack.
pub(super) fn lacking(planner: &Planner, asked: &Request) -> Vec<Blocker> {
    let wished = Supply::ALL.into_iter().filter(|supply| !asked.host.only(*supply).is_none());
    wished.filter_map(|supply| lacking_one(planner, asked, supply)).collect()
}

fn lacking_one(planner: &Planner, asked: &Request, supply: Supply) -> Option<Blocker> {
    let each = asked.host.only(supply);
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
        let (free, all) = (supply.amount(node.host.without(node.taken)), supply.amount(node.host));
        format!("{} has {free} of {all} free", node.name)
    });
    let shown: Vec<String> = shown.collect();
    let what = supply.as_str();
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
