//! A change that would start a job, with its numbers. Money is in whole micro-dollars.

use serde::Serialize;
use trainyard_jobs::Usd;
use trainyard_proto::v1;

use crate::{
    output::human::span,
    view::{present, text},
};

/// What a run would take and cost, as far as one can tell.
#[derive(Debug, Serialize)]
pub(super) struct Cost {
    micro_usd_per_hour: Option<u64>,
    run_ms: Option<u64>,
    micro_usd: Option<u64>,
    /// Its time limit, if that ends it before it is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    cut_ms: Option<u64>,
}

/// A change. Which of the last fields there are follows from its kind.
#[derive(Debug, Serialize)]
pub(super) struct Change {
    kind: String,
    pub(super) text: String,
    pub(super) notes: Vec<String>,
    starts_unix_ms: u64,
    cost: Option<Cost>,
    #[serde(skip_serializing_if = "Option::is_none")]
    micro_usd_per_hour: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    over_max_cost_micro_usd: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gpus: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gpu_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gpu_milli: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpus_per_rank: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_per_rank_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_per_rank_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    network_per_rank_bits_per_second: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    limits: Vec<Limit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<i32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    jobs: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lost_unit_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nodes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    within_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reservation: Option<String>,
}

/// A queue's limit, raised.
#[derive(Debug, Serialize)]
struct Limit {
    queue: String,
    /// For units of any kind when absent.
    gpu_type: Option<String>,
    from_units: u32,
    to_units: u32,
}

impl Cost {
    /// Such as `about 6h, $20.00 an hour, $120.00 in all`.
    pub(super) fn text(&self) -> String {
        let runs = self.run_ms.map(|ms| format!("about {}", span(ms)));
        let hour = self.micro_usd_per_hour.map(|usd| format!("${} an hour", Usd(usd)));
        let all = self.micro_usd.map(|usd| format!("${} in all", Usd(usd)));
        [runs, hour, all].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    /// What is known, if anything is.
    pub(super) fn of(cost: v1::Cost) -> Option<Self> {
        (cost != v1::Cost::default()).then(|| Self {
            micro_usd_per_hour: present(cost.micro_usd_per_hour),
            run_ms: present(cost.run_ms),
            micro_usd: present(cost.micro_usd),
            cut_ms: present(cost.cut_ms),
        })
    }
}

impl From<v1::Change> for Change {
    fn from(change: v1::Change) -> Self {
        Self {
            kind: change.kind,
            text: change.text,
            notes: change.notes,
            starts_unix_ms: change.starts_ms,
            cost: change.cost.and_then(Cost::of),
            micro_usd_per_hour: present(change.micro_usd_per_hour),
            over_max_cost_micro_usd: present(change.over_micro_usd),
            gpus: change.gpus,
            gpu_type: text(change.gpu_type),
            gpu_milli: present(change.gpu_milli.into()),
            cpus_per_rank: change.cpus_per_rank,
            memory_per_rank_bytes: change.memory_per_rank,
            disk_per_rank_bytes: change.disk_per_rank,
            network_per_rank_bits_per_second: change.network_per_rank,
            limits: change.limits.into_iter().map(Limit::from).collect(),
            priority: change.priority,
            jobs: change.jobs,
            lost_unit_ms: change.priority.map(|_| change.lost_unit_ms),
            node: text(change.node),
            nodes: present(change.nodes.into()),
            within_ms: present(change.within_ms),
            reservation: text(change.reservation),
        }
    }
}

impl From<v1::LimitRaised> for Limit {
    fn from(limit: v1::LimitRaised) -> Self {
        Self {
            queue: limit.queue,
            gpu_type: text(limit.gpu_type),
            from_units: limit.from,
            to_units: limit.to,
        }
    }
}
