//! What only the leader does: plan, call nodes lost, verify and register, retire checkpoints,
//! change members, raise the feature level, archive.
//! The loops start when this member has applied an entry of its own term and end with the term;
//! whatever they propose carries preconditions, so a loop that outlives its term does no harm.

mod archiving;
mod finishing;
mod level;
mod liveness;
mod members;
mod planning;
mod retention;

use tokio_util::sync::CancellationToken;

use crate::replica::Replica;

/// Runs the loops whenever this member leads, until `stop`.
pub(crate) async fn run(replica: Replica, stop: CancellationToken) {
    let mut status = replica.status();
    let mut leading: Option<(u64, CancellationToken)> = None;
    loop {
        let term = replica.leading_term();
        if leading.as_ref().map(|(term, _)| *term) != term {
            if let Some((old, loops)) = leading.take() {
                tracing::info!(term = old, "leadership ended");
                loops.cancel();
            }
            if let Some(term) = term {
                tracing::info!(term, "leading");
                replica.sessions.clear();
                let loops = stop.child_token();
                start(&replica, &loops);
                leading = Some((term, loops));
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = status.changed() => if changed.is_err() { return },
        }
    }
}

fn start(replica: &Replica, stop: &CancellationToken) {
    tokio::spawn(stop.clone().run_until_cancelled_owned(planning::run(replica.clone())));
    tokio::spawn(stop.clone().run_until_cancelled_owned(liveness::run(replica.clone())));
    tokio::spawn(stop.clone().run_until_cancelled_owned(finishing::run(replica.clone())));
    tokio::spawn(stop.clone().run_until_cancelled_owned(retention::run(replica.clone())));
    tokio::spawn(stop.clone().run_until_cancelled_owned(members::run(replica.clone())));
    tokio::spawn(stop.clone().run_until_cancelled_owned(level::run(replica.clone())));
    tokio::spawn(stop.clone().run_until_cancelled_owned(archiving::run(replica.clone())));
}
