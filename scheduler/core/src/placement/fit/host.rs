//! What a node has beside its units, and what ranks take of it: one account with an entry for each
//! thing, and no rule that is for one of them alone.

use std::fmt;

use trainyard_jobs::{BitRate, Bytes, Inventory, spec::Resources};

/// Thousandths of a processor.
const CPU: u64 = 1000;

/// What a node has beside its units, or what a rank takes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Host {
    /// Thousandths of logical processors.
    pub cpu_milli: u64,
    /// Main memory.
    pub memory: Bytes,
    /// Disk space for attempts.
    pub disk: Bytes,
    /// Bandwidth of the network.
    pub network: BitRate,
}

/// One entry of the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Supply {
    /// Logical processors.
    Cpus,
    /// Main memory.
    Memory,
    /// Disk space.
    Disk,
    /// Bandwidth.
    Network,
}

impl Supply {
    /// All entries, in the order of [`Host::amounts`].
    pub const ALL: [Self; 4] = [Self::Cpus, Self::Memory, Self::Disk, Self::Network];

    /// What a node may lack.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cpus => "CPUs",
            Self::Memory => "memory",
            Self::Disk => "disk space",
            Self::Network => "network bandwidth",
        }
    }

    /// An amount of it, without its name: `16`, `64.0 GiB`.
    #[must_use]
    pub fn amount(self, of: Host) -> String {
        match self {
            Self::Cpus => (of.cpu_milli / CPU).to_string(),
            Self::Memory => of.memory.to_string(),
            Self::Disk => of.disk.to_string(),
            Self::Network => of.network.to_string(),
        }
    }

    /// The same with its name.
    fn words(self, of: Host) -> String {
        let amount = self.amount(of);
        match self {
            Self::Cpus if amount == "1" => "1 CPU".to_owned(),
            Self::Cpus => format!("{amount} CPUs"),
            Self::Memory => format!("{amount} of memory"),
            Self::Disk => format!("{amount} of disk"),
            Self::Network => format!("{amount} of network"),
        }
    }
}

impl Host {
    /// All that a node has.
    #[must_use]
    pub fn of(inventory: &Inventory) -> Self {
        let Inventory { cpus, memory, disk, network, .. } = *inventory;
        Self { cpu_milli: u64::from(cpus) * CPU, memory, disk, network }
    }

    /// What a job's spec says that each of its ranks takes.
    #[must_use]
    pub fn of_rank(r: &Resources) -> Self {
        Self {
            cpu_milli: r.cpus_per_rank.map_or(0, |cpus| u64::from(cpus) * CPU),
            memory: r.memory_per_rank.unwrap_or_default(),
            disk: r.disk_per_rank.unwrap_or_default(),
            network: r.network_per_rank.unwrap_or_default(),
        }
    }

    /// The entries, in the order of [`Supply::ALL`].
    #[must_use]
    pub const fn amounts(self) -> [u64; 4] {
        [self.cpu_milli, self.memory.0, self.disk.0, self.network.0]
    }

    /// The account with these entries.
    #[must_use]
    pub const fn from_amounts([cpu_milli, memory, disk, network]: [u64; 4]) -> Self {
        let (memory, disk, network) = (Bytes(memory), Bytes(disk), BitRate(network));
        Self { cpu_milli, memory, disk, network }
    }

    /// One entry alone.
    #[must_use]
    pub const fn only(self, supply: Supply) -> Self {
        let Self { cpu_milli, memory, disk, network } = self;
        let none = Self::from_amounts([0; 4]);
        match supply {
            Supply::Cpus => Self { cpu_milli, ..none },
            Supply::Memory => Self { memory, ..none },
            Supply::Disk => Self { disk, ..none },
            Supply::Network => Self { network, ..none },
        }
    }

    fn zip(self, other: Self, with: impl Fn(u64, u64) -> u64) -> Self {
        let ([a, b, c, d], [e, f, g, h]) = (self.amounts(), other.amounts());
        Self::from_amounts([with(a, e), with(b, f), with(c, g), with(d, h)])
    }

    /// Whether there is nothing to it.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        let [cpus, memory, disk, network] = self.amounts();
        cpus == 0 && memory == 0 && disk == 0 && network == 0
    }

    /// Whether both have some of the same.
    #[must_use]
    pub fn meets(self, other: Self) -> bool {
        self.amounts().into_iter().zip(other.amounts()).any(|(own, their)| own > 0 && their > 0)
    }

    /// For how many ranks that take so much each it is enough.
    #[must_use]
    pub fn ranks(&self, each: Self) -> u32 {
        let entries = self.amounts().into_iter().zip(each.amounts());
        let ranks = entries.filter_map(|(all, each)| all.checked_div(each)).min();
        u32::try_from(ranks.unwrap_or(u64::MAX)).unwrap_or(u32::MAX)
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        self.zip(other, u64::saturating_add)
    }

    /// What is left without the other.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        self.zip(other, u64::saturating_sub)
    }

    /// The larger of each.
    #[must_use]
    pub fn at_best(self, other: Self) -> Self {
        self.zip(other, u64::max)
    }

    /// What so many ranks take.
    #[must_use]
    pub fn times(self, ranks: u64) -> Self {
        self.zip(Self::default(), |each, _| each.saturating_mul(ranks))
    }
}

/// What there is of it, in whole processors: `16 CPUs, 64.0 GiB of memory and 10.0 Gbps of network`.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let some = Supply::ALL.into_iter().zip(self.amounts()).filter(|(_, amount)| *amount > 0);
        let mut words: Vec<String> = some.map(|(supply, _)| supply.words(*self)).collect();
        let last = words.pop().unwrap_or_else(|| Supply::Cpus.words(*self));
        match words.as_slice() {
            [] => f.write_str(&last),
            first => write!(f, "{} and {last}", first.join(", ")),
        }
    }
}

/// What a job's spec says that each rank takes of its node, to be put behind what it counts:
/// `, with 16 CPUs for each rank`, or nothing.
#[must_use]
pub fn beside(request: &Resources) -> String {
    let host = Host::of_rank(request);
    match (host.is_none(), request.gpus) {
        (true, _) => String::new(),
        (false, 1) => format!(", with {host}"),
        (false, _) => format!(", with {host} for each rank"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOME: Host = Host::from_amounts([16_000, 64 << 30, 200 << 30, 10_000_000_000]);

    #[test]
    fn each_entry_counts_alike() {
        for supply in Supply::ALL {
            let each = SOME.only(supply);
            assert_eq!(SOME.times(3).ranks(each), 3, "{supply:?}");
            assert_eq!(SOME.without(each).ranks(each), 0, "{supply:?}");
            assert!(each.meets(SOME) && !each.meets(SOME.without(each)), "{supply:?}");
            assert_eq!(SOME.without(each).and(each), SOME, "{supply:?}");
            assert_eq!(SOME.without(each).at_best(each), SOME, "{supply:?}");
        }
        assert_eq!(SOME.ranks(Host::default()), u32::MAX, "who asks for nothing fits");
        assert_eq!(Host::default().ranks(SOME), 0);
    }

    #[test]
    fn what_there_is_is_listed() {
        let all = "16 CPUs, 64.0 GiB of memory, 200.0 GiB of disk and 10.0 Gbps of network";
        assert_eq!(SOME.to_string(), all);
        assert_eq!(SOME.only(Supply::Disk).to_string(), "200.0 GiB of disk");
        assert_eq!(Host { cpu_milli: 1000, ..Host::default() }.to_string(), "1 CPU");
        assert_eq!(Host::default().to_string(), "0 CPUs");
    }
}
