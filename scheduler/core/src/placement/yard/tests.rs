//! The yard against a naive count, and the places that it prefers.

#![allow(clippy::as_conversions, reason = "small test numbers")]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use trainyard_jobs::{
    BitRate, Bytes, Device, DeviceKind, GpuPart, JobId, NodeId, UnitId,
    spec::{Resources, Speed, Speeds},
};

use super::{Condition, Placement, Yard};
use crate::placement::{
    fit::{Hints, Host, Request, WHOLE},
    score::{Mix, Price, Terms},
    view::PlanNode,
};

fn node(n: u64, gpus: u32, labels: &[(&str, &str)]) -> PlanNode {
    let device = |index| {
        let memory = Bytes(80 << 30);
        let device = Device {
            kind: DeviceKind::Gpu,
            index,
            model: "h100".into(),
            memory,
            part: GpuPart::Whole,
        };
        (UnitId(format!("gpu-{index}")), device)
    };
    PlanNode {
        id: NodeId::from_random(n),
        name: format!("n{n}"),
        version: 1,
        devices: (0..gpus).map(device).collect(),
        owners: BTreeMap::new(),
        // Disks differ, and nodes look alike all the same.
        host: Host {
            cpu_milli: 64_000,
            memory: Bytes(512 << 30),
            disk: Bytes((1 + n % 3) << 40),
            network: BitRate(100_000_000_000),
        },
        taken: Host::default(),
        labels: labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
        ports: (20_000, 20_099),
        ports_in_use: BTreeSet::new(),
    }
}

fn gang(ranks: u32) -> Request {
    Request {
        ranks,
        device: DeviceKind::Gpu,
        types: Vec::new(),
        unit_memory: Bytes(0),
        share: WHOLE,
        part: WHOLE,
        most_per_node: u32::MAX,
        compact: false,
        host: Host::default(),
        labels: BTreeMap::new(),
        entitled: BTreeSet::new(),
    }
}

fn speeds(of: &[(&str, u64)]) -> Speeds {
    let speed =
        |(model, milli): &(&str, u64)| ((*model).to_owned(), Speed::from_milli(*milli).unwrap());
    Speeds(of.iter().map(speed).collect())
}

fn yard(nodes: &[PlanNode]) -> Yard {
    let mut yard = Yard::default();
    for node in nodes {
        yard.set(node, None);
    }
    yard
}

fn put(yard: &mut Yard, request: &Request) -> Option<Vec<(u64, Vec<String>)>> {
    let place = yard.place(request, &Hints::default())?;
    yard.take(&place);
    Some(names(yard, &place))
}

/// The nodes of a place by their number, with the indexes of the units.
fn names(yard: &Yard, place: &Placement) -> Vec<(u64, Vec<String>)> {
    let number = |id: &NodeId| (0..1000).find(|n| NodeId::from_random(*n) == *id).unwrap();
    let units = |units: &[UnitId]| units.iter().map(|unit| unit.0[4..].to_owned()).collect();
    yard.assignments(place).iter().map(|a| (number(&a.node), units(&a.units))).collect()
}

fn nodes_of(yard: &mut Yard, request: &Request) -> Option<Vec<u64>> {
    Some(put(yard, request)?.into_iter().map(|(node, _)| node).collect())
}

#[test]
fn a_gang_stays_within_one_rack_although_another_is_fuller() {
    let rack = |n: u64| if n < 4 { "a" } else { "b" };
    let nodes: Vec<_> = (0..8).map(|n| node(n, 8, &[("rack", rack(n)), ("zone", "z")])).collect();
    let mut yard = yard(&nodes);
    for _ in 0..2 {
        put(&mut yard, &gang(8));
    }
    assert_eq!(nodes_of(&mut yard, &gang(32)).unwrap(), [4, 5, 6, 7], "two are left in rack a");
    assert_eq!(nodes_of(&mut yard, &gang(16)).unwrap(), [2, 3]);
}

#[test]
fn ranks_that_talk_share_an_island_then_a_numa_node() {
    let labels = [("nvlink", "0-1;2-3;4-5;6-7"), ("numa", "0-3;4-7")];
    let mut yard = yard(&[node(1, 8, &labels)]);
    assert_eq!(put(&mut yard, &gang(1)).unwrap()[0].1, ["0"]);
    assert_eq!(put(&mut yard, &gang(2)).unwrap()[0].1, ["2", "3"]);
    assert_eq!(put(&mut yard, &gang(1)).unwrap()[0].1, ["1"], "the island that is begun");
    assert_eq!(put(&mut yard, &gang(3)).unwrap()[0].1, ["4", "5", "6"], "one NUMA node");
}

