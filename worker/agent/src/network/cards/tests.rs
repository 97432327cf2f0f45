//! Machines as Linux would tell of them, in a folder.

use std::os::unix::fs::symlink;

use super::*;

/// A machine under construction.
pub(crate) struct Sysfs {
    pub(crate) root: tempfile::TempDir,
    gpus: BTreeMap<UnitId, Place>,
}

impl Sysfs {
    pub(crate) fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap(), gpus: BTreeMap::new() }
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.root.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{text}\n")).unwrap();
    }

    /// A device at `path` below the buses, such as `pci0000:15/0000:15:01.0/0000:18:00.0`.
    fn device(&self, path: &str, numa: i32) -> String {
        let path = format!("devices/{path}");
        self.write(&format!("{path}/numa_node"), &numa.to_string());
        path
    }

    fn link(&self, class: &str, name: &str, device: &str) {
        let own = self.root.path().join(device).join(class).join(name);
        symlink(self.root.path().join(device), own.join("device")).unwrap();
        let all = self.root.path().join("class").join(class);
        fs::create_dir_all(&all).unwrap();
        symlink(own, all.join(name)).unwrap();
    }

    pub(crate) fn gpu(&mut self, unit: &str, path: &str, numa: i32) {
        let device = self.root.path().join(self.device(path, numa));
        self.gpus.insert(UnitId(unit.into()), place(&device));
    }

    /// An HCA; its port is up or `4: ACTIVE` to be so.
    pub(crate) fn hca(&self, name: &str, (path, numa): (&str, i32), (state, layer): (&str, &str)) {
        let device = self.device(path, numa);
        let port = format!("{device}/infiniband/{name}/ports/1");
        self.write(&format!("{port}/state"), state);
        self.write(&format!("{port}/link_layer"), layer);
        self.write(&format!("{port}/rate"), "400 Gb/sec (4X NDR)");
        self.link("infiniband", name, &device);
    }

    pub(crate) fn ethernet(&self, name: &str, (path, numa): (&str, i32), speed: &str) {
        let device = self.device(path, numa);
        for (file, text) in [("operstate", "up"), ("type", "1"), ("speed", speed)] {
            self.write(&format!("{device}/net/{name}/{file}"), text);
        }
        self.link("net", name, &device);
    }

    /// An interface without a device, such as a bridge.
    fn bridge(&self, name: &str) {
        for (file, text) in [("operstate", "up"), ("type", "1"), ("speed", "10000")] {
            self.write(&format!("class/net/{name}/{file}"), text);
        }
    }

    /// All Ethernet has an address of its own.
    pub(crate) fn cards(&self) -> Cards {
        let all = names(&self.root.path().join("class/net")).into_iter().collect();
        Cards::new(self.root.path(), self.gpus.clone(), all)
    }
}

pub(crate) const ACTIVE: &str = "4: ACTIVE";
pub(crate) const INFINIBAND: &str = "InfiniBand";

/// The root port of each of four pairs of a GPU and its card on either socket.
pub(crate) fn port_of(nth: u32) -> (String, i32) {
    let bus = [0x15, 0x26, 0x37, 0x48, 0x87, 0x98, 0xa9, 0xba][usize::try_from(nth).unwrap()];
    let bridge = format!("pci0000:{bus:02x}/0000:{bus:02x}:01.0/0000:{:02x}:00.0", bus + 1);
    (bridge, i32::from(nth >= 4))
}

/// A machine as a DGX: eight GPUs, each with a card behind the same switch, two cards for storage, and
/// two of Ethernet.
pub(crate) fn dgx() -> Sysfs {
    let mut machine = Sysfs::new();
    for nth in 0..8 {
        let (bridge, numa) = port_of(nth);
        machine.gpu(
            &format!("GPU-{nth}"),
            &format!("{bridge}/0000:02:00.0/0000:0{nth}:00.0"),
            numa,
        );
        let at = format!("{bridge}/0000:02:01.0/0000:1{nth}:00.0");
        machine.hca(&format!("mlx5_{nth}"), (&at, numa), (ACTIVE, INFINIBAND));
    }
    for (name, numa) in [("mlx5_8", 0), ("mlx5_9", 1)] {
        let at = format!("pci0000:5{numa}/0000:5{numa}:01.0/0000:6{numa}:00.0");
        machine.hca(name, (&at, numa), (ACTIVE, "Ethernet"));
    }
    machine.ethernet("eth0", ("pci0000:00/0000:00:1c.0/0000:01:00.0", 0), "10000");
    machine.ethernet("eth1", ("pci0000:80/0000:80:01.0/0000:81:00.0", 1), "100000");
    machine
}

