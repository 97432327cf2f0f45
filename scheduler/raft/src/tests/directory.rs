//! Data directories that must be refused, each with a text that helps.

use std::{fs, path::Path};

use raft::eraftpb::{Entry, HardState};
use redb::backends::FileBackend;
use tempfile::TempDir;

use super::{
    machine::{Outbox, Recorder},
    sim::{CLUSTER, peers, scratch},
};
use crate::{
    Config, Driver, Input, OpenError, ProposeError, Reply, StorageError,
    storage::{FORMAT, Layout, META, Wal},
};

fn config(dir: &Path) -> Config {
    let mut config = Config::new(1, CLUSTER, dir, peers([1]));
    config.snapshot_every = 20;
    config.keep_entries = 3;
    config
}

fn open(config: &Config) -> Result<Driver, OpenError> {
    Driver::open(config, Box::new(Recorder::default()))
}

/// A directory with some commands in it.
fn used() -> TempDir {
    used_for(50)
}

fn used_for(commands: u64) -> TempDir {
    let dir = scratch();
    let mut driver = open(&config(dir.path())).unwrap();
    for n in 0..commands {
        let reply = Reply::new(|result: Result<_, ProposeError>| drop(result.unwrap()));
        driver.step(Input::Propose(n.to_le_bytes().to_vec(), reply));
        driver.flush(&mut Outbox::default()).unwrap();
    }
    driver.close();
    dir
}

/// Changes the database behind the driver's back.
fn tamper(dir: &Path, change: impl FnOnce(&redb::WriteTransaction)) {
    let db = redb::Database::open(dir.join("log.redb")).unwrap();
    let txn = db.begin_write().unwrap();
    change(&txn);
    txn.commit().unwrap();
}

/// Opens the entries' file behind the driver's back; gives the place of entry 45 as well.
fn entries(dir: &Path) -> (Wal, usize) {
    let file = fs::OpenOptions::new().read(true).write(true).open(dir.join("entries.log"));
    let file = Box::new(FileBackend::new(file.unwrap()).unwrap());
    let (mut index, mut found) = (GENESIS, 0);
    let wal = Wal::open(file, Layout::new(16 << 20, CLUSTER, 1), 1, |record, at| {
        for (place, _) in &record.entries {
            index += 1;
            if index == 45 {
                found = (at + place.at) as usize;
            }
        }
        Ok(index)
    });
    (wal.unwrap(), found)
}

/// The log of a new directory begins behind this index.
const GENESIS: u64 = 1;

#[test]
fn of_another_cluster() {
    let dir = used();
    let mut config = config(dir.path());
    config.cluster = [7; 16];
    let error = open(&config).unwrap_err();
    assert!(matches!(error, OpenError::OtherCluster { .. }));
    let text = error.to_string();
    assert!(
        text.starts_with(
            "this data directory belongs to cluster 73696d75-6c61-7465-642d-2d2d2d2d2d2d, not to 0707"
        ),
        "{text}"
    );
}

#[test]
fn of_another_member() {
    let dir = used();
    let mut config = config(dir.path());
    (config.id, config.peers) = (2, peers([2]));
    let error = open(&config).unwrap_err();
    assert!(matches!(error, OpenError::OtherMember { found: 1, expected: 2, .. }), "{error}");
}

#[test]
fn of_a_newer_format() {
    let dir = used();
    tamper(dir.path(), |txn| {
        let newer = (FORMAT + 1).to_le_bytes();
        txn.open_table(META).unwrap().insert("format", newer.as_slice()).unwrap();
    });
    let text = open(&config(dir.path())).unwrap_err().to_string();
    assert!(
        text.ends_with("is of format 3, this binary reads up to 2: run a newer yard"),
        "{text}"
    );
}

#[test]
fn in_use() {
    let dir = used();
    let _running = open(&config(dir.path())).unwrap();
    let error = open(&config(dir.path())).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
}

#[test]
fn with_a_damaged_entry() {
    let dir = used();
    let (_, place) = entries(dir.path());
    let path = dir.path().join("entries.log");
    let mut bytes = fs::read(&path).unwrap();
    bytes[place + 9] ^= 4;
    fs::write(&path, bytes).unwrap();
    let error = open(&config(dir.path())).unwrap_err();
    assert!(matches!(error, OpenError::Storage(StorageError::LogCorrupt { .. })), "{error}");
    assert!(error.to_string().contains("cannot be read, but record"), "{error}");
    assert!(error.to_string().contains("entries.log"), "{error}");
}

