//! How many nodes more would start a waiting job, and what they cost.

use std::collections::BTreeSet;

use trainyard_jobs::{NodeId, Timestamp};

use super::{
    change::{Change, Counterfactual},
    counted,
    whatif::{Scenario, least},
};
use crate::placement::{
    fit::{Host, Request, WHOLE, unit_word},
    planner::Planner,
    score::Terms,
    view::{PlanNode, Waiting},
};

/// Nodes that somebody might add.
const MORE: usize = 64;

impl Planner {
    /// How many nodes more, of those that have most units of the kind.
    pub(super) fn more_nodes(&mut self, job: &Waiting, now: Timestamp) -> Option<Counterfactual> {
        let request = Request::from(&job.resources);
        let ranks_of = |ranks: u32| usize::try_from(ranks).unwrap_or(usize::MAX);
        let answers = |node: &PlanNode| {
            let units = node.devices.values();
            let units = units.filter(|d| request.takes(d.kind, &d.model, d.memory, d.part.milli()));
            let units = if request.on_parts() && request.ranks > 1 {
                units.map(|d| d.part.parent()).collect::<BTreeSet<_>>().len()
            } else {
                units.count()
            };
            (units.min(ranks_of(node.host.ranks(request.host))), units)
        };
        let usable = self.nodes().values().filter(|node| request.allows(&node.labels));
        let ((each, size), like) = usable
            .map(|node| (answers(node), node))
            .max_by(|(a, x), (b, y)| a.cmp(b).then_with(|| y.id.cmp(&x.id)))?;
        let ranks = ranks_of(job.resources.gpus);
        let each = each.min(ranks_of(request.most_per_node));
        let most = ranks.checked_div(each)? + usize::from(!ranks.is_multiple_of(each));
        let (like, terms) = (like.clone(), Terms::of(&like.labels));
        let nodes: Vec<PlanNode> = (0..most.min(MORE)).map(|n| copy(&like, n)).collect();
        if most > MORE {
            return None;
        }
        let mut works = |count: usize, quick: bool| {
            let more = nodes.get(..count).unwrap_or_default();
            let scenario = Scenario { more, ..Scenario::of(job) };
            if quick { self.would_fit(&scenario, now) } else { self.works(&scenario, now) }
        };
        let (many, hire) = least(most, &mut works)?;
        let units = counted(u32::try_from(size).unwrap_or(u32::MAX), &unit_word(&job.resources));
        let count = u32::try_from(many).unwrap_or(u32::MAX);
        let nodes = counted(count, "more node");
        let text = format!("with {nodes} like {} ({units})", like.name);
        let milli = u64::from(request.part).saturating_mul(u64::try_from(size).unwrap_or(0));
        let of_node = terms.price.micro_usd().saturating_mul(milli) / u64::from(WHOLE);
        let change = Change::Nodes { like: like.id, count };
        let micro_usd_per_hour = of_node.saturating_mul(u64::from(count));
        let found = self.starts_now((job, job), (hire, now), change, &text);
        Some(Counterfactual { micro_usd_per_hour, ..found })
    }
}

/// A node like another, with nothing taken.
fn copy(like: &PlanNode, n: usize) -> PlanNode {
    let mut node = like.clone();
    // A reservation of the other's name is none of this one. No node is called so.
    node.name = format!("another like {}", like.name);
    // Ids are drawn at random: one of these is not taken.
    node.id = NodeId::from_random(u64::MAX - u64::try_from(n).unwrap_or(0));
    node.owners.clear();
    node.taken = Host::default();
    node.ports_in_use.clear();
    node
}
