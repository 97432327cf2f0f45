//! Backup files: a whole state as one file that says what it is. Written by a running leader,
//! read without one.
//!
//! Layout: a magic, the length of the header (4 bytes, little-endian), the header as JSON, a
//! snapshot as raft keeps it (which carries a checksum of its own), the archived jobs that it
//! relies on, each with its length before it (4 bytes), SHA-256 of all before it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use async_stream::try_stream;
use futures::Stream;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use trainyard_core::codec;
use trainyard_jobs::ClusterId;
use trainyard_proto::CHUNK_BYTES;
use trainyard_raft::StateAt;

use crate::{error::Failure, replica::Replica};

const MAGIC: &[u8; 8] = b"YARDBKUP";

/// The format that this version writes, and the newest that it reads.
const FORMAT: u32 = 1;

/// The longest header that is read, in bytes.
const MAX_HEADER: usize = 1 << 16;

const SUM: usize = 32;

/// What a backup file is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The file's format.
    pub format: u32,
    /// The cluster.
    pub cluster: ClusterId,
    /// Its recovery epoch.
    pub epoch: u64,
    /// The last log entry that the state holds.
    pub index: u64,
    /// When it was written, by the scheduler's clock.
    pub unix_ms: u64,
    /// What wrote it.
    pub version: String,
    /// Bytes of the snapshot.
    pub snapshot_bytes: u64,
    /// Archived jobs.
    pub archived: u64,
}

/// A backup that was read whole.
#[derive(Debug)]
pub struct Backup {
    /// What it is of.
    pub header: Header,
    pub(crate) state: StateAt,
    pub(crate) archived: Vec<Vec<u8>>,
}

/// A backup that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is not what was written.
    #[error("{} is no usable backup: {detail}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
}

/// Takes a backup: everything that was acknowledged before the call is in it.
pub(crate) async fn take(
    replica: &Replica,
) -> Result<impl Stream<Item = Result<Vec<u8>, Failure>> + use<>, Failure> {
    replica.read(false, |_| ()).await?;
    let taken = replica.raft.snapshot().await;
    let taken = taken.map_err(|error| Failure::of_proposal(&error, |id| replica.address(id)))?;
    let revision = replica.look(trainyard_core::State::revision);
    let path = taken.path;
    let (snapshot, archived) = blocking(move || {
        let snapshot = fs::read(&path).map_err(|error| unreadable(&error))?;
        let state = StateAt::decode(&snapshot).map_err(Failure::Unreadable)?;
        let head = codec::snapshot_archive(&state.data);
        let head = head.map_err(|error| Failure::Unreadable(error.to_string()))?;
        Ok((snapshot, head.count))
    })
    .await?;
    let header = Header {
        format: FORMAT,
        cluster: replica.config.cluster,
        epoch: revision.epoch,
        index: taken.index,
        unix_ms: replica.now().0,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        snapshot_bytes: u64::try_from(snapshot.len()).unwrap_or(u64::MAX),
        archived,
    };
    let head = encode_head(&header);
    let archive = replica.archive.clone();
    Ok(try_stream! {
        let mut sum = Sha256::new();
        sum.update(&head);
        yield head;
        for piece in snapshot.chunks(CHUNK_BYTES) {
            sum.update(piece);
            yield piece.to_vec();
        }
        let mut position = 0;
        while position < archived {
            let source = archive.clone();
            let records = blocking(move || Ok(source.piece(position, archived)?)).await?;
            position = position.saturating_add(u64::try_from(records.len()).unwrap_or(1).max(1));
            let piece: Vec<u8> = records.iter().flat_map(|record| counted(record)).collect();
            sum.update(&piece);
            yield piece;
        }
        yield sum.finalize().to_vec();
    })
}

fn counted(record: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(record.len()).unwrap_or(u32::MAX).to_le_bytes().to_vec();
    bytes.extend_from_slice(record);
    bytes
}

