//! Which nodes are lost. A node is called lost a full grace after the later of its last contact
//! and this leader's beginning. When many fall silent together the leader suspects itself: it
//! holds and hands the leadership on, because a cut-off leader must not declare everybody dead.

use std::time::Duration;

use tokio::time::{Instant, interval};
use trainyard_core::{Command, state::NodeState};
use trainyard_jobs::{NodeId, SessionId};

use crate::replica::Replica;

/// Fewer silent nodes than this are never suspicious.
const SUSPICIOUS: usize = 3;

/// How many graces a leader holds before it believes what it sees: by then the others have led
/// in turn and seen the same.
const HOLD: u32 = 5;

pub(super) async fn run(replica: Replica) {
    let began = Instant::now();
    let grace = Duration::from(replica.config.node_grace);
    let mut tick = interval(Duration::from(replica.config.heartbeat));
    let mut handed_on = false;
    loop {
        tick.tick().await;
        let (silent, up) = silent_nodes(&replica, began, grace);
        if silent.is_empty() {
            continue;
        }
        let suspicious = silent.len() >= SUSPICIOUS && silent.len() * 5 > up;
        if suspicious && silent.iter().any(|(_, _, since)| since.elapsed() < grace * HOLD) {
            tracing::error!(silent = silent.len(), up, "many nodes are silent at once: holding");
            if !handed_on && replica.peers().len() > 1 {
                handed_on = true;
                replica.raft.transfer_leadership(None);
            }
            continue;
        }
        for (node, session, since) in silent {
            tracing::warn!(%node, silent_s = since.elapsed().as_secs(), "node lost");
            if let Err(failure) = replica.propose(Command::MarkLost { node, session }).await {
                tracing::warn!(%failure, "node not marked lost");
            }
        }
    }
}

/// The nodes that have been silent for longer than the grace, since when, and how many count as
/// up.
fn silent_nodes(
    replica: &Replica,
    began: Instant,
    grace: Duration,
) -> (Vec<(NodeId, SessionId, Instant)>, usize) {
    let seen = replica.sessions.last_seen();
    let last_contact = |node: &NodeId, session: SessionId| {
        let of_session = seen.get(node).filter(|(s, _)| *s == session);
        of_session.map_or(began, |(_, at)| (*at).max(began))
    };
    replica.look(|state| {
        let up = state.nodes().values().filter(|n| n.state == NodeState::Up);
        let all: Vec<_> =
            up.map(|n| (n.id.clone(), n.session, last_contact(&n.id, n.session))).collect();
        let count = all.len();
        (all.into_iter().filter(|(_, _, at)| at.elapsed() > grace).collect(), count)
    })
}
