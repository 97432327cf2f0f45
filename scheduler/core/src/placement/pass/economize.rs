//! Jobs that run where their work is dear move to units that are idle and cheaper for it, or
//! faster, at a checkpoint, once nobody waits and if what they save is worth a restart twice.

use trainyard_jobs::{StopCause, Timestamp};

use super::Pass;
use crate::placement::{fit::Request, running::Running, victims::Standing, yard::Placement};

/// Jobs that are looked at in one pass. Of more each gets its turn as time goes by.
const LOOKS: usize = 32;

/// Others are looked at after so many milliseconds.
const TURN: u64 = 60_000;

/// A move has to save so many times what it costs: predictions are not exact.
const MARGIN: i128 = 2;

/// Milliseconds of an hour.
const HOUR: i128 = 3_600_000;

impl<'a> Pass<'a> {
    /// Has one job moved. What it leaves may be what another moves to, or not.
    pub(super) fn economize(&mut self) {
        let planner = self.planner;
        let busy = !self.plan.stops.is_empty() || !self.plan.starts.is_empty();
        if busy || !self.pending.is_empty() || !planner.keeps() || self.yard.is_full() {
            return;
        }
        let movable = planner.movable();
        let (turn, count) = (self.now.0 / TURN, movable.len());
        let turns = u64::try_from(count.div_ceil(LOOKS)).unwrap_or(1).max(1);
        let first = usize::try_from(turn % turns).unwrap_or(0).saturating_mul(LOOKS);
        let mut best: Option<(i128, Standing<'a>, Placement)> = None;
        let mut matters = planner.has_prices();
        for id in movable.iter().skip(first).take(LOOKS) {
            let Some(job) = planner.running().get(id).filter(|job| !job.is_leaving()) else {
                continue;
            };
            if !planner.has_prices() && job.resources.speed.is_empty() {
                continue;
            }
            matters = true;
            let Some((gain, place)) = self.saves(job) else { continue };
            match planner.standing(job, self.now) {
                Err(ready) => self.again(ready),
                Ok(Some(standing)) if best.as_ref().is_none_or(|(most, ..)| gain > *most) => {
                    best = Some((gain, standing, place));
                }
                Ok(_) => {}
            }
        }
        if turns > 1 && matters {
            self.again(Timestamp((turn + 1).saturating_mul(TURN)));
        }
        if let Some((_, standing, place)) = best {
            self.yard.take(&place);
            self.goes_on(&standing, &place, StopCause::Migration, None);
        }
    }

    /// The micro-dollars that a running job saves if it goes on elsewhere, and where, if that is
    /// worth the restart. Its own units count as taken: it leaves them only once it has others.
    fn saves(&mut self, job: &Running) -> Option<(i128, Placement)> {
        let planner = self.planner;
        let settings = planner.settings_of(&job.project)?;
        if !self.may_all_go([(settings, job.units())].into_iter()) {
            return None;
        }
        let ranks = u32::try_from(job.units()).ok()?;
        let request = Request { ranks, ..planner.request_of_running(job) };
        if request.on_parts() || self.shares.has_types() {
            return None;
        }
        let hints = planner.hints_of_running(job, self.now);
        let own = self.yard.placement(&job.assignments(), &job.resources);
        let here = self.yard.hours_of(&request, &hints, &own);
        let offers = self.yard.hours_by_kind(&request, &hints).into_iter();
        if offers.map(|(_, hours)| hours).min().is_none_or(|cheapest| cheapest >= here) {
            return None;
        }
        self.work = self.work.saturating_sub(1);
        let to = self.yard.place(&request, &hints)?;
        let there = self.yard.hours_of(&request, &hints, &to);
        let left = planner.end_of(job, self.now).since(self.now).0;
        let work = i128::from(left) * i128::from(job.speed.milli()) / 1000;
        let pace = i128::from(self.yard.pace(&to, &job.resources.speed).milli());
        let saved = (here - there).saturating_mul(work) / HOUR;
        // While it is resumed it has the new units, and does nothing on them.
        let resumed = i128::from(settings.restart_cost.0).saturating_mul(pace) / 1000;
        let lost = there.saturating_mul(resumed) / HOUR;
        (saved > lost.saturating_mul(MARGIN)).then_some((saved - lost, to))
    }
}
