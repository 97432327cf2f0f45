//! Carries out what [`Watch`] finds: calls nodes lost, or hands the leadership on.

use std::{sync::PoisonError, time::Duration};

use tokio::time::{MissedTickBehavior, interval};

use crate::{clock, decide::watch::Watch, replica::Replica};

pub(super) async fn run(replica: Replica) {
    let grace = Duration::from(replica.config.node_grace);
    let mut watch = Watch::new(grace, clock::monotonic());
    let mut tick = interval(Duration::from(replica.config.heartbeat));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let now = clock::monotonic();
        // The state's lock first, as everywhere.
        let verdict = replica
            .look(|state| replica.sessions.with(|contacts| watch.look(state, contacts, now)));
        if verdict.suspects_itself {
            let (silent, up) = (verdict.silent, verdict.up);
            tracing::error!(silent, up, "many nodes are silent at once: holding");
            hand_on(&replica, grace, now);
        }
        for silent in verdict.lost {
            let (node, silent_s) = (&silent.node, silent.silent_for.as_secs());
            tracing::warn!(%node, silent_s, "node lost");
            if let Err(failure) = replica.propose(silent.command()).await {
                tracing::warn!(%failure, "node not marked lost");
            }
        }
    }
}

fn hand_on(replica: &Replica, grace: Duration, now: Duration) {
    let mut last = replica.handed_on.lock().unwrap_or_else(PoisonError::into_inner);
    if replica.peers().len() > 1 && last.ask(grace, now) {
        replica.raft.transfer_leadership(None);
    }
}
