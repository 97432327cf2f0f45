//! What would start a job, as clients see it: words, and the same in numbers. Jobs that the caller
//! does not see are told in neither.

use trainyard_core::{
    State,
    placement::{Change, Cost, Counterfactual, Limit},
};
use trainyard_jobs::JobId;
use trainyard_proto::v1;

use crate::access::Caller;

/// What a run would take and cost.
pub(crate) fn cost(cost: &Cost) -> v1::Cost {
    v1::Cost {
        micro_usd_per_hour: cost.micro_usd_per_hour,
        run_ms: cost.runs.map_or(0, |runs| runs.0),
        micro_usd: cost.micro_usd().unwrap_or_default(),
        cut_ms: cost.cut.map_or(0, |cut| cut.0),
    }
}

/// A change that would start a job.
pub(crate) fn change(state: &State, caller: &Caller, found: Counterfactual) -> v1::Change {
    let told = v1::Change {
        kind: found.change.as_str().to_owned(),
        text: caller.veil(state, &found.to_string()),
        notes: found.notes.iter().map(|note| caller.veil(state, note)).collect(),
        starts_ms: found.starts.0,
        cost: Some(cost(&found.cost)),
        micro_usd_per_hour: found.micro_usd_per_hour,
        over_micro_usd: found.over,
        ..v1::Change::default()
    };
    let seen = |jobs: Vec<JobId>| {
        let own = |id: &JobId| state.job(id).is_some_and(|job| caller.sees(&job.spec.project));
        jobs.into_iter().filter(own).map(|id| id.to_string()).collect()
    };
    match found.change {
        Change::Gpus(gpus) | Change::MinGpus(gpus) => v1::Change { gpus: Some(gpus), ..told },
        Change::Type(gpu_type) => v1::Change { gpu_type, ..told },
        Change::Fraction(milli) => v1::Change { gpu_milli: u32::from(milli), ..told },
        Change::CpusPerRank(cpus_per_rank) => v1::Change { cpus_per_rank, ..told },
        Change::MemoryPerRank(memory) => {
            v1::Change { memory_per_rank: memory.map(|memory| memory.0), ..told }
        }
        Change::DiskPerRank(disk) => v1::Change { disk_per_rank: disk.map(|disk| disk.0), ..told },
        Change::NetworkPerRank(network) => {
            v1::Change { network_per_rank: network.map(|network| network.0), ..told }
        }
        Change::Limit(limits) => {
            v1::Change { limits: limits.into_iter().map(limit).collect(), ..told }
        }
        Change::Priority { priority, stops, lost } => {
            v1::Change { priority: Some(priority), jobs: seen(stops), lost_unit_ms: lost, ..told }
        }
        Change::Ends(jobs) => v1::Change { jobs: seen(jobs), ..told },
        Change::Nodes { like, count } => {
            let node = state.node(&like).map(|node| node.inventory.name.to_string());
            v1::Change { node: node.unwrap_or_default(), nodes: count, ..told }
        }
        Change::Within(left) => v1::Change { within_ms: left.0, ..told },
        Change::Unreserved(name) => v1::Change { reservation: name.to_string(), ..told },
        Change::AnyType
        | Change::WholeGpus
        | Change::AnyMemory
        | Change::AnySpread
        | Change::AnyNode
        | Change::Until(_) => told,
    }
}

fn limit(limit: Limit) -> v1::LimitRaised {
    v1::LimitRaised {
        queue: limit.queue.to_string(),
        gpu_type: limit.gpu_type.unwrap_or_default(),
        from: limit.from,
        to: limit.to,
    }
}
