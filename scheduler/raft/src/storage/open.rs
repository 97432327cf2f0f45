//! Opening a data directory: whose it is, whether it is whole, and where the state machine starts
//! from.
//!
//! Refuses rather than repairs: a directory of another cluster, member or newer format, a damaged
//! entry, a log without a beginning are typed errors. Starting over on what is left would forget
//! votes and acknowledged commands.

use std::{cell::Cell, fs, path::Path};

use protobuf::Message as _;
use raft::eraftpb::{ConfState, HardState};
use redb::{Database, DatabaseError, ReadableDatabase, StorageBackend, backends::FileBackend};

use super::{
    Damage,
    codec::SnapshotFrame,
    files::{SnapshotFiles, sync_dir},
    found::{Found, MigrateError},
    index::LogIndex,
    log::{LogStore, META, database, pair, wal_error},
    wal::{Layout, Record, Wal},
};
use crate::{
    config::{ClusterId, Config},
    counters::SharedCounters,
    error::{OpenError, StorageError},
    machine::StateMachine,
};

/// The first members start as if one entry had been applied and compacted: then a member that joins
/// later can never be fed from the start of the log, and always begins with a snapshot, which
/// carries the members.
const GENESIS: (u64, u64) = (1, 1);

/// A file that says that the log was made: a log that is empty all the same has lost what it held.
const MADE: &str = "made";

/// The database holds a handful of records.
const CACHE_BYTES: usize = 1 << 20;

/// The format of data directories that this code writes, and the newest that it reads. Up to
/// format 1 the entries lay in the database.
pub(crate) const FORMAT: u32 = 2;

pub(super) const ENTRIES_FILE: &str = "entries.log";

/// What a data directory keeps beside snapshots, opened; each is a file, or a simulated one.
#[derive(Debug)]
pub(crate) struct Disk {
    /// Whose directory it is, and where the log begins.
    pub(crate) db: Database,
    /// The entries.
    pub(crate) entries: Box<dyn StorageBackend>,
}

/// An opened store, and what the state machine must be brought to before the log is replayed.
pub(crate) struct Boot {
    pub(crate) store: LogStore,
    /// The snapshot to restore; none in a directory just made, whose state machine is new anyway.
    pub(crate) restore: Option<SnapshotFrame>,
    /// The index and term of the last entry that the snapshot holds.
    pub(crate) applied: (u64, u64),
    /// How many times this directory was opened, this time included.
    pub(crate) boots: u64,
}

#[derive(Default)]
pub(super) struct Meta {
    pub(super) format: Option<u32>,
    pub(super) cluster: [u8; 16],
    pub(super) member: u64,
    boots: u64,
    hard: HardState,
    boundary: (u64, u64),
    snapshot: u64,
    /// The record of the entries' file with which the log begins, and that file's regions; zeros in
    /// format 1.
    first_record: u64,
    region: u64,
}

/// Opens or makes `log.redb` and `entries.log` in the directory; the first one's lock guards the
/// whole directory.
pub(crate) fn open_disk(dir: &Path) -> Result<Disk, OpenError> {
    let io = |action, path: &Path| {
        let path = path.to_owned();
        move |source| StorageError::Io { action, path, source }
    };
    fs::create_dir_all(dir).map_err(io("make the data directory", dir))?;
    let path = dir.join("log.redb");
    let entries_path = dir.join(ENTRIES_FILE);
    let used = || -> Result<bool, StorageError> {
        let entries = fs::metadata(&entries_path).is_ok_and(|file| file.len() > 0);
        let snapshots = SnapshotFiles::new(dir).list()?;
        Ok(entries || dir.join(MADE).exists() || snapshots.iter().any(|index| *index > GENESIS.0))
    };
    if !path.exists() && used()? {
        return Err(OpenError::LogMissing { dir: dir.to_owned() });
    }
    let opened = Database::builder()
        .set_cache_size(CACHE_BYTES)
        .set_check_integrity_on_open(true)
        .create(&path);
    let db = opened.map_err(|source| match source {
        DatabaseError::DatabaseAlreadyOpen => OpenError::InUse { dir: dir.to_owned() },
        source => OpenError::Storage(database("open", &path, source.into())),
    })?;
    let path = entries_path;
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let file = options.open(&path).map_err(io("open the entries' file", &path))?;
    let entries = FileBackend::new(file)
        .map_err(|source| OpenError::Storage(database("open", &path, source.into())))?;
    sync_dir(dir)?;
    if let Some(parent) = dir.parent().filter(|p| !p.as_os_str().is_empty()) {
        sync_dir(parent)?;
    }
    Ok(Disk { db, entries: Box::new(entries) })
}

