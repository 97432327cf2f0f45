//! What does not fit, where nodes are reserved: a job behind it that asks for the same may fit
//! before a reservation begins, if it is gone sooner.

use std::collections::{BTreeMap, BTreeSet};

use trainyard_jobs::{ProjectName, Timestamp};

use super::Pass;
use crate::placement::{
    fit::{Hints, Request},
    order::Settings,
};

/// Times that one pass asks whether somebody shorter may follow: a long line is not gone through
/// for a small gap.
const LOOKS: usize = 1000;

/// Requests that found no place among what is free.
#[derive(Debug, Default)]
pub(super) struct Misfits<'a> {
    /// The earliest end with which there was none: with a later one more nodes are reserved.
    until: BTreeMap<Request, Timestamp>,
    /// Lines whose first found none, and in which shorter ones are looked for.
    lines: BTreeSet<(&'a ProjectName, Request)>,
    looks: usize,
}

fn until(hints: &Hints<'_>) -> Timestamp {
    hints.during.map_or(Timestamp(0), |during| during.until())
}

impl<'a> Misfits<'a> {
    /// Whether it is known that there is no place.
    pub(super) fn has(&self, request: &Request, hints: &Hints<'_>) -> bool {
        self.until.get(request).is_some_and(|known| *known <= until(hints))
    }

    /// Notes that there is none.
    pub(super) fn note(&mut self, request: &Request, hints: &Hints<'_>) {
        match self.until.get_mut(request) {
            Some(known) => *known = until(hints).min(*known),
            None => drop(self.until.insert(request.clone(), until(hints))),
        }
    }

    /// Whether the line's turn is over, but for those that fit before a reservation: nobody is
    /// stopped for them.
    pub(super) fn is_behind(&self, group: &'a ProjectName, asked: &Request) -> bool {
        !self.lines.is_empty() && self.lines.contains(&(group, asked.clone()))
    }
}

impl<'a> Pass<'a> {
    /// Whether one behind a job that does not fit may fit all the same: before what is kept for
    /// another is needed, or before a reservation begins.
    pub(super) fn may_follow(
        &mut self,
        settings: &'a Settings,
        (asked, request): (&Request, &Request),
        hints: &Hints<'_>,
    ) -> bool {
        let during = hints.during.map(|during| during.at_once());
        let soonest = Hints { during, ..*hints };
        self.reserved.may_backfill(self.yard, request, &soonest)
            || (during.is_some()
                && !self.overdue
                && self.may_slip(settings, (asked, request), &soonest))
    }

    fn may_slip(
        &mut self,
        settings: &'a Settings,
        (asked, request): (&Request, &Request),
        soonest: &Hints<'_>,
    ) -> bool {
        if self.misfits.looks >= LOOKS || self.misfits.has(request, soonest) {
            return false;
        }
        self.misfits.looks += 1;
        self.work = self.work.saturating_sub(1);
        if self.yard.place(request, soonest).is_none() {
            self.misfits.note(request, soonest);
            return false;
        }
        self.misfits.lines.insert((&settings.group, asked.clone()));
        true
    }
}
