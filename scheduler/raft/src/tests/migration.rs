//! Directories of format 1, which kept entries in the database: they open to the same history,
//! also when the power is cut on the way.

use std::sync::Arc;

use redb::{Database, ReadableDatabase};

use super::{
    machine::{History, Outbox, Recorder},
    sim::{CLUSTER, peers, scratch},
};
use crate::{
    Config, Driver, Input, OpenError, ProposeError, Reply,
    counters::SharedCounters,
    sim::{Rng, SimDisk},
    storage::{Disk, ENTRIES, Layout, META, Wal, open_any_entry, seal_entry},
};

const REGION: u64 = 1 << 13;

fn config(dir: &std::path::Path) -> Config {
    let mut config = Config::new(1, CLUSTER, dir, peers([1]));
    (config.max_command_bytes, config.log_region_bytes) = (1 << 12, REGION);
    // No snapshot: the log is all there is.
    config.snapshot_every = 10_000;
    config
}

fn open(config: &Config, disk: Disk) -> Result<(Driver, History), OpenError> {
    let history = History::default();
    let machine = Box::new(Recorder::new(history.clone(), Arc::default()));
    Ok((Driver::open_on(config, disk, machine, SharedCounters::default())?, history))
}

/// Makes a directory of the present format into one of format 1, as 0.1.0 wrote it.
fn make_old(disk: &SimDisk) {
    let mut entries = Vec::new();
    Wal::open(disk.entries(), Layout::new(REGION, CLUSTER, 1), 1, |record, _| {
        entries.extend(record.entries.iter().map(|(_, e)| open_any_entry(e).unwrap()));
        Ok(0)
    })
    .unwrap();
    let Disk { db, .. } = disk.open().unwrap();
    let txn = db.begin_write().unwrap();
    {
        let mut table = txn.open_table(ENTRIES).unwrap();
        for entry in &entries {
            let mut sealed = Vec::new();
            seal_entry(entry, &mut sealed).unwrap();
            table.insert(entry.index, sealed.as_slice()).unwrap();
        }
        let mut meta = txn.open_table(META).unwrap();
        meta.insert("format", 1u32.to_le_bytes().as_slice()).unwrap();
        meta.remove("first_record").unwrap();
        meta.remove("region").unwrap();
    }
    txn.commit().unwrap();
    // 0.1.0 has no such file.
    disk.damage(Vec::clear);
}

fn format(db: &Database) -> u32 {
    let txn = db.begin_read().unwrap();
    let format = txn.open_table(META).unwrap().get("format").unwrap().unwrap().value().to_vec();
    u32::from_le_bytes(format.try_into().unwrap())
}

#[test]
fn an_old_directory_opens_to_the_same_history_whenever_the_power_is_cut() {
    for operations in 0..60 {
        let dir = scratch();
        let config = config(dir.path());
        let disk = SimDisk::default();
        let (mut driver, history) = open(&config, disk.open().unwrap()).unwrap();
        for n in 0..40u64 {
            let reply = Reply::new(|result: Result<_, ProposeError>| drop(result.unwrap()));
            driver.step(Input::Propose(n.to_le_bytes().repeat(50), reply));
            driver.flush(&mut Outbox::default()).unwrap();
        }
        driver.close();
        let expected = history.lock().unwrap().clone();
        assert_eq!(expected.len(), 40);
        make_old(&disk);

        let old = disk.open().unwrap();
        disk.burn(operations);
        drop(open(&config, old));
        disk.cut_power(&mut Rng(operations));
        let (driver, history) = open(&config, disk.open().unwrap()).unwrap();
        assert_eq!(*history.lock().unwrap(), expected, "cut after {operations} operations");
        driver.close();
        let Disk { db, .. } = disk.open().unwrap();
        assert_eq!(format(&db), 2);
        assert!(db.begin_read().unwrap().open_table(ENTRIES).is_err(), "entries are held twice");
    }
}
