//! Who of the victims goes on with fewer ranks instead of waiting for its turn again: an elastic
//! gang that saves its state when it is asked to, and of which enough units are not needed.

use super::{Candidate, Standing, choose};
use crate::placement::{
    fit::{Hints, Request},
    yard::{Placement, Yard},
};

/// Running jobs that are looked at for their surplus, for each of those that would go whole, and
/// some more.
const MORE: usize = 4;

/// One that gives way.
#[derive(Debug, Clone)]
pub(in crate::placement) struct Victim<'a> {
    pub(in crate::placement) standing: Standing<'a>,
    pub(in crate::placement) cause: trainyard_jobs::StopCause,
    /// What it goes on with.
    pub(in crate::placement) kept: Option<Placement>,
}

/// A gang's place, and who gives way for it.
#[derive(Debug, Clone)]
pub(in crate::placement) struct Chosen<'a> {
    pub(in crate::placement) place: Placement,
    pub(in crate::placement) victims: Vec<Victim<'a>>,
}

/// The fewest ranks with which a gang goes on, if it can shrink at all.
fn least(standing: &Standing<'_>) -> Option<u32> {
    let job = standing.running;
    let least = job.resources.min_gpus.filter(|least| u64::from(*least) < job.units())?;
    Some(least).filter(|_| job.on_request)
}

/// What is left of a gang beside a place, if it can go on with that.
fn rest(standing: &Standing<'_>, place: &Placement, yard: &Yard) -> Option<Placement> {
    let least = least(standing)?;
    let own = standing.place(yard);
    let rest = own.without(place);
    // One that wants few nodes is spread no thinner than it was.
    let nodes = |place: &Placement| u64::try_from(place.nodes()).unwrap_or(u64::MAX);
    let dense = || u64::from(rest.ranks()) * nodes(&own) >= u64::from(own.ranks()) * nodes(&rest);
    let fits = !standing.running.resources.compact || dense();
    (fits && rest.ranks() >= least && rest.ranks() < own.ranks()).then_some(rest)
}

/// What a gang can do without: its last ranks, down to the fewest with which it goes on; all of it
/// if it cannot shrink.
fn surplus(standing: &Standing<'_>, yard: &Yard) -> Placement {
    let own = standing.place(yard);
    match least(standing) {
        Some(least) => own.last(own.ranks().saturating_sub(least)),
        None => own,
    }
}

/// Whether the place is free once they gave what they give.
fn makes_room(
    yard: &mut Yard,
    pending: &[Placement],
    victims: &[Victim<'_>],
    (place, request, hints): (&Placement, &Request, &Hints<'_>),
) -> bool {
    let mark = yard.mark();
    pending.iter().for_each(|place| yard.give_back(place));
    for Victim { standing, kept, .. } in victims {
        let own = standing.place(yard);
        let gives = kept.as_ref().map_or_else(|| own.clone(), |kept| own.without(kept));
        yard.give_back(&gives);
    }
    let admits = yard.admits(place, request, hints);
    yard.rewind(mark);
    admits
}

impl<'a> Chosen<'a> {
    /// Who of them can go on with what is not needed, does.
    fn of(
        yard: &mut Yard,
        pending: &[Placement],
        (place, victims): (Placement, Vec<Candidate<'a>>),
        (request, hints): (&Request, &Hints<'_>),
    ) -> Self {
        let victim = |(standing, cause): Candidate<'a>| {
            let kept = rest(&standing, &place, yard);
            Victim { standing, cause, kept }
        };
        let mut victims: Vec<Victim<'a>> = victims.into_iter().map(victim).collect();
        if request.needs_host() && !makes_room(yard, pending, &victims, (&place, request, hints)) {
            // They would keep too many processors or too much memory.
            for victim in &mut victims {
                victim.kept.take_if(|kept| kept.shares_host(&place));
            }
        }
        Self { place, victims }
    }

    /// All of them go whole.
    fn whole((place, victims): (Placement, Vec<Candidate<'a>>)) -> Self {
        let victim = |(standing, cause)| Victim { standing, cause, kept: None };
        Self { place, victims: victims.into_iter().map(victim).collect() }
    }

    /// The unit-milliseconds that all of them lose, if those that are stopped whole wait for so
    /// long: what each stop costs, and the pace of the ranks that do not go on.
    fn loss(&self, wait: u64) -> u64 {
        let loss = |victim: &Victim<'_>| {
            let kept = victim.kept.as_ref().map_or(0, Placement::ranks);
            let kept = u64::from(kept);
            let gives = victim.standing.running.units().saturating_sub(kept);
            victim.standing.cost.saturating_add(gives.saturating_mul(wait))
        };
        self.victims.iter().map(loss).fold(0, u64::saturating_add)
    }
}

/// As [`choose`]; with `spare`, elastic gangs give way no more than they must. It says how long the
/// job is predicted to run for which they do. Where one would have to go whole that could shrink,
/// several that shrink are weighed against it.
pub(in crate::placement) fn choose_sparing<'a>(
    yard: &mut Yard,
    pending: &[Placement],
    mut candidates: impl Iterator<Item = Candidate<'a>>,
    asked: (&Request, &Hints<'_>),
    spare: Option<u64>,
) -> (Option<Chosen<'a>>, u64) {
    let mut drawn: Vec<Candidate<'a>> = Vec::new();
    let noted = candidates.by_ref().inspect(|candidate| {
        if spare.is_some() {
            drawn.push(candidate.clone());
        }
    });
    let (found, tried) = choose(yard, pending, noted, asked, |standing, yard| standing.place(yard));
    let Some(found) = found else { return (None, tried) };
    if spare.is_none() {
        return (Some(Chosen::whole(found)), tried);
    }
    let whole = Chosen::of(yard, pending, found, asked);
    let could = |victim: &Victim<'_>| victim.kept.is_none() && least(&victim.standing).is_some();
    let Some(wait) = spare.filter(|_| whole.victims.iter().any(could)) else {
        return (Some(whole), tried);
    };
    let most = drawn.len().saturating_mul(2).saturating_add(MORE);
    let more = drawn.into_iter().chain(candidates).take(most);
    let (found, again) = choose(yard, pending, more, asked, surplus);
    let sparing = found.map(|found| Chosen::of(yard, pending, found, asked));
    let better = sparing.filter(|sparing| sparing.loss(wait) < whole.loss(wait));
    (Some(better.unwrap_or(whole)), tried.saturating_add(again))
}
