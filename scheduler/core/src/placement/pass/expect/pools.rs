//! Units over time: of each type, and of each queue that may have only so many. They are counted,
//! not placed.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use trainyard_jobs::{ProjectName, Timestamp};

use crate::placement::{
    fit::Request, planner::Planner, running::Running, view::Waiting, yard::UnitType,
};

/// Units of which some are free from some time on, and more once others end.
#[derive(Debug, Default)]
struct Pool {
    now: Timestamp,
    free: u64,
    total: u64,
    ends: BinaryHeap<Reverse<(Timestamp, u64)>>,
}

/// All units, and the limits that bind.
pub(super) struct Pools<'a> {
    planner: &'a Planner,
    types: Vec<(UnitType, Pool)>,
    limits: BTreeMap<&'a ProjectName, Pool>,
}

impl Pool {
    fn hold(&mut self, units: u64, ends: Timestamp) {
        self.free = self.free.saturating_sub(units);
        self.ends.push(Reverse((ends, units)));
    }

    /// Waits for what ends next.
    fn wait(&mut self) -> Option<()> {
        let Reverse((end, units)) = self.ends.pop()?;
        self.now = self.now.max(end);
        self.free = self.free.saturating_add(units);
        Some(())
    }

    fn next(&self) -> Option<Timestamp> {
        self.ends.peek().map(|Reverse((end, _))| *end)
    }
}

impl<'a> Pools<'a> {
    /// As they are, with what runs predicted to end in the time that it takes, or in twice that.
    pub(super) fn of(planner: &'a Planner, now: Timestamp, late: bool) -> Self {
        let mut pools = Self { planner, types: Vec::new(), limits: BTreeMap::new() };
        for (kind, units) in planner.units_by_type() {
            let ends = BinaryHeap::new();
            pools.types.push((kind, Pool { now, free: units, total: units, ends }));
        }
        for (name, spec) in planner.queues() {
            let any = spec.quotas.iter().find(|quota| quota.gpu_type.is_none());
            if let Some(limit) = any.and_then(|quota| quota.limit).map(u64::from) {
                let ends = BinaryHeap::new();
                pools.limits.insert(name, Pool { now, free: limit, total: limit, ends });
            }
        }
        for job in planner.running().values() {
            let end = if late { planner.latest_end_of(job, now) } else { planner.end_of(job, now) };
            pools.runs(job, now, end);
        }
        pools
    }

    fn runs(&mut self, job: &Running, now: Timestamp, end: Timestamp) {
        // What leaves and goes on has the units that it keeps for as long as it runs.
        let mut gone = if job.is_leaving() { job.gives() } else { 0 };
        for queue in self.planner.settings_of(&job.project).map_or(&[][..], |s| &s.path) {
            if let Some(pool) = self.limits.get_mut(queue) {
                pool.hold(gone, now);
                pool.hold(job.units().saturating_sub(gone), end);
            }
        }
        for (node, units) in &job.placements {
            let Some(node) = self.planner.nodes().get(node) else { continue };
            let device = units.first().and_then(|unit| node.devices.get(unit));
            let Some(device) = device else { continue };
            let of_type = |(kind, _): &&mut (UnitType, Pool)| kind.is_of(device);
            let Some((_, pool)) = self.types.iter_mut().find(of_type) else { continue };
            let units = u64::try_from(units.len()).unwrap_or(u64::MAX);
            let leaves = units.min(gone);
            gone -= leaves;
            pool.hold(leaves, now);
            pool.hold(units - leaves, end);
        }
    }

    /// When the next job starts, which runs for so long then. One that more units than exist, or
    /// than its queues may have, would not help is passed over.
    pub(super) fn start(
        &mut self,
        job: &Waiting,
        request: &Request,
        runs: u64,
    ) -> Option<Timestamp> {
        let whole = u64::from(job.resources.gpus);
        let least = u64::from(job.resources.min_gpus.unwrap_or(job.resources.gpus));
        let answers = |kind: &UnitType| {
            let of_type = request.types.is_empty() || request.types.contains(&kind.model);
            of_type && (kind.device, kind.is_part) == (request.device, request.on_parts())
        };
        let all = self.types.iter().filter(|(kind, _)| answers(kind));
        if all.map(|(_, pool)| pool.total).sum::<u64>() < least {
            return None;
        }
        let allowed = self.allowed(&job.project, whole)?;
        let mut pools: Vec<&mut Pool> =
            self.types.iter_mut().filter(|(kind, _)| answers(kind)).map(|(_, pool)| pool).collect();
        while pools.iter().map(|pool| pool.free).sum::<u64>() < least {
            let next = pools.iter_mut().filter(|pool| pool.next().is_some());
            next.min_by_key(|pool| pool.next())?.wait()?;
        }
        // One type, if one has enough, and of those the one that was free first.
        let shortage = |pool: &Pool| (pool.free < least, pool.now, Reverse(pool.free));
        pools.sort_by_key(|pool| shortage(pool));
        let (mut left, mut start) = (least, job.not_before);
        let mut taken = Vec::new();
        for pool in pools {
            let units = left.min(pool.free);
            if units > 0 {
                left -= units;
                start = start.max(pool.now);
                taken.push((pool, units));
            }
        }
        // Who waits for its queue is passed by others meanwhile.
        let start = start.max(allowed);
        let end = Timestamp(start.0.saturating_add(runs));
        for (pool, units) in taken {
            if allowed <= pool.now {
                pool.hold(units, end);
            }
        }
        self.counts(&job.project, whole, end);
        Some(start)
    }

    /// When the queues of a project may have so many units more.
    fn allowed(&mut self, project: &ProjectName, units: u64) -> Option<Timestamp> {
        let mut allowed = Timestamp(0);
        for queue in self.planner.settings_of(project).map_or(&[][..], |s| &s.path) {
            let Some(pool) = self.limits.get_mut(queue) else { continue };
            if units > pool.total {
                return None;
            }
            while pool.free < units {
                pool.wait()?;
            }
            allowed = allowed.max(pool.now);
        }
        Some(allowed)
    }

    fn counts(&mut self, project: &ProjectName, units: u64, end: Timestamp) {
        for queue in self.planner.settings_of(project).map_or(&[][..], |s| &s.path) {
            if let Some(pool) = self.limits.get_mut(queue) {
                pool.hold(units, end);
            }
        }
    }
}