/// Checks the directory against the configuration, bootstraps an empty one, and reads the log.
pub(crate) fn open_store(
    config: &Config,
    disk: Disk,
    machine: &dyn StateMachine,
    counters: SharedCounters,
) -> Result<Boot, OpenError> {
    let Disk { db, entries } = disk;
    let path = config.dir.join("log.redb");
    let entries_path = config.dir.join(ENTRIES_FILE);
    let meta = read_meta(&db).map_err(|source| database("read", &path, source))?;
    check_owner(config, &meta)?;
    let region = if meta.region == 0 { config.log_region_bytes } else { meta.region };
    let layout = Layout::new(region, config.cluster, config.id);
    let index = LogIndex::new(meta.boundary, config.entry_cache_bytes);
    let mut found = Found { index, hard: meta.hard.clone() };
    let wal = open_entries(&db, entries, layout, &meta, &mut found).map_err(|e| match e {
        MigrateError::Entries(problem) => wal_error("open", &entries_path, problem),
        MigrateError::Database(source) => database("migrate", &path, source),
    })?;
    let mut store = LogStore {
        db,
        wal,
        entries_path,
        cluster: config.cluster,
        files: SnapshotFiles::new(&config.dir),
        index: found.index,
        hard: found.hard,
        boot_conf: ConfState::default(),
        snapshot: meta.snapshot,
        commit_behind: false,
        snapshot_wanted: Cell::new(false),
        damage: Damage::default(),
        counters,
        path,
    };
    let boots = meta.boots.saturating_add(1);
    let made = config.dir.join(MADE);
    if meta.format.is_none() {
        if made.exists() {
            return Err(OpenError::LogMissing { dir: config.dir.clone() });
        }
        let boot = bootstrap(config, store, machine, boots)?;
        mark_made(&config.dir)?;
        return Ok(boot);
    }
    if !made.exists() {
        mark_made(&config.dir)?;
    }
    let frame = newest_snapshot(&store)?;
    let applied = frame.as_ref().map_or((0, 0), |frame| (frame.index, frame.term));
    if let Some(frame) = &frame {
        store.boot_conf = frame.conf.clone();
        store.snapshot = frame.index;
    }
    store.files.remove_drafts();
    store.files.prune(store.snapshot)?;
    store.commit("count the start in", |txn, _| {
        txn.open_table(META)?.insert("boots", boots.to_le_bytes().as_slice())?;
        Ok(())
    })?;
    Ok(Boot { store, restore: frame, applied, boots })
}

/// Leaves the mark, durably. A crash before it leaves a log that is not empty, which is enough.
pub(super) fn mark_made(dir: &Path) -> Result<(), StorageError> {
    let mark = dir.join(MADE);
    let made = fs::File::create(&mark).and_then(|file| file.sync_all());
    made.map_err(|source| StorageError::Io { action: "write", path: mark, source })?;
    sync_dir(dir)
}

/// The entries' file: a new one, one that takes over from the database, or the one that is there.
fn open_entries(
    db: &Database,
    file: Box<dyn StorageBackend>,
    layout: Layout,
    meta: &Meta,
    found: &mut Found,
) -> Result<Wal, MigrateError> {
    match meta.format {
        None => Ok(Wal::create(file, layout, &HardState::default())?),
        Some(1) => found.migrate(db, file, layout),
        Some(_) => {
            let take = |record: &Record<'_>, at| found.take(record, at);
            let wal = Wal::open(file, layout, meta.first_record, take)?;
            found.check_end()?;
            Ok(wal)
        }
    }
}

pub(super) fn check_format(dir: &Path, meta: &Meta) -> Result<(), OpenError> {
    match meta.format {
        Some(found) if found > FORMAT => {
            Err(OpenError::NewerFormat { dir: dir.to_owned(), found, known: FORMAT })
        }
        _ => Ok(()),
    }
}

fn check_owner(config: &Config, meta: &Meta) -> Result<(), OpenError> {
    let dir = config.dir.clone();
    check_format(&dir, meta)?;
    match meta.format {
        None => Ok(()),
        Some(_) if meta.cluster != config.cluster => Err(OpenError::OtherCluster {
            dir,
            found: ClusterId(meta.cluster),
            expected: ClusterId(config.cluster),
        }),
        Some(_) if meta.member != config.id => {
            Err(OpenError::OtherMember { dir, found: meta.member, expected: config.id })
        }
        Some(_) => Ok(()),
    }
}