#[test]
fn a_compact_gang_waits_rather_than_spread() {
    let mut yard = yard(&[node(1, 8, &[]), node(2, 8, &[])]);
    for _ in 0..2 {
        put(&mut yard, &gang(5));
    }
    assert!(yard.place(&Request { compact: true, ..gang(6) }, &Hints::default()).is_none());
    assert_eq!(nodes_of(&mut yard, &gang(6)).unwrap().len(), 2);
}

#[test]
fn fractions_share_a_unit_and_whole_ones_stay_whole() {
    let mut yard = yard(&[node(1, 2, &[])]);
    let half = Request { share: 500, ..gang(1) };
    let third = Request { share: 600, ..gang(1) };
    assert_eq!(put(&mut yard, &half).unwrap()[0].1, ["0"]);
    assert_eq!(put(&mut yard, &half).unwrap()[0].1, ["0"], "the one that is begun");
    assert_eq!(put(&mut yard, &third).unwrap()[0].1, ["1"]);
    assert!(put(&mut yard, &half).is_none(), "400 thousandths are left");
    assert!(put(&mut yard, &gang(1)).is_none());
}

#[test]
fn a_gang_on_parts_is_placed_whenever_its_gpus_are_enough() {
    let mut yard = yard(&[split(node(1, 2, &[]), 4), split(node(2, 3, &[]), 2)]);
    let on_parts = |ranks, part| Request { part, ..gang(ranks) };
    assert!(yard.place(&on_parts(6, 250), &Hints::default()).is_none(), "five GPUs");
    assert_eq!(nodes_of(&mut yard, &on_parts(5, 250)).unwrap().len(), 2);
    assert_eq!(nodes_of(&mut yard, &on_parts(3, 500)).unwrap(), [2], "halves alone");
    assert!(yard.place(&on_parts(1, 500), &Hints::default()).is_none());
    assert_eq!(nodes_of(&mut yard, &on_parts(2, 1)).unwrap(), [1]);
    assert!(yard.place(&gang(1), &Hints::default()).is_none(), "no GPU is whole");
}

#[test]
fn processors_and_memory_bind_as_units_do() {
    let mut yard = yard(&[node(1, 8, &[])]);
    let hungry = Request { host: Host { cpu_milli: 20_000, ..Host::default() }, ..gang(2) };
    assert!(put(&mut yard, &hungry).is_some());
    assert!(put(&mut yard, &hungry).is_none(), "24 of 64 processors are left, 40 are asked for");
    assert!(put(&mut yard, &Request { host: host([0, 600, 0, 0]), ..gang(1) }).is_none());
    assert!(put(&mut yard, &gang(6)).is_some());
}

#[test]
fn the_expected_jobs_keep_their_room() {
    let mut yard = yard(&[node(1, 8, &[]), node(2, 8, &[])]);
    put(&mut yard, &gang(4));
    let (four, eight) = (gang(4), gang(8));
    yard.expect(Mix::of([(&eight, 3), (&four, 1)], 8));
    assert_eq!(nodes_of(&mut yard, &gang(1)).unwrap(), [1], "the node that is begun");
    assert_eq!(nodes_of(&mut yard, &gang(8)).unwrap(), [2]);
}

#[test]
fn the_cheaper_units_are_used_and_the_surer_ones() {
    let dear = node(1, 8, &[("usd_per_unit_hour", "3.5")]);
    let cheap = node(2, 8, &[("usd_per_unit_hour", "2.5")]);
    let mut yard = yard(&[dear, cheap]);
    let at = |yard: &Yard| names(yard, &yard.place(&gang(2), &Hints::default()).unwrap())[0].0;
    assert_eq!(at(&yard), 2);
    let terms = Terms { price: Price::from_usd(2.5).unwrap(), interruptions: 3_000_000 };
    yard.note(&NodeId::from_random(2), Condition { terms: Some(terms), ..Condition::default() });
    yard.set(&node(2, 8, &[]), None);
    assert_eq!(at(&yard), 1, "three interruptions an hour");
}

