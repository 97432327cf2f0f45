//! Logs, straight from object storage: agents ship immutable segments, and any scheduler merges
//! them by time. A job's logs need no leader, and losing one loses no line.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use async_stream::try_stream;
use tokio::time::sleep;
use trainyard_jobs::{AttemptNo, JobId};
use trainyard_proto::v1;
use trainyard_store::{
    LogSegment,
    log::{self, Record},
};

use super::{Answers, find::find};
use crate::{access::Caller, error::Failure, replica::Replica};

/// How soon a follower looks for new segments after it found some.
const LOOK: Duration = Duration::from_millis(300);

/// The longest pause of a follower who finds nothing: a look lists every segment.
const LONGEST_LOOK: Duration = Duration::from_secs(2);

/// Lines in one message at most.
const LINES: usize = 512;

/// The segments of one node of one attempt, read in order.
#[derive(Default)]
struct Source {
    /// Bytes handed on: the next segment's start.
    read: u64,
    waiting: VecDeque<LogSegment>,
    records: VecDeque<Record>,
}

type Sources = BTreeMap<(AttemptNo, u32), Source>;

pub(super) async fn stream(
    replica: &Replica,
    caller: &Caller,
    request: v1::LogsRequest,
) -> Result<Answers<v1::LogChunk>, Failure> {
    // A job that this member has not heard of yet may be there all the same.
    let job = match find(replica, caller, &request.job, true).await {
        Err(Failure::NotFound(_)) => find(replica, caller, &request.job, false).await?,
        known => known?,
    };
    let replica = replica.clone();
    Ok(Box::pin(try_stream! {
        let mut sources = Sources::new();
        let mut pause = LOOK;
        loop {
            // Asked before the segments are listed: what an ended job wrote is all there.
            let ended = replica.look(|s| s.job(&job).is_none_or(|j| j.phase.is_final()));
            let news = list(&replica, &job, &request, &mut sources).await?;
            pause = if news { LOOK } else { (pause * 2).min(LONGEST_LOOK) };
            loop {
                let lines = merge(&replica, &mut sources).await?;
                let wanted: Vec<_> = lines
                    .into_iter()
                    .filter(|l| request.ranks.is_empty() || request.ranks.contains(&l.rank))
                    .collect();
                let empty = wanted.is_empty();
                if !empty {
                    yield v1::LogChunk { lines: wanted };
                }
                if empty && sources.values().all(|s| s.waiting.is_empty() && s.records.is_empty()) {
                    break;
                }
            }
            if !request.follow || ended {
                break;
            }
            sleep(pause).await;
        }
    }))
}

/// Finds the segments that have come since the last look, and says whether there are any. A gap
/// is a piece that its agent had to give up: what follows is shown all the same.
async fn list(
    replica: &Replica,
    job: &JobId,
    request: &v1::LogsRequest,
    sources: &mut Sources,
) -> Result<bool, Failure> {
    let mut news = false;
    for segment in replica.store.list_log_segments(job).await? {
        let attempt = segment.attempt.attempt;
        if request.attempt != 0 && attempt.0 != request.attempt {
            continue;
        }
        let source = sources.entry((attempt, segment.node)).or_default();
        if segment.start >= source.read {
            source.read = segment.start + segment.size;
            source.waiting.push_back(segment);
            news = true;
        }
    }
    Ok(news)
}

/// The next lines by time, attempt after attempt.
async fn merge(replica: &Replica, sources: &mut Sources) -> Result<Vec<v1::LogLine>, Failure> {
    let mut lines = Vec::new();
    while lines.len() < LINES {
        for source in sources.values_mut() {
            fill(replica, source).await?;
        }
        let has_lines = |(_, source): &(&(AttemptNo, u32), &mut Source)| !source.records.is_empty();
        let attempt = sources.iter_mut().find(has_lines).map(|((attempt, _), _)| *attempt);
        let Some(attempt) = attempt else { break };
        let of_attempt = sources.iter_mut().filter(|((a, _), _)| *a == attempt);
        let ready = of_attempt.filter(|(_, source)| !source.records.is_empty());
        let earliest = ready.min_by_key(|(_, source)| source.records.front().map(|r| r.t));
        let Some(record) = earliest.and_then(|(_, source)| source.records.pop_front()) else {
            break;
        };
        lines.push(v1::LogLine {
            unix_ns: record.t,
            attempt: attempt.0,
            rank: record.r,
            stderr: record.e,
            text: record.l,
        });
    }
    Ok(lines)
}

/// Reads the next segment of a source that has run dry.
async fn fill(replica: &Replica, source: &mut Source) -> Result<(), Failure> {
    while source.records.is_empty()
        && let Some(segment) = source.waiting.pop_front()
    {
        let bytes = replica.store.read_log_segment(&segment.key).await?;
        for record in log::parse(&bytes) {
            match record {
                Ok(record) => source.records.push_back(record),
                Err(error) => tracing::warn!(key = segment.key, %error, "log line skipped"),
            }
        }
    }
    Ok(())
}
