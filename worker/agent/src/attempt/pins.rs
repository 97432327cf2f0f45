//! The processors that the attempts of this node have for themselves. A job that says how many CPUs
//! each rank counts on gets them; who says nothing runs wherever the kernel puts it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use trainyard_jobs::{AttemptRef, Inventory, UnitId};

use super::{dir::AttemptDir, order::Work};
use crate::{
    durable,
    pinning::{Processor, Wish, choose},
    shim::Plan,
};

/// Who has which processors.
#[derive(Debug, Default)]
pub(crate) struct Pins {
    processors: Vec<Processor>,
    /// The NUMA nodes of GPUs, and of their parts.
    near: BTreeMap<UnitId, u32>,
    taken: Mutex<BTreeMap<AttemptRef, BTreeSet<u32>>>,
}

impl Pins {
    /// For these processors, and GPUs on these NUMA nodes.
    pub(crate) fn new(
        processors: Vec<Processor>,
        gpus: &BTreeMap<UnitId, u32>,
        inventory: &Inventory,
    ) -> Self {
        let near = inventory.devices.iter().filter_map(|(unit, device)| {
            let gpu = device.part.parent().unwrap_or(unit);
            Some((unit.clone(), *gpus.get(gpu)?))
        });
        Self { processors, near: near.collect(), taken: Mutex::default() }
    }

    fn taken(&self) -> MutexGuard<'_, BTreeMap<AttemptRef, BTreeSet<u32>>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Processors for each rank of an attempt on this node, in their order; none for any if the job
    /// asks for none, or if there are not enough that nobody has.
    pub(super) fn take(&self, attempt: &AttemptRef, work: &Work) -> Vec<BTreeSet<u32>> {
        let nobody = vec![BTreeSet::new(); work.ranks.len()];
        let Some(cpus) = work.spec.resources.cpus_per_rank else { return nobody };
        let cpus = usize::try_from(cpus).unwrap_or(usize::MAX);
        let wish = |(_, unit): &(u32, UnitId)| Wish { cpus, near: self.near.get(unit).copied() };
        let wishes: Vec<Wish> = work.ranks.iter().map(wish).collect();
        let mut taken = self.taken();
        let others = taken.iter().filter(|(other, _)| *other != attempt);
        let others = others.flat_map(|(_, own)| own).copied().collect();
        let Some(chosen) = choose(&self.processors, &others, &wishes) else {
            if !self.processors.is_empty() {
                let free = self.processors.len().saturating_sub(others.len());
                tracing::warn!(%attempt, cpus, free, "too few processors: ranks are not bound");
            }
            return nobody;
        };
        taken.insert(attempt.clone(), chosen.iter().flatten().copied().collect());
        chosen
    }

    /// Takes up what an attempt has that an agent before started.
    pub(crate) fn adopt(&self, dir: &AttemptDir, attempt: &AttemptRef) {
        let plan = durable::read_json::<Plan>(&dir.shim().plan()).ok().flatten();
        let own: BTreeSet<u32> =
            plan.into_iter().flat_map(|plan| plan.ranks).flat_map(|rank| rank.cpus).collect();
        if !own.is_empty() {
            self.taken().insert(attempt.clone(), own);
        }
    }

    /// The attempt's ranks have ended.
    pub(super) fn release(&self, attempt: &AttemptRef) {
        self.taken().remove(attempt);
    }
}