#[test]
fn what_is_no_price_is_none() {
    for bad in [f64::NAN, f64::INFINITY, -1.0, 1e12] {
        assert!(Price::from_usd(bad).is_err(), "{bad}");
    }
    let error = "cheap".parse::<Price>().unwrap_err().to_string();
    insta::assert_snapshot!(error, @"`cheap` is no price: write dollars for a unit's hour, such as 2.5");
    let labels = BTreeMap::from([("usd_per_unit_hour".to_owned(), "NaN".to_owned())]);
    assert_eq!(Terms::of(&labels), Terms::default(), "such a node counts as one without a price");
}

#[test]
fn hot_units_and_doubted_nodes_come_last() {
    let mut yard = yard(&[node(1, 2, &[]), node(2, 2, &[])]);
    let hot = BTreeSet::from([UnitId("gpu-0".into())]);
    yard.note(&NodeId::from_random(1), Condition { strained: hot, ..Condition::default() });
    yard.set(&node(1, 2, &[]), None);
    yard.note(&NodeId::from_random(2), Condition { doubted: true, ..Condition::default() });
    yard.set(&node(2, 2, &[]), None);
    assert_eq!(put(&mut yard, &gang(1)).unwrap(), [(1, vec!["1".to_owned()])]);
    assert_eq!(nodes_of(&mut yard, &gang(2)).unwrap(), [2], "better than to spread");
    assert_eq!(put(&mut yard, &gang(1)).unwrap(), [(1, vec!["0".to_owned()])]);
}

#[test]
fn a_job_keeps_off_nodes_where_it_failed_while_it_can() {
    let yard = yard(&[node(1, 2, &[]), node(2, 2, &[])]);
    let avoid = BTreeSet::from([NodeId::from_random(1)]);
    let hints = Hints { avoid: Some(&avoid), ..Hints::default() };
    let place = yard.place(&gang(2), &hints).unwrap();
    assert_eq!(names(&yard, &place)[0].0, 2);
    assert!(yard.place(&gang(4), &hints).is_some(), "better there than nowhere");
}

#[test]
fn the_faster_type_is_taken_when_it_is_worth_its_price() {
    let mut slow = node(1, 8, &[("usd_per_unit_hour", "1")]);
    for device in slow.devices.values_mut() {
        device.model = "a100".into();
    }
    let fast = node(2, 8, &[("usd_per_unit_hour", "2")]);
    let yard = yard(&[slow, fast]);
    let at = |speed| {
        let speeds = speeds(&[("h100", speed)]);
        let hints = Hints { speeds: Some(&speeds), ..Hints::default() };
        names(&yard, &yard.place(&gang(1), &hints).unwrap())[0].0
    };
    assert_eq!((at(1100), at(3000)), (1, 2));
}

#[test]
fn several_fast_nodes_are_better_than_a_slow_one_if_that_is_worth_it() {
    let mut slow = node(1, 8, &[]);
    for device in slow.devices.values_mut() {
        device.model = "a100".into();
    }
    let yard = yard(&[slow, node(2, 4, &[]), node(3, 4, &[])]);
    let at = |speed, compact| {
        let speeds = speeds(&[("h100", speed)]);
        let hints = Hints { speeds: Some(&speeds), ..Hints::default() };
        let request = Request { compact, ..gang(8) };
        let parts = names(&yard, &yard.place(&request, &hints).unwrap());
        parts.into_iter().map(|(node, _)| node).collect::<Vec<_>>()
    };
    assert_eq!(at(1000, false), [1]);
    assert_eq!(at(1300, false), [1], "the network costs more than that");
    assert_eq!(at(3000, false), [2, 3]);
    assert_eq!(at(3000, true), [1], "on no more nodes than it needs");
}

#[test]
fn a_gang_of_several_types_has_no_slower_units_than_it_must() {
    let of = |n, gpus, model: &str| {
        let mut node = node(n, gpus, &[]);
        for device in node.devices.values_mut() {
            device.model = model.into();
        }
        node
    };
    let yard = yard(&[of(1, 4, "v100"), of(2, 4, "h100"), of(3, 4, "a100")]);
    let speeds = speeds(&[("h100", 3000), ("a100", 1800)]);
    let hints = Hints { speeds: Some(&speeds), ..Hints::default() };
    let place = yard.place(&gang(8), &hints).unwrap();
    let nodes: BTreeSet<_> = names(&yard, &place).into_iter().map(|(node, _)| node).collect();
    assert_eq!(nodes, BTreeSet::from([2, 3]));
    assert_eq!(yard.pace(&place, &speeds).milli(), 1800);
}

