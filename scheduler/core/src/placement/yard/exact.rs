//! Places one after the other against the best there are: on small instances, every way to place
//! all gangs at once is gone through (dynamic programming over what is free).

#![allow(clippy::as_conversions, reason = "small test numbers")]

use std::collections::{BTreeMap, BTreeSet};

use trainyard_jobs::{Bytes, Device, DeviceKind, GpuPart, NodeId, UnitId};

use super::Yard;
use crate::placement::{
    fit::{Hints, Host, Request, WHOLE},
    score::{Mix, Terms, VALUE},
    topology::Span,
    view::PlanNode,
};

struct Instance {
    /// Units and dollars an hour of each node.
    nodes: Vec<(u32, u32)>,
    gangs: Vec<u32>,
}

/// What a gang's hour costs, placed so: its units' price and worth for as long as the work takes.
fn cost(nodes: &[(u32, u32)], parts: &[u32]) -> u64 {
    let used = parts.iter().filter(|part| **part > 0).count();
    let slowdown = if used > 1 { Span::Any.slowdown(used) } else { 1000 };
    let hour = |price: u32| (u64::from(price) * 1_000_000 + VALUE) * slowdown / 1000;
    nodes.iter().zip(parts).map(|((_, price), part)| hour(*price) * u64::from(*part)).sum()
}

/// Every way to take so many units of what is free.
fn ways(free: &[u32], ranks: u32) -> Vec<Vec<u32>> {
    let Some((first, rest)) = free.split_first() else {
        return if ranks == 0 { vec![Vec::new()] } else { Vec::new() };
    };
    let mut all = Vec::new();
    for here in 0..=ranks.min(*first) {
        for mut way in ways(rest, ranks - here) {
            way.insert(0, here);
            all.push(way);
        }
    }
    all
}

/// The least that all gangs can cost together.
fn best(instance: &Instance) -> u64 {
    let whole: Vec<u32> = instance.nodes.iter().map(|(units, _)| *units).collect();
    let mut reached: BTreeMap<Vec<u32>, u64> = BTreeMap::from([(whole, 0)]);
    for ranks in &instance.gangs {
        let mut next: BTreeMap<Vec<u32>, u64> = BTreeMap::new();
        for (free, so_far) in &reached {
            for way in ways(free, *ranks) {
                let left: Vec<u32> = free.iter().zip(&way).map(|(free, way)| free - way).collect();
                let all = so_far + cost(&instance.nodes, &way);
                let known = next.entry(left).or_insert(u64::MAX);
                *known = all.min(*known);
            }
        }
        reached = next;
    }
    reached.into_values().min().unwrap()
}

fn node(n: usize, units: u32, price: u32) -> PlanNode {
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
        id: NodeId::from_random(n as u64),
        name: format!("n{n}"),
        version: 1,
        devices: (0..units).map(device).collect(),
        owners: BTreeMap::new(),
        host: Host::default(),
        taken: Host::default(),
        labels: BTreeMap::from([("usd_per_unit_hour".to_owned(), price.to_string())]),
        ports: (20_000, 20_099),
        ports_in_use: BTreeSet::new(),
    }
}

/// What the yard makes of it, gang by gang.
fn placed(instance: &Instance) -> u64 {
    let mut yard = Yard::default();
    for (n, (units, price)) in instance.nodes.iter().enumerate() {
        let node = node(n, *units, *price);
        assert_eq!(Terms::of(&node.labels).price.micro_usd(), u64::from(*price) * 1_000_000);
        yard.set(&node, None);
    }
    let request = |ranks| Request {
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
    };
    let mut all = 0;
    for (at, ranks) in instance.gangs.iter().enumerate() {
        let mut waiting: BTreeMap<Request, u64> = BTreeMap::new();
        for ranks in instance.gangs.iter().skip(at) {
            *waiting.entry(request(*ranks)).or_default() += 1;
        }
        yard.expect(Mix::of(waiting.iter().map(|(request, n)| (request, *n)), 16));
        let place = yard.place(&request(*ranks), &Hints::default()).expect("there is room");
        let mut parts = vec![0; instance.nodes.len()];
        for assignment in yard.assignments(&place) {
            let n = (0..parts.len()).find(|n| NodeId::from_random(*n as u64) == assignment.node);
            parts[n.unwrap()] = assignment.units.len() as u32;
        }
        all += cost(&instance.nodes, &parts);
        yard.take(&place);
    }
    all
}

fn draw(seed: &mut u64) -> u32 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) as u32
}

/// Two to four nodes of equal or different prices, and gangs that fill at most four fifths.
fn instance(seed: &mut u64) -> Instance {
    let nodes: Vec<(u32, u32)> =
        (0..2 + draw(seed) % 3).map(|_| (2 + draw(seed) % 7, 2 + draw(seed) % 3)).collect();
    let units: u32 = nodes.iter().map(|(units, _)| *units).sum();
    let (mut gangs, mut asked) = (Vec::new(), 0);
    for _ in 0..6 {
        let ranks = 1 << (draw(seed) % 4);
        if (asked + ranks) * 5 <= units * 4 {
            gangs.push(ranks);
            asked += ranks;
        }
    }
    Instance { nodes, gangs }
}

#[test]
fn places_from_the_largest_gang_on_are_near_the_best_there_are() {
    let mut seed = 1;
    let (mut sum, mut worst, mut count) = (0.0, 0.0_f64, 0);
    while count < 400 {
        let mut instance = instance(&mut seed);
        instance.gangs.sort_by_key(|ranks| std::cmp::Reverse(*ranks));
        if instance.gangs.is_empty() {
            continue;
        }
        let (best, ours) = (best(&instance), placed(&instance));
        assert!(ours >= best, "nothing is better than the best");
        let over = ours as f64 / best as f64 - 1.0;
        sum += over;
        worst = worst.max(over);
        count += 1;
    }
    let mean = sum / f64::from(count);
    assert!(
        mean <= 0.02 && worst <= 0.10,
        "{mean:.4} above the best on average, {worst:.4} at worst"
    );
}
