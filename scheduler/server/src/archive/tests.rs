//! The archive as the machine writes it and as crashes, damage and other members leave it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "tests may fail loudly"
)]

use std::{
    fs,
    path::Path,
    sync::{Arc, RwLock},
};

use tokio::sync::broadcast;
use trainyard_core::{
    Command, Envelope, Refusal, Reply, State,
    archive::ArchiveHead,
    codec,
    command::{Mutation, Submit},
};
use trainyard_jobs::{ClusterId, Digest, IdempotencyKey, JobId, JobSpec, Timestamp};
use trainyard_raft::StateMachine as _;
use uuid::Uuid;

use super::{ArchiveError, ArchiveStore};
use crate::machine::{Machine, read};

/// A replica without raft: its log is a list.
struct Replica {
    machine: Machine,
    log: Vec<Vec<u8>>,
}

fn machine(dir: &Path) -> Machine {
    let state = Arc::new(RwLock::new(State::new(ClusterId(Uuid::from_u128(1)))));
    Machine::new(state, ArchiveStore::open(dir).unwrap(), broadcast::channel(16).0)
}

impl Replica {
    fn new(dir: &Path) -> Self {
        Self { machine: machine(dir), log: Vec::new() }
    }

    fn apply(&mut self, command: Command) -> Result<Reply, Refusal> {
        let envelope = Envelope { level: command.level(), time: Timestamp(1), command };
        self.log.push(codec::encode(&envelope));
        let index = self.log.len() as u64;
        let reply = self.machine.apply(index, 1, &self.log[self.log.len() - 1]);
        codec::decode("a reply", &reply).unwrap()
    }

    /// Submits job `n` of project `p0` or `p1`, and cancels it.
    fn ended(&mut self, n: u64) -> JobId {
        let job = JobId::from_random(n << 30);
        self.apply(submit(n, job.clone())).unwrap();
        let mutation = mutation(1_000_000 + n);
        self.apply(Command::Cancel { mutation, job: job.clone() }).unwrap();
        job
    }

    fn archived(&mut self, jobs: std::ops::Range<u64>) {
        let jobs: Vec<JobId> = jobs.map(|n| self.ended(n)).collect();
        let count = jobs.len() as u64;
        assert_eq!(self.apply(Command::Archive { jobs }), Ok(Reply::Archived { jobs: count }));
    }

    fn head(&self) -> ArchiveHead {
        read(&self.machine.state, State::archive)
    }

    fn hash(&self) -> Digest {
        read(&self.machine.state, codec::state_hash)
    }

    /// Another life: the snapshot of log index `at`, and what came after it once more.
    fn reopen(
        dir: &Path,
        snapshot: &[u8],
        at: usize,
        log: &[Vec<u8>],
    ) -> Result<Self, trainyard_raft::RestoreError> {
        let mut machine = machine(dir);
        machine.restore(snapshot)?;
        for (n, command) in log.iter().enumerate().skip(at) {
            machine.apply(n as u64 + 1, 1, command);
        }
        Ok(Self { machine, log: log.to_vec() })
    }
}

fn mutation(n: u64) -> Mutation {
    let key = IdempotencyKey(Uuid::from_u128(n.into()));
    Mutation { key, request: Digest::of(b"request"), principal: "local".into() }
}

