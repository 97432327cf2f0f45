//! Reading the file back: from the first record on by number, to the one that was torn or never
//! written.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use redb::StorageBackend;

use super::{
    Layout, Record, Region, Wal, WalError,
    record::{ALIGN, Draft, HEADER, decode, verify},
};
use crate::storage::count;

impl Wal {
    /// Opens the file and shows each record of the log that begins with record `first`, with the
    /// place where the record lies; `show` gives the highest index among its entries.
    pub(crate) fn open(
        file: Box<dyn StorageBackend>,
        layout: Layout,
        first: u64,
        mut show: impl FnMut(&Record<'_>, u64) -> Result<u64, String>,
    ) -> Result<Self, WalError> {
        // What a process wrote before it was killed can be read and need not be on disk yet.
        file.sync_data()?;
        let length = file.len()?;
        let slots = length.div_ceil(layout.region);
        let starts = starts(file.as_ref(), layout, length, slots)?;
        let mut walk = Walk { expected: first, regions: VecDeque::new(), end: 0 };
        let mut damage = None;
        while let Some(slot) = starts.get(&walk.expected).copied() {
            let bytes = region(file.as_ref(), layout, length, slot)?;
            let used = walk.region(slot, &bytes, layout, &mut show).map_err(WalError::Damaged)?;
            let beyond = bytes.get(used..).unwrap_or_default();
            damage = later_record(beyond, layout.seed, walk.expected)
                .or_else(|| follower(beyond, walk.expected));
            if damage.is_some() {
                break;
            }
        }
        if walk.regions.is_empty() {
            return Err(WalError::Damaged(format!("record {first}, its first, is missing")));
        }
        let used: BTreeSet<u64> = walk.regions.iter().map(|region| region.slot).collect();
        for slot in (0..slots).filter(|slot| !used.contains(slot)) {
            // A region whose first record is damaged is not found by its number.
            let bytes = region(file.as_ref(), layout, length, slot)?;
            damage = damage
                .or_else(|| later_record(&bytes, layout.seed, walk.expected))
                .or_else(|| number_at(&bytes, 0).filter(|found| is_next(*found, walk.expected)));
        }
        if let Some(later) = damage {
            let torn = walk.expected;
            let problem = format!("record {torn} cannot be read, but record {later} can");
            return Err(WalError::Damaged(problem));
        }
        // Room at the end that is not needed any more is given back.
        let slots = used.last().map_or(0, |slot| slot.saturating_add(1));
        let needed = slots.saturating_mul(layout.region);
        if length > needed {
            file.set_len(needed)?;
        }
        Ok(Self {
            file,
            layout,
            regions: walk.regions,
            free: (0..slots).filter(|slot| !used.contains(slot)).collect(),
            slots,
            length: length.min(needed),
            end: walk.end,
            next: walk.expected,
            draft: Draft::default(),
        })
    }
}

struct Walk {
    expected: u64,
    regions: VecDeque<Region>,
    end: u64,
}

impl Walk {
    /// Shows the records of one region that go on with the log; gives the bytes that they fill.
    fn region(
        &mut self,
        slot: u64,
        bytes: &[u8],
        layout: Layout,
        show: &mut impl FnMut(&Record<'_>, u64) -> Result<u64, String>,
    ) -> Result<usize, String> {
        let start = slot.saturating_mul(layout.region);
        let (first, mut highest, mut used) = (self.expected, 0, 0);
        while let Some(record) = decode(bytes.get(used..).unwrap_or_default(), layout.seed)
            .filter(|record| record.number == self.expected)
        {
            highest = show(&record, start.saturating_add(count(used)))?.max(highest);
            used = used.saturating_add(record.length);
            self.expected = self.expected.saturating_add(1);
        }
        self.regions.push_back(Region { slot, first, highest });
        self.end = start.saturating_add(count(used));
        Ok(used)
    }
}

/// The slot of each region whose first record verifies, by that record's number.
fn starts(
    file: &dyn StorageBackend,
    layout: Layout,
    length: u64,
    slots: u64,
) -> Result<BTreeMap<u64, u64>, WalError> {
    let mut starts = BTreeMap::new();
    for slot in 0..slots {
        let at = slot.saturating_mul(layout.region);
        let room = layout.region.min(length.saturating_sub(at));
        if room < count(HEADER) {
            continue;
        }
        let mut header = [0; HEADER];
        file.read(at, &mut header)?;
        let (_, rest) = header.split_at(4);
        let body = rest.first_chunk::<4>().map_or(0, |body| u32::from_le_bytes(*body));
        let whole = u64::from(body).saturating_add(count(HEADER));
        if whole > room {
            continue;
        }
        let mut record = vec![0; usize::try_from(whole).unwrap_or_default()];
        file.read(at, &mut record)?;
        if let Some((number, _)) = verify(&record, layout.seed) {
            starts.insert(number, slot);
        }
    }
    Ok(starts)
}

fn region(
    file: &dyn StorageBackend,
    layout: Layout,
    length: u64,
    slot: u64,
) -> Result<Vec<u8>, WalError> {
    let at = slot.saturating_mul(layout.region);
    let room = layout.region.min(length.saturating_sub(at));
    let mut bytes = vec![0; usize::try_from(room).unwrap_or_default()];
    file.read(at, &mut bytes)?;
    Ok(bytes)
}

/// The number of the record behind the one that `bytes` begin with and that cannot be read, if it
/// is the next: then that one was durable, and both are damaged now. Only where a record would
/// begin is looked, since within a torn one anything may stand.
fn follower(bytes: &[u8], expected: u64) -> Option<u64> {
    let body = bytes.get(4..8)?.first_chunk::<4>().map(|body| u32::from_le_bytes(*body))?;
    let next = usize::try_from(body).ok()?.checked_add(HEADER)?;
    number_at(bytes, next).filter(|found| is_next(*found, expected))
}

/// What stands where the record at `at` would have its number.
fn number_at(bytes: &[u8], at: usize) -> Option<u64> {
    let number = bytes.get(at.checked_add(8)?..)?.first_chunk::<8>()?;
    Some(u64::from_le_bytes(*number))
}

fn is_next(number: u64, expected: u64) -> bool {
    number.checked_sub(1) == Some(expected)
}

/// A record with a number that only comes later than the log's end: then the end is damage. What an
/// earlier use of a region left has lower numbers.
fn later_record(bytes: &[u8], seed: u32, expected: u64) -> Option<u64> {
    let places = (0..bytes.len()).step_by(ALIGN);
    places.filter_map(|at| bytes.get(at..)).find_map(|rest| {
        let number = rest.get(8..16)?.first_chunk::<8>().map(|n| u64::from_le_bytes(*n))?;
        (number > expected && number - expected <= count(bytes.len()))
            .then(|| verify(rest, seed))
            .flatten()
            .map(|(number, _)| number)
    })
}
