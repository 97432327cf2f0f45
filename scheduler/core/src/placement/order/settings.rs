//! The settings that a project comes to: its own, those of the queues above it, the defaults.

use std::collections::BTreeMap;

use trainyard_jobs::{Backfill, Millis, Policy, ProjectName, QueueSpec, Usd, queue::ROOT};

use crate::{placement::score::VALUE, state::HALF_LIFE};

/// The deepest tree of queues that is followed. The state keeps trees shallower than this.
const DEEPEST: usize = 32;

/// What holds for the jobs of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::placement) struct Settings {
    /// The order of its jobs.
    pub(in crate::placement) policy: Policy,
    /// The queue in which its jobs are ordered: its own, or the one above whose policy orders
    /// all jobs below it as one.
    pub(in crate::placement) group: ProjectName,
    /// The queues from the one below the root down to the project.
    pub(in crate::placement) path: Vec<ProjectName>,
    /// How many of them take turns: those down to the group.
    turns: usize,
    /// The time from which use counts half.
    pub(in crate::placement) half_life: Millis,
    /// What a job loses when it is stopped and resumed, beside what it had not saved.
    pub(in crate::placement) restart_cost: Millis,
    /// An attempt runs at least so long before it is stopped for another job.
    pub(in crate::placement) min_run: Millis,
    /// The time to write a checkpoint before a stop.
    pub(in crate::placement) notice: Millis,
    /// A job that has waited so long goes first.
    pub(in crate::placement) patience: Millis,
    /// Stops of one job in a day at most.
    pub(in crate::placement) max_disruptions: usize,
    /// Who may pass those of its jobs that wait for units.
    pub(in crate::placement) backfill: Backfill,
    /// What an hour of a unit is worth to its jobs.
    pub(in crate::placement) value: Usd,
}

/// Whether a policy orders the jobs of all queues below as one.
const fn is_pooled(policy: Policy) -> bool {
    matches!(policy, Policy::Fifo | Policy::Las | Policy::Srsf | Policy::Gavel)
}

impl Settings {
    /// What `project` comes to.
    pub(in crate::placement) fn of(
        queues: &BTreeMap<ProjectName, QueueSpec>,
        project: &ProjectName,
    ) -> Self {
        let chain = chain(queues, project);
        let specs = || chain.iter().rev().filter_map(|name| queues.get(name));
        // The nearest queue that says something has the word.
        let span = |read: fn(&QueueSpec) -> Option<Millis>, or: u64| {
            specs().find_map(read).unwrap_or(Millis(or))
        };
        let (mut policy, mut group, mut path) = (Policy::default(), None, Vec::new());
        let mut turns = 0;
        for name in &chain {
            let is_root = name.as_str() == ROOT;
            if !is_root {
                path.push(name.clone());
            }
            if group.is_some() {
                continue;
            }
            policy = queues.get(name).and_then(|spec| spec.policy).unwrap_or(policy);
            turns += usize::from(!is_root);
            group = is_pooled(policy).then(|| name.clone());
        }
        let most = specs().find_map(|spec| spec.max_disruptions).unwrap_or(24);
        Self {
            policy,
            group: group.unwrap_or_else(|| project.clone()),
            path,
            turns,
            half_life: span(|spec| spec.half_life, HALF_LIFE.0),
            restart_cost: span(|spec| spec.restart_cost, 60_000),
            min_run: span(|spec| spec.min_run, 120_000),
            notice: span(|spec| spec.notice, 60_000),
            patience: span(|spec| spec.patience, 7 * 86_400_000),
            max_disruptions: usize::try_from(most).unwrap_or(usize::MAX),
            backfill: specs().find_map(|spec| spec.backfill).unwrap_or_default(),
            value: specs().find_map(|spec| spec.value_per_hour).map_or(Usd(VALUE), |value| value.0),
        }
    }
}

impl Settings {
    /// The queues that take turns, from the one below the root down to the group.
    pub(in crate::placement) fn ordered_path(&self) -> &[ProjectName] {
        self.path.get(..self.turns).unwrap_or_default()
    }
}

/// The queues from the root, if it has settings, down to the project.
fn chain(queues: &BTreeMap<ProjectName, QueueSpec>, project: &ProjectName) -> Vec<ProjectName> {
    let mut chain = vec![project.clone()];
    let mut at = project;
    while let Some(parent) = queues.get(at).and_then(|spec| spec.parent.as_ref()) {
        if chain.len() >= DEEPEST || parent.as_str() == ROOT {
            break;
        }
        chain.push(parent.clone());
        at = parent;
    }
    if project.as_str() != ROOT
        && let Some((root, _)) = queues.iter().find(|(name, _)| name.as_str() == ROOT)
    {
        chain.push(root.clone());
    }
    chain.reverse();
    chain
}
