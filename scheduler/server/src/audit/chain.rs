//! One record, and what binds it to the one before.

use serde::{Deserialize, Serialize};
use trainyard_jobs::{ClusterId, Digest};

/// What a record is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Event {
    /// Somebody changed something, or tried to.
    Change,
    /// Somebody was refused.
    Denied,
    /// The scheduler started.
    Start,
}

/// What is written down. Names and codes alone: never a text that a client sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Milliseconds since the Unix epoch.
    pub(crate) time_ms: u64,
    pub(crate) event: Event,
    /// Who.
    pub(crate) principal: String,
    /// How they proved it: `certificate`, `token ID`, `none`.
    pub(crate) credential: String,
    /// What they may do.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub(crate) role: String,
    /// From where.
    pub(crate) address: String,
    /// What they called.
    pub(crate) rpc: String,
    /// The job, token or node that it was about.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub(crate) subject: String,
    /// `ok`, or the code of the answer.
    pub(crate) outcome: String,
    /// Why it was refused.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub(crate) reason: String,
    /// Names the request in the daemon's log as well.
    pub(crate) request: String,
}

/// An entry in its place in the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Counts the scheduler's records from 1.
    pub(crate) seq: u64,
    /// SHA-256 of the line before, hexadecimal.
    pub(crate) prev: String,
    /// Who wrote it.
    pub(crate) scheduler: u64,
    #[serde(flatten)]
    pub(crate) entry: Entry,
    /// Records since the last one that were counted and not written.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub(crate) suppressed: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// The end of a chain: what the next record must follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct End {
    /// The number of the last record, 0 before the first.
    pub(crate) seq: u64,
    /// The hash of its line.
    pub(crate) hash: String,
}

impl End {
    /// Before a scheduler's first record.
    pub(crate) fn beginning(cluster: ClusterId, scheduler: u64) -> Self {
        let text = format!("trainyard audit {cluster} {scheduler}");
        Self { seq: 0, hash: Digest::of(text.as_bytes()).hex() }
    }

    /// Writes the next record's line, without its newline, and moves on to it.
    pub(crate) fn next(&mut self, scheduler: u64, entry: Entry, suppressed: u64) -> String {
        let seq = self.seq + 1;
        let prev = std::mem::take(&mut self.hash);
        let record = Record { seq, prev, scheduler, entry, suppressed };
        // Text and numbers always have a JSON form.
        let line = serde_json::to_string(&record).unwrap_or_default();
        *self = Self { seq, hash: Digest::of(line.as_bytes()).hex() };
        line
    }

    /// Follows one line of a stored chain, or says what is wrong with it.
    pub(crate) fn follow(&mut self, scheduler: u64, line: &str) -> Result<Record, String> {
        let wanted = self.seq + 1;
        let record: Record = serde_json::from_str(line)
            .map_err(|_| format!("record {wanted} is damaged: it is no record any more"))?;
        if record.seq != wanted {
            return Err(match record.seq.checked_sub(1) {
                Some(last) if last >= wanted => {
                    format!("records {wanted} to {last} are missing")
                }
                _ => format!("record {} stands where {wanted} should", record.seq),
            });
        }
        if record.scheduler != scheduler {
            return Err(format!("record {wanted} is of scheduler {}", record.scheduler));
        }
        if record.prev != self.hash {
            let last = self.seq;
            return Err(format!("record {last} was changed: record {wanted} holds another hash"));
        }
        *self = Self { seq: wanted, hash: Digest::of(line.as_bytes()).hex() };
        Ok(record)
    }
}
