//! Who is stopped for whom: whole gangs only, those that are worth least by the policy first, and
//! of them only those without which the waiting gang would not fit. What a stop costs is counted
//! in unit-milliseconds: the work since the last catalogued checkpoint, and the restart.

mod shrink;

use trainyard_jobs::{AttemptNo, JobId, Millis, StopCause, Timestamp};

use super::{
    fit::{Hints, Request},
    order::{Settings, Worth},
    running::Running,
    yard::{Placement, Yard},
};

pub(super) use self::shrink::{Chosen, Victim, choose_sparing};

/// Who has waited too long runs for this part of its wait before it is stopped again.
const EARNED: u64 = 10;

/// A run that was resumed goes on for so many times what that cost before it is stopped again, so
/// that no more than this part of any time is lost to stops.
const PAID: u64 = 5;

/// A day, within which disruptions are counted.
const DAY: Millis = Millis(86_400_000);

/// A running job that may be stopped.
#[derive(Debug, Clone)]
pub(super) struct Standing<'a> {
    pub(super) running: &'a Running,
    pub(super) settings: &'a Settings,
    pub(super) job: JobId,
    pub(super) version: u64,
    pub(super) attempt: AttemptNo,
    pub(super) worth: Worth,
    /// Unit-milliseconds that are lost when it is stopped.
    pub(super) cost: u64,
    /// The time that it gets to save its state.
    pub(super) notice: Option<Millis>,
    pub(super) sequence: u64,
}

/// One that may be stopped, and what it would be told.
pub(super) type Candidate<'a> = (Standing<'a>, StopCause);

impl Standing<'_> {
    /// Its units. Asked of the few that may really be stopped.
    pub(super) fn place(&self, yard: &Yard) -> Placement {
        yard.placement(&self.running.assignments(), &self.running.resources)
    }
}

/// What the stop of a running job loses at `now`, in unit-milliseconds.
pub(super) fn cost(job: &Running, settings: &Settings, now: Timestamp) -> u64 {
    let kept = job.checkpointed.map_or(job.started, |at| at.max(job.started));
    let lost = if job.on_request { 0 } else { now.since(kept).0 };
    lost.saturating_add(settings.restart_cost.0).saturating_mul(job.units())
}

/// Before this a running job is not stopped for another.
pub(super) fn rested(job: &Running, settings: &Settings) -> Timestamp {
    // A run that was resumed does more than come back.
    let paid = if job.attempt.0 > 1 { settings.restart_cost.0.saturating_mul(PAID) } else { 0 };
    Timestamp(job.started.0.saturating_add(settings.min_run.0.max(paid)))
}

/// Whether it may have rights beyond that: it waited for long, or was stopped often.
pub(super) fn is_special(job: &Running, settings: &Settings) -> bool {
    waited(job) >= settings.patience.0 || job.disrupted.len() >= settings.max_disruptions
}

/// When it began to wait for its attempt.
fn began(job: &Running) -> Timestamp {
    job.disrupted.last().copied().unwrap_or(job.submitted)
}

/// How long it waited for its attempt.
fn waited(job: &Running) -> u64 {
    job.started.since(began(job)).0
}

/// What a job has earned that waited for too long, if it did: since when it had, and until when it
/// goes on for a good part of that, or it would have got nothing but its turn. `bound` is the wait
/// that would be too long for it.
pub(super) fn earned(job: &Running, bound: u64) -> Option<(Timestamp, Timestamp)> {
    let waited = waited(job);
    let until = job.started.0.saturating_add((waited / EARNED).min(DAY.0));
    let since = began(job).0.saturating_add(bound);
    (waited >= bound).then_some((Timestamp(since), Timestamp(until)))
}

/// When a running job may be stopped for another, as far as its own rights go: never before, and
/// not at all while its disruptions of the last day are as many as it has to bear. What it may have
/// [`earned`] by waiting is another matter.
pub(super) fn ready(job: &Running, settings: &Settings, now: Timestamp) -> Timestamp {
    let rested = rested(job, settings);
    let recent = job.disrupted.iter().rev().filter(|at| now.since(**at) < DAY);
    // Once the oldest of so many is a day old, there is room for one more.
    let oldest = settings.max_disruptions.checked_sub(1).map(|most| recent.clone().nth(most));
    match oldest {
        None => Timestamp(u64::MAX),
        Some(None) => rested,
        Some(Some(at)) => rested.max(Timestamp(at.0.saturating_add(DAY.0))),
    }
}

