//! What happens in a replay, and when.

use std::{cmp::Reverse, collections::BinaryHeap};

/// One thing that happens. Of those at one instant, the one that frees units comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Happening {
    /// A job's work is done.
    End {
        /// The job, by its place in the workload.
        job: usize,
        /// The run that does it; of an earlier run nothing is heard any more.
        run: u32,
    },
    /// A job says how far it is.
    Report {
        /// The job, by its place in the workload.
        job: usize,
        /// The run that says so.
        run: u32,
    },
    /// A job is submitted.
    Submit {
        /// The job, by its place in the workload.
        job: usize,
    },
    /// A job may be started again from now on.
    Look,
    /// Time has passed.
    Tick,
}

/// What is still to happen.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    heap: BinaryHeap<Reverse<(u64, Happening)>>,
    ticks: usize,
}

impl Agenda {
    pub(super) fn push(&mut self, at: u64, happening: Happening) {
        self.ticks += usize::from(happening == Happening::Tick);
        self.heap.push(Reverse((at, happening)));
    }

    pub(super) fn pop(&mut self) -> Option<Happening> {
        let Reverse((_, happening)) = self.heap.pop()?;
        self.ticks -= usize::from(happening == Happening::Tick);
        Some(happening)
    }

    pub(super) fn next_time(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Nothing is to happen but that time passes.
    pub(super) fn is_empty(&self) -> bool {
        self.heap.len() == self.ticks
    }
}
