//! Limits of queues bind every start, whoever planned it: checked when it is applied, with what is
//! in use then. So does the priority that a queue's jobs may have, when one comes.

use std::collections::BTreeMap;

use trainyard_jobs::{JobSpec, ProjectName, Quota, queue::ROOT};

use crate::{
    command::StartAttempt,
    refusal::Refusal,
    state::{DEEPEST_QUEUE, Job, State},
};

impl State {
    /// Refuses a start that would take a queue of the job, or one above, over a limit.
    pub(super) fn check_limits(&self, job: &Job, start: &StartAttempt) -> Result<(), Refusal> {
        let mut at = Some(&job.spec.project);
        for _ in 0..DEEPEST_QUEUE {
            let Some((name, queue)) = at.and_then(|name| self.queues.get_key_value(name)) else {
                break;
            };
            let limited = |quota: &&Quota| quota.limit.is_some();
            for quota in queue.spec.quotas.iter().filter(limited) {
                self.check_limit(name, quota, start)?;
            }
            at = queue.spec.parent.as_ref();
        }
        Ok(())
    }

    /// Refuses a job of a higher priority than its queue, or one above, allows.
    pub(super) fn check_priority(&self, spec: &JobSpec) -> Result<(), Refusal> {
        let (priority, mut at) = (spec.priority, Some(&spec.project));
        let root = self.queues.iter().find(|(name, _)| name.as_str() == ROOT);
        for _ in 0..DEEPEST_QUEUE {
            let known = at.and_then(|name| self.queues.get_key_value(name));
            let (Some((name, queue)), last) = (known.or(root), known.is_none()) else { break };
            if let Some(most) = queue.spec.max_priority.filter(|most| priority > *most) {
                return Err(Refusal::Queue(format!(
                    "jobs of queue {} have a priority of {most} at most, and this one {priority}: \
                     write `priority = {most}` or less, or submit it to another project",
                    name.as_str()
                )));
            }
            if last {
                break;
            }
            at = queue.spec.parent.as_ref();
        }
        Ok(())
    }

    fn check_limit(
        &self,
        queue: &ProjectName,
        quota: &Quota,
        start: &StartAttempt,
    ) -> Result<(), Refusal> {
        let wanted = start.placements.iter().map(|p| self.units_of(quota, &p.node, &p.units));
        let wanted: u64 = wanted.sum();
        let limit = quota.limit.map_or(u64::MAX, u64::from);
        let used = self.units_below(queue, quota);
        if wanted > 0 && used.saturating_add(wanted) > limit {
            let kind = quota.gpu_type.as_ref().map_or_else(String::new, |kind| format!("{kind} "));
            return Err(Refusal::Queue(format!(
                "queue {} may have {limit} {kind}units and has {used}: {wanted} more are too many",
                queue.as_str()
            )));
        }
        Ok(())
    }

    /// The units that jobs of a queue, and of those below it, have.
    fn units_below(&self, queue: &ProjectName, quota: &Quota) -> u64 {
        let mut below: BTreeMap<&ProjectName, bool> = BTreeMap::new();
        let mut units = 0_u64;
        for (project, jobs) in self.jobs.holding() {
            if !*below.entry(project).or_insert_with(|| self.is_below(project, queue)) {
                continue;
            }
            for job in jobs.iter().filter_map(|id| self.jobs.get(id)) {
                let placements = job.current().map_or(&[][..], |attempt| &attempt.placements);
                let open = placements.iter().filter(|p| !p.state.is_settled());
                units += open.map(|p| self.units_of(quota, &p.node, &p.units)).sum::<u64>();
            }
        }
        units
    }

    fn is_below(&self, project: &ProjectName, queue: &ProjectName) -> bool {
        let mut at = Some(project);
        for _ in 0..DEEPEST_QUEUE {
            match at {
                Some(name) if name == queue => return true,
                Some(name) => at = self.queues.get(name).and_then(|q| q.spec.parent.as_ref()),
                None => return false,
            }
        }
        false
    }

    /// How many of these units the quota is about.
    fn units_of(
        &self,
        quota: &Quota,
        node: &trainyard_jobs::NodeId,
        units: &[trainyard_jobs::UnitId],
    ) -> u64 {
        let Some(kind) = &quota.gpu_type else {
            return u64::try_from(units.len()).unwrap_or(u64::MAX);
        };
        let Some(node) = self.nodes.get(node) else { return 0 };
        let devices = units.iter().filter_map(|unit| node.inventory.devices.get(unit));
        let of_kind = devices.filter(|device| device.model.eq_ignore_ascii_case(kind)).count();
        u64::try_from(of_kind).unwrap_or(u64::MAX)
    }
}
