//! Quotas of single types of units. Which units a job has is looked up only where some queue has
//! such a quota.

use std::collections::BTreeMap;

use trainyard_jobs::{DeviceKind, NodeId, ProjectName, Quota, UnitId};

use super::{OverQuota, WHOLE};
use crate::placement::{fit::Request, order::Settings, planner::Planner, running::Running};

/// Units by type.
pub(in crate::placement) type Models<'a> = BTreeMap<&'a str, u64>;

/// Units in use by queue and type, of the queues that have quotas by type.
#[derive(Debug, Clone)]
pub(in crate::placement) struct Types<'a> {
    planner: &'a Planner,
    quotas: BTreeMap<&'a ProjectName, BTreeMap<&'a str, &'a Quota>>,
    used: BTreeMap<(&'a ProjectName, &'a str), u64>,
    /// Units of them that are becoming free.
    going: BTreeMap<(&'a ProjectName, &'a str), u64>,
    /// All types that there are.
    known: BTreeMap<&'a str, DeviceKind>,
    /// Some queue is guaranteed units of a type.
    guarantees: bool,
}

impl<'a> Types<'a> {
    pub(super) fn of(planner: &'a Planner) -> Self {
        let mut types = Self {
            planner,
            quotas: BTreeMap::new(),
            used: BTreeMap::new(),
            going: BTreeMap::new(),
            known: BTreeMap::new(),
            guarantees: false,
        };
        for (name, spec) in planner.queues() {
            let says = |quota: &&Quota| quota.guaranteed > 0 || quota.limit.is_some();
            let typed = spec.quotas.iter().filter(says);
            let typed = typed.filter_map(|quota| Some((quota.gpu_type.as_deref()?, quota)));
            let typed: BTreeMap<&str, &Quota> = typed.collect();
            types.guarantees |= typed.values().any(|quota| quota.guaranteed > 0);
            if !typed.is_empty() {
                types.quotas.insert(name, typed);
            }
        }
        if types.quotas.is_empty() {
            return types;
        }
        let devices = planner.nodes().values().flat_map(|node| node.devices.values());
        types.known = devices.map(|device| (device.model.as_str(), device.kind)).collect();
        for job in planner.running().values() {
            if let Some(settings) = planner.settings_of(&job.project) {
                let models = types.of_job(job);
                types.count(settings, &models, true);
            }
        }
        types
    }

    /// Whether any queue has a quota of a single type.
    pub(super) fn any(&self) -> bool {
        !self.quotas.is_empty()
    }

    /// The limits of a queue.
    pub(super) fn limits(&self, queue: &'a ProjectName) -> impl Iterator<Item = OverQuota<'a>> {
        let quotas = self.quotas.get(queue).into_iter().flatten();
        quotas.filter_map(move |(gpu_type, quota)| {
            let used = self.used(queue, gpu_type, false);
            Some(OverQuota { queue, gpu_type: Some(gpu_type), limit: quota.limit?, used })
        })
    }

    /// Whether any queue is guaranteed units of a single type.
    pub(super) const fn has_guarantees(&self) -> bool {
        self.guarantees
    }

    /// A type by its name, if any quota or unit is of it.
    pub(super) fn known(&self, gpu_type: &str) -> Option<&'a str> {
        let quotas = self.quotas.values().find_map(|typed| typed.get_key_value(gpu_type));
        let limited = quotas.map(|(model, _)| *model);
        limited.or_else(|| self.known.get_key_value(gpu_type).map(|(model, _)| *model))
    }

