//! One record as bytes, little-endian: CRC32C of all that follows, length of what follows the
//! number, number; term, vote and commit index; then the entries, each with its length and sealed
//! by [`seal_entry`](super::super::codec::seal_entry). Padded to eight bytes.

use raft::eraftpb::{Entry, HardState};

use super::{WalError, count};
use crate::storage::codec;

/// CRC32C, length, number.
pub(super) const HEADER: usize = 16;
/// Term, vote, commit index.
const HARD: usize = 24;
/// Records begin at multiples of this.
pub(super) const ALIGN: usize = 8;

/// Where a sealed entry lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) at: u64,
    pub(crate) bytes: u64,
}

impl Place {
    pub(crate) fn after(self, start: u64) -> Self {
        Self { at: self.at.saturating_add(start), ..self }
    }
}

/// A record that is being written. Keeps its memory from one to the next.
#[derive(Debug, Default)]
pub(super) struct Draft {
    bytes: Vec<u8>,
    length: usize,
    places: Vec<Place>,
}

impl Draft {
    pub(super) fn begin(&mut self, number: u64, hard: &HardState) {
        self.bytes.clear();
        self.places.clear();
        self.bytes.extend_from_slice(&[0; 8]);
        for field in [number, hard.term, hard.vote, hard.commit] {
            self.bytes.extend_from_slice(&field.to_le_bytes());
        }
    }

    /// Adds as many of the entries as a record of `limit` bytes holds; tells how many.
    pub(super) fn fill(&mut self, entries: &[Entry], limit: u64) -> Result<usize, WalError> {
        for (taken, entry) in entries.iter().enumerate() {
            let before = self.bytes.len();
            self.bytes.extend_from_slice(&[0; 4]);
            let start = self.bytes.len();
            codec::seal_entry(entry, &mut self.bytes).map_err(WalError::Damaged)?;
            let sealed = self.bytes.len().saturating_sub(start);
            if count(self.bytes.len()).next_multiple_of(8) > limit {
                self.bytes.truncate(before);
                return Ok(taken);
            }
            let length = u32::try_from(sealed).unwrap_or(u32::MAX).to_le_bytes();
            if let Some(place) = self.bytes.get_mut(before..start) {
                place.copy_from_slice(&length);
            }
            self.places.push(Place { at: count(start), bytes: count(sealed) });
        }
        Ok(entries.len())
    }

    /// Ends the record.
    pub(super) fn seal(&mut self, seed: u32) {
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGN), 0);
        self.length = self.bytes.len();
        let body = u32::try_from(self.length.saturating_sub(HEADER)).unwrap_or(u32::MAX);
        if let Some((_, rest)) = self.bytes.split_first_chunk_mut::<4>()
            && let Some((length, _)) = rest.split_first_chunk_mut::<4>()
        {
            *length = body.to_le_bytes();
        }
        if let Some((crc, rest)) = self.bytes.split_first_chunk_mut::<4>() {
            *crc = crc32c::crc32c_append(seed, rest).to_le_bytes();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.length
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// The record with zeros behind it, `length` bytes together.
    pub(super) fn padded(&mut self, length: usize) -> &[u8] {
        self.bytes.resize(length, 0);
        &self.bytes
    }

    pub(super) fn places(&self) -> impl Iterator<Item = Place> + '_ {
        self.places.iter().copied()
    }
}

/// A record that was read back and verified.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    pub(crate) number: u64,
    pub(crate) hard: HardState,
    /// The sealed entries, with their places within the record.
    pub(crate) entries: Vec<(Place, &'a [u8])>,
    /// Bytes of the whole record.
    pub(super) length: usize,
}

/// The number of the record that `bytes` begin with, and its length, if it verifies.
pub(super) fn verify(bytes: &[u8], seed: u32) -> Option<(u64, usize)> {
    let (crc, rest) = bytes.split_first_chunk::<4>()?;
    let (body, after) = rest.split_first_chunk::<4>()?;
    let (number, _) = after.split_first_chunk::<8>()?;
    let body = usize::try_from(u32::from_le_bytes(*body)).ok()?;
    let length = body.checked_add(HEADER)?;
    let covered = bytes.get(4..length)?;
    let intact = body >= HARD
        && length.is_multiple_of(ALIGN)
        && crc32c::crc32c_append(seed, covered) == u32::from_le_bytes(*crc);
    intact.then(|| (u64::from_le_bytes(*number), length))
}

/// The record that `bytes` begin with, if it verifies.
pub(super) fn decode(bytes: &[u8], seed: u32) -> Option<Record<'_>> {
    let (number, length) = verify(bytes, seed)?;
    let body = bytes.get(HEADER..length)?;
    let (term, rest) = body.split_first_chunk::<8>()?;
    let (vote, rest) = rest.split_first_chunk::<8>()?;
    let (commit, mut rest) = rest.split_first_chunk::<8>()?;
    let hard = HardState {
        term: u64::from_le_bytes(*term),
        vote: u64::from_le_bytes(*vote),
        commit: u64::from_le_bytes(*commit),
        ..HardState::default()
    };
    let mut entries = Vec::new();
    // What is left behind the last entry is padding: an entry has four bytes of checksum at least.
    while let Some((head, tail)) = rest.split_first_chunk::<4>() {
        let sealed = usize::try_from(u32::from_le_bytes(*head)).ok()?;
        if sealed == 0 {
            break;
        }
        let (entry, after) = tail.split_at_checked(sealed)?;
        let at = length.checked_sub(tail.len())?;
        entries.push((Place { at: count(at), bytes: count(sealed) }, entry));
        rest = after;
    }
    Some(Record { number, hard, entries, length })
}
