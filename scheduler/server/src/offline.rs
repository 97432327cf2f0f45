//! What is done to data directories while their scheduler does not run: look into one, begin a
//! new history from a backup, or from what one member of a cluster without a quorum holds.
//!
//! A new history has a higher recovery epoch. Workers take it over with their ranks, and from
//! then on refuse what schedulers of the old history say.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use trainyard_core::{Event, State, codec, recovery::RecoveryError};
use trainyard_jobs::ClusterId;
use trainyard_raft::{Directory, OpenError, StateAt};

use crate::{
    archive::{ArchiveError, ArchiveStore},
    backup::{self, Backup, BackupError},
    error::SchedulerError,
    identity::{Identity, IdentityError},
    rejoin::set_aside,
};

/// Why a data directory could not be read or made.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// The backup.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The directory.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The state.
    #[error("cannot read the state: {0}")]
    Codec(#[from] codec::CodecError),
    /// The archive of ended jobs.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The archive could not be taken along.
    #[error("cannot copy the archive to {}: {source}", path.display())]
    Copy {
        /// Where to.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A new history cannot begin so.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// The directory's identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The old directory could not be set aside.
    #[error(transparent)]
    Aside(#[from] Box<SchedulerError>),
    /// The new cluster has no such member.
    #[error("--id {asked} is none of the {members} members that --peers names: they count from 1")]
    NoSuchMember {
        /// The number.
        asked: u64,
        /// How many there are.
        members: usize,
    },
}

/// What a data directory or a backup holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// The cluster.
    pub cluster: ClusterId,
    /// Whose directory it is; 0 of a backup.
    pub member: u64,
    /// Its recovery epoch.
    pub epoch: u64,
    /// The feature level.
    pub feature_level: u16,
    /// The last log entry that the state holds.
    pub index: u64,
    /// The last one that is known to be committed.
    pub commit: u64,
    /// The newest snapshot.
    pub snapshot: u64,
    /// The term of the last entry.
    pub term: u64,
    /// The state's hash.
    pub state_hash: String,
    /// The schedulers on record, by id.
    pub members: BTreeMap<u64, String>,
    /// Jobs, and those of them that have not ended.
    pub jobs: (usize, usize),
}

/// A data directory that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The cluster.
    pub cluster: ClusterId,
    /// The new epoch.
    pub epoch: u64,
    /// Whose directory it is.
    pub id: u64,
    /// All members with their addresses.
    pub members: BTreeMap<u64, String>,
    /// The log index at which the new history begins.
    pub index: u64,
    /// Where the old data lies, if there was any.
    pub aside: Option<PathBuf>,
}

/// Looks into a data directory; the scheduler must not run.
///
/// # Errors
/// When it is in use, damaged, or of a newer version.
pub fn inspect(dir: &Path) -> Result<Contents, OfflineError> {
    let directory = trainyard_raft::read_directory(dir)?;
    let (state, term, _) = replay(dir, &directory)?;
    Ok(contents(&state, &directory, term))
}

fn contents(state: &State, directory: &Directory, term: u64) -> Contents {
    Contents {
        cluster: state.cluster(),
        member: directory.member,
        epoch: state.revision().epoch,
        feature_level: state.feature_level(),
        index: state.revision().index,
        commit: directory.commit,
        snapshot: directory.snapshot.index,
        term,
        state_hash: codec::state_hash(state).to_string(),
        members: state.addresses(),
        jobs: (state.jobs().len(), state.live_jobs().count()),
    }
}

/// The state up to the last entry of the log, with the archive up to there. Entries that are not
/// known to be committed count: a quorum that is gone may have acknowledged them.
fn replay(dir: &Path, directory: &Directory) -> Result<(State, u64, ArchiveStore), OfflineError> {
    let mut state = codec::restore(&directory.snapshot.data)?;
    let archive = ArchiveStore::open(dir)?;
    archive.check(state.archive())?;
    let mut term = directory.snapshot.term.max(directory.term);
    let mut events: Vec<Event> = Vec::new();
    for (index, at, command) in &directory.commands {
        // What is refused was refused then too.
        let _ = state.apply(*index, codec::decode_envelope(command)?, &archive, &mut events);
        archive.append(&state.take_archived())?;
        events.clear();
        term = term.max(*at);
    }
    archive.sync()?;
    Ok((state, term, archive))
}

/// Makes the data directory of member `number` (from 1) of `addresses` from a backup. Every
/// member is made so, each on its machine, from the same file and with the same addresses.
///
/// # Errors
/// When the backup cannot be used, the directory holds data, or the epoch is not higher.
pub fn restore(
    file: &Path,
    dir: &Path,
    number: u64,
    addresses: &[String],
    epoch: Option<u64>,
) -> Result<Made, OfflineError> {
    let Backup { header, state: at, archived } = backup::read(file)?;
    let state = codec::restore(&at.data)?;
    let epoch = epoch.unwrap_or_else(|| header.epoch.saturating_add(1));
    let made = begin(dir, state.clone(), at.term, number, addresses, epoch)?;
    let archive = ArchiveStore::open(dir)?;
    archive.take_in(0, archived)?;
    archive.sync()?;
    archive.check(state.archive())?;
    Ok(made)
}

/// Makes a cluster of one from what a member's own directory holds, which is set aside.
///
/// # Errors
/// When the directory is in use or cannot be read.
pub fn recover(dir: &Path, address: String, epoch: Option<u64>) -> Result<Made, OfflineError> {
    let directory = trainyard_raft::read_directory(dir)?;
    let (state, term, archive) = replay(dir, &directory)?;
    let member = directory.member;
    drop((directory, archive));
    let epoch = epoch.unwrap_or_else(|| state.revision().epoch.saturating_add(1));
    // Tried on a copy first: nothing is moved for a wish that cannot be fulfilled.
    state.clone().begin_epoch(epoch, std::slice::from_ref(&address))?;
    let aside = set_aside(dir, member).map_err(Box::new)?;
    let kept = dir.join("archive.redb");
    std::fs::copy(aside.join("archive.redb"), &kept)
        .and_then(|_| std::fs::File::open(&kept)?.sync_all())
        .map_err(|source| OfflineError::Copy { path: kept, source })?;
    let made = begin(dir, state, term, 1, &[address], epoch)?;
    Ok(Made { aside: Some(aside), ..made })
}

fn begin(
    dir: &Path,
    mut state: State,
    term: u64,
    number: u64,
    addresses: &[String],
    epoch: u64,
) -> Result<Made, OfflineError> {
    let ids = state.begin_epoch(epoch, addresses)?;
    let own = number.checked_sub(1).and_then(|n| ids.get(usize::try_from(n).ok()?));
    let Some(id) = own.copied() else {
        return Err(OfflineError::NoSuchMember { asked: number, members: addresses.len() });
    };
    let cluster = state.cluster();
    let index = state.revision().index;
    let at = StateAt {
        cluster: trainyard_raft::ClusterId(*cluster.0.as_bytes()),
        index,
        term: term.saturating_add(1),
        voters: ids.iter().copied().collect(),
        data: codec::snapshot(&state),
    };
    trainyard_raft::make_directory(dir, id, &at)?;
    let members = state.addresses();
    Identity { id, join: false, peers: members.clone() }.save(dir)?;
    Ok(Made { cluster, epoch, id, members, index, aside: None })
}