/// The notice that a job gets: only one that listens gets any.
pub(super) fn notice(job: &Running, settings: &Settings) -> Option<Millis> {
    (job.on_request && settings.notice > Millis(0)).then_some(settings.notice)
}

/// Candidates of whom it is tried whether a gang that counts on processors or memory fits without.
const TRIES: usize = 16;

/// Where the gang would fit if some of `candidates` were gone, and who of them: as few of the
/// last ones as possible, and of these only those whose units it needs. `pending` is what will be
/// free without anybody's doing, and `gives` says what each leaves. Nothing of the yard is changed.
/// Also says how many places were tried.
pub(super) fn choose<'a>(
    yard: &mut Yard,
    pending: &[Placement],
    mut candidates: impl Iterator<Item = Candidate<'a>>,
    (request, hints): (&Request, &Hints<'_>),
    gives: impl Fn(&Standing<'a>, &Yard) -> Placement,
) -> (Option<(Placement, Vec<Candidate<'a>>)>, u64) {
    let start = yard.mark();
    for place in pending {
        yard.give_back(place);
    }
    let base = yard.mark();
    let mut tried = 0;
    let mut fits = |yard: &mut Yard, gone: &[Candidate<'a>]| {
        for (standing, _) in gone {
            let place = gives(standing, yard);
            yard.give_back(&place);
        }
        tried += 1;
        yard.place(request, hints)
    };
    // With twice as many each time, until it fits; then the fewest by bisection.
    let mut asked: Vec<Candidate<'a>> = Vec::new();
    let mut few = 0;
    // It found no place before: without any that becomes free there is still none.
    let mut found = if pending.is_empty() { None } else { fits(yard, &[]) };
    while found.is_none() {
        few = asked.len();
        asked.extend(candidates.by_ref().take(few.max(1)));
        let more = asked.get(few..).unwrap_or_default();
        if more.is_empty() {
            break;
        }
        found = fits(yard, more);
    }
    let mut many = asked.len();
    while found.is_some() && many > few + 1 {
        let middle = few + (many - few) / 2;
        yard.rewind(base);
        match fits(yard, asked.get(..middle).unwrap_or_default()) {
            Some(place) => (many, found) = (middle, Some(place)),
            None => few = middle,
        }
    }
    asked.truncate(many);
    if found.is_some() && request.needs_host() {
        // Who has units to give may have no processors: those that help nothing stay.
        let mut at = 0;
        for _ in 0..asked.len().min(TRIES) {
            let without = asked.remove(at);
            yard.rewind(base);
            match fits(yard, &asked) {
                Some(place) => found = Some(place),
                None => {
                    asked.insert(at, without);
                    at += 1;
                }
            }
        }
    }
    yard.rewind(base);
    let found = found.map(|place| {
        let needed = needed(yard, asked, (&place, request, hints), gives);
        (place, needed)
    });
    yard.rewind(start);
    (found, tried)
}

/// Those whose units a place needs, and of the others as many as have the processors and the memory
/// that it needs beside them.
fn needed<'a>(
    yard: &mut Yard,
    asked: Vec<Candidate<'a>>,
    (place, request, hints): (&Placement, &Request, &Hints<'_>),
    gives: impl Fn(&Standing<'a>, &Yard) -> Placement,
) -> Vec<Candidate<'a>> {
    let mut needed = Vec::with_capacity(asked.len());
    let mut beside = Vec::new();
    for candidate in asked {
        let own = gives(&candidate.0, yard);
        if own.meets(place) {
            yard.give_back(&own);
            needed.push(candidate);
        } else if own.shares_host(place) {
            beside.push((own, candidate));
        }
    }
    for (own, candidate) in beside {
        if yard.admits(place, request, hints) {
            break;
        }
        yard.give_back(&own);
        needed.push(candidate);
    }
    needed
}
