//! A job for which only dear units are free may rather wait for cheaper ones, as long as what it
//! saves is worth more than the delay. How long it waits in all is bounded by that, and by its
//! queue's patience; then it takes what there is.

use std::collections::BTreeMap;

use trainyard_jobs::{Backfill, JobId, Policy, Timestamp};

use super::Pass;
use crate::placement::{
    explain::Blocker,
    fit::{Hints, Request, WHOLE},
    order::Settings,
    score::Stakes,
    view::Waiting,
    yard::{KindId, Placement},
};

/// Jobs that are looked at in one pass.
const LOOKS: usize = 64;

/// Nodes of one price whose jobs' ends are looked at.
const NODES: usize = 128;

/// Waiting has to save so many times what the delay costs: predictions are not exact.
const MARGIN: i128 = 2;

/// Milliseconds of an hour.
const HOUR: i128 = 3_600_000;

/// When how many units of a kind are expected to be free, and how many are for others.
#[derive(Debug, Default)]
struct Coming {
    /// The first first, each with the units that are free by then.
    ends: Vec<(Timestamp, u64)>,
    spoken_for: u64,
}

/// What jobs wait for rather than to take what is free.
#[derive(Debug, Default)]
pub(super) struct Bargains {
    coming: BTreeMap<KindId, Coming>,
    looks: usize,
}

/// Something that is worth a wait.
struct Bargain {
    kind: KindId,
    at: Timestamp,
    /// Micro-dollars that it saves, less what the delay costs.
    gain: i128,
}

impl<'a> Pass<'a> {
    /// Whether a job rather waits than goes to a place that is free, and for what.
    pub(super) fn rather_waits(
        &mut self,
        job: &'a Waiting,
        settings: &Settings,
        (request, hints): (&Request, &Hints<'_>),
        place: &Placement,
    ) -> Option<Blocker> {
        let ordered = matches!(settings.policy, Policy::Fifo | Policy::Gavel);
        let in_order = ordered || settings.backfill != Backfill::Easy || !self.is_open();
        let urgent = self.overdue || self.idle_only || job.finish_by.is_some();
        let plain = request.share == WHOLE && !request.on_parts() && !request.needs_host();
        if in_order || urgent || !plain || !self.planner.has_prices() {
            return None;
        }
        if self.bargains.looks >= LOOKS {
            return None;
        }
        self.bargains.looks += 1;
        self.work = self.work.saturating_sub(1);
        let work = i128::from(self.planner.work_left(job));
        let here = self.yard.hours_of(request, hints, place);
        let offers = self.yard.hours_by_kind(request, hints).into_iter();
        let cheaper: Vec<(KindId, i128)> = offers.filter(|(_, hours)| *hours < here).collect();
        let found = cheaper.into_iter().filter_map(|(kind, hours)| {
            let saves = (here - hours).saturating_mul(work) / HOUR;
            self.bargain(job, settings, (kind, request), saves)
        });
        // Of equal ones the first, in the order that all planners share.
        let best = found.min_by_key(|bargain| -bargain.gain)?;
        let coming = self.bargains.coming.entry(best.kind).or_default();
        coming.spoken_for = coming.spoken_for.saturating_add(request.ranks.into());
        self.again(best.at);
        let free = Hints { stakes: Stakes { value: 0, ..hints.stakes }, ..*hints };
        let costs = |hours: i128| u64::try_from(hours.saturating_mul(work) / HOUR).unwrap_or(0);
        let there = self.yard.hours_by_kind(request, &free).into_iter();
        let there = there.filter(|(kind, _)| *kind == best.kind).map(|(_, hours)| hours).min()?;
        let prices = (costs(there), costs(self.yard.hours_of(request, &free, place)));
        let (model, _, _) = self.yard.kind(best.kind)?;
        Some(Blocker::cheaper(model, prices, best.at.since(self.now)))
    }

    /// What a job gains by waiting for units of a kind, on which its work costs so much less.
    fn bargain(
        &mut self,
        job: &Waiting,
        settings: &Settings,
        (kind, request): (KindId, &Request),
        saves: i128,
    ) -> Option<Bargain> {
        let worth = i128::from(settings.value.0).saturating_mul(request.ranks.into()).max(1);
        let longest = (saves / MARGIN).saturating_mul(HOUR) / worth;
        let longest = u64::try_from(longest).unwrap_or(0).min(settings.patience.0);
        // What it has waited already is part of the delay.
        let until = Timestamp(job.since.0.saturating_add(longest));
        if until <= self.now {
            return None;
        }
        let at = self.free_from(kind, request.ranks.into()).filter(|at| *at <= until)?;
        let delay = i128::from(at.since(self.now).0).saturating_mul(worth) / HOUR;
        Some(Bargain { kind, at, gain: saves - delay })
    }

    /// When so many units of a kind are expected to be free for somebody, if they are not now.
    fn free_from(&mut self, kind: KindId, ranks: u64) -> Option<Timestamp> {
        let free = self.yard.free_of(kind);
        if !self.bargains.coming.contains_key(&kind) {
            let coming = Coming { ends: self.ends_on(kind), spoken_for: 0 };
            self.bargains.coming.insert(kind, coming);
        }
        let coming = self.bargains.coming.get(&kind)?;
        // It was not placed there although enough is free: another time it would not be either.
        let missing = coming.spoken_for.saturating_add(ranks).checked_sub(free)?;
        if missing == 0 {
            return None;
        }
        let first = coming.ends.partition_point(|(_, units)| *units < missing);
        coming.ends.get(first).map(|(at, _)| *at)
    }

    /// When what runs on units of a kind is predicted to end, on as many nodes as are looked at.
    fn ends_on(&mut self, kind: KindId) -> Vec<(Timestamp, u64)> {
        let planner = self.planner;
        let Some((model, memory, price)) = self.yard.kind(kind) else { return Vec::new() };
        let mut units: BTreeMap<&JobId, u64> = BTreeMap::new();
        for node in planner.nodes_at(price).take(NODES) {
            for (unit, owner) in &node.owners {
                let device = node.devices.get(unit);
                if device.is_some_and(|known| known.model == model && known.memory == memory) {
                    *units.entry(owner).or_default() += 1;
                }
            }
        }
        let stays = |id: &JobId| !self.stopped.contains(id) && !self.gone.contains(id);
        let running = units.iter().filter(|(id, _)| stays(id));
        let running = running.filter_map(|(id, units)| Some((planner.running().get(*id)?, units)));
        let ends = running.filter(|(job, _)| !job.is_leaving());
        let mut ends: Vec<(Timestamp, u64)> =
            ends.map(|(job, units)| (planner.end_of(job, self.now), *units)).collect();
        ends.sort_unstable();
        let mut sum = 0;
        for (_, units) in &mut ends {
            sum += *units;
            *units = sum;
        }
        ends
    }
}
