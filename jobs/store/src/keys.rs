//! The layout: which object has which key. Everything that an attempt writes lies under its
//! own prefix, so credentials can be scoped to it and a superseded attempt can harm no other.
//!
//! A key never names anything outside of the store: no `..`, no empty or absolute parts.

use object_store::path::Path as ObjectPath;
use trainyard_jobs::{AttemptNo, AttemptRef, Digest, Generation, JobId};

use crate::{AuditSegment, LogSegment, StoreError};

/// The name of the object that commits a checkpoint part.
pub const MANIFEST_FILE: &str = "manifest.json";

/// S3's limit, which the local store keeps too.
const MAX_KEY: usize = 1024;
/// The limit of common file systems for one part of a path.
const MAX_PART: usize = 255;

/// Where everything of a job lies.
#[must_use]
pub fn job_prefix(job: &JobId) -> String {
    format!("jobs/{job}/")
}

/// Where everything lies that an attempt's generation writes.
#[must_use]
pub fn attempt_prefix(attempt: &AttemptRef) -> String {
    format!("jobs/{}/attempts/{}.{}/", attempt.job, attempt.attempt, attempt.generation)
}

/// Where one node's part of a checkpoint lies.
#[must_use]
pub fn checkpoint_part(attempt: &AttemptRef, step: u64, part: u32) -> String {
    format!("{}checkpoints/{step:012}/part-{part}/", attempt_prefix(attempt))
}

/// The manifest of one node's part of a checkpoint.
#[must_use]
pub fn manifest(attempt: &AttemptRef, step: u64, part: u32) -> String {
    format!("{}{MANIFEST_FILE}", checkpoint_part(attempt, step, part))
}

/// An artifact by its path relative to the artifact directory.
#[must_use]
pub fn artifact(attempt: &AttemptRef, path: &str) -> String {
    format!("{}artifacts/{path}", attempt_prefix(attempt))
}

/// A piece of a node's log; `start` orders the pieces.
#[must_use]
pub fn log_segment(attempt: &AttemptRef, node: u32, start: u64) -> String {
    format!("{}logs/node-{node}/{start:020}.jsonl", attempt_prefix(attempt))
}

/// A code bundle by the digest of its archive.
#[must_use]
pub fn bundle(digest: &Digest) -> String {
    format!("bundles/{}.tar.zst", digest.hex())
}

/// Where the audit trail lies.
pub const AUDIT: &str = "audit/";

/// A segment of a scheduler's audit trail, by the number of its first record.
#[must_use]
pub fn audit_segment(scheduler: u64, first: u64) -> String {
    format!("{AUDIT}scheduler-{scheduler}/{first:020}.jsonl")
}

/// Checks that a relative path (of a file in a checkpoint or artifact) stays where it is put.
///
/// # Errors
/// [`StoreError::InvalidKey`] names the rule that it breaks.
pub fn check_path(path: &str) -> Result<(), StoreError> {
    match broken_rule(path) {
        None => Ok(()),
        Some(reason) => Err(StoreError::InvalidKey { key: shorten(path), reason }),
    }
}

/// A checked key, as the backend takes it.
pub(crate) fn object_path(key: &str) -> Result<ObjectPath, StoreError> {
    check_path(key)?;
    ObjectPath::parse(key).map_err(|_| StoreError::InvalidKey {
        key: shorten(key),
        reason: "use `/` between names of printable characters",
    })
}

/// A checked prefix: like a key, and may end in `/`.
pub(crate) fn prefix_path(prefix: &str) -> Result<ObjectPath, StoreError> {
    object_path(prefix.strip_suffix('/').unwrap_or(prefix))
}

fn broken_rule(key: &str) -> Option<&'static str> {
    if key.is_empty() {
        return Some("it is empty");
    }
    if key.len() > MAX_KEY {
        return Some("it is longer than 1024 bytes");
    }
    if key.starts_with('/') {
        return Some("it must be relative, without a leading `/`");
    }
    if key.chars().any(|c| c.is_control() || c == '\\') {
        return Some("it has a control character or `\\`");
    }
    key.split('/').find_map(|part| match part {
        "" => Some("it has an empty part (`//` or a trailing `/`)"),
        "." | ".." => Some("it has a `.` or `..` part"),
        part if part.len() > MAX_PART => Some("it has a part longer than 255 bytes"),
        part if is_staging_name(part) => Some("a part ends in `#` and digits, a name for uploads"),
        _ => None,
    })
}

/// `name#7` is how the local backend calls an upload that is not finished; it hides such files.
fn is_staging_name(part: &str) -> bool {
    part.split_once('#')
        .is_some_and(|(_, suffix)| !suffix.is_empty() && suffix.bytes().all(|b| b.is_ascii_digit()))
}

