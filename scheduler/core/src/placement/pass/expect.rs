//! When waiting jobs are expected to start: the order as it is now is followed while what runs and
//! what goes before them ends as predicted, and as late as it hardly will. Units are counted, not
//! placed, and nobody comes who is not here yet: an estimate, with its two ends. One walk through
//! the queue tells it of all.

mod pools;

use std::collections::BTreeMap;

use trainyard_jobs::{JobId, Timestamp};

use self::pools::Pools;
use super::merge::Turns;
use crate::placement::{fit::Request, planner::Planner, share::Shares, view::Waiting};

/// Jobs that are counted at most, so that nobody waits long for an answer.
const MOST: usize = 200_000;

/// Looks at whether reservations leave room, in one walk.
const LOOKS: usize = 1000;

/// Between when and when a job is expected to start.
type Range = (Timestamp, Timestamp);

/// Whether there is room beside the reservations that meet a run, as far as somebody looked.
type Room = BTreeMap<(Request, Vec<bool>), bool>;

impl Planner {
    /// Between when and when the job is expected to start, if it waits and there are units enough
    /// for it at all. What a pass promises it is kept to.
    #[must_use]
    pub fn expected_start(&mut self, job: &JobId, now: Timestamp) -> Option<Range> {
        self.waiting(job)?;
        let promised = if self.keeps_order() { self.promised_start(job, now) } else { None };
        let mut found = None;
        self.follow(now, |waiting, range| {
            if waiting.id == *job {
                found = range;
            }
            waiting.id != *job
        });
        kept_to(promised, found)
    }

    /// The same of all that wait.
    #[must_use]
    pub fn expected_starts(&mut self, now: Timestamp) -> BTreeMap<JobId, Range> {
        let promised = if self.keeps_order() { self.promised_starts(now) } else { BTreeMap::new() };
        let mut found = BTreeMap::new();
        self.follow(now, |job, range| {
            let promised = promised.get(&job.id).copied();
            if let Some(range) = kept_to(promised, range) {
                found.insert(job.id.clone(), range);
            }
            true
        });
        found
    }

    /// Tells of job after job, in the order in which they would start, until nobody wants to know
    /// more.
    fn follow(&self, now: Timestamp, mut tell: impl FnMut(&Waiting, Option<Range>) -> bool) {
        let (mut likely, mut late) = (Pools::of(self, now, false), Pools::of(self, now, true));
        let mut shares = Shares::of(self, now);
        let mut turns = Turns::of(self, &shares);
        let mut room = Room::new();
        for _ in 0..MOST {
            let Some(next) = turns.next() else { return };
            let Some(job) = self.job(next.job) else { return };
            let from = likely.start(job, next.request, self.time_left(job));
            let to = late.start(job, next.request, self.longest(job));
            let from = from.and_then(|at| self.past_all(job, next.request, at, &mut room));
            let to = to.and_then(|at| self.past_all(job, next.request, at, &mut room));
            if !tell(job, from.zip(to)) {
                return;
            }
            if let Some(settings) = self.settings_of(&job.project) {
                shares.count(settings, &job.resources, job.resources.gpus.into(), true);
            }
            turns.go_past(next, &shares);
            turns.changed(next.group, &shares);
        }
    }

    /// From when on a job finds units enough that are not reserved, of those that there are.
    fn past_all(
        &self,
        job: &Waiting,
        request: &Request,
        start: Timestamp,
        room: &mut Room,
    ) -> Option<Timestamp> {
        self.after_reservations(start, |at| {
            let hints = self.hints_of(job, at);
            let meets = hints.during.map(|during| during.meets()).unwrap_or_default();
            let looks = room.len();
            let key = (request.clone(), meets);
            if let Some(known) = room.get(&key) {
                return *known;
            }
            if looks >= LOOKS {
                return true;
            }
            let fits = self.could_fit(request, &hints);
            room.insert(key, fits);
            fits
        })
    }
}

/// The likely start is the one that was promised, if one was.
fn kept_to(promised: Option<Timestamp>, found: Option<Range>) -> Option<Range> {
    let (likely, latest) = found?;
    let likely = promised.unwrap_or(likely);
    Some((likely.min(latest), latest.max(likely)))
}
