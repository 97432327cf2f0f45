//! The log's terms and sizes, and its newest entries, in memory.
//!
//! `raft` asks for terms many times a message and replicates mostly from the tail; reading redb for
//! that would put the disk into the hot path. Mirrors what is durable and is changed only after a
//! commit succeeded.

use std::collections::VecDeque;

use raft::eraftpb::Entry;

use super::{count, wal::Place};

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::as_conversions, reason = "tests may fail loudly")]
mod tests;

#[derive(Debug, Clone, Copy)]
struct Slot {
    term: u64,
    place: Place,
}

/// One slot for every entry in the log, after a boundary whose term is still known.
#[derive(Debug)]
pub(crate) struct LogIndex {
    boundary: (u64, u64),
    slots: VecDeque<Slot>,
    bytes: u64,
    tail: VecDeque<Entry>,
    tail_bytes: u64,
    tail_limit: u64,
}

impl LogIndex {
    /// An empty log after the entry `boundary` = (index, term).
    pub(crate) fn new(boundary: (u64, u64), tail_limit: u64) -> Self {
        Self {
            boundary,
            slots: VecDeque::new(),
            bytes: 0,
            tail: VecDeque::new(),
            tail_bytes: 0,
            tail_limit,
        }
    }

    /// An empty log after another boundary, with the same limits.
    pub(crate) fn emptied(&self, boundary: (u64, u64)) -> Self {
        Self::new(boundary, self.tail_limit)
    }

    pub(crate) fn boundary(&self) -> (u64, u64) {
        self.boundary
    }

    pub(crate) fn first(&self) -> u64 {
        self.boundary.0.saturating_add(1)
    }

    pub(crate) fn last(&self) -> u64 {
        self.boundary.0.saturating_add(count(self.slots.len()))
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn term(&self, index: u64) -> Option<u64> {
        if index == self.boundary.0 {
            return Some(self.boundary.1);
        }
        self.slots.get(self.position(index)?).map(|slot| slot.term)
    }

    /// Where an entry lies on disk.
    pub(crate) fn place(&self, index: u64) -> Option<Place> {
        self.slots.get(self.position(index)?).map(|slot| slot.place)
    }

    /// The end of the longest run from `low`, at most to `high`, whose entries fit in `limit`
    /// bytes; never empty.
    pub(crate) fn end_within(&self, low: u64, high: u64, limit: u64) -> u64 {
        let mut total = 0u64;
        let mut end = low;
        while end < high {
            let Some(slot) = self.position(end).and_then(|at| self.slots.get(at)) else { break };
            total = total.saturating_add(slot.place.bytes);
            if total > limit && end > low {
                break;
            }
            end = end.saturating_add(1);
        }
        end
    }

    /// The entries `[low, high)` if all of them are in memory.
    pub(crate) fn cached(&self, low: u64, high: u64) -> Option<Vec<Entry>> {
        let start = self.last().saturating_add(1).saturating_sub(count(self.tail.len()));
        let skip = usize::try_from(low.checked_sub(start)?).ok()?;
        let take = usize::try_from(high.checked_sub(low)?).ok()?;
        let entries: Vec<Entry> = self.tail.iter().skip(skip).take(take).cloned().collect();
        (entries.len() == take).then_some(entries)
    }

    /// Appends the entry that follows the last one.
    pub(crate) fn push(&mut self, entry: Entry, place: Place) {
        let bytes = place.bytes;
        self.slots.push_back(Slot { term: entry.term, place });
        self.bytes = self.bytes.saturating_add(bytes);
        self.tail.push_back(entry);
        self.tail_bytes = self.tail_bytes.saturating_add(bytes);
        while self.tail_bytes > self.tail_limit && self.tail.len() > 1 {
            self.drop_tail_front();
        }
    }

    /// Drops the entries from `index` on: a new leader overrides them.
    pub(crate) fn truncate(&mut self, index: u64) {
        while self.last() >= index {
            let Some(slot) = self.slots.pop_back() else { break };
            self.bytes = self.bytes.saturating_sub(slot.place.bytes);
            if self.tail.pop_back().is_some() {
                self.tail_bytes = self.tail_bytes.saturating_sub(slot.place.bytes);
            }
        }
    }

    /// Forgets the entries up to and including `index`, which becomes the boundary.
    pub(crate) fn compact(&mut self, index: u64) {
        let Some(term) = self.term(index) else { return };
        while self.boundary.0 < index {
            if self.tail.len() == self.slots.len() {
                self.drop_tail_front();
            }
            let Some(slot) = self.slots.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(slot.place.bytes);
            self.boundary.0 = self.boundary.0.saturating_add(1);
        }
        self.boundary.1 = term;
    }

    fn drop_tail_front(&mut self) {
        let position = self.slots.len().saturating_sub(self.tail.len());
        let bytes = self.slots.get(position).map_or(0, |slot| slot.place.bytes);
        if self.tail.pop_front().is_some() {
            self.tail_bytes = self.tail_bytes.saturating_sub(bytes);
        }
    }

    fn position(&self, index: u64) -> Option<usize> {
        usize::try_from(index.checked_sub(self.first())?).ok()
    }
}
