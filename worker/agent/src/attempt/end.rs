//! What the leader is told of an attempt's end on this node. The artifacts that a report names
//! are in the store before it is sent, and only ranks that all succeeded have any.

use std::collections::BTreeMap;

use trainyard_jobs::{AttemptRef, FileEntry};
use trainyard_proto::{convert::exit_message, v1::EndedReport};

use super::{artifacts, figures, order::Work, registry::Entry, supervise::Context};
use crate::{durable, ending, report::Reporter, shim::ExitRecord};

/// Reports that the ranks of `attempt`, of which this node holds nothing, never ran here.
pub(crate) async fn report_never_ran(context: &Context, attempt: &AttemptRef, why: String) {
    let report = EndedReport { start_error: why, ..message(&context.reporter, attempt) };
    context.reporter.ended(attempt, report).await;
}

/// Records that the ranks never ran, so that no later agent starts them.
pub(super) fn not_started(entry: &Entry, message: String) -> ExitRecord {
    tracing::warn!(attempt = %entry.order.attempt, message, "the ranks were not started");
    let record = ExitRecord::not_started(message);
    let path = entry.dir.shim().exit();
    // A shim that was launched after all has the last word.
    if path.exists() {
        return record;
    }
    if let Err(error) = durable::write_json(&path, &record) {
        tracing::error!(attempt = %entry.order.attempt, %error, "cannot record the end");
    }
    record
}

/// The report of the end. Its ranks stand in the order in which they ended.
pub(super) async fn end_report(
    context: &Context,
    entry: &Entry,
    record: ExitRecord,
) -> EndedReport {
    let (succeeded, stopped) = (ending::succeeded(&record), record.stopped);
    let has_rank_0 = entry.order.work.as_ref().is_ok_and(Work::has_rank_0);
    let (mut files, mut figures) = (Vec::new(), BTreeMap::new());
    let mut start_error = record.start_error.unwrap_or_default();
    if has_rank_0 {
        figures = figures::last(&entry.dir);
        if succeeded {
            match artifacts::upload(context, entry).await {
                Ok(stored) => files = stored,
                Err(message) => start_error = format!("cannot store the artifacts: {message}"),
            }
        }
    }
    EndedReport {
        ranks: record.ranks.iter().map(|end| exit_message(end.rank, end.exit)).collect(),
        start_error,
        artifacts: files.iter().map(|file: &FileEntry| file.into()).collect(),
        metrics: figures.into_iter().collect(),
        time_limit: record.time_limit,
        first_failure: record.first_failure.map(|end| end.rank),
        over_memory: entry.dir.over_memory().filter(|_| stopped).map(Into::into),
        ..message(&context.reporter, &entry.order.attempt)
    }
}

fn message(reporter: &Reporter, attempt: &AttemptRef) -> EndedReport {
    EndedReport {
        node: reporter.node(),
        session: reporter.session(),
        attempt: Some(attempt.into()),
        ..EndedReport::default()
    }
}
