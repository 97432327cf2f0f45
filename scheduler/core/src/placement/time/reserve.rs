//! Units that are kept for a job until enough others have ended: where it will start by what runs
//! is predicted to end, and when. A job that is gone by then may have them meanwhile.

use std::collections::BTreeSet;

use trainyard_jobs::{JobId, Timestamp};

use crate::placement::{
    fit::{Hints, Request},
    planner::Planner,
    running::Running,
    view::Waiting,
    yard::{Placement, Yard},
};

/// How many jobs have units kept for them at once: the first that does not fit alone, so that
/// backfill delays nobody else's turn more than it must.
const MOST: usize = 1;

/// What is kept for one job.
#[derive(Debug, Clone)]
struct Reservation {
    job: JobId,
    /// What of it is free now.
    free: Placement,
    /// When it is predicted to start.
    at: Timestamp,
}

/// All that is kept.
#[derive(Debug, Clone, Default)]
pub(in crate::placement) struct Reservations {
    kept: Vec<Reservation>,
    /// Jobs that were looked at for a gap.
    looks: usize,
}

/// Jobs that are looked at in one pass for a gap before what is kept is needed.
const LOOKS: usize = 1000;

/// When running jobs are predicted to end, the first first, each with its units. What is being
/// stopped has ended in this respect already.
pub(in crate::placement) fn ends(
    planner: &Planner,
    yard: &Yard,
    gone: [&BTreeSet<JobId>; 2],
    now: Timestamp,
) -> Vec<(Timestamp, Placement)> {
    let running = planner.running().values();
    let stays = |job: &&Running| !gone.iter().any(|gone| gone.contains(&job.id));
    let staying = running.filter(|job| !job.is_leaving()).filter(stays);
    let mut ends: Vec<_> = staying
        .map(|job| {
            let place = yard.placement(&job.assignments(), &job.resources);
            (planner.end_of(job, now), &job.id, place)
        })
        .collect();
    ends.sort_unstable_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
    ends.into_iter().map(|(at, _, place)| (at, place)).collect()
}

/// When the gang will fit first, by what ends, and where. Also says how many places were tried. The
/// beginning of time stands for now.
pub(in crate::placement) fn first_fit(
    yard: &mut Yard,
    pending: &[Placement],
    ends: &[(Timestamp, Placement)],
    (request, hints): (&Request, &Hints<'_>),
) -> (Option<(Timestamp, Placement)>, u64) {
    let start = yard.mark();
    for place in pending {
        yard.give_back(place);
    }
    let base = yard.mark();
    let mut tried = 0;
    let mut fits = |yard: &mut Yard, count: usize| {
        yard.rewind(base);
        for (_, place) in ends.iter().take(count) {
            yard.give_back(place);
        }
        tried += 1;
        let last = count.checked_sub(1).and_then(|last| ends.get(last));
        // It runs from then on, when other nodes may be reserved than are now.
        let during = match (hints.during, last) {
            (Some(during), Some((at, _))) => Some(during.begun(*at)),
            (during, _) => during,
        };
        yard.place(request, &Hints { during, avoid: None, ..*hints })
    };
    // The more have ended, the sooner it fits: the fewest by bisection.
    let (mut few, mut many) = (0, ends.len());
    let mut found = fits(yard, many);
    while found.is_some() && few < many {
        let middle = few + (many - few) / 2;
        match fits(yard, middle) {
            Some(place) => (many, found) = (middle, Some(place)),
            None => few = middle + 1,
        }
    }
    yard.rewind(start);
    let last = many.checked_sub(1).and_then(|at| ends.get(at));
    let at = last.map_or(Timestamp(0), |(at, _)| *at);
    (found.map(|place| (at, place)), tried)
}

impl Reservations {
    pub(in crate::placement) const fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// The job for which units are kept before all others.
    pub(in crate::placement) fn first(&self) -> Option<&JobId> {
        self.kept.first().map(|reservation| &reservation.job)
    }

    /// Whether units may be kept for one more.
    pub(in crate::placement) fn may_take(&self, job: &Waiting) -> bool {
        self.kept.len() < MOST && self.kept.iter().all(|reservation| reservation.job != job.id)
    }

    /// Keeps for a job what is free of the place on which it will fit first.
    pub(in crate::placement) fn keep(
        &mut self,
        yard: &mut Yard,
        job: &JobId,
        (at, place): (Timestamp, &Placement),
    ) {
        let free = yard.free_part(place);
        yard.take(&free);
        self.kept.push(Reservation { job: job.clone(), free, at });
    }

    /// What is free and kept.
    pub(in crate::placement) fn places(&self) -> impl Iterator<Item = &Placement> {
        self.kept.iter().map(|reservation| &reservation.free)
    }

    /// Whether a gang that is gone soon enough would fit on what is free and what is kept. Asked a
    /// bounded number of times: a long line is not gone through for a small gap.
    pub(in crate::placement) fn may_backfill(
        &mut self,
        yard: &mut Yard,
        request: &Request,
        hints: &Hints<'_>,
    ) -> bool {
        if self.kept.is_empty() || self.looks >= LOOKS {
            return false;
        }
        self.looks += 1;
        self.backfill(yard, request, hints, Timestamp(0)).is_some()
    }

    /// A place for a job that is gone `until` then, on what is free and what is kept for later.
    pub(in crate::placement) fn backfill(
        &self,
        yard: &mut Yard,
        request: &Request,
        hints: &Hints<'_>,
        until: Timestamp,
    ) -> Option<Placement> {
        let start = yard.mark();
        let mut more = false;
        for reservation in self.kept.iter().filter(|reservation| until <= reservation.at) {
            yard.give_back(&reservation.free);
            more |= !reservation.free.is_empty();
        }
        let place = if more { yard.place(request, hints) } else { None };
        yard.rewind(start);
        place
    }

    /// Some of what is kept is given to a job that is gone in time: nobody has it for now.
    pub(in crate::placement) fn used(&mut self, yard: &mut Yard, place: &Placement) {
        for reservation in &mut self.kept {
            yard.give_back(&reservation.free.within(place));
            reservation.free = reservation.free.without(place);
        }
    }
}
