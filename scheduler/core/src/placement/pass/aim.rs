//! The first round under `gavel`: a job whose turn it is looks for a place on the types that it
//! should have, and has others stopped there. What is idle then is for whoever can use it, in a
//! second round, in which nobody is stopped: who was stopped, and should have what it had, would go
//! first there again, and the two would take turns without end.

use super::{Look, Pass};
use crate::placement::{
    explain::{Blocker, could_fit},
    fit::{Hints, Request},
    order::Settings,
    view::Waiting,
};

impl<'a> Pass<'a> {
    /// Helps a job on the types that it should have. Says whether that could be done; nothing if it
    /// does not matter to the job, can never be done, or it is not its time.
    pub(super) fn aim(&mut self, job: &'a Waiting, asked: &Request) -> Option<bool> {
        let settings = self.planner.settings_of(&job.project)?;
        let aim = self.planner.aim_of(job, settings).filter(|_| job.not_before <= self.now)?;
        let aimed = Request { types: aim.types, ..asked.clone() };
        let hints = self.planner.hints_of(job, self.now);
        let hints = Hints { avoid: Some(&job.failed_on), speeds: Some(&aim.speeds), ..hints };
        if !self.is_in_reach(&aimed, &hints) {
            return None;
        }
        let hits = self.hits(job, settings, aimed, &hints);
        self.missed |= !hits;
        Some(hits)
    }

    /// Whether a gang would fit if every unit that can be used were free.
    fn is_in_reach(&mut self, aimed: &Request, hints: &Hints<'_>) -> bool {
        let key = (aimed.clone(), hints.during.map_or(0, |during| during.class()));
        if let Some(known) = self.reach.get(&key) {
            return *known;
        }
        let fits = could_fit(self.yard, aimed, hints);
        self.reach.insert(key, fits);
        fits
    }

    /// Starts a job where it should run, or has others stopped there for it.
    fn hits(
        &mut self,
        job: &'a Waiting,
        settings: &'a Settings,
        aimed: Request,
        hints: &Hints<'_>,
    ) -> bool {
        let Ok(narrowed) = self.shares.within(settings, &aimed, false) else {
            // Room in its queue is made for one that has a place.
            let known = self.misfits.has(&aimed, hints);
            return !known
                && self.yard.place(&aimed, hints).is_some()
                && self.over_quota(job, settings, &aimed) == Look::Takes;
        };
        let request = narrowed.unwrap_or(aimed);
        let had = self.planner.claim_of(job, settings).unwrap_or_default();
        let in_vain = |(priority, least): &(i32, u64)| job.priority <= *priority && had >= *least;
        if self.closed.get(&request).is_some_and(in_vain) {
            return false;
        }
        let known = self.misfits.has(&request, hints);
        let place = if known { None } else { self.yard.place(&request, hints) };
        let (place, kept) = self.in_order(job, settings, (&request, hints), place);
        if kept.is_some() {
            return false;
        }
        if let Some(place) = place {
            let turn = job.sequence.wrapping_add(u64::from(job.attempts));
            let Some(port) = self.yard.take_port(&place, turn) else { return false };
            self.start(job, settings, &place, port);
            return true;
        }
        self.misfits.note(&request, hints);
        if self.claim(job, settings, &request, hints) {
            self.waits(job, |_| [Blocker::stopping()].into());
            return true;
        }
        // Nobody is stopped for one either that is worth no more.
        self.closed.insert(request, (job.priority, had));
        false
    }
}
