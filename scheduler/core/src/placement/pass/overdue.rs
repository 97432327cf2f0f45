//! Jobs that have waited too long go before all others: so nobody starves, whatever a policy makes
//! of it. They get a part of what their group has and no more, or a cluster that is asked for more
//! than it can do would serve by age alone.

use std::collections::BTreeSet;

use trainyard_jobs::{DeviceKind, JobId, Timestamp};

use super::{Look, Pass};
use crate::placement::{explain::could_fit, order::Settings, view::Waiting};

/// Jobs that have waited too long get so small a part of the units that their group may count on.
/// One that needs the part several times waits as many times as long, and then goes alone.
const PART: u64 = 8;

impl<'a> Pass<'a> {
    /// Sees to the jobs that have waited too long. Says which were looked at, and whether all of
    /// them fit; nothing if the pass is over.
    pub(super) fn run_overdue(&mut self) -> Option<(BTreeSet<&'a JobId>, bool)> {
        let planner = self.planner;
        let (mut seen, mut all_fit) = (self.resumed.clone(), true);
        for id in planner.lines().overdue(self.now) {
            let job = planner.job(id).filter(|_| !self.resumed.contains(id));
            let job = job.and_then(|job| Some((job, self.goes_first(job)?)));
            let Some((job, since)) = job else { continue };
            if !self.afford() {
                return None;
            }
            seen.insert(id);
            let request = planner.request_of(job);
            self.looks_at(id);
            self.overdue = true;
            let look = self.consider(job, &request);
            self.overdue = false;
            if self.asked == Some(id) {
                return None;
            }
            all_fit &= look == Look::Takes;
            if look == Look::Takes {
                self.favour(job, since);
            }
            // The cluster is cleared for one job at a time, or each would keep the others waiting.
            // One that no cluster like this could serve keeps nobody.
            if look == Look::Misfit
                && could_fit(self.yard, &request, &planner.hints_of(job, self.now))
            {
                break;
            }
        }
        Some((seen, all_fit))
    }

    /// Since when a job goes before all others, if it does: one that has waited too long, as far
    /// as its group has not given enough to such jobs already; one that has to start now to be
    /// done in time only as far as its queue has less than its share, or every job would have a
    /// deadline soon.
    fn goes_first(&mut self, job: &Waiting) -> Option<Timestamp> {
        let settings = self.planner.settings_of(&job.project)?;
        let part = self.part(settings, job.resources.device);
        let times = u64::from(job.resources.gpus).div_ceil(part).min(PART);
        let bound = self.planner.bound(job, settings).saturating_mul(times);
        let since = Timestamp(job.since.0.saturating_add(bound));
        self.again(since);
        if since <= self.now && self.has_favours(job, settings, since, part) {
            return Some(since);
        }
        let alone = settings.ordered_path().is_empty();
        let owed = || {
            let request = self.planner.request_of(job);
            let of_type = self.shares.owed_of_type(settings, &request);
            of_type.or_else(|| self.shares.owed(settings, &request)).is_some()
        };
        (job.finish_by.is_some() && (alone || owed())).then_some(self.now)
    }

    /// The units that go to jobs of a group that have waited too long.
    pub(super) fn part(&self, settings: &Settings, device: DeviceKind) -> u64 {
        (self.shares.entitled(settings, device) / PART).max(1)
    }

    /// Whether the job's group has something left to give. What it gave to those whose wait got
    /// too long later does not count: so the first of all always gets its turn.
    fn has_favours(
        &mut self,
        job: &Waiting,
        settings: &'a Settings,
        since: Timestamp,
        part: u64,
    ) -> bool {
        let (planner, now) = (self.planner, self.now);
        let favours = self.favours.entry(&settings.group);
        let favours = favours.or_insert_with(|| planner.favours(&settings.group, now));
        let before = favours.given.iter().filter(|((other, _), _)| *other <= since);
        let given: u64 = before.map(|(_, units)| units).sum();
        let more = given.saturating_add(u64::from(job.resources.gpus));
        if given == 0 || more <= part {
            return true;
        }
        if let Some(next) = favours.next {
            self.again(next);
        }
        false
    }

    fn favour(&mut self, job: &Waiting, since: Timestamp) {
        if let Some(settings) = self.planner.settings_of(&job.project)
            && let Some(favours) = self.favours.get_mut(&settings.group)
        {
            favours.given.push(((since, job.sequence), u64::from(job.resources.gpus)));
        }
    }
}
