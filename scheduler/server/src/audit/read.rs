//! Reading the trail back: what this scheduler wrote, from the store and from its disk, and what
//! the others exported. Verifying follows every chain from its beginning.

use std::{collections::BTreeMap, fs};

use bytes::Bytes;
use trainyard_proto::v1;
use trainyard_store::StoreError;

use super::{
    chain::{End, Record},
    journal::segments,
};
use crate::{error::Failure, replica::Replica};

/// A segment, wherever it lies.
enum Piece {
    Stored(String),
    Local(Bytes),
}

/// All segments by scheduler and first record. What lies in the store and on the disk counts
/// once.
async fn pieces(replica: &Replica) -> Result<BTreeMap<(u64, u64), Piece>, Failure> {
    // The disk first: what is exported in between is then seen twice, not missed.
    let mut found = BTreeMap::new();
    let shared = replica.audit.shared();
    let local = segments(&shared.dir).map_err(Failure::Audit)?;
    for (first, path) in local {
        if let Ok(bytes) = fs::read(&path) {
            found.insert((shared.scheduler, first), Piece::Local(bytes.into()));
        }
    }
    for segment in replica.store.list_audit_segments().await? {
        found.insert((segment.scheduler, segment.first), Piece::Stored(segment.key));
    }
    Ok(found)
}

async fn read(replica: &Replica, piece: Piece) -> Result<Bytes, StoreError> {
    match piece {
        Piece::Local(bytes) => Ok(bytes),
        Piece::Stored(key) => replica.store.read_audit_segment(&key).await,
    }
}

/// The lines that a request asks for, scheduler by scheduler.
pub(crate) fn lines(
    replica: Replica,
    request: v1::AuditRequest,
) -> impl futures::Stream<Item = Result<v1::AuditChunk, tonic::Status>> + Send {
    async_stream::try_stream! {
        replica.audit.flush().await;
        for piece in pieces(&replica).await?.into_values() {
            let bytes = read(&replica, piece).await.map_err(Failure::from)?;
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let mut lines = Vec::new();
            for line in text.lines() {
                // What is damaged is shown: hiding it would help whoever did it.
                let record = serde_json::from_str::<Record>(line).ok();
                if record.is_none_or(|record| wanted(&request, &record)) {
                    lines.push(line.to_owned());
                }
                if lines.len() == 512 {
                    yield v1::AuditChunk { lines: std::mem::take(&mut lines) };
                }
            }
            if !lines.is_empty() {
                yield v1::AuditChunk { lines };
            }
        }
    }
}

fn wanted(request: &v1::AuditRequest, record: &Record) -> bool {
    let Record { entry, .. } = record;
    entry.time_ms >= request.since_ms
        && (request.principal.is_empty() || entry.principal == request.principal)
        && (request.job.is_empty() || entry.subject.contains(&request.job))
}

/// Follows every chain.
pub(crate) async fn verify(replica: &Replica) -> Result<Vec<v1::AuditChain>, Failure> {
    replica.audit.flush().await;
    let shared = replica.audit.shared();
    let (own_end, _) = shared.position();
    let mut chains: BTreeMap<u64, Chain> = BTreeMap::new();
    let cluster = shared.cluster;
    let new = |scheduler| Chain::new(scheduler, End::beginning(cluster, scheduler));
    for ((scheduler, first), piece) in pieces(replica).await? {
        let chain = chains.entry(scheduler).or_insert_with(|| new(scheduler));
        match read(replica, piece).await {
            Ok(bytes) => chain.read(first, &bytes),
            Err(StoreError::NotFound { .. }) => {
                chain.problem(format!("the segment of record {first} is gone"));
            }
            Err(error) => return Err(error.into()),
        }
    }
    let own = chains.entry(shared.scheduler).or_insert_with(|| new(shared.scheduler));
    own.own = true;
    own.compare(&own_end);
    Ok(chains.into_values().map(Chain::answer).collect())
}

struct Chain {
    scheduler: u64,
    end: End,
    segments: u64,
    records: u64,
    problems: Vec<String>,
    own: bool,
}

/// Problems told of one chain at most: the first says where to look.
const PROBLEMS: usize = 20;

impl Chain {
    const fn new(scheduler: u64, end: End) -> Self {
        let problems = Vec::new();
        Self { scheduler, end, segments: 0, records: 0, problems, own: false }
    }

    fn problem(&mut self, text: String) {
        if self.problems.len() < PROBLEMS {
            self.problems.push(text);
        }
    }

    fn read(&mut self, first: u64, bytes: &[u8]) {
        self.segments += 1;
        let text = String::from_utf8_lossy(bytes);
        if first > self.end.seq + 1 {
            let (from, to) = (self.end.seq + 1, first - 1);
            self.problem(format!("records {from} to {to} are missing"));
            self.resume(&text);
        }
        for line in text.lines() {
            match self.end.follow(self.scheduler, line) {
                Ok(_) => self.records += 1,
                Err(problem) => {
                    self.problem(problem);
                    // Go on from here, so that one change is one problem.
                    let hash = trainyard_jobs::Digest::of(line.as_bytes()).hex();
                    self.end = End { seq: self.end.seq + 1, hash };
                }
            }
        }
        if !text.ends_with('\n') {
            self.problem(format!("the segment of record {first} is cut off"));
        }
    }

    /// Takes the word of the first record after a gap for what came before.
    fn resume(&mut self, text: &str) {
        let record = text.lines().next().and_then(|l| serde_json::from_str::<Record>(l).ok());
        if let Some(record) = record {
            self.end = End { seq: record.seq.saturating_sub(1), hash: record.prev };
        }
    }

    /// The chain's own scheduler knows how it ends.
    fn compare(&mut self, own: &End) {
        if self.end.seq < own.seq {
            let (from, to) = (self.end.seq + 1, own.seq);
            self.problem(format!("records {from} to {to} are missing at the end"));
        } else if self.end.seq == own.seq && self.end.hash != own.hash {
            self.problem(format!("record {} was changed: it has another hash", own.seq));
        }
    }

    fn answer(self) -> v1::AuditChain {
        v1::AuditChain {
            scheduler: self.scheduler,
            segments: self.segments,
            records: self.records,
            last: self.end.seq,
            head: self.end.hash,
            problems: self.problems,
            own: self.own,
        }
    }
}