fn unreadable(error: &std::io::Error) -> Failure {
    Failure::Unreadable(format!("the snapshot cannot be read: {error}"))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Failure::Interrupted(error.to_string())))
}

fn encode_head(header: &Header) -> Vec<u8> {
    let text = serde_json::to_vec(header).unwrap_or_default();
    let mut head = MAGIC.to_vec();
    head.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
    head.extend(text);
    head
}

/// Reads a backup file and checks every byte of it.
///
/// # Errors
/// When it cannot be read, is cut short, damaged, or of a newer format.
pub fn verify(path: &Path) -> Result<Header, BackupError> {
    read(path).map(|backup| backup.header)
}

pub(crate) fn read(path: &Path) -> Result<Backup, BackupError> {
    let bytes =
        fs::read(path).map_err(|source| BackupError::Io { path: path.to_owned(), source })?;
    decode(&bytes).map_err(|detail| BackupError::Unusable { path: path.to_owned(), detail })
}

fn decode(bytes: &[u8]) -> Result<Backup, String> {
    let rest = bytes.strip_prefix(MAGIC).ok_or("it is not a backup of Trainyard's")?;
    let cut = "it is cut short";
    let (length, rest) = rest.split_first_chunk::<4>().ok_or(cut)?;
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    if length > MAX_HEADER {
        return Err("its header is damaged".into());
    }
    let (head, rest) = rest.split_at_checked(length).ok_or(cut)?;
    // The format alone first: a newer one may have changed everything else.
    #[derive(Deserialize)]
    struct Probe {
        format: u32,
    }
    let probe: Probe =
        serde_json::from_slice(head).map_err(|_| "its header is damaged".to_owned())?;
    if probe.format > FORMAT {
        return Err(format!(
            "it is of format {}, this binary reads up to {FORMAT}: run a newer yard",
            probe.format
        ));
    }
    let (body, sum) = bytes.split_at_checked(bytes.len().saturating_sub(SUM)).ok_or(cut)?;
    if Sha256::digest(body).as_slice() != sum {
        return Err("it does not match its checksum: it is damaged or cut short".into());
    }
    let header: Header = serde_json::from_slice(head).map_err(|e| e.to_string())?;
    let (rest, _) = rest.split_at_checked(rest.len().saturating_sub(SUM)).ok_or(cut)?;
    let length = usize::try_from(header.snapshot_bytes).map_err(|_| cut)?;
    let (snapshot, mut records) = rest.split_at_checked(length).ok_or(cut)?;
    let state = StateAt::decode(snapshot)?;
    if state.cluster.0 != *header.cluster.0.as_bytes() || state.index != header.index {
        return Err("its header is not of its state".into());
    }
    let mut archived = Vec::new();
    while let Some((length, rest)) = records.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| cut)?;
        let (record, rest) = rest.split_at_checked(length).ok_or(cut)?;
        archived.push(record.to_vec());
        records = rest;
    }
    if u64::try_from(archived.len()) != Ok(header.archived) {
        return Err("it lacks archived jobs".into());
    }
    Ok(Backup { header, state, archived })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_backup_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("b");
        assert!(read(&path).unwrap_err().to_string().contains("cannot read"));
        let header = Header {
            format: FORMAT,
            cluster: ClusterId(uuid::Uuid::from_u128(7)),
            epoch: 1,
            index: 9,
            unix_ms: 0,
            version: "0".into(),
            snapshot_bytes: 0,
            archived: 0,
        };
        let newer = Header { format: FORMAT + 1, ..header.clone() };
        let mut damaged = encode_head(&header);
        damaged.extend([0; 100]);
        for (bytes, part) in [
            (b"rubbish".to_vec(), "not a backup"),
            (MAGIC.to_vec(), "cut short"),
            (encode_head(&newer), "run a newer yard"),
            (encode_head(&header), "checksum"),
            (damaged, "checksum"),
        ] {
            fs::write(&path, bytes).unwrap();
            let text = read(&path).unwrap_err().to_string();
            assert!(text.contains(part), "{text}");
        }
    }
}