fn nearest_hcas(machine: &Sysfs, units: &[&str]) -> Vec<String> {
    let (cards, units) = (machine.cards(), units.iter().map(|u| UnitId((*u).into())));
    let (all, units) = (cards.hcas(), units.collect::<Vec<_>>());
    let near = cards.nearest_hcas(&all, &units.iter().collect::<Vec<_>>());
    near.into_iter().map(|hca| hca.name.clone()).collect()
}

#[test]
fn a_gpu_has_the_card_behind_its_switch() {
    let machine = dgx();
    assert_eq!(machine.cards().hcas().len(), 10);
    assert_eq!(nearest_hcas(&machine, &["GPU-3"]), ["mlx5_3"]);
    assert_eq!(nearest_hcas(&machine, &["GPU-6", "GPU-1"]), ["mlx5_1", "mlx5_6"]);
    let all: Vec<String> = (0..8).map(|nth| format!("GPU-{nth}")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    assert_eq!(nearest_hcas(&machine, &all).len(), 8, "none for storage");
}

#[test]
fn a_card_without_a_link_leaves_its_gpu_those_of_its_numa_node() {
    let machine = dgx();
    let (bridge, numa) = port_of(5);
    let at = format!("{bridge}/0000:02:01.0/0000:15:00.0/infiniband/mlx5_5/ports/1/state");
    machine.write(&format!("devices/{at}"), "1: DOWN");
    assert_eq!(numa, 1);
    let near = nearest_hcas(&machine, &["GPU-5"]);
    assert_eq!(near, ["mlx5_4", "mlx5_6", "mlx5_7"], "of its own kind, on its socket");
    assert_eq!(nearest_hcas(&machine, &["GPU-4"]), ["mlx5_4"]);
}

#[test]
fn where_all_are_as_near_infiniband_is_taken() {
    // As on a virtual machine: each device on a bus of its own, and a card of the cloud's network.
    let mut machine = Sysfs::new();
    for nth in 0..2 {
        machine.gpu(&format!("GPU-{nth}"), &format!("pci000{nth}:00/000{nth}:00:00.0"), -1);
        let at = format!("pci010{nth}:00/010{nth}:00:00.0");
        machine.hca(&format!("mlx5_ib{nth}"), (&at, -1), (ACTIVE, INFINIBAND));
    }
    machine.hca("mlx5_an0", ("pci0200:00/0200:00:02.0", -1), (ACTIVE, "Ethernet"));
    assert_eq!(nearest_hcas(&machine, &["GPU-1"]), ["mlx5_ib0", "mlx5_ib1"]);
    assert_eq!(nearest_hcas(&machine, &["GPU-of-nowhere"]), ["mlx5_ib0", "mlx5_ib1"]);
}

#[test]
fn sockets_go_by_what_is_near_and_not_slow() {
    let machine = dgx();
    machine.bridge("docker0");
    let cards = machine.cards();
    let near = |reached: &str, unit: &str| {
        let names = cards.nearest_interfaces(reached, &[&UnitId(unit.into())]);
        names.into_iter().collect::<Vec<_>>().join(",")
    };
    assert_eq!(near("eth0", "GPU-7"), "eth0,eth1");
    assert_eq!(near("eth0", "GPU-0"), "eth0", "its own is nearer");
    assert_eq!(near("eth1", "GPU-0"), "eth1", "the other is slower");
    assert_eq!(near("bond0", "GPU-7"), "bond0", "no card of which the speed is known");
    let unaddressed = Cards { addressed: BTreeSet::from(["eth0".into()]), ..cards.clone() };
    assert_eq!(unaddressed.nearest_interfaces("eth0", &[&UnitId("GPU-7".into())]).len(), 1);
}

#[test]
fn a_node_has_the_bandwidth_of_what_its_gpus_reach_others_by() {
    let machine = dgx();
    let cards = machine.cards();
    let units: Vec<UnitId> = (0..8).map(|nth| UnitId(format!("GPU-{nth}"))).collect();
    let units: Vec<&UnitId> = units.iter().collect();
    assert_eq!(cards.bandwidth(Some("eth1"), &units), "3.2Tbps".parse().unwrap());
    assert_eq!(cards.bandwidth(Some("eth1"), &[]), "100Gbps".parse().unwrap(), "no GPU");
    assert_eq!(cards.bandwidth(None, &[]), BitRate(0));
    machine.write("class/net/eth1/speed", "-1");
    assert_eq!(cards.bandwidth(Some("eth1"), &[]), BitRate(0), "Linux does not tell");
    assert_eq!(rate("2.5 Gb/sec (1X SDR)"), Some(2_500_000_000));
    assert_eq!(rate("fast"), None);
}

#[test]
fn a_machine_that_tells_nothing_has_no_cards() {
    let dir = tempfile::tempdir().unwrap();
    let cards = Cards::new(dir.path(), BTreeMap::new(), BTreeSet::new());
    assert!(cards.hcas().is_empty() && cards.interfaces().is_empty());
    assert_eq!(place(&dir.path().join("none")), Place::default());
}
