//! Data directories without a running member: read one to its last entry, or make one that begins
//! at a given state. For backups, restores and the recovery of a cluster that lost its quorum.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use raft::eraftpb::{ConfState, EntryType, HardState};

use super::{
    codec::SnapshotFrame,
    files::SnapshotFiles,
    index::LogIndex,
    log::{LogStore, database, wal_error},
    open::{
        Boot, Disk, ENTRIES_FILE, check_format, make_ours, mark_made, open_disk, open_store,
        read_meta,
    },
    wal::{Layout, Wal},
};
use crate::{
    config::{ClusterId, Config},
    counters::SharedCounters,
    error::{OpenError, StorageError},
    machine::{RestoreError, StateMachine},
};

/// A whole state with the place in history that it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateAt {
    /// The cluster that it belongs to.
    pub cluster: ClusterId,
    /// The last entry that it holds.
    pub index: u64,
    /// That entry's term.
    pub term: u64,
    /// Who voted then.
    pub voters: BTreeSet<u64>,
    /// What [`StateMachine::snapshot`](crate::StateMachine::snapshot) gave.
    pub data: Vec<u8>,
}

/// What lies in a member's data directory.
#[derive(Debug)]
pub struct Directory {
    /// Whose it is.
    pub member: u64,
    /// The term that it has seen.
    pub term: u64,
    /// Known to be committed.
    pub commit: u64,
    /// The last entry of its log.
    pub last_index: u64,
    /// The newest snapshot that can be read.
    pub snapshot: StateAt,
    /// The commands after it, with index and term. Those beyond `commit` may have been
    /// acknowledged by a quorum that this member was part of.
    pub commands: Vec<(u64, u64, Vec<u8>)>,
}

impl StateAt {
    /// Reads the bytes of a snapshot file, and checks them.
    ///
    /// # Errors
    /// When they are no whole snapshot, or of a newer format.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        SnapshotFrame::decode(&bytes::Bytes::copy_from_slice(bytes)).map(Self::from)
    }
}

impl From<SnapshotFrame> for StateAt {
    fn from(frame: SnapshotFrame) -> Self {
        let voters = frame.conf.voters.iter().chain(&frame.conf.voters_outgoing);
        Self {
            cluster: ClusterId(frame.cluster),
            index: frame.index,
            term: frame.term,
            voters: voters.copied().collect(),
            data: frame.data.to_vec(),
        }
    }
}

/// Reads a data directory whose member is not running, to the last entry of its log. It is brought
/// to the present format, as a start would.
///
/// # Errors
/// When there is none, it is in use or damaged, or it never held a state.
pub fn read_directory(dir: &Path) -> Result<Directory, OpenError> {
    let path = dir.join("log.redb");
    if !path.exists() {
        return Err(OpenError::LogMissing { dir: dir.to_owned() });
    }
    let disk = open_disk(dir)?;
    let meta = read_meta(&disk.db).map_err(|source| database("read", &path, source))?;
    check_format(dir, &meta)?;
    if meta.format.is_none() {
        return Err(OpenError::LogMissing { dir: dir.to_owned() });
    }
    let member = meta.member;
    let config = Config::new(member, meta.cluster, dir, BTreeMap::new());
    let Boot { store, restore, .. } =
        open_store(&config, disk, &Nobody, SharedCounters::default())?;
    let frame = restore.ok_or_else(|| StorageError::SnapshotCorrupt {
        path: store.files().path(0),
        detail: "the member never held a state".to_owned(),
    })?;
    let (_, last) = store.bounds();
    let entries = store.read(frame.index.saturating_add(1), last.saturating_add(1))?;
    let command = |e: &raft::eraftpb::Entry| {
        e.get_entry_type() == EntryType::EntryNormal && !(e.data.is_empty() && e.context.is_empty())
    };
    let commands = entries.into_iter().filter(command);
    Ok(Directory {
        member,
        term: store.hard().term,
        commit: store.hard().commit,
        last_index: last,
        snapshot: frame.into(),
        commands: commands.map(|e| (e.index, e.term, e.data.to_vec())).collect(),
    })
}

/// A directory that is only read needs no state machine.
struct Nobody;

impl StateMachine for Nobody {
    fn apply(&mut self, _index: u64, _term: u64, _command: &[u8]) -> Vec<u8> {
        Vec::new()
    }

    fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }

    fn restore(&mut self, _snapshot: &[u8]) -> Result<(), RestoreError> {
        Ok(())
    }
}

/// Makes the data directory of a member that begins with `state`: it takes part as one of the
/// state's voters as soon as it is started.
///
/// # Errors
/// When the directory holds a log already, or cannot be written.
pub fn make_directory(dir: &Path, member: u64, state: &StateAt) -> Result<(), OpenError> {
    if dir.join("log.redb").exists() {
        return Err(OpenError::NotEmpty { dir: dir.to_owned() });
    }
    let Disk { db, entries } = open_disk(dir)?;
    let boundary = (state.index, state.term);
    let hard = HardState { term: state.term, commit: state.index, ..HardState::default() };
    let config = Config::new(member, state.cluster.0, dir, BTreeMap::new());
    let layout = Layout::new(config.log_region_bytes, config.cluster, member);
    let entries_path = dir.join(ENTRIES_FILE);
    // The hard state of the entries' file must not speak of what only the snapshot holds.
    let wal = Wal::create(entries, layout, &HardState::default())
        .map_err(|problem| wal_error("make", &entries_path, problem))?;
    let mut store = LogStore {
        db,
        path: dir.join("log.redb"),
        wal,
        entries_path,
        cluster: state.cluster.0,
        files: SnapshotFiles::new(dir),
        index: LogIndex::new(boundary, 0),
        hard,
        boot_conf: ConfState::default(),
        snapshot: state.index,
        commit_behind: false,
        snapshot_wanted: Cell::new(false),
        damage: super::Damage::default(),
        counters: SharedCounters::default(),
    };
    let mut conf = ConfState::default();
    conf.set_voters(state.voters.iter().copied().collect());
    let frame = SnapshotFrame {
        cluster: state.cluster.0,
        index: state.index,
        term: state.term,
        conf,
        data: state.data.clone().into(),
    };
    let encoded = frame.encode().map_err(|detail| store.corrupt(detail))?;
    store.files().save(state.index, &encoded)?;
    make_ours(&mut store, member, 1)?;
    Ok(mark_made(dir)?)
}
