//! Which jobs are refused at the door: only those that exceed every node seen in seven days.

use std::collections::BTreeSet;

use trainyard_core::{
    State,
    placement::{Host, beside, matches},
    state::{Node, NodeState},
};
use trainyard_jobs::{DeviceKind, JobSpec, Millis, spec::Resources};

use crate::error::Failure;

/// How long a node that is gone still counts as one that may come back.
const SEEN: Millis = Millis(7 * 86_400_000);

/// Refuses what could not start even if every known node were up and idle. While no node is
/// known, nothing is impossible.
///
/// # Errors
/// How much is missing.
pub fn check(state: &State, request: &Resources) -> Result<(), Failure> {
    let seen = |node: &&Node| node.state == NodeState::Up || state.time().since(node.seen) <= SEEN;
    let nodes: Vec<_> = state.nodes().values().filter(seen).collect();
    let most = request.max_ranks_per_node.unwrap_or(u32::MAX);
    let answering = |node: &&Node| {
        let labelled = request
            .node_labels
            .iter()
            .all(|(key, value)| node.inventory.labels.get(key) == Some(value));
        let devices = node.inventory.devices.values();
        let units = devices.filter(|d| matches(request, d));
        // On parts of GPUs a gang has one rank a GPU.
        let units = if request.on_parts() && request.gpus > 1 {
            units.map(|d| d.part.parent()).collect::<BTreeSet<_>>().len()
        } else {
            units.count()
        };
        if labelled { u32::try_from(units).unwrap_or(u32::MAX).min(most) } else { 0 }
    };
    let each = Host::of_rank(request);
    let room = |node: &&Node| answering(node).min(Host::of(&node.inventory).ranks(each));
    let reachable: u32 = nodes.iter().map(room).fold(0, u32::saturating_add);
    if nodes.is_empty() || reachable >= request.gpus {
        return Ok(());
    }
    let hosts = nodes.iter().filter(|node| answering(node) > 0);
    let most = hosts.map(|node| Host::of(&node.inventory)).reduce(Host::at_best);
    let most = most.filter(|_| !each.is_none());
    Err(Failure::Impossible(describe(request, nodes.len(), reachable, most)))
}

/// Refuses to register versions of a model that belongs to another project: its readers would be
/// given what they did not ask for.
pub(crate) fn check_model(state: &State, spec: &JobSpec) -> Result<(), Failure> {
    let Some(register) = &spec.register else { return Ok(()) };
    let first = state.models().get(&register.model).and_then(|v| v.first_key_value());
    match first {
        Some((_, version)) if version.project != spec.project => Err(Failure::Impossible(format!(
            "the model name `{}` is taken in another project: choose another",
            register.model
        ))),
        _ => Ok(()),
    }
}

/// `most` is what the nodes with such units have at the most beside them, if that is asked for.
fn describe(request: &Resources, nodes: usize, reachable: u32, most: Option<Host>) -> String {
    let kind = match request.device {
        DeviceKind::Cpu => "CPU slots",
        DeviceKind::Gpu if request.on_parts() && request.gpus > 1 => {
            "GPU parts, each on its own GPU,"
        }
        DeviceKind::Gpu if request.on_parts() => "GPU parts",
        DeviceKind::Gpu => "GPUs",
    };
    let hint = if most.is_some() {
        "; `yard node list -o wide` shows what nodes have"
    } else if request.on_parts() {
        "; `gpu_fraction` takes MIG slices and shares alone: `yard gpu list --all` shows what there is"
    } else if request.device == DeviceKind::Gpu && reachable == 0 {
        "; for a run without GPUs set `[resources] device = \"cpu\"`"
    } else {
        "; `yard gpu list --all` shows what there is"
    };
    let beside = beside(request);
    let largest = match (reachable, request.max_ranks_per_node) {
        (0, _) => {
            most.map_or_else(String::new, |most| format!(": none of them has more than {most}"))
        }
        (most, None) => format!(": the largest that would fit has `gpus = {most}`"),
        (most, Some(each)) => {
            format!(": the largest that would fit has `gpus = {most}`, at most {each} a node")
        }
    };
    format!(
        "the job needs {} {kind} of the kind that it asks for{beside}, and all {nodes} nodes of the last seven days together have {reachable}{largest}{hint}",
        request.gpus
    )
}

#[cfg(test)]
mod tests;