fn shorten(key: &str) -> String {
    key.chars().take(200).collect()
}

/// Reads `<attempt>.<generation>` of an attempt's prefix.
pub(crate) fn parse_attempt(job: &JobId, part: &str) -> Option<AttemptRef> {
    let (attempt, generation) = part.split_once('.')?;
    let attempt = AttemptNo(attempt.parse().ok()?);
    let generation = Generation(generation.parse().ok()?);
    let reference = AttemptRef { job: job.clone(), attempt, generation };
    attempt_prefix(&reference).ends_with(&format!("/{part}/")).then_some(reference)
}

/// Reads a log segment's key; nothing if the key is not one.
pub(crate) fn parse_log_segment(attempt: &AttemptRef, key: &str, size: u64) -> Option<LogSegment> {
    let rest = key.strip_prefix(&attempt_prefix(attempt))?.strip_prefix("logs/node-")?;
    let (node, file) = rest.split_once('/')?;
    let node = node.parse().ok()?;
    let start = file.strip_suffix(".jsonl")?.parse().ok()?;
    let exact = log_segment(attempt, node, start) == key;
    exact.then(|| LogSegment { attempt: attempt.clone(), node, start, size, key: key.to_owned() })
}

/// Reads the key of a segment of the audit trail; nothing if the key is not one.
pub(crate) fn parse_audit_segment(key: &str) -> Option<AuditSegment> {
    let rest = key.strip_prefix(AUDIT)?.strip_prefix("scheduler-")?;
    let (scheduler, file) = rest.split_once('/')?;
    let scheduler = scheduler.parse().ok()?;
    let first = file.strip_suffix(".jsonl")?.parse().ok()?;
    let exact = audit_segment(scheduler, first) == key;
    exact.then(|| AuditSegment { scheduler, first, key: key.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt() -> AttemptRef {
        AttemptRef { job: JobId::from_random(7), attempt: AttemptNo(2), generation: Generation(3) }
    }

    #[test]
    fn the_layout_is_fixed() {
        let a = attempt();
        let root = "jobs/000000000007/attempts/2.3/";
        assert_eq!(attempt_prefix(&a), root);
        assert_eq!(
            manifest(&a, 120, 1),
            format!("{root}checkpoints/000000000120/part-1/manifest.json")
        );
        assert_eq!(artifact(&a, "model/w.pt"), format!("{root}artifacts/model/w.pt"));
        assert_eq!(log_segment(&a, 0, 42), format!("{root}logs/node-0/00000000000000000042.jsonl"));
        assert_eq!(
            bundle(&Digest::of(b"abc")),
            "bundles/ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad.tar.zst"
        );
    }

    #[test]
    fn a_log_segment_reads_back_and_nothing_else_does() {
        let a = attempt();
        let key = log_segment(&a, 4, 900);
        let segment = parse_log_segment(&a, &key, 5).unwrap();
        assert_eq!((segment.node, segment.start, segment.size), (4, 900, 5));
        assert_eq!(parse_attempt(&a.job, "2.3"), Some(a.clone()));
        for other in
            ["jobs/x", &key.replace("node-4", "node-+4"), &key.replace("logs", "artifacts")]
        {
            assert!(parse_log_segment(&a, other, 5).is_none(), "{other}");
        }
        assert!(parse_attempt(&a.job, "02.3").is_none());
    }

    #[test]
    fn a_segment_of_the_audit_trail_reads_back() {
        let key = audit_segment(3, 900);
        assert_eq!(key, "audit/scheduler-3/00000000000000000900.jsonl");
        let segment = parse_audit_segment(&key).unwrap();
        assert_eq!((segment.scheduler, segment.first), (3, 900));
        for other in ["audit/x", "audit/scheduler-3/900.jsonl", "audit/scheduler-03/1.jsonl"] {
            assert!(parse_audit_segment(other).is_none(), "{other}");
        }
    }

    #[test]
    fn a_key_cannot_leave_the_store() {
        for good in ["a", "a/b c/ä.pt", "bundles/x.tar.zst", "a/..b", "epoch#x"] {
            assert!(object_path(good).is_ok(), "{good}");
            assert_eq!(object_path(good).unwrap().as_ref(), good);
        }
        let long = "x".repeat(2000);
        for bad in [
            "",
            "/",
            "/etc/passwd",
            "a/../b",
            "..",
            "a//b",
            "a/",
            "./a",
            "a\nb",
            "a\\b",
            "a#1",
            &long,
        ] {
            assert!(matches!(object_path(bad), Err(StoreError::InvalidKey { .. })), "{bad}");
        }
        assert!(prefix_path("jobs/a/").is_ok());
        assert!(prefix_path("").is_err());
    }
}
