//! Which job a text names: an id, or the beginning of one that no other job shares, among those
//! that exist for the caller. Archived jobs count as well. Of a job that the caller may not know
//! of it is said that there is none, in the same words, and a prefix shared with it is unique.

use std::collections::BTreeSet;

use trainyard_core::State;
use trainyard_jobs::JobId;

use crate::{access::Caller, error::Failure, replica::Replica};

/// Archived jobs looked at for one text, of a caller who does not see all of them.
const LOOKED_AT: usize = 64;

/// And the least of an id that such a caller has to give, so that few begin with it.
const LEAST: usize = 4;

/// The job that an id or a unique prefix of one names, archived or not.
pub(super) async fn find(
    replica: &Replica,
    caller: &Caller,
    text: &str,
    stale: bool,
) -> Result<JobId, Failure> {
    let none =
        || Failure::NotFound(format!("there is no job `{text}`: `yard ps --all` lists them"));
    if text.is_empty() {
        return Err(none());
    }
    let look = |state: &State| {
        let seen = state.jobs_starting_with(text).filter(|job| caller.sees(&job.spec.project));
        let known = seen.take(2).map(|job| job.id.clone());
        (known.collect::<BTreeSet<JobId>>(), state.archive().count)
    };
    let (mut found, archived) = replica.read(stale, look).await?;
    if archived > 0 && found.len() < 2 && JobId::lowest_with_prefix(text).is_some() {
        found.extend(archived_ids(replica, caller, text, archived).await?);
    }
    let several = found.len() > 1;
    match found.pop_first() {
        None => {
            note_hidden(replica, caller, text, archived).await?;
            Err(none())
        }
        Some(_) if several => {
            Err(Failure::Invalid(format!("several jobs begin with `{text}`: give more of the id")))
        }
        Some(job) => {
            caller.about(&job);
            Ok(job)
        }
    }
}

async fn archived_ids(
    replica: &Replica,
    caller: &Caller,
    text: &str,
    archived: u64,
) -> Result<Vec<JobId>, Failure> {
    let prefix = text.to_owned();
    if !caller.is_bound() {
        return replica.archived(move |archive| archive.with_prefix(&prefix, archived, 2)).await;
    }
    if text.len() < LEAST {
        return Ok(Vec::new());
    }
    let caller = caller.clone();
    let look = move |archive: &crate::archive::ArchiveStore| {
        let mut seen = Vec::new();
        for id in archive.with_prefix(&prefix, archived, LOOKED_AT)? {
            let record = archive.job(&id, archived)?;
            seen.extend(record.filter(|r| caller.sees(&r.job.spec.project)).map(|_| id));
        }
        Ok(seen)
    };
    replica.archived(look).await
}

/// Notes for the audit trail that the caller named a job of somebody else.
async fn note_hidden(
    replica: &Replica,
    caller: &Caller,
    text: &str,
    archived: u64,
) -> Result<(), Failure> {
    let Ok(id) = text.parse::<JobId>() else { return Ok(()) };
    let wanted = id.clone();
    let there = replica.look(|state| state.job(&id).is_some())
        || replica.archived(move |archive| archive.job(&wanted, archived)).await?.is_some();
    if there {
        caller.hid(&id);
    }
    Ok(())
}
