//! How far devices of a machine are from each other, and which cards are nearest to which GPU. Pure;
//! where devices stand says [`cards`](super::cards).

/// Where a device stands on the machine's buses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Place {
    /// From its host bridge down to itself: `pci0000:15`, `0000:15:01.0`, …; nothing if the machine
    /// does not tell.
    pub(crate) path: Vec<String>,
    /// Its NUMA node.
    pub(crate) numa: Option<u32>,
}

/// How far it is between two devices, the nearest first: as NCCL and `nvidia-smi topo` order them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Distance {
    /// Below one root port, over so many bridges.
    Bridges(usize),
    /// Below one host bridge.
    HostBridge,
    /// On one NUMA node.
    Numa,
    /// In one machine.
    Machine,
}

impl Place {
    fn distance(&self, other: &Self) -> Distance {
        let same = self.path.iter().zip(&other.path).take_while(|(a, b)| a == b).count();
        match same {
            0 if self.numa.is_some() && self.numa == other.numa => Distance::Numa,
            0 => Distance::Machine,
            1 => Distance::HostBridge,
            _ => Distance::Bridges(self.path.len() + other.path.len() - 2 * same),
        }
    }
}

/// Those of the cards to which none is nearer for one of the GPUs. They keep their order.
pub(crate) fn nearest<'a, C>(
    gpus: &[&Place],
    cards: &'a [C],
    place: impl Fn(&C) -> &Place,
) -> Vec<&'a C> {
    let least = |gpu: &&Place| cards.iter().map(|card| gpu.distance(place(card))).min();
    let limits: Vec<_> = gpus.iter().map(|gpu| (gpu, least(gpu))).collect();
    let is_near =
        |card: &&C| limits.iter().any(|(gpu, least)| Some(gpu.distance(place(card))) == *least);
    cards.iter().filter(is_near).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(numa: Option<u32>, path: &str) -> Place {
        Place { path: path.split('/').map(str::to_owned).collect(), numa }
    }

    #[test]
    fn a_switch_is_nearer_than_a_host_bridge_and_that_than_a_numa_node() {
        let gpu = place(Some(0), "pci0000:15/0000:15:01.0/0000:16:00.0/0000:17:00.0/0000:18:00.0");
        let others = [
            "pci0000:15/0000:15:01.0/0000:16:00.0/0000:17:00.0/0000:18:00.1",
            "pci0000:15/0000:15:01.0/0000:16:00.0/0000:17:01.0/0000:19:00.0",
            "pci0000:15/0000:15:02.0/0000:20:00.0",
            "pci0000:20/0000:20:01.0/0000:21:00.0",
        ];
        let near = others.map(|path| gpu.distance(&place(Some(0), path)));
        assert!(near.is_sorted() && near[0] < near[1], "{near:?}");
        let far = gpu.distance(&place(Some(1), others[3]));
        assert!(far > near[3]);
        assert_eq!(gpu.distance(&Place::default()), far, "what is not known is not near");
        assert_eq!(gpu.distance(&gpu), Distance::Bridges(0));
    }

    #[test]
    fn each_gpu_has_its_nearest_and_equals_stay_together() {
        let gpus = [
            place(Some(0), "pci0000:15/0000:15:01.0/0000:18:00.0"),
            place(Some(1), "pci0000:80/0000:80:01.0/0000:81:00.0"),
        ];
        let cards = [
            place(Some(0), "pci0000:15/0000:15:01.0/0000:19:00.0"),
            place(Some(0), "pci0000:15/0000:15:03.0/0000:2a:00.0"),
            place(Some(1), "pci0000:90/0000:90:01.0/0000:91:00.0"),
            place(Some(1), "pci0000:a0/0000:a0:01.0/0000:a1:00.0"),
        ];
        let of = |gpus: &[&Place]| nearest(gpus, &cards, |card| card);
        assert_eq!(of(&[&gpus[0]]), [&cards[0]]);
        assert_eq!(of(&[&gpus[1]]), [&cards[2], &cards[3]]);
        assert_eq!(of(&[&gpus[1], &gpus[0]]), [&cards[0], &cards[2], &cards[3]]);
        assert_eq!(of(&[&Place::default()]).len(), 4, "no one is nearer");
        assert!(of(&[]).is_empty());
    }
}