#[test]
fn odd_gangs_have_no_place_and_do_no_harm() {
    let yard = yard(&[node(1, 8, &[])]);
    for ranks in [0, 1_000_000, u32::MAX] {
        assert!(yard.place(&gang(ranks), &Hints::default()).is_none(), "{ranks}");
    }
}

#[test]
fn a_node_that_has_fewer_units_than_were_assigned_keeps_its_account() {
    let mut whole = node(1, 8, &[]);
    let job = JobId::from_random(1);
    whole.owners = whole.devices.keys().map(|unit| (unit.clone(), job.clone())).collect();
    let mut yard = yard(&[whole.clone()]);
    let mut torn = whole.clone();
    torn.devices.remove(&UnitId("gpu-7".into()));
    yard.set(&torn, None);
    let units = whole.devices.keys().cloned().collect();
    let gang = crate::command::Assignment { node: whole.id, node_version: 1, units };
    let place = yard.placement(&[gang], &Resources::default());
    let mark = yard.mark();
    yard.give_back(&place);
    assert!(yard.place(&super::tests::gang(7), &Hints::default()).is_some());
    assert!(yard.place(&super::tests::gang(8), &Hints::default()).is_none(), "the eighth is gone");
    yard.rewind(mark);
    assert!(yard.is_full());
}

/// Ranks, the share of a unit for each, how many a node, compact, the part of a GPU, and what each rank
/// takes beside it.
type Gang = (u32, u16, u32, bool, u16, Host);

/// The same node with each GPU in so many shares.
fn split(mut node: PlanNode, of: u16) -> PlanNode {
    for (parent, device) in std::mem::take(&mut node.devices) {
        for nth in 0..of {
            let part = GpuPart::Share { parent: parent.clone(), nth, of };
            node.devices.insert(parent.share(nth, of), Device { part, ..device.clone() });
        }
    }
    node
}

#[derive(Debug, Clone)]
enum Act {
    Set { node: u64, gpus: u32, of: u16, owned: u32, out: u32 },
    Remove { node: u64 },
    Plan { gangs: Vec<Gang>, back: usize, hold: bool },
}

/// So many processors, GiB of memory and of disk, and Gbps.
const fn host([cpus, memory, disk, gbps]: [u64; 4]) -> Host {
    Host::from_amounts([cpus * 1000, memory << 30, disk << 30, gbps * 1_000_000_000])
}

fn act() -> impl Strategy<Value = Act> {
    let gang = (
        prop_oneof![1u32..5, 5u32..20],
        prop_oneof![3 => Just(1000u16), 1 => 100u16..1000],
        prop_oneof![3 => Just(u32::MAX), 1 => 1u32..4],
        any::<bool>(),
        prop_oneof![3 => Just(1000u16), 1 => 100u16..1000],
        prop_oneof![
            3 => Just(Host::default()),
            1 => (0u64..40, 0u64..300).prop_map(|(cpus, gib)| host([cpus, gib, 0, 0])),
            1 => (0u64..900, 0u64..40).prop_map(|(gib, gbps)| host([0, 0, gib, gbps])),
        ],
    );
    let of = prop_oneof![2 => Just(1u16), 1 => 2u16..5];
    prop_oneof![
        3 => (1u64..6, 0u32..9, of, 0u32..9, 0u32..3)
            .prop_map(|(node, gpus, of, owned, out)| Act::Set { node, gpus, of, owned, out }),
        1 => (1u64..6).prop_map(|node| Act::Remove { node }),
        4 => (proptest::collection::vec(gang, 0..12), 0usize..4, any::<bool>())
            .prop_map(|(gangs, back, hold)| Act::Plan { gangs, back, hold }),
    ]
}

