//! The books of a replay: what is used, who waits and what lies idle, as sums over time. Sums are
//! whole numbers, so that the order of what happens at one instant does not show in them.

use crate::report::{Moment, Usage};

/// Counts now, and their sums over time.
#[derive(Debug)]
pub(super) struct Books {
    gpus: u64,
    used: u64,
    waiting: u64,
    present: u64,
    free_on_shared: i64,
    /// Jobs present, summed over time: the difference between two instants is the crowd between.
    crowd: u128,
    usage: Usage,
}

impl Books {
    pub(super) fn new(gpus: u64) -> Self {
        let usage = Usage::default();
        Self { gpus, used: 0, waiting: 0, present: 0, free_on_shared: 0, crowd: 0, usage }
    }

    /// Everything was as it is from `from` until `to`.
    pub(super) fn advance(&mut self, from: u64, to: u64) {
        let span = u128::from(to.saturating_sub(from));
        if span == 0 {
            return;
        }
        let free = self.gpus.saturating_sub(self.used);
        let shared = u64::try_from(self.free_on_shared).unwrap_or_default();
        self.crowd += span * u128::from(self.present);
        let usage = &mut self.usage;
        usage.held_gpu_ms += span * u128::from(self.used);
        usage.waiting_job_ms += span * u128::from(self.waiting);
        if self.waiting > 0 {
            usage.busy_ms += span;
            usage.idle_while_waiting_gpu_ms += span * u128::from(free);
            usage.fragmented_gpu_ms += span * u128::from(shared);
        }
        let moment = Moment { at_ms: from, used: self.used, waiting: self.waiting };
        let known = usage.timeline.last();
        if known.is_none_or(|last| (last.used, last.waiting) != (moment.used, moment.waiting)) {
            usage.timeline.push(moment);
        }
        usage.until_ms = to;
    }

    /// Nodes came or went.
    pub(super) fn there_are(&mut self, more: i64) {
        self.gpus = self.gpus.saturating_add_signed(more);
    }

    pub(super) fn takes(&mut self, gpus: u64) {
        self.used += gpus;
    }

    pub(super) fn gives_back(&mut self, gpus: u64) {
        self.used = self.used.saturating_sub(gpus);
    }

    pub(super) fn free_on_shared(&mut self, change: i64) {
        self.free_on_shared += change;
    }

    pub(super) fn waits(&mut self, waits: bool) {
        self.waiting = if waits { self.waiting + 1 } else { self.waiting.saturating_sub(1) };
    }

    pub(super) const fn used(&self) -> u64 {
        self.used
    }

    pub(super) const fn waiting(&self) -> u64 {
        self.waiting
    }

    /// A job is there from now on.
    pub(super) fn arrives(&mut self) -> u128 {
        self.present += 1;
        self.crowd
    }

    /// A job is not there any more.
    pub(super) fn departs(&mut self) -> u128 {
        self.present = self.present.saturating_sub(1);
        self.crowd
    }

    pub(super) fn close(self) -> Usage {
        self.usage
    }
}