#[test]
fn with_an_entry_in_anothers_place() {
    let dir = used();
    let (mut wal, _) = entries(dir.path());
    let entry = Entry { index: 99, term: 1, ..Entry::default() };
    wal.append(&HardState::default(), &[entry]).unwrap();
    drop(wal);
    let error = open(&config(dir.path())).unwrap_err();
    assert!(matches!(error, OpenError::Storage(StorageError::LogCorrupt { .. })), "{error}");
    assert!(error.to_string().contains("entry 99 stands where 53 was due"), "{error}");
}

#[test]
fn that_lost_committed_entries() {
    let dir = used();
    let (_, place) = entries(dir.path());
    let file = fs::OpenOptions::new().write(true).open(dir.path().join("entries.log")).unwrap();
    file.set_len(place as u64).unwrap();
    let error = open(&config(dir.path())).unwrap_err();
    assert!(error.to_string().contains("before the commit index"), "{error}");
}

#[test]
fn whose_entries_were_deleted() {
    let dir = used();
    fs::remove_file(dir.path().join("entries.log")).unwrap();
    let error = open(&config(dir.path())).unwrap_err();
    assert!(matches!(error, OpenError::Storage(StorageError::LogCorrupt { .. })), "{error}");
    assert!(error.to_string().contains("record 1, its first, is missing"), "{error}");
}

#[test]
fn whose_snapshots_are_all_damaged() {
    let dir = used();
    for item in fs::read_dir(dir.path()).unwrap() {
        let path = item.unwrap().path();
        if path.extension().is_some_and(|e| e == "bin") {
            fs::write(path, b"rubbish").unwrap();
        }
    }
    let error = open(&config(dir.path())).unwrap_err();
    assert!(matches!(error, OpenError::Storage(StorageError::SnapshotCorrupt { .. })), "{error}");
}

#[test]
fn whose_log_was_emptied() {
    // Once with only the snapshot that every member begins with, once with later ones.
    for commands in [0, 50] {
        let dir = used_for(commands);
        fs::write(dir.path().join("log.redb"), b"").unwrap();
        let error = open(&config(dir.path())).unwrap_err();
        assert!(matches!(error, OpenError::LogMissing { .. }), "{error}");
        fs::remove_file(dir.path().join("log.redb")).unwrap();
        let error = open(&config(dir.path())).unwrap_err();
        assert!(matches!(error, OpenError::LogMissing { .. }), "{error}");
    }
}

#[test]
fn whose_log_was_deleted() {
    let dir = used();
    fs::remove_file(dir.path().join("log.redb")).unwrap();
    let error = open(&config(dir.path())).unwrap_err();
    assert!(matches!(error, OpenError::LogMissing { .. }), "{error}");
}

#[test]
fn whose_log_is_no_database() {
    let dir = scratch();
    fs::write(dir.path().join("log.redb"), vec![42; 8192]).unwrap();
    assert!(open(&config(dir.path())).is_err());
}

#[test]
fn configurations_that_cannot_work_name_the_field() {
    let dir = scratch();
    type Spoil = fn(&mut Config);
    let cases: [(&str, Spoil); 8] = [
        ("id", |c| c.id = 0),
        ("peers", |c| c.peers = peers([2, 3])),
        ("tick", |c| c.tick = std::time::Duration::ZERO),
        ("election_ticks", |c| c.heartbeat_ticks = 10),
        ("election_window", |c| c.election_window = Some(3..4)),
        ("snapshot_every", |c| c.snapshot_every = 0),
        ("log_region_bytes", |c| c.log_region_bytes = 1 << 22),
        ("max_uncommitted_bytes", |c| c.max_uncommitted_bytes = 10),
    ];
    for (field, spoil) in cases {
        let mut config = config(dir.path());
        spoil(&mut config);
        assert_eq!(config.validate().unwrap_err().field, field);
    }
    config(dir.path()).validate().unwrap();
}
