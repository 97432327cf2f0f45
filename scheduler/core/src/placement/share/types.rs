//! Limits on single types of units. Which units a job has is looked up only where some queue has
//! such a limit.

use std::collections::{BTreeMap, BTreeSet};

use trainyard_jobs::ProjectName;

use super::OverQuota;
use crate::placement::{fit::Request, order::Settings, planner::Planner};

/// Units in use by queue and type, of the queues that have limits by type.
#[derive(Debug, Clone, Default)]
pub(in crate::placement) struct Types<'a> {
    limits: BTreeMap<&'a ProjectName, BTreeMap<&'a str, u32>>,
    used: BTreeMap<(&'a ProjectName, &'a str), u64>,
    /// All types that there are.
    known: BTreeSet<&'a str>,
}

impl<'a> Types<'a> {
    pub(super) fn of(planner: &'a Planner) -> Self {
        let mut types = Self::default();
        for (name, spec) in planner.queues() {
            let typed = spec
                .quotas
                .iter()
                .filter_map(|quota| Some((quota.gpu_type.as_deref()?, quota.limit?)));
            let limits: BTreeMap<&str, u32> = typed.collect();
            if !limits.is_empty() {
                types.limits.insert(name, limits);
            }
        }
        if types.limits.is_empty() {
            return types;
        }
        let devices = planner.nodes().values().flat_map(|node| node.devices.values());
        types.known = devices.map(|device| device.model.as_str()).collect();
        for job in planner.running().values() {
            let Some(settings) = planner.settings_of(&job.project) else { continue };
            for (node, units) in &job.placements {
                let Some(node) = planner.nodes().get(node) else { continue };
                let models = units.iter().filter_map(|unit| node.devices.get(unit));
                for device in models {
                    types.count(settings, &[(device.model.as_str(), 1)]);
                }
            }
        }
        types
    }

    /// Whether any queue limits single types.
    pub(super) fn has_limits(&self) -> bool {
        !self.limits.is_empty()
    }

    /// The limits of a queue.
    pub(super) fn limits(&self, queue: &'a ProjectName) -> impl Iterator<Item = OverQuota<'a>> {
        let limits = self.limits.get(queue).into_iter().flatten();
        limits.map(move |(gpu_type, limit)| {
            let used = self.used.get(&(queue, *gpu_type)).copied().unwrap_or_default();
            OverQuota { queue, gpu_type: Some(gpu_type), limit: *limit, used }
        })
    }

    /// Counts units of a job.
    pub(super) fn count(&mut self, settings: &'a Settings, units: &[(&'a str, u64)]) {
        for name in settings.path.iter().filter(|name| self.limits.contains_key(name)) {
            for (model, count) in units {
                *self.used.entry((name, model)).or_default() += count;
            }
        }
    }

    /// The request without the types of which its queues have enough, if that changes it.
    pub(super) fn within(
        &self,
        settings: &'a Settings,
        request: &Request,
    ) -> Result<Option<Request>, OverQuota<'a>> {
        if self.limits.is_empty() {
            return Ok(None);
        }
        let ranks = u64::from(request.ranks);
        let over = |model: &str| {
            settings.path.iter().find_map(|name| {
                let (gpu_type, limit) = self.limits.get(name)?.get_key_value(model)?;
                let used = self.used.get(&(name, *gpu_type)).copied().unwrap_or_default();
                let is_over = used.saturating_add(ranks) > u64::from(*limit);
                is_over.then_some(OverQuota {
                    queue: name,
                    gpu_type: Some(gpu_type),
                    limit: *limit,
                    used,
                })
            })
        };
        let asked: Vec<&str> = if request.types.is_empty() {
            self.known.iter().copied().collect()
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
}
