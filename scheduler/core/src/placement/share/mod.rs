//! What is whose: the tree of queues with what each uses, may use and is owed. Between queues
//! the one goes first that has the smallest dominant share for its weight (DRF, NSDI '11), of units,
//! processors and memory, what it used lately included; one below its guarantee goes before all that
//! are not.

use std::collections::BTreeMap;

use trainyard_jobs::{DeviceKind, ProjectName, QueueSpec, Timestamp, spec::Resources};

use super::{
    fit::{Host, Request},
    order::Settings,
    planner::{Planner, slot},
    running::Running,
};
use crate::command::Assignment;

mod amount;
mod budget;
mod types;

pub(super) use self::{
    amount::Amount,
    budget::{Budgets, Stops},
    types::{Models, Types},
};

/// Shares are counted in billionths.
const WHOLE: u128 = 1_000_000_000;

/// Set in the key of a queue that has what it is guaranteed.
const SERVED: u64 = 1 << 63;

/// One queue during a pass.
#[derive(Debug, Clone, Default)]
struct Node<'a> {
    spec: Option<&'a QueueSpec>,
    above: Option<&'a ProjectName>,
    /// What its jobs have.
    used: Amount,
    /// Units of them that are becoming free.
    going: u64,
    /// Something of it runs or waits.
    active: bool,
    /// Its fair share of what there is.
    fair: Amount,
    /// Thousandths of units in use on average lately, and what was in use beside them.
    lately: u64,
    host_lately: Host,
}

/// The tree during a pass.
#[derive(Debug, Clone)]
pub(super) struct Shares<'a> {
    nodes: BTreeMap<&'a ProjectName, Node<'a>>,
    /// What there is.
    total: Amount,
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
    /// Of this type, and of no other.
    pub(super) gpu_type: Option<&'a str>,
}

/// What tells one from what other queues are owed.
pub(super) type OwedKey<'a> = (&'a ProjectName, bool, Option<&'a str>);

