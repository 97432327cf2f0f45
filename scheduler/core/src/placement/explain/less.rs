//! How much less of what nodes have beside their units would start a job.

use trainyard_jobs::{BitRate, Bytes, Timestamp, spec::Resources};

use super::change::{Change, Counterfactual};
use crate::placement::{
    fit::{Host, Supply},
    planner::Planner,
    view::Waiting,
};

const GIB: u64 = 1 << 30;
const GIGA: u64 = 1_000_000_000;

/// The steps in which people ask for it.
const fn step(supply: Supply) -> u64 {
    match supply {
        Supply::Cpus => 1000,
        Supply::Memory => GIB,
        Supply::Disk | Supply::Network => GIGA,
    }
}

/// What a spec would say of so many steps, and the change that it is.
fn change(supply: Supply, steps: u64) -> (Change, &'static str, String) {
    let some = steps > 0;
    let amount = steps.saturating_mul(step(supply));
    match supply {
        Supply::Cpus => {
            let cpus = u32::try_from(steps).unwrap_or(u32::MAX);
            (Change::CpusPerRank(some.then_some(cpus)), "cpus_per_rank", cpus.to_string())
        }
        Supply::Memory => {
            let change = Change::MemoryPerRank(some.then_some(Bytes(amount)));
            (change, "memory_per_rank", format!("\"{steps}GiB\""))
        }
        Supply::Disk => {
            let change = Change::DiskPerRank(some.then_some(Bytes(amount)));
            (change, "disk_per_rank", format!("\"{steps}GB\""))
        }
        Supply::Network => {
            let change = Change::NetworkPerRank(some.then_some(BitRate(amount)));
            (change, "network_per_rank", format!("\"{steps}Gbps\""))
        }
    }
}

/// Makes such a change.
fn alter(resources: &mut Resources, change: Change) {
    match change {
        Change::CpusPerRank(cpus) => resources.cpus_per_rank = cpus,
        Change::MemoryPerRank(memory) => resources.memory_per_rank = memory,
        Change::DiskPerRank(disk) => resources.disk_per_rank = disk,
        Change::NetworkPerRank(network) => resources.network_per_rank = network,
        _ => {}
    }
}

impl Planner {
    /// With how much of each for each rank it would start, the most that does.
    pub(super) fn less_beside(&mut self, job: &Waiting, now: Timestamp) -> Vec<Counterfactual> {
        Supply::ALL.into_iter().filter_map(|supply| self.less_of(job, supply, now)).collect()
    }

    fn less_of(&mut self, job: &Waiting, supply: Supply, now: Timestamp) -> Option<Counterfactual> {
        let asked = Host::of_rank(&job.resources).only(supply).amounts().into_iter().max()?;
        if asked == 0 {
            return None;
        }
        let steps = asked.div_ceil(step(supply));
        let left = |fewer: usize| steps.saturating_sub(u64::try_from(fewer).unwrap_or(u64::MAX));
        let with = |resources: &mut Resources, fewer: usize| {
            alter(resources, change(supply, left(fewer)).0);
        };
        let most = usize::try_from(steps).unwrap_or(usize::MAX);
        let (fewer, hire) = self.less(job, most, with, now)?;
        let left = left(fewer);
        let (change, key, value) = change(supply, left);
        let text = match left {
            0 => format!("without `{key}`"),
            _ => format!("with `{key} = {value}`"),
        };
        Some(self.starts_now((job, job), (hire, now), change, &text))
    }
}
