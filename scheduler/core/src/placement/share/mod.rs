//! What is whose: the tree of queues with what each uses, may use and is owed. Between queues
//! the one goes first that has the smallest dominant share for its weight (DRF, NSDI '11), what it
//! used lately included; one below its guarantee goes before all that are not.

use std::collections::BTreeMap;

use trainyard_jobs::{DeviceKind, ProjectName, QueueSpec, Timestamp};

use super::{
    fit::Request,
    order::Settings,
    planner::{Planner, slot},
    running::Running,
};

mod types;

pub(super) use types::Types;

/// Shares are counted in billionths.
const WHOLE: u128 = 1_000_000_000;

/// Set in the key of a queue that has what it is guaranteed.
const SERVED: u64 = 1 << 63;

/// One queue during a pass.
#[derive(Debug, Clone, Default)]
struct Node<'a> {
    spec: Option<&'a QueueSpec>,
    above: Option<&'a ProjectName>,
    /// Units in use, by kind of device.
    used: [u64; 2],
    /// Units of them that are becoming free.
    going: u64,
    /// Something of it runs or waits.
    active: bool,
    /// Its fair share of the units that there are, by kind of device.
    fair: [u64; 2],
    /// Thousandths of units in use on average lately.
    lately: u64,
}

/// The tree during a pass.
#[derive(Debug, Clone)]
pub(super) struct Shares<'a> {
    nodes: BTreeMap<&'a ProjectName, Node<'a>>,
    /// Units that there are, by kind of device.
    total: [u64; 2],
    types: Types<'a>,
    /// Counts what was counted since: equal numbers, equal shares.
    revision: u64,
}

/// A queue that is owed units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owed<'a> {
    pub(super) queue: &'a ProjectName,
    /// By a guarantee, and not only as its fair share.
    pub(super) guaranteed: bool,
}

impl<'a> Owed<'a> {
    /// What tells it from what other queues are owed.
    pub(super) const fn key(self) -> (&'a ProjectName, bool) {
        (self.queue, self.guaranteed)
    }
}

/// Why a queue may not have more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OverQuota<'a> {
    pub(super) queue: &'a ProjectName,
    /// The type that the limit is for, if it is for one.
    pub(super) gpu_type: Option<&'a str>,
    pub(super) limit: u32,
    pub(super) used: u64,
}

impl<'a> Node<'a> {
    fn any(&self) -> Option<&'a trainyard_jobs::Quota> {
        self.spec?.quotas.iter().find(|quota| quota.gpu_type.is_none())
    }

    fn guaranteed(&self) -> u64 {
        self.any().map_or(0, |quota| u64::from(quota.guaranteed))
    }

    fn weight(&self) -> u64 {
        u64::from(self.spec.and_then(|spec| spec.weight).unwrap_or(1)).max(1)
    }

    fn units(&self) -> u64 {
        self.used.iter().sum()
    }
}

impl<'a> Shares<'a> {
    /// The tree as it is at `now`.
    pub(super) fn of(planner: &'a Planner, now: Timestamp) -> Self {
        let mut shares = Self {
            nodes: BTreeMap::new(),
            total: planner.capacity(),
            types: Types::of(planner),
            revision: 0,
        };
        let waiting = planner.lines();
        for (project, settings) in planner.all_settings() {
            let used = planner.used().get(project).copied().unwrap_or_default();
            let lately = planner.lately(project, now);
            let mut above = None;
            for name in &settings.path {
                let node = shares.nodes.entry(name).or_default();
                node.spec = planner.queues().get(name);
                node.above = above;
                node.active |= used != [0, 0] || waiting.has(project);
                for (sum, units) in node.used.iter_mut().zip(used) {
                    *sum += units;
                }
                node.lately = node.lately.saturating_add(lately);
                above = Some(name);
            }
        }
        shares.share_out();
        for job in planner.leaving() {
            if let Some(settings) = planner.settings_of(&job.project) {
                shares.going(settings, job.gives());
            }
        }
        shares
    }

    /// Changes when anything is counted.
    pub(super) const fn revision(&self) -> u64 {
        self.revision
    }

