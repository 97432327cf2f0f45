//! Moves jobs that ended some time ago into the archive, so that the state, and with it memory,
//! snapshots and restarts, grow with what lives and not with what was.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::interval;
use trainyard_core::{Command, State};
use trainyard_jobs::{JobId, Millis, Timestamp};

use crate::{clock, replica::Replica};

/// How often jobs to archive are looked for.
const LOOK: Duration = Duration::from_secs(1);

/// Jobs in one command: what a replica archives within a few milliseconds.
const AT_ONCE: usize = 100;

pub(super) async fn run(replica: Replica) {
    let level = Command::Archive { jobs: Vec::new() }.level();
    let mut look = interval(LOOK);
    loop {
        look.tick().await;
        let after = replica.config.archive_after;
        let ready = |state: &State| match state.feature_level() < level {
            true => Vec::new(),
            false => ready(state, clock::now(), after),
        };
        let jobs = replica.look(ready);
        for jobs in jobs.chunks(AT_ONCE) {
            let command = Command::Archive { jobs: jobs.to_vec() };
            if let Err(failure) = replica.propose(command).await {
                tracing::warn!(%failure, "ended jobs not archived yet");
                break;
            }
        }
    }
}

/// Jobs that ended long enough ago and hold nothing any more, those first that ended first; for
/// one look at most.
fn ready(state: &State, now: Timestamp, after: Millis) -> Vec<JobId> {
    let mut old =
        state.jobs_by_end().take_while(|j| j.ended.is_some_and(|ended| now.since(ended) >= after));
    let Some(first) = old.next() else { return Vec::new() };
    let owners = state.nodes().values().flat_map(|node| node.owners.values());
    let holding: BTreeSet<&JobId> = owners.map(|attempt| &attempt.job).collect();
    let ready = std::iter::once(first)
        .chain(old)
        .filter(|job| job.is_settled() && !holding.contains(&job.id));
    ready.take(50 * AT_ONCE).map(|job| job.id.clone()).collect()
}
