//! Raises the feature level once every member, voter or learner, says that it can apply it. Until
//! then a member of an older version can still join in, and every other can go back to it.

use std::time::Duration;

use tokio::time::interval;
use trainyard_core::{Command, State, command::FEATURE_LEVEL};

use crate::replica::Replica;

/// How often members are looked at.
const LOOK: Duration = Duration::from_millis(500);

pub(super) async fn run(replica: Replica) {
    let mut look = interval(LOOK);
    loop {
        look.tick().await;
        let has = replica.look(State::feature_level);
        let Some(all) = of_all(&replica).filter(|all| *all > has) else { continue };
        match replica.propose(Command::RaiseFeatureLevel { to: all }).await {
            Ok(_) => tracing::info!(from = has, to = all, "feature level raised"),
            Err(failure) => tracing::warn!(%failure, "feature level not raised"),
        }
    }
}

/// The highest level that every member can apply; unknown while one has not been heard.
fn of_all(replica: &Replica) -> Option<u16> {
    let status = replica.status().borrow().clone();
    let mut lowest = FEATURE_LEVEL;
    for id in status.voters.iter().chain(&status.learners).filter(|id| **id != status.id) {
        lowest = lowest.min(replica.probes.of(*id)?.level);
    }
    Some(lowest)
}
