//! Which GPUs have direct links to each other (`NVLink`): an island is all that hangs together, by links
//! from GPU to GPU or over switches.

use std::collections::BTreeSet;

use nvml_wrapper::{Device as NvmlDevice, error::NvmlError, struct_wrappers::device::PciInfo};

/// No GPU has more links.
const LINKS: u32 = 18;

/// What is at an end of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    /// A device, by PCI domain, bus and number: a GPU or a switch.
    Device(u32, u32, u32),
    /// A switch that is not on this machine's buses.
    Elsewhere,
}

/// A GPU and what its links lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Linked {
    pub(super) index: u32,
    pub(super) own: End,
    pub(super) ends: BTreeSet<End>,
}

impl From<PciInfo> for End {
    fn from(place: PciInfo) -> Self {
        Self::Device(place.domain, place.bus, place.device)
    }
}

impl Linked {
    /// As NVML tells it of a GPU. One without links has none.
    ///
    /// # Errors
    /// When it does not tell.
    pub(super) fn of(index: u32, gpu: &NvmlDevice<'_>) -> Result<Self, NvmlError> {
        let own = gpu.pci_info()?.into();
        let mut ends = BTreeSet::new();
        for number in 0..LINKS {
            let link = gpu.link_wrapper_for(number);
            match link.is_active() {
                Ok(true) => {}
                Ok(false) => continue,
                // There are no more of them.
                Err(NvmlError::InvalidArg | NvmlError::NotSupported) => break,
                Err(error) => return Err(error),
            }
            match link.remote_pci_info() {
                Ok(place) => ends.insert(place.into()),
                Err(NvmlError::InvalidArg | NvmlError::NotSupported) => ends.insert(End::Elsewhere),
                Err(error) => return Err(error),
            };
        }
        Ok(Self { index, own, ends })
    }
}

/// The GPUs' numbers by island, by the lowest of each.
pub(super) fn islands(gpus: &[Linked]) -> Vec<BTreeSet<u32>> {
    let mut islands: Vec<(BTreeSet<u32>, BTreeSet<End>)> = Vec::new();
    for gpu in gpus {
        let mut own = (BTreeSet::from([gpu.index]), gpu.ends.clone());
        own.1.insert(gpu.own);
        // It joins all that it has an end in common with.
        islands.retain(|(members, ends)| {
            let apart = ends.is_disjoint(&own.1);
            if !apart {
                own.0.extend(members);
                own.1.extend(ends);
            }
            apart
        });
        islands.push(own);
    }
    let mut islands: Vec<BTreeSet<u32>> = islands.into_iter().map(|(members, _)| members).collect();
    islands.sort_unstable();
    islands
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(index: u32, ends: &[u32]) -> Linked {
        let device = |bus: &u32| End::Device(0, *bus, 0);
        Linked { index, own: device(&index), ends: ends.iter().map(device).collect() }
    }

    fn found(gpus: &[Linked]) -> Vec<Vec<u32>> {
        islands(gpus).into_iter().map(|island| island.into_iter().collect()).collect()
    }

    #[test]
    fn pairs_meshes_and_switches_are_islands() {
        let pairs = [gpu(0, &[1]), gpu(1, &[0]), gpu(2, &[3]), gpu(3, &[2])];
        assert_eq!(found(&pairs), [[0, 1], [2, 3]]);
        let ring = [gpu(0, &[1]), gpu(2, &[3]), gpu(3, &[2, 1]), gpu(1, &[0, 3])];
        assert_eq!(found(&ring), [[0, 1, 2, 3]]);
        let switched = [gpu(0, &[90, 91]), gpu(1, &[90, 91]), gpu(2, &[91])];
        assert_eq!(found(&switched), [[0, 1, 2]]);
        assert_eq!(found(&[gpu(0, &[]), gpu(1, &[])]), [[0], [1]], "nothing links them");
        assert!(found(&[]).is_empty());
    }

    #[test]
    fn a_switch_that_is_on_no_bus_joins_those_that_hang_on_it() {
        let on_switch =
            |index| Linked { ends: BTreeSet::from([End::Elsewhere]), ..gpu(index, &[]) };
        assert_eq!(found(&[on_switch(0), gpu(1, &[]), on_switch(2)]), [vec![0, 2], vec![1]]);
    }
}
