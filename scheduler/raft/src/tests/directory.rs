//! Data directories that must be refused, each with a text that helps.

use std::{fs, path::Path};

use redb::ReadableTable;
use tempfile::TempDir;

use super::{
    machine::{Outbox, Recorder},
    sim::{CLUSTER, peers, scratch},
};
use crate::{
    Config, Driver, Input, OpenError, ProposeError, Reply, StorageError,
    storage::{ENTRIES, FORMAT, META, seal_entry},
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
        text.ends_with("is of format 2, this binary reads up to 1: run a newer yard"),
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
    tamper(dir.path(), |txn| {
        let mut table = txn.open_table(ENTRIES).unwrap();
        let mut sealed = table.get(45).unwrap().unwrap().value().to_vec();
        let last = sealed.len() - 1;
        sealed[last] ^= 4;
        table.insert(45, sealed.as_slice()).unwrap();
    });
    let error = open(&config(dir.path())).unwrap_err();
    assert!(matches!(error, OpenError::Storage(StorageError::LogCorrupt { .. })), "{error}");
    assert!(error.to_string().contains("entry 45 does not match its checksum"), "{error}");
}

#[test]
fn with_an_entry_in_anothers_place_or_missing() {
    let dir = used();
    tamper(dir.path(), |txn| {
        let entry = raft::eraftpb::Entry { index: 46, ..Default::default() };
        txn.open_table(ENTRIES)
            .unwrap()
            .insert(45, seal_entry(&entry).unwrap().as_slice())
            .unwrap();
    });
    let error = open(&config(dir.path())).unwrap_err();
    assert!(matches!(error, OpenError::Storage(StorageError::LogCorrupt { .. })), "{error}");

    let dir = used();
    tamper(dir.path(), |txn| drop(txn.open_table(ENTRIES).unwrap().remove(45).unwrap()));
    let error = open(&config(dir.path())).unwrap_err();
    assert!(error.to_string().contains("stands where 45 was due"), "{error}");
}

#[test]
fn that_lost_committed_entries() {
    let dir = used();
    tamper(dir.path(), |txn| {
        txn.open_table(ENTRIES).unwrap().retain_in(50.., |_, _| false).unwrap()
    });
    let error = open(&config(dir.path())).unwrap_err();
    assert!(error.to_string().contains("before the commit index"), "{error}");
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
    let cases: [(&str, Spoil); 7] = [
        ("id", |c| c.id = 0),
        ("peers", |c| c.peers = peers([2, 3])),
        ("tick", |c| c.tick = std::time::Duration::ZERO),
        ("election_ticks", |c| c.heartbeat_ticks = 10),
        ("election_window", |c| c.election_window = Some(3..4)),
        ("snapshot_every", |c| c.snapshot_every = 0),
        ("max_uncommitted_bytes", |c| c.max_uncommitted_bytes = 10),
    ];
    for (field, spoil) in cases {
        let mut config = config(dir.path());
        spoil(&mut config);
        assert_eq!(config.validate().unwrap_err().field, field);
    }
    config(dir.path()).validate().unwrap();
}
