//! Budgets of disruption: of a hundred units that a queue's jobs have, so many may be stopped for
//! other jobs within an hour. What one job needs is let through once an hour however much it is, or
//! a small queue would give way to nobody, and who waits might wait for ever. Clearing reserved
//! nodes counts, and is not held up. What jobs that have ended were stopped for counts no more.

use std::collections::BTreeMap;

use trainyard_jobs::{JobId, Millis, ProjectName, Timestamp, queue::ROOT};

use crate::placement::{order::Settings, planner::Planner, running::Disruption};

/// The time within which stops are counted.
const HOUR: Millis = Millis(3_600_000);

/// The stops of a project's jobs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::placement) struct Stops {
    /// Units of those that are not over yet.
    open: BTreeMap<JobId, u64>,
    /// The others, by when they were over.
    over: BTreeMap<(Timestamp, JobId), u64>,
}

impl Stops {
    /// Counts those of a job, or counts them no more.
    pub(in crate::placement) fn count(&mut self, job: &JobId, stops: &[Disruption], more: bool) {
        for stop in stops {
            let units = u64::from(stop.units);
            match (stop.at, more) {
                (None, true) => drop(self.open.insert(job.clone(), units)),
                (None, false) => drop(self.open.remove(job)),
                (Some(at), true) => drop(self.over.insert((at, job.clone()), units)),
                (Some(at), false) => drop(self.over.remove(&(at, job.clone()))),
            }
        }
    }

    pub(in crate::placement) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.over.is_empty()
    }

    /// Units of those of the last hour, and when the oldest of them is an hour ago.
    fn lately(&self, now: Timestamp) -> (u64, Option<Timestamp>) {
        let recent = self.over.iter().rev().take_while(|((at, _), _)| now.since(*at) < HOUR);
        let (mut units, mut next) = (self.open.values().sum::<u64>(), None);
        for ((at, _), more) in recent {
            units = units.saturating_add(*more);
            next = Some(Timestamp(at.0.saturating_add(HOUR.0)));
        }
        (units, next)
    }
}

/// What one queue has and has given.
#[derive(Debug, Clone, Copy, Default)]
struct Budget {
    percent: u64,
    /// Units that its jobs have.
    units: u64,
    /// Units of its jobs that were stopped within the hour.
    stopped: u64,
    /// When that is less.
    next: Option<Timestamp>,
}

/// The budgets of all queues that have one, during a pass.
#[derive(Debug, Clone, Default)]
pub(in crate::placement) struct Budgets<'a>(BTreeMap<&'a ProjectName, Budget>);

impl<'a> Budgets<'a> {
    pub(in crate::placement) fn of(planner: &'a Planner, now: Timestamp) -> Self {
        let says = |(name, spec): (&'a ProjectName, &'a trainyard_jobs::QueueSpec)| {
            let percent = u64::from(spec.disruption_budget?);
            Some((name, Budget { percent, ..Budget::default() }))
        };
        let mut budgets = Self(planner.queues().iter().filter_map(says).collect());
        if budgets.0.is_empty() {
            return budgets;
        }
        for (project, used) in planner.used() {
            let units: u64 = used.units.iter().sum();
            budgets.each(planner.settings_of(project), |budget| budget.units += units);
        }
        for (project, stops) in planner.stops() {
            let (units, next) = stops.lately(now);
            budgets.each(planner.settings_of(project), |budget| {
                budget.stopped = budget.stopped.saturating_add(units);
                budget.next = budget.next.into_iter().chain(next).min();
            });
        }
        budgets
    }

    /// Does something to each budget that a project's jobs count against.
    fn each(&mut self, settings: Option<&Settings>, change: impl Fn(&mut Budget)) {
        let Some(settings) = settings else { return };
        for (name, budget) in &mut self.0 {
            if name.as_str() == ROOT || settings.path.contains(name) {
                change(budget);
            }
        }
    }

    /// Whether these may be stopped for one job: the settings and the units of each. When that may
    /// be otherwise, if they may not and time alone changes it.
    pub(in crate::placement) fn allow<'s>(
        &self,
        victims: impl Iterator<Item = (&'s Settings, u64)> + Clone,
    ) -> Result<(), Option<Timestamp>> {
        for (name, budget) in &self.0 {
            let counts = |(settings, _): &(&Settings, u64)| {
                name.as_str() == ROOT || settings.path.contains(name)
            };
            let units: u64 = victims.clone().filter(counts).map(|(_, units)| units).sum();
            let most = u128::from(budget.units) * u128::from(budget.percent) / 100;
            let all = u128::from(budget.stopped) + u128::from(units);
            if units > 0 && budget.stopped > 0 && all > most {
                return Err(budget.next);
            }
        }
        Ok(())
    }

    /// A job of the project is stopped.
    pub(in crate::placement) fn stop(&mut self, settings: &Settings, units: u64) {
        self.each(Some(settings), |budget| budget.stopped = budget.stopped.saturating_add(units));
    }
}
