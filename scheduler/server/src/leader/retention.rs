//! Carries out what the retention rules say of old checkpoints.

use std::time::Duration;

use tokio::time::interval;

use crate::{
    decide::retention::{Surplus, surplus},
    error::Failure,
    replica::Replica,
};

/// How often old checkpoints are looked for.
const LOOK: Duration = Duration::from_secs(2);

pub(super) async fn run(replica: Replica) {
    let mut look = interval(LOOK);
    loop {
        look.tick().await;
        for old in replica.look(surplus) {
            if let Err(failure) = remove(&replica, &old).await {
                let (job, checkpoint) = (&old.job, old.checkpoint);
                tracing::warn!(%job, %checkpoint, %failure, "old checkpoint kept for now");
            }
        }
    }
}

async fn remove(replica: &Replica, old: &Surplus) -> Result<(), Failure> {
    if let Some(command) = old.before() {
        replica.propose(command).await?;
    }
    for prefix in &old.prefixes {
        replica.store.delete_prefix(prefix).await?;
    }
    replica.propose(old.after()).await?;
    Ok(())
}
