//! Which job a text names: an id, or the beginning of one that no other job shares. Archived jobs
//! count as well.

use std::collections::BTreeSet;

use trainyard_core::State;
use trainyard_jobs::JobId;

use crate::{error::Failure, replica::Replica};

/// The job that an id or a unique prefix of one names, archived or not.
pub(super) async fn find(replica: &Replica, text: &str, stale: bool) -> Result<JobId, Failure> {
    let none =
        || Failure::NotFound(format!("there is no job `{text}`: `yard ps --all` lists them"));
    if text.is_empty() {
        return Err(none());
    }
    let look = |state: &State| {
        let known = state.jobs_with_prefix(text).into_iter().map(|job| job.id.clone());
        (known.collect::<BTreeSet<JobId>>(), state.archive().count)
    };
    let (mut found, archived) = replica.read(stale, look).await?;
    if archived > 0 && found.len() < 2 && JobId::lowest_with_prefix(text).is_some() {
        let prefix = text.to_owned();
        found
            .extend(replica.archived(move |archive| archive.with_prefix(&prefix, archived)).await?);
    }
    let several = found.len() > 1;
    match found.pop_first() {
        None => Err(none()),
        Some(_) if several => {
            Err(Failure::Invalid(format!("several jobs begin with `{text}`: give more of the id")))
        }
        Some(job) => Ok(job),
    }
}