    /// Units of a job of the project are becoming free.
    pub(super) fn going(&mut self, settings: &Settings, units: u64) {
        self.revision += 1;
        for name in &settings.path {
            if let Some(node) = self.nodes.get_mut(name) {
                node.going = node.going.saturating_add(units);
            }
        }
    }

    /// What the queue's turn depends on: the lower goes first.
    fn key(&self, name: &ProjectName) -> u64 {
        let Some(node) = self.nodes.get(name) else { return 0 };
        let share =
            |(used, total): (&u64, &u64)| u128::from(*used) * WHOLE / u128::from((*total).max(1));
        let guaranteed = node.guaranteed();
        let units = node.units();
        if units < guaranteed {
            let ratio = u128::from(units) * WHOLE / u128::from(guaranteed);
            return u64::try_from(ratio).unwrap_or(u64::MAX) & !SERVED;
        }
        let now = node.used.iter().zip(&self.total).map(share).max().unwrap_or_default();
        let all: u64 = self.total.iter().sum();
        let lately = u128::from(node.lately) * WHOLE / 1000 / u128::from(all.max(1));
        let ratio = (now + lately) / u128::from(node.weight());
        u64::try_from(ratio).unwrap_or(u64::MAX) | SERVED
    }

    /// What a group's turn depends on, from the queue below the root down.
    pub(super) fn turn(&self, settings: &'a Settings) -> Vec<(u64, &'a ProjectName)> {
        settings.ordered_path().iter().map(|name| (self.key(name), name)).collect()
    }

    /// Counts units that a job of the project would have, or give up.
    pub(super) fn count(
        &mut self,
        settings: &Settings,
        device: DeviceKind,
        units: u64,
        more: bool,
    ) {
        self.revision += 1;
        for name in &settings.path {
            let Some(used) =
                self.nodes.get_mut(name).and_then(|node| node.used.get_mut(slot(device)))
            else {
                continue;
            };
            *used = if more { used.saturating_add(units) } else { used.saturating_sub(units) };
        }
    }

    /// Whether any queue limits single types of units.
    pub(super) fn has_typed_limits(&self) -> bool {
        self.types.has_limits()
    }

