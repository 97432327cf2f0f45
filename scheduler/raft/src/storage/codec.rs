//! The bytes of entries and snapshots on disk, each under a CRC32C of its own.
//!
//! redb checks its pages only when it repairs, and a file has no checks at all; a bit that flips in
//! place must end in a typed error, never in a different state on one member.

use std::io::{self, BufWriter, Seek, SeekFrom, Write};

use bytes::Bytes;
use protobuf::Message as _;
use raft::eraftpb::{ConfState, Entry, Snapshot, SnapshotMetadata};

use trainyard_probe::planted;

use super::count;
use crate::machine::Capture;

/// The format of snapshots that this code writes, and the newest that it reads.
pub(crate) const FORMAT: u32 = 1;

const MAGIC: &[u8; 8] = b"YARDSNAP";

/// Bytes of a state that are written together.
const GATHERED: usize = 1 << 18;

/// Appends an entry as stored: CRC32C of its index and bytes, then the bytes.
pub(crate) fn seal_entry(entry: &Entry, sealed: &mut Vec<u8>) -> Result<(), String> {
    let start = sealed.len();
    sealed.extend_from_slice(&[0; 4]);
    entry.write_to_vec(sealed).map_err(|e| e.to_string())?;
    if let Some((crc, bytes)) = sealed.get_mut(start..).and_then(|s| s.split_first_chunk_mut::<4>())
    {
        *crc = entry_crc(entry.index, bytes).to_le_bytes();
    }
    Ok(())
}

/// Reads back what [`seal_entry`] wrote at `index`.
pub(crate) fn open_entry(index: u64, sealed: &[u8]) -> Result<Entry, String> {
    let (crc, bytes) =
        sealed.split_first_chunk::<4>().ok_or_else(|| format!("entry {index} is cut short"))?;
    if entry_crc(index, bytes) != u32::from_le_bytes(*crc) {
        return Err(format!("entry {index} does not match its checksum"));
    }
    let entry = Entry::parse_from_bytes(bytes)
        .map_err(|e| format!("entry {index} cannot be decoded: {e}"))?;
    if entry.index != index {
        return Err(format!("entry {index} says that it is entry {}", entry.index));
    }
    Ok(entry)
}

/// Reads back what [`seal_entry`] wrote, where the index is not known beforehand.
pub(crate) fn open_any_entry(sealed: &[u8]) -> Result<Entry, String> {
    let bytes = sealed.get(4..).unwrap_or_default();
    let entry = Entry::parse_from_bytes(bytes).map_err(|e| format!("an entry is damaged: {e}"))?;
    open_entry(entry.index, sealed)
}

fn entry_crc(index: u64, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&index.to_le_bytes()), bytes)
}

/// A snapshot with all that is needed to start from it. The same bytes lie in the file and travel
/// to peers, so a receiver can check them before `raft` sees them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SnapshotFrame {
    pub(crate) cluster: [u8; 16],
    pub(crate) index: u64,
    pub(crate) term: u64,
    pub(crate) conf: ConfState,
    pub(crate) data: Bytes,
}

