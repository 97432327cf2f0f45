//! The books of a replay: what is used, who waits and what lies idle, as sums over time. Sums are
//! whole numbers, so that the order of what happens at one instant does not show in them. GPUs are
//! counted in thousandths here.

use trainyard_jobs::WHOLE_GPU;

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
        let gpus = gpus * u64::from(WHOLE_GPU);
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
        let moment = Moment { at_ms: from, used_milli: self.used, waiting: self.waiting };
        let now = (moment.used_milli, moment.waiting);
        let known = usage.timeline.last();
        if known.is_none_or(|last| (last.used_milli, last.waiting) != now) {
            usage.timeline.push(moment);
        }
        usage.until_ms = to;
    }

    /// So many GPUs came, or went.
    pub(super) fn there_are(&mut self, more: i64) {
        self.gpus = self.gpus.saturating_add_signed(more.saturating_mul(i64::from(WHOLE_GPU)));
    }

    pub(super) fn takes(&mut self, milli: u64) {
        self.used += milli;
    }

    pub(super) fn gives_back(&mut self, milli: u64) {
        self.used = self.used.saturating_sub(milli);
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

    pub(super) const fn present(&self) -> u64 {
        self.present
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
        let whole = u128::from(WHOLE_GPU);
        let usage = self.usage;
        Usage {
            held_gpu_ms: usage.held_gpu_ms / whole,
            idle_while_waiting_gpu_ms: usage.idle_while_waiting_gpu_ms / whole,
            fragmented_gpu_ms: usage.fragmented_gpu_ms / whole,
            ..usage
        }
    }
}
