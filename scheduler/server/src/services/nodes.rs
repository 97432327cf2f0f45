//! Nodes, and the cluster itself.

use std::time::Duration;

use trainyard_core::{
    State,
    state::{Node, NodeState},
};
use trainyard_jobs::JobPhase;
use trainyard_proto::v1;

use super::{members, reservations};
use crate::{
    access::Caller, clock, decide::contacts::tenants, error::Failure, probes, replica::Replica,
    views,
};

/// What stands for a job of a project that the caller does not see, where a unit is taken by one.
const FOREIGN: &str = "another";

pub(super) async fn list(
    replica: &Replica,
    caller: &Caller,
    request: &v1::ListNodesRequest,
) -> Result<v1::ListNodesAnswer, Failure> {
    let silent_after = Duration::from_millis(replica.config.heartbeat.0.saturating_mul(3));
    let look = |state: &State| {
        let now = clock::now();
        let view = |node: &Node| {
            let mut view = views::node(node, replica.sessions.get(&node.id), silent_after);
            let inventory = &node.inventory;
            let (name, labels) = (inventory.name.as_str(), &inventory.labels);
            view.reservation = reservations::of_node(state, name, labels, now);
            if node.state == NodeState::Up {
                view.used_last = replica
                    .sessions
                    .with(|contacts| contacts.remarks(&node.id, &tenants(state, &node.id), now));
            }
            for owner in view.owners.iter_mut().filter_map(|owner| owner.attempt.as_mut()) {
                let job = owner.job.parse().ok().and_then(|id| state.job(&id));
                if job.is_none_or(|job| !caller.sees(&job.spec.project)) {
                    *owner = v1::AttemptRef { job: FOREIGN.to_owned(), ..Default::default() };
                }
            }
            view
        };
        state.nodes().values().map(view).collect::<Vec<_>>()
    };
    let mut nodes = replica.read(request.stale, look).await?;
    let name = |node: &v1::Node| node.inventory.as_ref().map(|i| i.name.clone());
    nodes.sort_by_key(name);
    Ok(v1::ListNodesAnswer { nodes, stale: request.stale })
}

/// This member's own view; it needs no quorum.
pub(super) async fn cluster_status(replica: &Replica) -> Result<v1::ClusterStatusAnswer, Failure> {
    let hashed = replica.clone();
    // After many changes it takes a moment: not on a thread that others wait for.
    let hashed = tokio::task::spawn_blocking(move || hashed.hash.of(&hashed)).await;
    let (index, state_hash) = hashed.map_err(|e| Failure::Interrupted(e.to_string()))?;
    let status = replica.status().borrow().clone();
    let look = |state: &State| {
        let up = state.nodes().values().filter(|n| n.state == NodeState::Up).count();
        (
            state.revision(),
            state.feature_level(),
            state.archive().count,
            [up, state.jobs_in_phase(JobPhase::Queued), state.jobs_in_phase(JobPhase::Running)],
        )
    };
    let (revision, feature_level, archived, counts) = replica.look(look);
    let [nodes, queued, running] = counts.map(|n| u32::try_from(n).unwrap_or(u32::MAX));
    let own = probes::answer(replica);
    let role = serde_json::to_value(status.role).ok();
    Ok(v1::ClusterStatusAnswer {
        cluster: replica.config.cluster.to_string(),
        id: status.id,
        role: role.and_then(|r| r.as_str().map(str::to_owned)).unwrap_or_default(),
        term: status.term,
        leader: status.leader.unwrap_or(0),
        commit: status.commit.max(index),
        applied: status.applied.max(index),
        first_index: status.first_index,
        last_index: status.last_index,
        log_bytes: status.log_bytes,
        snapshot_index: status.last_snapshot_index,
        state_hash,
        members: members::list(replica),
        epoch: revision.epoch,
        feature_level: u32::from(feature_level),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        nodes,
        queued,
        running,
        archived,
        state_hash_index: index,
        supported_level: own.feature_level,
        disk_free: own.disk_free,
        disk_total: own.disk_total,
        alarms: probes::alarms(replica),
    })
}
