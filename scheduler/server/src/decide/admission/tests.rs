//! What exceeds every node of the last seven days is refused, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use trainyard_core::{Command, Envelope, State, archive::NoArchive, command::FEATURE_LEVEL};
use trainyard_jobs::{
    BitRate, Bytes, ClusterId, Device, DeviceKind, GpuPart, Inventory, Millis, NodeId, SessionId,
    Timestamp, UnitId, spec::Resources,
};
use uuid::Uuid;

use super::check;

const DAY: u64 = 86_400_000;
const BEGAN: u64 = 1_000 * DAY;

/// A state to which commands come at days since it began.
struct Cluster {
    state: State,
    index: u64,
}

impl Cluster {
    fn new() -> Self {
        Self { state: State::new(ClusterId(Uuid::from_u128(1))), index: 0 }
    }

    fn apply(&mut self, ms: u64, command: Command) {
        self.index += 1;
        let envelope = Envelope { level: FEATURE_LEVEL, time: Timestamp(BEGAN + ms), command };
        self.state.apply(self.index, envelope, &NoArchive, &mut Vec::new()).unwrap();
    }

    fn register(&mut self, ms: u64, n: u64, slots: u32) {
        let inventory = inventory(n, slots);
        let (node, session) = (NodeId::from_random(n), SessionId(Uuid::from_u128(n.into())));
        let running = BTreeSet::new();
        self.apply(ms, Command::RegisterNode { node, session, inventory, running, gone: None });
    }

    fn lose(&mut self, ms: u64, n: u64) {
        let (node, session) = (NodeId::from_random(n), SessionId(Uuid::from_u128(n.into())));
        self.apply(ms, Command::MarkLost { node, session });
    }

    /// Time passes: some command comes then.
    fn pass(&mut self, ms: u64) {
        self.apply(ms, Command::Archive { jobs: Vec::new() });
    }

    fn takes(&self, ranks: u32) -> bool {
        let device = DeviceKind::Cpu;
        check(&self.state, &Resources { gpus: ranks, device, ..Resources::default() }).is_ok()
    }
}

fn inventory(n: u64, slots: u32) -> Inventory {
    let slot = |index| {
        let device = Device {
            kind: DeviceKind::Cpu,
            index,
            model: "cpu".into(),
            memory: Bytes(0),
            part: GpuPart::Whole,
        };
        (UnitId(format!("cpu-{index}")), device)
    };
    Inventory {
        name: format!("n{n}").parse().unwrap(),
        address: "127.0.0.1".into(),
        devices: (0..slots).map(slot).collect(),
        cpus: slots,
        memory: Bytes(1 << 30),
        disk: Bytes(0),
        network: BitRate(0),
        ports: (20_000, 20_009),
        labels: BTreeMap::new(),
        version: "0".into(),
    }
}

#[test]
fn a_lost_node_may_come_back_for_seven_days() {
    let mut cluster = Cluster::new();
    cluster.register(0, 1, 2);
    cluster.register(0, 2, 4);
    // What counts is when it was last up, not when it came.
    cluster.lose(30 * DAY, 2);
    for (ms, taken) in
        [(0, true), (6 * DAY, true), (7 * DAY, true), (7 * DAY + 1, false), (8 * DAY, false)]
    {
        cluster.pass(30 * DAY + ms);
        assert_eq!(cluster.takes(6), taken, "{} after it was lost", Millis(ms));
        assert!(cluster.takes(2), "the other one is up, however long ago it came");
    }
    cluster.register(40 * DAY, 2, 3);
    assert!(cluster.takes(5), "it is back");
    assert!(!cluster.takes(6), "with less than it had");
}

#[test]
fn nothing_is_impossible_where_no_node_is_known() {
    let mut cluster = Cluster::new();
    assert!(cluster.takes(1000));
    cluster.register(0, 1, 2);
    assert!(!cluster.takes(1000));
    cluster.lose(DAY, 1);
    cluster.pass(9 * DAY);
    assert!(cluster.takes(1000), "the last that was known is forgotten");
}

#[test]
fn a_refusal_says_what_would_fit() {
    let mut cluster = Cluster::new();
    cluster.register(0, 1, 2);
    cluster.lose(0, 1);
    cluster.register(DAY, 2, 3);
    let device = DeviceKind::Cpu;
    let asked = Resources { gpus: 1_000_000, device, ..Resources::default() };
    let refused = check(&cluster.state, &asked).unwrap_err();
    let said = refused.to_string();
    assert!(said.contains("needs 1000000 CPU slots"), "{said}");
    assert!(said.contains("all 2 nodes of the last seven days together have 5"), "{said}");
    assert!(said.contains("the largest that would fit has `gpus = 5`"), "{said}");
}
