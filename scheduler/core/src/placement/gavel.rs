//! Which share of its time a job should have on which type of unit (Narayanan et al.,
//! «Heterogeneity-Aware Cluster Scheduling Policies for Deep Learning Workloads», OSDI '20): a
//! linear program over classes of jobs that are alike, solved again when there are noticeably more
//! or fewer of them, or other units. Only counts are kept, so that it does not matter how they came
//! about.

mod class;
mod program;
mod target;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use trainyard_jobs::{ProjectName, spec::Resources};

use self::class::Class;
pub(super) use self::{
    class::{Capacity, capacity},
    target::{Aim, Target, times},
};

/// The jobs of one group that is ordered so.
#[derive(Debug, Clone, Default)]
struct Group {
    jobs: BTreeMap<Class, u64>,
    /// The counts for which the targets were found.
    solved: BTreeMap<Class, u64>,
    targets: BTreeMap<Class, Target>,
    /// Jobs came or went.
    changed: bool,
}

/// All such groups.
#[derive(Debug, Clone, Default)]
pub(super) struct Gavel {
    groups: BTreeMap<ProjectName, Group>,
    /// The units for which the targets were found; none if there may be others by now.
    capacity: Option<Capacity>,
    before: Capacity,
}

/// A count as the program sees it: to a sixteenth, so that few changes of a large one are news.
fn rounded(count: u64) -> u64 {
    let bits = u64::BITS - count.leading_zeros();
    let shift = bits.saturating_sub(4);
    count >> shift << shift
}

impl Gavel {
    /// A job waits or runs that did neither.
    pub(super) fn enter(&mut self, group: &ProjectName, asked: &Resources) {
        let group = self.groups.entry(group.clone()).or_default();
        *group.jobs.entry(asked.into()).or_default() += 1;
        group.changed = true;
    }

    /// A job does neither any more.
    pub(super) fn leave(&mut self, name: &ProjectName, asked: &Resources) {
        let Some(group) = self.groups.get_mut(name) else { return };
        group.changed = true;
        let class = asked.into();
        if let Some(count) = group.jobs.get_mut(&class) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                group.jobs.remove(&class);
            }
        }
        if group.jobs.is_empty() {
            self.groups.remove(name);
        }
    }

    /// Whether no group is ordered so.
    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// There may be other units.
    pub(super) fn unsettle(&mut self) {
        self.capacity = None;
    }

    /// Nobody is there.
    pub(super) fn clear(&mut self) {
        self.groups.clear();
    }

    /// Finds the targets anew where anything changed. Says for which groups they are others now.
    pub(super) fn settle(&mut self, units: impl FnOnce() -> Capacity) -> Vec<ProjectName> {
        if self.groups.is_empty() {
            return Vec::new();
        }
        let others = self.capacity.is_none();
        let capacity = self.capacity.take().unwrap_or_else(units);
        let others = others && capacity != self.before;
        let mut news = Vec::new();
        for (name, group) in &mut self.groups {
            if !std::mem::take(&mut group.changed) && !others {
                continue;
            }
            let jobs: BTreeMap<Class, u64> =
                group.jobs.iter().map(|(class, count)| (class.clone(), rounded(*count))).collect();
            if jobs == group.solved && !others {
                continue;
            }
            let targets = program::solve(&jobs, &capacity);
            group.solved = jobs;
            if targets != group.targets {
                group.targets = targets;
                news.push(name.clone());
            }
        }
        if others {
            self.before = capacity.clone();
        }
        self.capacity = Some(capacity);
        news
    }

    /// What a job of a group should have, if that is known.
    pub(super) fn target(&self, group: &ProjectName, asked: &Resources) -> Option<&Target> {
        self.groups.get(group)?.targets.get(&asked.into())
    }
}
