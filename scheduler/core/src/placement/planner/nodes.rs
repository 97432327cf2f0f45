//! What nodes offer, as the planner and its yard are told of it.

use std::collections::BTreeMap;

use trainyard_jobs::{NodeId, UnitId};

use super::{Planner, slot};
use crate::placement::{
    score::{Price, Terms},
    view::PlanNode,
};

/// What a node says that its units cost; nothing costs nothing.
fn price(node: &PlanNode) -> Price {
    Terms::of(&node.labels).price
}

impl Planner {
    pub(super) fn set_node(&mut self, node: PlanNode) {
        self.put(&node);
        self.offer(&node, true);
        self.prices.entry(price(&node)).or_default().insert(node.id.clone());
        let known = self.nodes.get(&node.id).filter(|_| !self.gavel.is_empty());
        if known.is_none_or(|before| before.devices != node.devices) {
            self.gavel.unsettle();
        }
        let now = price(&node);
        if let Some(before) = self.nodes.insert(node.id.clone(), node) {
            self.offer(&before, false);
            if price(&before) != now {
                self.drop_price(&before);
            }
        }
    }

    pub(super) fn remove_node(&mut self, node: &NodeId) {
        if let Some(before) = self.nodes.remove(node) {
            self.gavel.unsettle();
            self.offer(&before, false);
            self.drop_price(&before);
        }
        self.unusable.remove(node);
        self.drop_node(node);
    }

    fn drop_price(&mut self, node: &PlanNode) {
        let price = price(node);
        if let Some(nodes) = self.prices.get_mut(&price) {
            nodes.remove(&node.id);
            if nodes.is_empty() {
                self.prices.remove(&price);
            }
        }
    }

    /// Whether nodes say that their units cost more or less than others.
    pub(in crate::placement) fn has_prices(&self) -> bool {
        self.prices.len() > 1
    }

    /// The nodes that say that their units have this price.
    pub(in crate::placement) fn nodes_at(&self, price: Price) -> impl Iterator<Item = &PlanNode> {
        let nodes = self.prices.get(&price).into_iter().flatten();
        nodes.filter_map(|id| self.nodes.get(id))
    }

    /// Counts what a node offers.
    fn offer(&mut self, node: &PlanNode, more: bool) {
        for device in node.devices.values() {
            if let Some(units) = self.capacity.units.get_mut(slot(device.kind)) {
                *units = if more { units.saturating_add(1) } else { units.saturating_sub(1) };
            }
        }
        let all = self.capacity.host;
        self.capacity.host = if more { all.and(node.host) } else { all.without(node.host) };
    }

    pub(super) fn set_unusable(&mut self, node: NodeId, units: BTreeMap<UnitId, String>) {
        let known = self.unusable.get(&node);
        if known.map_or(units.is_empty(), |known| *known == units) {
            return;
        }
        if let Some(node) = self.nodes.get(&node) {
            self.yard.set(node, Some(&units));
        }
        if units.is_empty() {
            self.unusable.remove(&node);
        } else {
            self.unusable.insert(node, units);
        }
    }
}