fn submit(n: u64, job: JobId) -> Command {
    let spec = format!(r#"{{"name":"j","project":"p{}","run":{{"command":["x"]}}}}"#, n % 2);
    let spec = JobSpec::from_canonical(spec.as_bytes()).unwrap();
    Command::Submit(Box::new(Submit {
        mutation: mutation(n),
        job,
        spec,
        bundle: None,
        commit: None,
    }))
}

fn copy(from: &Path, to: &Path) {
    fs::copy(from.join("archive.redb"), to.join("archive.redb")).unwrap();
}

#[test]
fn a_job_is_found_by_id_prefix_key_age_and_project() {
    let dir = tempfile::tempdir().unwrap();
    let mut replica = Replica::new(dir.path());
    replica.archived(1..8);
    let archive = &replica.machine.archive;
    let id = JobId::from_random(3 << 30);
    assert_eq!(archive.job(&id, 7).unwrap().unwrap().job.id, id);
    assert_eq!(archive.job(&id, 2).unwrap(), None, "not history yet");
    assert_eq!(archive.with_prefix(&id.as_str()[..6], 7, 2).unwrap(), std::slice::from_ref(&id));
    assert_eq!(archive.with_prefix("00", 7, 2).unwrap().len(), 2, "two are enough to tell");
    assert_eq!(archive.with_prefix("zz", 7, 2).unwrap(), []);
    let sequences = |project: Option<&str>, before, limit| -> Vec<u64> {
        let project = project.map(|p| p.parse().unwrap());
        let newest = archive.newest(project.as_ref(), before, 7, limit).unwrap();
        newest.iter().map(|archived| archived.job.sequence).collect()
    };
    assert_eq!(sequences(None, u64::MAX, 3), [13, 11, 9]);
    assert_eq!(sequences(None, 9, 100), [7, 5, 3, 1], "the next page");
    assert_eq!(sequences(Some("p0"), u64::MAX, 2), [11, 7]);
    assert!(sequences(Some("p9"), u64::MAX, 2).is_empty());
    // The key that made it still names it, and its id is not given again.
    let again = replica.apply(submit(3, JobId::from_random(99)));
    assert_eq!(again, Ok(Reply::Submitted { job: id.clone(), existed: true }));
    assert!(matches!(replica.apply(submit(50, id)), Err(Refusal::IdTaken(_))));
}

#[test]
fn a_crash_loses_no_archived_job() {
    let (dir, crashed, later) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut replica = Replica::new(dir.path());
    replica.archived(1..5);
    let (snapshot, at) = (replica.machine.snapshot(), replica.log.len());
    replica.archived(5..9);
    // What is on disk now is what the snapshot relies on, or more.
    copy(dir.path(), crashed.path());
    replica.machine.archive.sync().unwrap();
    copy(dir.path(), later.path());
    let expected = (replica.head(), replica.hash());
    for dir in [&crashed, &later] {
        let known = ArchiveStore::open(dir.path()).unwrap().head().count;
        assert!((4..=8).contains(&known), "{known}");
        let again = Replica::reopen(dir.path(), &snapshot, at, &replica.log).unwrap();
        assert_eq!((again.head(), again.hash()), expected);
        assert_eq!(again.machine.archive.head(), replica.head());
    }
    assert_eq!(ArchiveStore::open(later.path()).unwrap().head().count, 8);
}

#[test]
fn a_snapshot_is_refused_without_its_archive() {
    let (dir, empty) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut replica = Replica::new(dir.path());
    replica.archived(1..5);
    let snapshot = replica.machine.snapshot();
    let mut bare = machine(empty.path());
    let error = bare.check(&snapshot).unwrap_err().to_string();
    assert!(error.contains("holds 0 jobs, the state relies on 4"), "{error}");
    assert_eq!(bare.restore(&snapshot).unwrap_err().to_string(), error);
    // Once it has the records, it takes the snapshot.
    let piece = replica.machine.archive.piece(0, 4).unwrap();
    let gap = bare.archive.take_in(1, piece[1..].to_vec());
    assert!(matches!(gap, Err(ArchiveError::Gap { expected: 0, found: 1 })));
    bare.archive.take_in(0, piece[..3].to_vec()).unwrap();
    bare.archive.take_in(2, piece[2..].to_vec()).unwrap();
    bare.check(&snapshot).unwrap();
    bare.restore(&snapshot).unwrap();
    // An archive of another history does not do, however long it is.
    let other = tempfile::tempdir().unwrap();
    let mut stranger = Replica::new(other.path());
    stranger.archived(11..16);
    let error = stranger.machine.restore(&snapshot).unwrap_err().to_string();
    assert!(error.contains("its digest is not the one that the state has"), "{error}");
    let clash = stranger.machine.archive.take_in(0, piece);
    assert!(matches!(clash, Err(ArchiveError::Damaged { position: 0, .. })));
}

#[test]
fn a_damaged_record_is_never_read() {
    let (dir, damaged) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut replica = Replica::new(dir.path());
    replica.archived(1..5);
    replica.machine.snapshot();
    let bytes = replica.machine.archive.piece(2, 3).unwrap().remove(0);
    drop(replica);
    let mut file = fs::read(dir.path().join("archive.redb")).unwrap();
    let places: Vec<usize> = (0..file.len() - bytes.len())
        .filter(|at| file[*at..*at + bytes.len()] == bytes[..])
        .collect();
    assert!(!places.is_empty());
    for place in places {
        file[place + 40] ^= 1;
    }
    fs::write(damaged.path().join("archive.redb"), file).unwrap();
    let archive = ArchiveStore::open(damaged.path()).unwrap();
    assert!(matches!(archive.read(2), Err(ArchiveError::Damaged { position: 2, .. })));
    assert!(matches!(archive.piece(0, 4), Err(ArchiveError::Damaged { position: 2, .. })));
    archive.read(1).unwrap();
    let again = ArchiveStore::open(dir.path()).unwrap().piece(2, 3).unwrap();
    let replayed = archive.take_in(2, again);
    assert!(matches!(replayed, Err(ArchiveError::Damaged { position: 2, .. })));
}
