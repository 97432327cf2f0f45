//! The network cards of the machine, as Linux tells of them under `/sys`: InfiniBand and its like by
//! their names there (HCAs), Ethernet by its interfaces. Read anew for each attempt, because links
//! come and go.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use trainyard_jobs::{BitRate, UnitId};

use super::near::{Place, nearest};

/// The kinds of interfaces that are network cards: Ethernet, and IP over `InfiniBand`.
const CARDS: [&str; 2] = ["1", "32"];

/// Where the machine's network cards and GPUs stand.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cards {
    sysfs: PathBuf,
    /// By unit: a part of a GPU stands where that does.
    gpus: BTreeMap<UnitId, Place>,
    /// Interfaces by which others may reach this node: they have an address that goes beyond the wire.
    addressed: BTreeSet<String>,
}

/// A card that does RDMA, with a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hca {
    pub(crate) name: String,
    /// Whether that link is `InfiniBand`, not Ethernet.
    infiniband: bool,
    /// Bits a second, of all ports with a link.
    rate: u64,
    place: Place,
}

struct Interface {
    name: String,
    /// Megabits a second.
    speed: Option<u64>,
    place: Place,
}

impl Cards {
    pub(crate) fn new(
        sysfs: &Path,
        gpus: BTreeMap<UnitId, Place>,
        addressed: BTreeSet<String>,
    ) -> Self {
        Self { sysfs: sysfs.to_owned(), gpus, addressed }
    }

    /// The cards with a link, by name.
    pub(crate) fn hcas(&self) -> Vec<Hca> {
        let hca = |name: String| {
            let card = self.sysfs.join("class/infiniband").join(&name);
            let linked = |port: &PathBuf| {
                read(&port.join("state")).is_some_and(|state| state.starts_with("4:"))
            };
            let ports = names(&card.join("ports")).into_iter().map(|n| card.join("ports").join(n));
            let ports: Vec<PathBuf> = ports.filter(linked).collect();
            let layer = |port: &PathBuf| read(&port.join("link_layer"));
            let infiniband = ports.iter().any(|port| layer(port).as_deref() == Some("InfiniBand"));
            let rates = ports.iter().filter_map(|port| rate(&read(&port.join("rate"))?));
            let rate = rates.fold(0, u64::saturating_add);
            let place = place(&card.join("device"));
            (!ports.is_empty()).then_some(Hca { name, infiniband, rate, place })
        };
        names(&self.sysfs.join("class/infiniband")).into_iter().filter_map(hca).collect()
    }

    /// Those by which ranks on these units best reach others. Cards of both kinds cannot speak to each
    /// other: where both are as near it is `InfiniBand`, which nobody has for anything else.
    pub(crate) fn nearest_hcas<'a>(&self, all: &'a [Hca], units: &[&UnitId]) -> Vec<&'a Hca> {
        let mut near = nearest(&self.places(units), all, |hca| &hca.place);
        if near.iter().any(|hca| hca.infiniband) {
            near.retain(|hca| hca.infiniband);
        }
        near
    }

    /// The interfaces by which ranks on these units best reach others, where sockets carry all that
    /// they say: `reached`, by which others find this node, and those nearest to their GPUs that are no
    /// slower.
    pub(crate) fn nearest_interfaces(&self, reached: &str, units: &[&UnitId]) -> BTreeSet<String> {
        let all = self.interfaces();
        let speed = |name: &str| all.iter().find(|card| card.name == name)?.speed;
        let least = speed(reached);
        let serves = |card: &&Interface| {
            self.addressed.contains(&card.name) && card.speed >= least && least.is_some()
        };
        let serving: Vec<&Interface> = all.iter().filter(serves).collect();
        let near = nearest(&self.places(units), &serving, |card| &card.place);
        near.into_iter().map(|card| card.name.clone()).chain([reached.to_owned()]).collect()
    }

    /// What ranks on these units have to reach others by, all together: the cards nearest to them, or
    /// else the interface by which the node is reached.
    pub(crate) fn bandwidth(&self, reached: Option<&str>, units: &[&UnitId]) -> BitRate {
        let all = self.hcas();
        let near = self.nearest_hcas(&all, units);
        let cards = near.iter().map(|hca| hca.rate).fold(0, u64::saturating_add);
        let file = reached.map(|name| self.sysfs.join("class/net").join(name).join("speed"));
        let interface = || read(&file?)?.parse::<u64>().ok()?.checked_mul(1_000_000);
        BitRate(if cards > 0 { cards } else { interface().unwrap_or(0) })
    }

    /// Interfaces that are cards and have a link.
    fn interfaces(&self) -> Vec<Interface> {
        let interface = |name: String| {
            let dir = self.sysfs.join("class/net").join(&name);
            let is = |file: &str, wanted: &[&str]| {
                read(&dir.join(file)).is_some_and(|text| wanted.contains(&text.as_str()))
            };
            let real = dir.join("device").exists();
            let speed = read(&dir.join("speed")).and_then(|speed| speed.parse().ok());
            let card = Interface { name, speed, place: place(&dir.join("device")) };
            (real && is("operstate", &["up"]) && is("type", &CARDS)).then_some(card)
        };
        names(&self.sysfs.join("class/net")).into_iter().filter_map(interface).collect()
    }

    /// Where units stand; those of which nothing is known stand nowhere, and everything is as near.
    fn places(&self, units: &[&UnitId]) -> Vec<&Place> {
        static NOWHERE: Place = Place { path: Vec::new(), numa: None };
        units.iter().map(|unit| self.gpus.get(*unit).unwrap_or(&NOWHERE)).collect()
    }
}

/// Where a device of `/sys` stands.
pub(crate) fn place(device: &Path) -> Place {
    let Ok(path) = fs::canonicalize(device) else { return Place::default() };
    let parts = path.iter().filter_map(|part| part.to_str());
    let is_bridge = |part: &&str| part.starts_with("pci") && part.contains(':');
    let path = parts.skip_while(|part| !is_bridge(part)).map(str::to_owned).collect();
    // Minus one where the firmware does not tell.
    let numa = read(&device.join("numa_node")).and_then(|text| text.parse().ok());
    Place { path, numa }
}

/// Bits a second of a port's `400 Gb/sec (4X NDR)`.
fn rate(text: &str) -> Option<u64> {
    let number = text.split_once(" Gb/sec")?.0;
    format!("{number}Gbps").parse().ok().map(|BitRate(bits)| bits)
}

fn read(path: &Path) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

/// What a folder holds, sorted.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort_unstable_by_key(|name| (name.len(), name.clone()));
    names
}

#[cfg(test)]
pub(crate) mod tests;
