//! The entries of the log: one file that is written over and over, a record a batch, one write and
//! one fsync a record.
//!
//! The file is cut into regions of equal size. Records fill one region after another, each with a
//! number, the hard state and its entries under one CRC32C; a region whose entries are all behind a
//! snapshot is used again. So an fsync in the long run changes no metadata of the file system and
//! touches no other page. The log begins with a record whose number the database keeps, at the
//! start of a region, and goes on by number.
//!
//! Only the last record can be torn, since each is durable before the next is written. A record
//! that cannot be read and is not the last is damage, never the log's end.

use std::{
    collections::{BTreeSet, VecDeque},
    io,
};

use raft::eraftpb::{Entry, HardState};
use redb::StorageBackend;

use super::count;

mod record;
mod scan;
#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::as_conversions,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]
mod tests;

use record::Draft;
pub(crate) use record::{Place, Record};

/// How far the file grows at a time, so that most writes find their blocks allocated.
const STEP: u64 = 1 << 20;

/// Why the file could not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WalError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Damaged(String),
}

/// What must be known to read the file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    /// Bytes of a region.
    pub(crate) region: u64,
    /// Records of another directory do not verify under this one's seed.
    pub(crate) seed: u32,
}

impl Layout {
    pub(crate) fn new(region: u64, cluster: [u8; 16], member: u64) -> Self {
        Self {
            region,
            seed: crc32c::crc32c_append(crc32c::crc32c(&cluster), &member.to_le_bytes()),
        }
    }
}

/// A region in use.
#[derive(Debug, Clone, Copy)]
struct Region {
    /// Its place in the file, counted in regions.
    slot: u64,
    /// The number of its first record.
    first: u64,
    /// The highest index among its entries.
    highest: u64,
}

/// The file, open for appending.
#[derive(Debug)]
pub(crate) struct Wal {
    file: Box<dyn StorageBackend>,
    layout: Layout,
    /// Oldest first; the last one is written to.
    regions: VecDeque<Region>,
    free: BTreeSet<u64>,
    /// Regions that the file has room for, the last one perhaps in part.
    slots: u64,
    /// Bytes that the file has.
    length: u64,
    /// Where the next record goes, and its number.
    end: u64,
    next: u64,
    draft: Draft,
}

impl Wal {
    /// Empties the file and begins a log in it. Durable on return.
    pub(crate) fn create(
        file: Box<dyn StorageBackend>,
        layout: Layout,
        hard: &HardState,
    ) -> Result<Self, WalError> {
        // Whatever an attempt to make the directory left must not be taken for this log.
        file.set_len(0)?;
        file.sync_data()?;
        let mut wal = Self {
            file,
            layout,
            regions: VecDeque::new(),
            free: BTreeSet::new(),
            slots: 0,
            length: 0,
            end: 0,
            next: 1,
            draft: Draft::default(),
        };
        wal.restart(hard)?;
        Ok(wal)
    }

    /// The number of the first record.
    pub(crate) fn first(&self) -> u64 {
        self.regions.front().map_or(self.next, |region| region.first)
    }

    /// Bytes of a region.
    pub(crate) const fn region(&self) -> u64 {
        self.layout.region
    }

    /// Appends the hard state and entries, durably, and tells where the entries are.
    pub(crate) fn append(
        &mut self,
        hard: &HardState,
        entries: &[Entry],
    ) -> Result<Vec<Place>, WalError> {
        let mut places = Vec::with_capacity(entries.len());
        let mut rest = entries;
        loop {
            self.draft.begin(self.next, hard);
            let taken = self.draft.fill(rest, self.layout.region)?;
            let (now, later) = rest.split_at_checked(taken).unwrap_or((rest, &[]));
            let last = now.iter().map(|entry| entry.index).max().unwrap_or_default();
            if !later.is_empty() {
                if taken == 0 {
                    let region = self.layout.region;
                    let problem = format!("an entry exceeds a region of {region} bytes");
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, problem).into());
                }
                // More than a record holds: each must make sense without the next.
                let commit = hard.commit.min(last);
                self.draft.begin(self.next, &HardState { commit, ..hard.clone() });
                self.draft.fill(now, self.layout.region)?;
            }
            self.draft.seal(self.layout.seed);
            self.write(last)?;
            let start = self.end.saturating_sub(count(self.draft.len()));
            places.extend(self.draft.places().map(|place| place.after(start)));
            if later.is_empty() {
                return Ok(places);
            }
            rest = later;
        }
    }

    /// Begins a new region with a record of the hard state alone, durably. The log may then be said
    /// to begin there; gives that record's number.
    pub(crate) fn restart(&mut self, hard: &HardState) -> Result<u64, WalError> {
        self.begin_region();
        let first = self.next;
        self.append(hard, &[])?;
        Ok(first)
    }

    /// The number of the record with which the log may begin when the entries up to `boundary` are
    /// not needed any more.
    pub(crate) fn first_after(&self, boundary: u64) -> u64 {
        let all_but_last = self.regions.len().saturating_sub(1);
        let needed = self.regions.iter().take(all_but_last).find(|r| r.highest > boundary);
        needed.or(self.regions.back()).map_or(self.next, |region| region.first)
    }

    /// Lets the regions before the record `first` be used again. The database must know of it.
    pub(crate) fn free_before(&mut self, first: u64) {
        while let Some(region) = self.regions.pop_front_if(|region| region.first < first) {
            self.free.insert(region.slot);
        }
    }

    /// The bytes at a place.
    pub(crate) fn read(&self, place: Place) -> Result<Vec<u8>, WalError> {
        let mut bytes = vec![0; usize::try_from(place.bytes).unwrap_or_default()];
        self.file.read(place.at, &mut bytes)?;
        Ok(bytes)
    }

    /// Flips a bit of what lies at `place`, as nothing but a fault would.
    #[cfg(test)]
    pub(crate) fn spoil(&self, place: Place) {
        let mut bytes = self.read(place).unwrap();
        *bytes.last_mut().unwrap() ^= 4;
        self.file.write(place.at, &bytes).unwrap();
    }

    /// Writes the sealed draft behind the last record, or into a new region if it does not fit.
    fn write(&mut self, highest: u64) -> Result<(), WalError> {
        let length = count(self.draft.len());
        if self.end.saturating_add(length) > self.limit() {
            self.begin_region();
        }
        let after = self.end.saturating_add(length);
        if after > self.length {
            let grown = after.max(self.length.saturating_add(STEP)).min(self.limit());
            let padded = usize::try_from(grown.saturating_sub(self.end)).unwrap_or_default();
            self.file.write(self.end, self.draft.padded(padded))?;
            self.length = grown;
        } else {
            self.file.write(self.end, self.draft.bytes())?;
        }
        self.file.sync_data()?;
        self.end = after;
        self.next = self.next.saturating_add(1);
        if let Some(region) = self.regions.back_mut() {
            region.highest = region.highest.max(highest);
        }
        Ok(())
    }

    fn begin_region(&mut self) {
        let slot = self.free.pop_first().unwrap_or_else(|| {
            self.slots = self.slots.saturating_add(1);
            self.slots.saturating_sub(1)
        });
        self.end = slot.saturating_mul(self.layout.region);
        self.regions.push_back(Region { slot, first: self.next, highest: 0 });
    }

    /// Where the region that is written to ends.
    fn limit(&self) -> u64 {
        let after = self.regions.back().map_or(0, |region| region.slot.saturating_add(1));
        after.saturating_mul(self.layout.region)
    }
}