impl SnapshotFrame {
    /// Layout, little-endian: magic, format, cluster, index, term, length and bytes of the
    /// configuration, length and bytes of the state, CRC32C of all before it.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, String> {
        let mut bytes = self.head(count(self.data.len()))?;
        bytes.extend_from_slice(&self.data);
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        Ok(bytes)
    }

    /// What comes before `length` bytes of state.
    fn head(&self, length: u64) -> Result<Vec<u8>, String> {
        let conf = self.conf.write_to_bytes().map_err(|e| e.to_string())?;
        let mut bytes = Vec::with_capacity(self.data.len() + conf.len() + 64);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&self.cluster);
        bytes.extend_from_slice(&self.index.to_le_bytes());
        bytes.extend_from_slice(&self.term.to_le_bytes());
        bytes.extend_from_slice(&count(conf.len()).to_le_bytes());
        bytes.extend_from_slice(&conf);
        bytes.extend_from_slice(&length.to_le_bytes());
        Ok(bytes)
    }

    /// Writes what [`encode`](Self::encode) would give with `state` for its data, which is never
    /// held in memory as a whole, and encoded once: the head, which says how long the data is, is
    /// written over when that is known.
    pub(crate) fn write<W: Write + Seek>(&self, state: &dyn Capture, out: W) -> io::Result<u64> {
        let head = |length| self.head(length).map_err(io::Error::other);
        let mut out = out;
        let start = out.stream_position()?;
        out.write_all(&head(0)?)?;
        // Small pieces are gathered above the sum, which is quick for large ones alone.
        let mut data = BufWriter::with_capacity(GATHERED, Counted { out, bytes: 0, crc: 0 });
        state.write(&mut data)?;
        let Counted { mut out, bytes, crc } = data.into_inner()?;
        let head = head(bytes)?;
        let length = usize::try_from(bytes).map_err(io::Error::other)?;
        let crc = crc32c::crc32c_combine(crc32c::crc32c(&head), crc, length);
        out.write_all(&crc.to_le_bytes())?;
        let end = out.stream_position()?;
        out.seek(SeekFrom::Start(start))?;
        out.write_all(&head)?;
        out.seek(SeekFrom::Start(end))?;
        Ok(end.saturating_sub(start))
    }

    /// Reads and checks what [`encode`](Self::encode) wrote.
    /// The data shares the bytes' memory.
    pub(crate) fn decode(bytes: &Bytes) -> Result<Self, String> {
        let cut = || "it is cut short".to_owned();
        let (body, crc) = bytes.split_last_chunk::<4>().ok_or_else(cut)?;
        let mut rest = body;
        if take::<8>(&mut rest).ok_or_else(cut)? != *MAGIC {
            return Err("it is not a snapshot".to_owned());
        }
        // The format comes before the checksum, whose place a newer format may have moved.
        let format = u32::from_le_bytes(take(&mut rest).ok_or_else(cut)?);
        if format > FORMAT {
            return Err(format!(
                "it is of format {format}, this binary reads up to {FORMAT}: run a newer yard"
            ));
        }
        let unchecked = planted("unchecked checksum");
        if !unchecked && crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
            return Err("it does not match its checksum".to_owned());
        }
        let cluster = take::<16>(&mut rest).ok_or_else(cut)?;
        let index = u64::from_le_bytes(take(&mut rest).ok_or_else(cut)?);
        let term = u64::from_le_bytes(take(&mut rest).ok_or_else(cut)?);
        let conf = take_counted(&mut rest).ok_or_else(cut)?;
        let conf = ConfState::parse_from_bytes(conf)
            .map_err(|e| format!("its members cannot be decoded: {e}"))?;
        let data = bytes.slice_ref(take_counted(&mut rest).ok_or_else(cut)?);
        Ok(Self { cluster, index, term, conf, data })
    }

    /// Whether this member is part of the snapshot's configuration.
    pub(crate) fn names(&self, member: u64) -> bool {
        let conf = &self.conf;
        let mut ids = conf.voters.iter().chain(&conf.learners).chain(&conf.voters_outgoing);
        ids.any(|id| *id == member)
    }

    /// What `raft` is told about it.
    pub(crate) fn metadata(&self) -> SnapshotMetadata {
        let mut metadata =
            SnapshotMetadata { index: self.index, term: self.term, ..SnapshotMetadata::default() };
        metadata.set_conf_state(self.conf.clone());
        metadata
    }

    /// The snapshot as `raft` sends it, around its already encoded bytes.
    pub(crate) fn into_raft(self, encoded: Bytes) -> Snapshot {
        let mut snapshot = Snapshot::default();
        snapshot.set_metadata(self.metadata());
        snapshot.data = encoded;
        snapshot
    }
}

/// Counts and sums what passes through.
struct Counted<W> {
    out: W,
    bytes: u64,
    crc: u32,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        let bytes = bytes.get(..written).unwrap_or_default();
        self.bytes = self.bytes.saturating_add(count(written));
        self.crc = crc32c::crc32c_append(self.crc, bytes);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

fn take_counted<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(u64::from_le_bytes(take(rest)?)).ok()?;
    let (head, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    Some(head)
}
