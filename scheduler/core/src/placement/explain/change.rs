//! A change that would start a job, in words and numbers: what is different, when the job would
//! start then, and what its run would take and cost.

use std::fmt;

use trainyard_jobs::{
    BitRate, Bytes, JobId, Millis, NodeId, ProjectName, ReservationName, Timestamp, Usd,
};

/// A change that would start a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It asks for so many GPUs or CPU slots.
    Gpus(u32),
    /// It may start with so few of them, of those that it asks for.
    MinGpus(u32),
    /// It asks for another type.
    Type(String),
    /// It takes any type.
    AnyType,
    /// It asks for so many thousandths of a GPU at the least.
    Fraction(u16),
    /// It asks for whole GPUs.
    WholeGpus,
    /// It asks for no least memory.
    AnyMemory,
    /// It counts on so many CPUs of its nodes for each rank, if on any.
    CpusPerRank(Option<u32>),
    /// It counts on so much memory of its nodes for each rank, if on any.
    MemoryPerRank(Option<Bytes>),
    /// It counts on so much disk space of its nodes for each rank, if on any.
    DiskPerRank(Option<Bytes>),
    /// It counts on so much bandwidth of its nodes for each rank, if on any.
    NetworkPerRank(Option<BitRate>),
    /// Any number of its ranks may share a node.
    AnySpread,
    /// It asks for no labels.
    AnyNode,
    /// Its queues may have more.
    Limit(Vec<Limit>),
    /// It has this priority.
    Priority {
        /// The smallest that is enough.
        priority: i32,
        /// The running jobs that would be stopped for it first; none if it would start at once.
        stops: Vec<JobId>,
        /// What that loses, in unit-milliseconds.
        lost: u64,
    },
    /// These running jobs end, the one that matters most first.
    Ends(Vec<JobId>),
    /// So many nodes like this one are added.
    Nodes {
        /// A node that exists.
        like: NodeId,
        /// How many.
        count: u32,
    },
    /// It waits until then, and nothing else.
    Until(Timestamp),
    /// It is limited to so much run time more, so that it is gone before a reservation begins.
    Within(Millis),
    /// There is no such reservation.
    Unreserved(ReservationName),
}

/// A queue's limit, raised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// The queue.
    pub queue: ProjectName,
    /// The type of units that it is for, if it is for one.
    pub gpu_type: Option<String>,
    /// Units as it is.
    pub from: u32,
    /// Units that are enough.
    pub to: u32,
}

impl Change {
    /// The word that JSON uses.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Gpus(_) => "gpus",
            Self::MinGpus(_) => "min_gpus",
            Self::Type(_) => "type",
            Self::AnyType => "any_type",
            Self::Fraction(_) => "fraction",
            Self::WholeGpus => "whole_gpus",
            Self::AnyMemory => "any_memory",
            Self::CpusPerRank(_) => "cpus_per_rank",
            Self::MemoryPerRank(_) => "memory_per_rank",
            Self::DiskPerRank(_) => "disk_per_rank",
            Self::NetworkPerRank(_) => "network_per_rank",
            Self::AnySpread => "any_spread",
            Self::AnyNode => "any_node",
            Self::Limit(_) => "limit",
            Self::Priority { .. } => "priority",
            Self::Ends(_) => "ends",
            Self::Nodes { .. } => "nodes",
            Self::Until(_) => "until",
            Self::Within(_) => "within",
            Self::Unreserved(_) => "unreserved",
        }
    }
}

/// What a run would take and cost, as far as one can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// The prices of its units, in micro-dollars for an hour; zero where none is known.
    pub micro_usd_per_hour: u64,
    /// How long it is expected to run, with so many ranks and of these types; nothing if nothing
    /// is known of that.
    pub runs: Option<Millis>,
    /// Its time limit, if that ends it before it is done.
    pub cut: Option<Millis>,
}

impl Cost {
    /// Micro-dollars in all.
    #[must_use]
    pub fn micro_usd(&self) -> Option<u64> {
        let Millis(runs) = self.runs.filter(|_| self.micro_usd_per_hour > 0)?;
        let runs = self.cut.map_or(runs, |cut| runs.min(cut.0));
        let all = u128::from(self.micro_usd_per_hour) * u128::from(runs) / 3_600_000;
        Some(u64::try_from(all).unwrap_or(u64::MAX))
    }
}

/// Whole minutes: nobody knows it better.
fn about(span: Millis) -> Millis {
    Millis(if span.0 < 60_000 { span.0 } else { span.0 / 60_000 * 60_000 })
}

/// Such as `about 3h, $20.00 an hour, $60.00 in all`; nothing if nothing is known.
impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let runs = self.runs.map(|runs| format!("about {}", about(runs)));
        let hour = Some(Usd(self.micro_usd_per_hour)).filter(|usd| usd.0 > 0);
        let all = self.micro_usd().map(|all| format!("${} in all", Usd(all)));
        let parts = [runs, hour.map(|usd| format!("${usd} an hour")), all];
        f.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

/// A change, and what it comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counterfactual {
    /// What is different.
    pub change: Change,
    /// When the job would start.
    pub starts: Timestamp,
    /// What its run would take and cost then.
    pub cost: Cost,
    /// What the change itself costs in an hour, in micro-dollars, as far as prices are known.
    pub micro_usd_per_hour: u64,
    /// By how much the run would cost more than the job's spec allows, in micro-dollars.
    pub over: u64,
    /// What there is to say of time and cost beside that, each in a line.
    pub notes: Vec<String>,
    pub(super) text: String,
}

impl Counterfactual {
    /// A change with which the job would start at `starts`.
    pub(super) const fn at(starts: Timestamp, cost: Cost, change: Change, text: String) -> Self {
        Self { change, starts, cost, micro_usd_per_hour: 0, over: 0, notes: Vec::new(), text }
    }

    /// Says what its run would take and cost, beside what that would be as asked and what it may
    /// cost.
    pub(super) fn noted(mut self, asked: &Cost, most: Option<Usd>) -> Self {
        let own = self.cost.to_string();
        let without_cut = Cost { cut: None, ..self.cost };
        if without_cut != *asked && !own.is_empty() {
            let beside = match (asked.micro_usd(), asked.runs) {
                (Some(usd), Some(runs)) => format!("; as asked {}, ${}", about(runs), Usd(usd)),
                (None, Some(runs)) if self.cost.runs != asked.runs => {
                    format!("; as asked {}", about(runs))
                }
                _ => String::new(),
            };
            self.notes.push(format!("{own}{beside}"));
        }
        if let Some(cut) = self.cost.cut {
            self.notes.push(format!("its time limit ends it after {cut}, before it is done"));
        }
        if let Some((all, most)) = self.cost.micro_usd().zip(most) {
            self.over = all.saturating_sub(most.0);
        }
        if self.over > 0 {
            let over = Usd(self.over.div_ceil(10_000).saturating_mul(10_000));
            self.notes.push(format!("its `max_cost_usd` would have to be ${over} higher"));
        }
        self
    }
}

impl fmt::Display for Counterfactual {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        if self.micro_usd_per_hour > 0 {
            write!(f, ", for ${} an hour", Usd(self.micro_usd_per_hour))?;
        }
        Ok(())
    }
}
