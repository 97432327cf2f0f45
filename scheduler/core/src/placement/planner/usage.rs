//! What projects used lately, and what their jobs were stopped for.

use std::collections::BTreeMap;

use trainyard_jobs::{Bytes, JobId, ProjectName, Timestamp};

use super::Planner;
use crate::placement::{fit::Host, running::Disruption, share::Stops};

impl Planner {
    /// The thousandths of units that a project used on average lately, and what it used beside
    /// them.
    pub(in crate::placement) fn lately(
        &self,
        project: &ProjectName,
        now: Timestamp,
    ) -> (u64, Host) {
        let Some((usage, settings)) = self.usage.get(project).zip(self.settings.get(project))
        else {
            return (0, Host::default());
        };
        let (usage, half) = (usage.at(now, settings.half_life), settings.half_life.0.max(1));
        let average = |sum: u64, scale: u64| {
            let average = u128::from(sum) * u128::from(scale) / u128::from(half);
            u64::try_from(average).unwrap_or(u64::MAX)
        };
        let cpu_milli = average(usage.cpu_ms, 1000);
        let memory = Bytes(average(usage.memory_ms, 1 << 20));
        (average(usage.unit_ms, 1000), Host { cpu_milli, memory, ..Host::default() })
    }

    /// The stops of each project's jobs for other jobs.
    pub(in crate::placement) const fn stops(&self) -> &BTreeMap<ProjectName, Stops> {
        &self.stops
    }

    /// Counts a job's stops for others, or counts them no more.
    pub(super) fn count_stops(
        &mut self,
        project: &ProjectName,
        job: &JobId,
        stops: &[Disruption],
        more: bool,
    ) {
        if stops.is_empty() {
            return;
        }
        let of_project = self.stops.entry(project.clone()).or_default();
        of_project.count(job, stops, more);
        if of_project.is_empty() {
            self.stops.remove(project);
        }
    }
}
