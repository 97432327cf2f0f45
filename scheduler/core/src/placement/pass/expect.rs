//! When a waiting job is expected to start: the order as it is now is followed while what runs and
//! what goes before it ends as predicted, and as late as it hardly will. Units are counted, not
//! placed, and nobody comes who is not here yet: an estimate, with its two ends.

use std::{cmp::Reverse, collections::BinaryHeap};

use trainyard_jobs::{JobId, Timestamp};

use super::merge::Turns;
use crate::placement::{
    planner::{Planner, slot},
    share::Shares,
    view::Waiting,
};

/// Jobs before it that are counted at most, so that nobody waits long for an answer.
const MOST: usize = 200_000;

/// Units of one kind over time.
struct Ahead {
    now: [Timestamp; 2],
    free: [u64; 2],
    total: [u64; 2],
    ends: [BinaryHeap<Reverse<(Timestamp, u64)>>; 2],
}

impl Planner {
    /// Between when and when the job is expected to start, if it waits and there are units enough
    /// for it at all. What a pass promises it is kept to.
    #[must_use]
    pub fn expected_start(
        &mut self,
        job: &JobId,
        now: Timestamp,
    ) -> Option<(Timestamp, Timestamp)> {
        let promised = if self.keeps_order() { self.promised_start(job, now) } else { None };
        let likely = promised.or_else(|| self.start_of(job, now, false))?;
        let latest = self.start_of(job, now, true)?;
        Some((likely.min(latest), latest.max(likely)))
    }

    fn start_of(&self, id: &JobId, now: Timestamp, late: bool) -> Option<Timestamp> {
        let mut ahead = Ahead::of(self, now, late);
        let mut shares = Shares::of(self, now);
        let mut turns = Turns::of(self, &shares);
        for _ in 0..MOST {
            let next = turns.next()?;
            let job = self.job(next.job)?;
            let runs = if late { self.longest(job) } else { self.time_left(job) };
            let start = ahead.start(job, runs);
            if next.job == id {
                return self.past_reservations(job, start?);
            }
            if let Some(settings) = self.settings_of(&job.project) {
                shares.count(settings, job.resources.device, u64::from(job.resources.gpus), true);
            }
            turns.go_past(next);
            turns.changed(next.group, &shares);
        }
        None
    }
}

impl Ahead {
    fn of(planner: &Planner, now: Timestamp, late: bool) -> Self {
        let mut ahead = Self {
            now: [now, now],
            free: planner.capacity(),
            total: planner.capacity(),
            ends: [BinaryHeap::new(), BinaryHeap::new()],
        };
        for job in planner.running().values() {
            let left = planner.end_of(job, now).since(now).0;
            let end = now.0.saturating_add(if late { left.saturating_mul(2) } else { left });
            // What leaves and goes on has the units that it keeps for as long as it runs.
            let gone = if job.is_leaving() { job.gives() } else { 0 };
            let (at, units) = (slot(job.resources.device), job.units());
            if let Some((free, ends)) = ahead.free.get_mut(at).zip(ahead.ends.get_mut(at)) {
                *free = free.saturating_sub(units);
                ends.push(Reverse((now, gone)));
                ends.push(Reverse((Timestamp(end), units - gone)));
            }
        }
        ahead
    }

    /// When the next job starts, which runs for so long then. One that more units than exist would
    /// not help is passed over.
    fn start(&mut self, job: &Waiting, runs: u64) -> Option<Timestamp> {
        let at = slot(job.resources.device);
        let (now, free) = self.now.get_mut(at).zip(self.free.get_mut(at))?;
        let ends = self.ends.get_mut(at)?;
        let least = job.resources.min_gpus.unwrap_or(job.resources.gpus);
        let ranks = u64::from(least);
        let all = self.total.get(at).copied().unwrap_or_default();
        if ranks > all {
            return None;
        }
        while *free < ranks {
            let Reverse((end, units)) = ends.pop()?;
            *now = (*now).max(end);
            *free = free.saturating_add(units);
        }
        *free -= ranks;
        let start = (*now).max(job.not_before);
        ends.push(Reverse((Timestamp(start.0.saturating_add(runs)), ranks)));
        Some(start)
    }
}