    /// Units by type, where that matters to any queue.
    pub(super) fn models<'p>(
        &self,
        parts: impl IntoIterator<Item = (&'p NodeId, &'p Vec<UnitId>)>,
    ) -> Models<'a> {
        let mut models = Models::new();
        if self.quotas.is_empty() {
            return models;
        }
        for (node, units) in parts {
            let Some(node) = self.planner.nodes().get(node) else { continue };
            for device in units.iter().filter_map(|unit| node.devices.get(unit)) {
                *models.entry(device.model.as_str()).or_default() += 1;
            }
        }
        models
    }

    pub(super) fn of_job(&self, job: &Running) -> Models<'a> {
        self.models(job.placements.iter().map(|(node, units)| (node, units)))
    }

    /// The types of units that others may count on once a job is gone.
    pub(super) fn gives(&self, job: &Running) -> Models<'a> {
        let mut gives = self.of_job(job);
        let kept = job.goes_on.iter().flat_map(|kept| &kept.units);
        for (model, units) in self.models(kept.map(|(node, units)| (node, units))) {
            if let Some(sum) = gives.get_mut(model) {
                *sum = sum.saturating_sub(units);
            }
        }
        gives
    }

    /// Counts units that a job of the project would have, or give up.
    pub(super) fn count(&mut self, settings: &Settings, models: &Models<'a>, more: bool) {
        tally(&self.quotas, &mut self.used, settings, models, more);
    }

    /// Units of a job of the project are becoming free.
    pub(super) fn going(&mut self, settings: &Settings, models: &Models<'a>) {
        tally(&self.quotas, &mut self.going, settings, models, true);
    }

    fn used(&self, queue: &ProjectName, model: &str, once_gone: bool) -> u64 {
        let of = |units: &BTreeMap<_, u64>| units.get(&(queue, model)).copied().unwrap_or_default();
        of(&self.used).saturating_sub(if once_gone { of(&self.going) } else { 0 })
    }

    /// The types that a request takes, of those that there are.
    fn taken<'r>(&'r self, request: &'r Request) -> impl Iterator<Item = &'a str> + 'r {
        let takes = |model: &str| {
            request.types.is_empty() || request.types.iter().any(|t| t.as_str() == model)
        };
        let known = self.known.iter().filter(|(_, kind)| **kind == request.device);
        known.map(|(model, _)| *model).filter(move |model| takes(model))
    }

    /// The request without the types of which its queues have enough, if that changes it: once
    /// what is `going` has gone, or now.
    pub(super) fn within(
        &self,
        settings: &'a Settings,
        request: &Request,
        once_gone: bool,
    ) -> Result<Option<Request>, OverQuota<'a>> {
        if self.quotas.is_empty() {
            return Ok(None);
        }
        let ranks = u64::from(request.ranks);
        let over = |model: &str| {
            settings.path.iter().find_map(|name| {
                let (gpu_type, quota) = self.quotas.get(name)?.get_key_value(model)?;
                let (limit, used) = (quota.limit?, self.used(name, gpu_type, once_gone));
                let is_over = used.saturating_add(ranks) > u64::from(limit);
                is_over.then_some(OverQuota { queue: name, gpu_type: Some(gpu_type), limit, used })
            })
        };
        let asked: Vec<&str> = if request.types.is_empty() {
            self.taken(request).collect()
        } else {
            request.types.iter().map(String::as_str).collect()
        };
        let left: Vec<String> =
            asked.iter().filter(|model| over(model).is_none()).map(|m| (*m).to_owned()).collect();
        if left.len() == asked.len() {
            return Ok(None);
        }
        if left.is_empty() {
            return asked.iter().find_map(|model| over(model)).map_or(Ok(None), Err);
        }
        Ok(Some(Request { types: left, ..request.clone() }))
    }

    /// What a queue is guaranteed of all the types that a request takes, and what it has of them.
    /// A job that takes several is not owed one of them by a guarantee while its queue has as many
    /// units of the others.
    fn guarantee(&self, queue: &ProjectName, request: &Request) -> Option<(u64, u64)> {
        let quotas = self.quotas.get(queue).filter(|_| self.guarantees)?;
        let of = |model: &str| quotas.get(model).map_or(0, |quota| u64::from(quota.guaranteed));
        let taken = || self.taken(request);
        let guaranteed: u64 = taken().map(of).sum();
        (guaranteed > 0)
            .then(|| (guaranteed, taken().map(|model| self.used(queue, model, false)).sum()))
    }

    /// How far a queue is below what it is guaranteed of the types that a request takes, in parts
    /// of [`WHOLE`]; nothing if it is not below it.
    pub(super) fn below(&self, queue: &ProjectName, request: &Request) -> Option<u128> {
        let (guaranteed, used) = self.guarantee(queue, request)?;
        (used < guaranteed).then(|| u128::from(used) * WHOLE / u128::from(guaranteed))
    }

    /// A type that a request takes and its queue is owed by a guarantee.
    pub(super) fn owed(&self, queue: &ProjectName, request: &Request) -> Option<&'a str> {
        let more = u64::from(request.ranks);
        let (guaranteed, used) = self.guarantee(queue, request)?;
        let quotas = self.quotas.get(queue).filter(|_| used.saturating_add(more) <= guaranteed)?;
        self.taken(request).find(|model| {
            let used = self.used(queue, model, false).saturating_add(more);
            quotas.get(model).is_some_and(|quota| used <= u64::from(quota.guaranteed))
        })
    }

    /// Whether a queue keeps what it is guaranteed of each type without these units.
    pub(super) fn stays(&self, queue: &ProjectName, models: &Models<'_>) -> bool {
        let Some(quotas) = self.quotas.get(queue) else { return true };
        models.iter().all(|(model, units)| {
            let guaranteed = quotas.get(model).map_or(0, |quota| u64::from(quota.guaranteed));
            guaranteed == 0
                || self
                    .used(queue, model, true)
                    .checked_sub(*units)
                    .is_some_and(|l| l >= guaranteed)
        })
    }
}

/// Counts units for all queues of a path that have quotas by type.
fn tally<'a>(
    quotas: &BTreeMap<&'a ProjectName, BTreeMap<&'a str, &'a Quota>>,
    sums: &mut BTreeMap<(&'a ProjectName, &'a str), u64>,
    settings: &Settings,
    models: &Models<'a>,
    more: bool,
) {
    for (name, _) in settings.path.iter().filter_map(|name| quotas.get_key_value(name)) {
        for (model, units) in models {
            let sum = sums.entry((name, model)).or_default();
            *sum = if more { sum.saturating_add(*units) } else { sum.saturating_sub(*units) };
        }
    }
}