    /// Counts the types of units that a job of the project would have.
    pub(super) fn count_types(&mut self, settings: &'a Settings, units: &[(&'a str, u64)]) {
        self.types.count(settings, units);
    }

    /// What of a request the limits of its queues leave, or which of them leaves nothing; once
    /// what is `going` has gone, or now.
    pub(super) fn within(
        &self,
        settings: &'a Settings,
        request: &Request,
        once_gone: bool,
    ) -> Result<Option<Request>, OverQuota<'a>> {
        let ranks = u64::from(request.ranks);
        for name in &settings.path {
            let Some(node) = self.nodes.get(name) else { continue };
            let Some(limit) = node.any().and_then(|quota| quota.limit) else { continue };
            let used = node.units().saturating_sub(if once_gone { node.going } else { 0 });
            if used.saturating_add(ranks) > u64::from(limit) {
                return Err(OverQuota { queue: name, gpu_type: None, limit, used });
            }
        }
        self.types.within(settings, request)
    }

    /// The limits of a project's queues, whether or not they are reached.
    pub(super) fn limits(&self, settings: &'a Settings) -> Vec<OverQuota<'a>> {
        let of_queue = |queue: &'a ProjectName| {
            let node = self.nodes.get(queue)?;
            let limit = node.any()?.limit?;
            Some(OverQuota { queue, gpu_type: None, limit, used: node.units() })
        };
        let any = settings.path.iter().filter_map(of_queue);
        any.chain(settings.path.iter().flat_map(|queue| self.types.limits(queue))).collect()
    }

    /// Whether a job's queue is owed the units that it asks for: by a guarantee, or because it
    /// has less than its fair share of what the queue above has. Says of which queue, so that
    /// nobody below it gives anything up.
    pub(super) fn owed(
        &self,
        settings: &'a Settings,
        device: DeviceKind,
        ranks: u32,
    ) -> Option<Owed<'a>> {
        let more = u64::from(ranks);
        settings.ordered_path().iter().find_map(|queue| {
            let node = self.nodes.get(queue)?;
            let guaranteed = node.units().saturating_add(more) <= node.guaranteed();
            let used = node.used.get(slot(device)).copied().unwrap_or_default();
            let fair = used.saturating_add(more) <= self.fair(queue, device);
            (guaranteed || fair).then_some(Owed { queue, guaranteed })
        })
    }

    /// Whether a running job of another queue may be taken units from for one that is owed them:
    /// its queues stay at what they are guaranteed, and at their fair share unless a guarantee is
    /// claimed. What is becoming free is not theirs any more.
    pub(super) fn spares(&self, settings: &Settings, owed: Owed<'_>, job: &Running) -> bool {
        self.can_do_without(settings, owed, job.resources.device, job.units())
    }

    /// Whether any job of a group may be taken units from for a queue that is owed them.
    pub(super) fn may_spare(&self, group: &Settings, owed: Owed<'_>) -> bool {
        let kinds = [DeviceKind::Cpu, DeviceKind::Gpu];
        kinds.into_iter().any(|device| self.can_do_without(group, owed, device, 1))
    }

    fn can_do_without(
        &self,
        settings: &Settings,
        owed: Owed<'_>,
        device: DeviceKind,
        units: u64,
    ) -> bool {
        if settings.path.contains(owed.queue) {
            return false;
        }
        let above = self.nodes.get(owed.queue).and_then(|node| node.above);
        // Only below the queue that both have above them does one take from the other.
        let from = match above {
            None => Some(0),
            Some(above) => settings.path.iter().position(|name| name == above).map(|at| at + 1),
        };
        let path = from.and_then(|from| settings.path.get(from..)).unwrap_or_default();
        let stays = |name: &ProjectName| {
            let Some(node) = self.nodes.get(name) else { return false };
            let gone = node.going.saturating_add(units);
            let used = node.used.get(slot(device)).copied().unwrap_or_default();
            let has = node.units().checked_sub(gone).is_some_and(|left| left >= node.guaranteed());
            let fair =
                || used.checked_sub(gone).is_some_and(|left| left >= self.fair(name, device));
            has && (owed.guaranteed || fair())
        };
        !path.is_empty() && path.iter().all(stays)
    }

    /// The units that a group may count on: the fair share of its queue, or all there are.
    pub(super) fn entitled(&self, group: &Settings, device: DeviceKind) -> u64 {
        let all = self.total.get(slot(device)).copied().unwrap_or_default();
        group.ordered_path().last().map_or(all, |queue| self.fair(queue, device))
    }

    /// A queue's fair share by weight of what there is for it and its siblings that use or want
    /// anything.
    fn fair(&self, name: &ProjectName, device: DeviceKind) -> u64 {
        let node = self.nodes.get(name);
        node.and_then(|node| node.fair.get(slot(device))).copied().unwrap_or_default()
    }

    /// Shares out what there is, from the root down.
    fn share_out(&mut self) {
        let mut weights: BTreeMap<Option<&ProjectName>, u64> = BTreeMap::new();
        for node in self.nodes.values().filter(|node| node.active) {
            *weights.entry(node.above).or_default() += node.weight();
        }
        let names: Vec<&'a ProjectName> = self.nodes.keys().copied().collect();
        let mut done: BTreeMap<&ProjectName, [u64; 2]> = BTreeMap::new();
        for name in names {
            self.share_of(name, &weights, &mut done);
        }
        for (name, fair) in done {
            if let Some(node) = self.nodes.get_mut(name) {
                node.fair = fair;
            }
        }
    }

    fn share_of(
        &self,
        name: &'a ProjectName,
        weights: &BTreeMap<Option<&ProjectName>, u64>,
        done: &mut BTreeMap<&'a ProjectName, [u64; 2]>,
    ) -> [u64; 2] {
        if let Some(known) = done.get(name) {
            return *known;
        }
        let Some(node) = self.nodes.get(name) else { return [0, 0] };
        let whole = match node.above {
            None => self.total,
            Some(above) => self.share_of(above, weights, done),
        };
        let all = weights.get(&node.above).copied().unwrap_or_default().max(1);
        let fair = whole.map(|units| units.saturating_mul(node.weight()) / all);
        done.insert(name, fair);
        fair
    }
}