/// The first start: the genesis snapshot in its file, then one transaction that makes the directory
/// ours. A crash between the two leaves an unmarked directory, which is bootstrapped again.
fn bootstrap(
    config: &Config,
    mut store: LogStore,
    machine: &dyn StateMachine,
    boots: u64,
) -> Result<Boot, OpenError> {
    let (index, term) = if config.join { (0, 0) } else { GENESIS };
    if !config.join {
        store.boot_conf.set_voters(config.peers.keys().copied().collect());
        let (cluster, conf, data) =
            (config.cluster, store.boot_conf.clone(), machine.snapshot().into());
        let encoded = SnapshotFrame { cluster, index, term, conf, data }
            .encode()
            .map_err(|d| store.corrupt(d))?;
        store.files.save(index, &encoded)?;
    }
    store.hard.term = term;
    store.hard.commit = index;
    store.snapshot = index;
    store.index = store.index.emptied((index, term));
    make_ours(&mut store, config.id, boots)?;
    Ok(Boot { store, restore: None, applied: (index, term), boots })
}

/// One transaction makes the directory this member's: an empty log after the store's boundary.
pub(super) fn make_ours(store: &mut LogStore, member: u64, boots: u64) -> Result<(), OpenError> {
    let (cluster, snapshot) = (store.cluster, store.snapshot);
    let (index, term) = store.index.boundary();
    let (first, region) = (store.wal.first(), store.wal.region());
    store.commit("make", |txn, hard| {
        let mut meta = txn.open_table(META)?;
        meta.insert("format", FORMAT.to_le_bytes().as_slice())?;
        meta.insert("cluster", cluster.as_slice())?;
        meta.insert("member", member.to_le_bytes().as_slice())?;
        meta.insert("boots", boots.to_le_bytes().as_slice())?;
        meta.insert("boundary", pair(index, term).as_slice())?;
        meta.insert("snapshot", snapshot.to_le_bytes().as_slice())?;
        meta.insert("first_record", first.to_le_bytes().as_slice())?;
        meta.insert("region", region.to_le_bytes().as_slice())?;
        meta.insert("hard_state", hard)?;
        Ok(())
    })?;
    Ok(())
}

pub(super) fn read_meta(db: &Database) -> Result<Meta, redb::Error> {
    let txn = db.begin_read()?;
    let table = match txn.open_table(META) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Meta::default()),
        Err(source) => return Err(source.into()),
    };
    let get = |key: &str| -> Result<Vec<u8>, redb::Error> {
        Ok(table.get(key)?.map(|guard| guard.value().to_vec()).unwrap_or_default())
    };
    let bad =
        |key: &str| redb::Error::Corrupted(format!("its record `{key}` is not as it was written"));
    let number = |key: &str| -> Result<u64, redb::Error> {
        get(key)?.try_into().map(u64::from_le_bytes).map_err(|_| bad(key))
    };
    let format = get("format")?;
    if format.is_empty() {
        return Ok(Meta::default());
    }
    let format = format.try_into().map(u32::from_le_bytes).map_err(|_| bad("format"))?;
    if format > FORMAT {
        // A newer format may have moved everything else.
        return Ok(Meta { format: Some(format), ..Meta::default() });
    }
    let boundary = get("boundary")?;
    let (index, term) = boundary.split_at_checked(8).ok_or_else(|| bad("boundary"))?;
    let half = |half: &[u8]| half.try_into().map(u64::from_le_bytes).map_err(|_| bad("boundary"));
    Ok(Meta {
        format: Some(format),
        cluster: get("cluster")?.try_into().map_err(|_| bad("cluster"))?,
        member: number("member")?,
        boots: number("boots")?,
        hard: HardState::parse_from_bytes(&get("hard_state")?).map_err(|_| bad("hard_state"))?,
        boundary: (half(index)?, half(term)?),
        snapshot: number("snapshot")?,
        first_record: if format == 1 { 0 } else { number("first_record")? },
        region: if format == 1 { 0 } else { number("region")? },
    })
}

/// The newest snapshot that can be read and that the log continues from. Compaction keeps the log
/// back to the older of the two files, so one damaged snapshot costs a longer replay and no more.
fn newest_snapshot(store: &LogStore) -> Result<Option<SnapshotFrame>, OpenError> {
    if store.snapshot == 0 {
        return Ok(None);
    }
    let (boundary, _) = store.index.boundary();
    let mut first_problem = None;
    for index in store
        .files
        .list()?
        .into_iter()
        .filter(|index| *index <= store.snapshot && *index >= boundary)
    {
        match store.files.load(index, store.cluster) {
            Ok((frame, _)) => return Ok(Some(frame)),
            Err(problem) => {
                tracing::error!(index, %problem, "a snapshot cannot be used; trying an older one");
                first_problem.get_or_insert(problem);
            }
        }
    }
    Err(first_problem
        .unwrap_or_else(|| StorageError::SnapshotCorrupt {
            path: store.files.path(store.snapshot),
            detail: "it is missing".to_owned(),
        })
        .into())
}
