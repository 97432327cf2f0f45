//! The memory of GPUs that attempts share: who has more of it than belongs to their share. Pure.
//! Nothing but this keeps shares apart, so that one rank does not take what others count on.

use std::collections::{BTreeMap, BTreeSet};

use trainyard_jobs::{Bytes, OverMemory, UnitId};

/// How much of one GPU's memory each process has, as NVML says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuMemory {
    /// The GPU's UUID.
    pub gpu: UnitId,
    /// All of its memory.
    pub total: Bytes,
    /// By process.
    pub by_pid: BTreeMap<i32, Bytes>,
}

/// A share that a rank has. An attempt has one of a GPU at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// The rank.
    pub rank: u32,
    /// The share.
    pub unit: UnitId,
}

/// What of the memory of its GPU a share's attempt uses, and what belongs to the share; nothing if
/// the GPU does not tell. `own` are the attempt's processes: all that they use on the GPU counts,
/// contexts of other ranks too.
#[must_use]
pub fn used(holding: &Holding, own: &BTreeSet<i32>, gpus: &[GpuMemory]) -> Option<(Bytes, Bytes)> {
    let (gpu, of) = holding.unit.as_share()?;
    let gpu = gpus.iter().find(|known| known.gpu.0 == gpu)?;
    let of_own = gpu.by_pid.iter().filter(|(pid, _)| own.contains(pid));
    let used = of_own.map(|(_, bytes)| bytes.0).fold(0, u64::saturating_add);
    Some((Bytes(used), Bytes(gpu.total.0 / u64::from(of))))
}

/// Whether an attempt with these shares is to end, for whichever of them is above its memory.
#[must_use]
pub fn verdict(
    holdings: &[Holding],
    own: &BTreeSet<i32>,
    gpus: &[GpuMemory],
) -> Option<OverMemory> {
    holdings.iter().find_map(|holding| {
        let (used, share) = used(holding, own, gpus)?;
        (used > share).then_some(OverMemory { rank: holding.rank, used, share })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn gpu(name: &str, by_pid: &[(i32, u64)]) -> GpuMemory {
        let by_pid = by_pid.iter().map(|(pid, gib)| (*pid, Bytes(gib * GIB))).collect();
        GpuMemory { gpu: UnitId(name.into()), total: Bytes(80 * GIB), by_pid }
    }

    fn holding(rank: u32, unit: &str) -> Holding {
        Holding { rank, unit: UnitId(unit.into()) }
    }

    #[test]
    fn a_rank_may_have_its_share_and_no_more() {
        let gpus = [gpu("GPU-a", &[(1, 12), (2, 8), (9, 50)]), gpu("GPU-b", &[(3, 21)])];
        let own = BTreeSet::from([1, 2, 4]);
        let quarter = [holding(5, "GPU-a/1-of-4")];
        assert_eq!(used(&quarter[0], &own, &gpus), Some((Bytes(20 * GIB), Bytes(20 * GIB))));
        assert_eq!(verdict(&quarter, &own, &gpus), None, "all of it, and not a byte more");
        let more = BTreeSet::from([1, 2, 3]);
        let both = [holding(5, "GPU-a/1-of-4"), holding(6, "GPU-b/0-of-4")];
        let over = OverMemory { rank: 6, used: Bytes(21 * GIB), share: Bytes(20 * GIB) };
        assert_eq!(verdict(&both, &more, &gpus), Some(over));
    }

    #[test]
    fn others_and_whole_gpus_are_none_of_its_business() {
        let gpus = [gpu("GPU-a", &[(1, 79)])];
        let own = BTreeSet::from([1]);
        let nobody = BTreeSet::new();
        assert_eq!(verdict(&[holding(0, "GPU-a/0-of-4")], &nobody, &gpus), None);
        for unit in ["GPU-a", "MIG-a", "cpu-0", "GPU-a/x", "GPU-a/0-of-0", "GPU-gone/0-of-4"] {
            assert_eq!(verdict(&[holding(0, unit)], &own, &gpus), None, "{unit}");
        }
        let slip = [holding(3, "GPU-a/0-of-2")];
        assert_eq!(verdict(&slip, &own, &gpus).map(|over| over.rank), Some(3));
    }
}
