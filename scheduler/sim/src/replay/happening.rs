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
    /// A job's ranks fail by the job's own doing.
    Fail {
        /// The job, by its place in the workload.
        job: usize,
        /// The run that fails.
        run: u32,
    },
    /// A node comes up again.
    Up {
        /// The node, by its place among all.
        node: usize,
    },
    /// A node goes down.
    Down {
        /// The node, by its place among all.
        node: usize,
        /// What runs on it was told in time, and could save its state.
        told: bool,
    },
    /// A node of a group costs something else from now on.
    Price {
        /// The group.
        group: usize,
    },
    /// Somebody reserves nodes.
    Reserve {
        /// The reservation, by its place in the cluster file.
        window: usize,
    },
    /// What was set for this time comes: a reservation begins or ends, or a job that failed may be
    /// started again.
    Due,
    /// A job writes a checkpoint of its own accord.
    Checkpoint {
        /// The job, by its place in the workload.
        job: usize,
        /// The run that writes it.
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
    /// The planner wanted to be asked again.
    Look,
    /// Time has passed.
    Tick,
}

/// What is still to happen.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    heap: BinaryHeap<Reverse<(u64, Happening)>>,
    /// Those that come again and again and mean nothing to a cluster without work.
    idle: usize,
}

impl Happening {
    const fn is_idle(self) -> bool {
        matches!(self, Self::Tick | Self::Look | Self::Down { .. } | Self::Price { .. })
    }
}

impl Agenda {
    pub(super) fn push(&mut self, at: u64, happening: Happening) {
        self.idle += usize::from(happening.is_idle());
        self.heap.push(Reverse((at, happening)));
    }

    pub(super) fn pop(&mut self) -> Option<Happening> {
        let Reverse((_, happening)) = self.heap.pop()?;
        self.idle -= usize::from(happening.is_idle());
        Some(happening)
    }

    pub(super) fn next_time(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Nothing is to happen but that time passes, nodes fail and prices change.
    pub(super) fn is_empty(&self) -> bool {
        self.heap.len() == self.idle
    }
}
