//! Which nodes are lost. A node is called lost a full grace after the later of its last contact
//! and this leader's beginning. When many fall silent together the leader suspects itself: it
//! holds and hands the leadership on, because a cut-off leader must not declare everybody dead.

use std::{sync::PoisonError, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval};
use trainyard_core::{Command, state::NodeState};
use trainyard_jobs::{NodeId, SessionId};

use crate::replica::Replica;

/// Fewer silent nodes than this are never suspicious.
const SUSPICIOUS: usize = 3;

/// How many graces a leader holds before it believes what it sees. It hands on once in four
/// such spans, so that every member gets its turn and leadership does not circle.
const HOLD: u32 = 5;

pub(super) async fn run(replica: Replica) {
    let mut began = Instant::now();
    let mut last_look = began;
    let grace = Duration::from(replica.config.node_grace);
    let mut tick = interval(Duration::from(replica.config.heartbeat));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        // A leader that was itself stopped for a while heard nobody, and nobody is to blame.
        if last_look.elapsed() > grace / 2 {
            began = Instant::now();
        }
        last_look = Instant::now();
        let (mut silent, up) = silent_nodes(&replica, began, grace);
        if silent.len() >= SUSPICIOUS && silent.len() * 5 > up {
            tracing::error!(silent = silent.len(), up, "many nodes are silent at once: holding");
            silent.retain(|(_, _, since)| since.elapsed() >= grace * HOLD);
            hand_on(&replica, grace * HOLD * 4);
        }
        for (node, session, since) in silent {
            tracing::warn!(%node, silent_s = since.elapsed().as_secs(), "node lost");
            if let Err(failure) = replica.propose(Command::MarkLost { node, session }).await {
                tracing::warn!(%failure, "node not marked lost");
            }
        }
    }
}

/// Lets another member look, unless this one let others look not long ago.
fn hand_on(replica: &Replica, span: Duration) {
    let mut last = replica.handed_on.lock().unwrap_or_else(PoisonError::into_inner);
    if replica.peers().len() > 1 && last.is_none_or(|at| at.elapsed() > span) {
        *last = Some(Instant::now());
        replica.raft.transfer_leadership(None);
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