/// A plan takes no unit twice, keeps gangs whole and within their limits.
fn check_plan(yard: &mut Yard, gangs: &[Gang], back: usize, hold: bool) {
    let before = yard.clone();
    let mark = yard.mark();
    let mut used: BTreeMap<(NodeId, UnitId), u32> = BTreeMap::new();
    let mut places = Vec::new();
    let mut taken: BTreeMap<NodeId, Host> = BTreeMap::new();
    for (ranks, share, most_per_node, compact, part, host) in gangs.iter().copied() {
        let on_parts = part < WHOLE;
        let (share, compact) = (if on_parts { WHOLE } else { share }, compact && !on_parts);
        let request = Request { share, most_per_node, compact, part, host, ..gang(ranks) };
        let could = yard.census(&request);
        let Some(place) = yard.place(&request, &Hints::default()) else { continue };
        let parts = yard.assignments(&place);
        let all: usize = parts.iter().map(|part| part.units.len()).sum();
        assert_eq!(all, ranks as usize, "a gang is whole");
        assert!(share < WHOLE || could.reachable >= ranks, "what is placed could be");
        for part in &parts {
            assert!(part.units.len() <= most_per_node as usize);
            let ranks = part.units.len() as u64;
            let taken = taken.entry(part.node.clone()).or_default();
            *taken = taken.and(host.times(ranks));
            let all = (1..6).map(|n| node(n, 0, &[])).find(|node| node.id == part.node).unwrap();
            assert!(taken.without(all.host).is_none(), "{taken} of {}", all.host);
            let gpus: BTreeSet<&str> = part.units.iter().map(UnitId::gpu).collect();
            assert!(share < WHOLE || gpus.len() == part.units.len(), "one rank a GPU");
            assert!(part.units.iter().all(|unit| unit.as_share().is_some() == on_parts));
            for unit in &part.units {
                let used = used.entry((part.node.clone(), unit.clone())).or_default();
                *used += u32::from(share);
                assert!(*used <= u32::from(WHOLE), "a unit is not used twice");
            }
        }
        yard.take(&place);
        places.push(place);
    }
    for place in places.iter().take(back) {
        yard.give_back(place);
    }
    if hold {
        yard.hold(&gang(1));
        yard.hold(&Request { part: 1, ..gang(1) });
        assert!(yard.is_full());
    }
    yard.rewind(mark);
    assert_eq!(*yard, before, "all is as it was");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn increments_add_up_and_plans_are_undone(acts in proptest::collection::vec(act(), 1..24)) {
        let mut yard = Yard::default();
        let mut known: BTreeMap<u64, (PlanNode, BTreeMap<UnitId, String>)> = BTreeMap::new();
        for act in acts {
            match act {
                Act::Set { node: n, gpus, of, owned, out } => {
                    let mut node = node(n, gpus, &[]);
                    if of > 1 {
                        node = split(node, of);
                    }
                    let first: Vec<UnitId> = node.devices.keys().cloned().collect();
                    let owners = first.into_iter().take(owned as usize);
                    node.owners = owners.map(|unit| (unit, JobId::from_random(1))).collect();
                    let out: BTreeMap<_, _> =
                        (0..out).map(|i| (UnitId(format!("gpu-{}", 8 - i)), "hot".into())).collect();
                    yard.set(&node, Some(&out));
                    known.insert(n, (node, out));
                }
                Act::Remove { node } => {
                    known.remove(&node);
                    yard.remove(&NodeId::from_random(node));
                }
                Act::Plan { gangs, back, hold } => check_plan(&mut yard, &gangs, back, hold),
            }
            let mut anew = Yard::default();
            for (node, out) in known.values().rev() {
                anew.set(node, Some(out));
            }
            prop_assert_eq!(&yard, &anew);
            let gangs = [
                (1, WHOLE, [0; 4]),
                (3, WHOLE, [0; 4]),
                (9, WHOLE, [9, 0, 0, 0]),
                (2, WHOLE, [30, 0, 0, 0]),
                (2, WHOLE, [0, 0, 900, 0]),
                (3, WHOLE, [0, 0, 100, 40]),
                (1, 250, [9, 0, 0, 0]),
                (3, 250, [0; 4]),
            ];
            for (ranks, part, each) in gangs {
                let gang = Request { part, host: host(each), ..gang(ranks) };
                let one = yard.place(&gang, &Hints::default());
                let other = anew.place(&gang, &Hints::default());
                prop_assert_eq!(
                    one.map(|place| yard.assignments(&place)),
                    other.map(|place| anew.assignments(&place)),
                    "the same place, however the yard came about"
                );
            }
        }
    }
}