impl<'a> Owed<'a> {
    /// What tells it from what other queues are owed.
    pub(super) const fn key(self) -> OwedKey<'a> {
        (self.queue, self.guaranteed, self.gpu_type)
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
        self.used.units.iter().sum()
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
            let (lately, host_lately) = planner.lately(project, now);
            let mut above = None;
            for name in &settings.path {
                let node = shares.nodes.entry(name).or_default();
                node.spec = planner.queues().get(name);
                node.above = above;
                node.active |= used != Amount::default() || waiting.has(project);
                node.used.count(used, true);
                node.lately = node.lately.saturating_add(lately);
                node.host_lately = node.host_lately.and(host_lately);
                above = Some(name);
            }
        }
        shares.share_out();
        for job in planner.leaving() {
            if let Some(settings) = planner.settings_of(&job.project) {
                let gives = shares.types.gives(job);
                shares.going(settings, job.gives(), &gives);
            }
        }
        shares
    }

    /// Changes when anything is counted.
    pub(super) const fn revision(&self) -> u64 {
        self.revision
    }

    /// Units of a job of the project are becoming free, so many of each type.
    pub(super) fn going(&mut self, settings: &Settings, units: u64, models: &Models<'a>) {
        self.revision += 1;
        self.types.going(settings, models);
        for name in &settings.path {
            if let Some(node) = self.nodes.get_mut(name) {
                node.going = node.going.saturating_add(units);
            }
        }
    }

    /// What the queue's turn depends on: the lower goes first. It may be owed units of the types
    /// that the next of its jobs asks for.
    fn key(&self, name: &ProjectName, next: Option<&Request>) -> u64 {
        let Some(node) = self.nodes.get(name) else { return 0 };
        let guaranteed = node.guaranteed();
        let units = node.units();
        let below =
            (units < guaranteed).then(|| u128::from(units) * WHOLE / u128::from(guaranteed));
        let of_type = next.and_then(|request| self.types.below(name, request));
        if let Some(ratio) = below.into_iter().chain(of_type).min() {
            return u64::try_from(ratio).unwrap_or(u64::MAX) & !SERVED;
        }
        let all: u64 = self.total.units.iter().sum();
        let lately = u128::from(node.lately) * WHOLE / 1000 / u128::from(all.max(1));
        let units = node.used.of_units(&self.total) + lately;
        let host = amount::of_host(node.used.host.and(node.host_lately), self.total.host);
        let ratio = units.max(host) / u128::from(node.weight());
        u64::try_from(ratio).unwrap_or(u64::MAX) | SERVED
    }

    /// What a group's turn depends on, from the queue below the root down, and on what the next of
    /// its jobs asks for if [`Self::looks_at_next`].
    pub(super) fn turn(
        &self,
        settings: &'a Settings,
        next: Option<&Request>,
    ) -> Vec<(u64, &'a ProjectName)> {
        settings.ordered_path().iter().map(|name| (self.key(name, next), name)).collect()
    }

    /// Whether turns depend on what jobs ask for: some queue is guaranteed units of a type.
    pub(super) const fn looks_at_next(&self) -> bool {
        self.types.has_guarantees()
    }

    /// Counts what so many ranks of a job of the project would have, or give up.
    pub(super) fn count(&mut self, settings: &Settings, asked: &Resources, ranks: u64, more: bool) {
        self.revision += 1;
        let amount = Amount::of(asked, ranks);
        for name in &settings.path {
            if let Some(node) = self.nodes.get_mut(name) {
                node.used.count(amount, more);
            }
        }
    }

    /// Whether any queue has quotas of single types of units.
    pub(super) fn has_types(&self) -> bool {
        self.types.any()
    }

    /// Counts the types of units that a job of the project would have.
    pub(super) fn count_types(&mut self, settings: &Settings, models: &Models<'a>, more: bool) {
        self.revision += u64::from(!models.is_empty());
        self.types.count(settings, models, more);
    }

    /// The same where all are of one type.
    pub(super) fn count_type(&mut self, settings: &Settings, gpu_type: Option<&str>, units: u64) {
        if let Some(gpu_type) = gpu_type.and_then(|gpu_type| self.types.known(gpu_type)) {
            self.count_types(settings, &Models::from([(gpu_type, units)]), true);
        }
    }

    /// The types of units that were or would be assigned, if any queue has quotas of single types.
    pub(super) fn models(&self, assigned: &[Assignment]) -> Models<'a> {
        self.types.models(assigned.iter().map(|part| (&part.node, &part.units)))
    }

    /// The types of units that a running job has, if any queue has quotas of single types.
    pub(super) fn models_of(&self, job: &Running) -> Models<'a> {
        self.types.of_job(job)
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
        self.types.within(settings, request, once_gone)
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
    pub(super) fn owed(&self, settings: &'a Settings, request: &Request) -> Option<Owed<'a>> {
        let (more, device) = (u64::from(request.ranks), request.device);
        settings.ordered_path().iter().find_map(|queue| {
            let node = self.nodes.get(queue)?;
            let guaranteed = node.units().saturating_add(more) <= node.guaranteed();
            let used = node.used.units.get(slot(device)).copied().unwrap_or_default();
            // What it asks for beside its units may be what its queue has most of.
            let fair = used.saturating_add(more) <= self.fair(queue, device)
                && amount::within(node.used.host, request.host, more, node.fair.host);
            (guaranteed || fair).then_some(Owed { queue, guaranteed, gpu_type: None })
        })
    }

    /// The same of units of one type that a queue is guaranteed: only those are taken back for it.
    pub(super) fn owed_of_type(
        &self,
        settings: &'a Settings,
        request: &Request,
    ) -> Option<Owed<'a>> {
        settings.ordered_path().iter().find_map(|queue| {
            let gpu_type = Some(self.types.owed(queue, request)?);
            Some(Owed { queue, guaranteed: true, gpu_type })
        })
    }

    /// Whether a running job of another queue may be taken units from for one that is owed them:
    /// its queues stay at what they are guaranteed, and at their fair share unless a guarantee is
    /// claimed. What is becoming free is not theirs any more.
    pub(super) fn spares(&self, settings: &Settings, owed: Owed<'_>, job: &Running) -> bool {
        let models = self.models_of(job);
        let is_asked_for = owed.gpu_type.is_none_or(|model| models.contains_key(model));
        is_asked_for
            && self.can_do_without(settings, owed, (job.resources.device, job.units()), &models)
    }

    /// Whether any job of a group may be taken units from for a queue that is owed them.
    pub(super) fn may_spare(&self, group: &Settings, owed: Owed<'_>) -> bool {
        let kinds = [DeviceKind::Cpu, DeviceKind::Gpu];
        let any = Models::new();
        kinds.into_iter().any(|device| self.can_do_without(group, owed, (device, 1), &any))
    }

    fn can_do_without(
        &self,
        settings: &Settings,
        owed: Owed<'_>,
        (device, units): (DeviceKind, u64),
        models: &Models<'_>,
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
            let used = node.used.units.get(slot(device)).copied().unwrap_or_default();
            let has = node.units().checked_sub(gone).is_some_and(|left| left >= node.guaranteed());
            let fair =
                || used.checked_sub(gone).is_some_and(|left| left >= self.fair(name, device));
            has && self.types.stays(name, models) && (owed.guaranteed || fair())
        };
        !path.is_empty() && path.iter().all(stays)
    }

    /// The units that a group may count on: the fair share of its queue, or all there are.
    pub(super) fn entitled(&self, group: &Settings, device: DeviceKind) -> u64 {
        let all = self.total.units.get(slot(device)).copied().unwrap_or_default();
        group.ordered_path().last().map_or(all, |queue| self.fair(queue, device))
    }

    /// A queue's fair share by weight of what there is for it and its siblings that use or want
    /// anything.
    fn fair(&self, name: &ProjectName, device: DeviceKind) -> u64 {
        let node = self.nodes.get(name);
        node.and_then(|node| node.fair.units.get(slot(device))).copied().unwrap_or_default()
    }

    /// Shares out what there is, from the root down.
    fn share_out(&mut self) {
        let mut weights: BTreeMap<Option<&ProjectName>, u64> = BTreeMap::new();
        for node in self.nodes.values().filter(|node| node.active) {
            *weights.entry(node.above).or_default() += node.weight();
        }
        let names: Vec<&'a ProjectName> = self.nodes.keys().copied().collect();
        let mut done: BTreeMap<&ProjectName, Amount> = BTreeMap::new();
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
        done: &mut BTreeMap<&'a ProjectName, Amount>,
    ) -> Amount {
        if let Some(known) = done.get(name) {
            return *known;
        }
        let Some(node) = self.nodes.get(name) else { return Amount::default() };
        let whole = match node.above {
            None => self.total,
            Some(above) => self.share_of(above, weights, done),
        };
        let all = weights.get(&node.above).copied().unwrap_or_default().max(1);
        let fair = whole.part(node.weight(), all);
        done.insert(name, fair);
        fair
    }
}
