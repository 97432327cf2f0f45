//! What nodes have beside their units: nobody is promised what another counts on.

use std::collections::{BTreeMap, BTreeSet};

use trainyard_jobs::{
    AttemptRef, BitRate, Bytes, Inventory, JobId, NodeId, Policy, Timestamp, spec::Resources,
};

use super::super::{BlockerKind, Change, Host, PATIENCE, Planner, WorkBudget};
use crate::{
    Command, State,
    command::{PLACES_LEVEL, Submit},
    world::{World, gpus, hosted, node_id, session, spec},
};

/// What attempts have of each node beside its units, counted by the state alone.
pub(super) fn taken(state: &State) -> BTreeMap<NodeId, Host> {
    let mut taken: BTreeMap<NodeId, Host> = BTreeMap::new();
    for (id, node) in state.nodes().iter() {
        for attempt in node.owners.values() {
            let each = Host::of_rank(&state.job(&attempt.job).unwrap().spec.resources);
            let sum = taken.entry(id.clone()).or_default();
            *sum = sum.and(each);
        }
    }
    taken
}

/// No node is asked for more than it has.
pub(super) fn check(state: &State) {
    for (id, taken) in taken(state) {
        let all = Host::of(&state.node(&id).unwrap().inventory);
        assert!(taken.without(all).is_none(), "{taken} of {all}");
    }
}

fn world(nodes: &[(&str, u32, u32, u64)]) -> World {
    let mut world = World::new();
    for (n, (name, units, cpus, gib)) in (1..).zip(nodes) {
        world.register_node(n, hosted(gpus(name, "h100", *units, &[]), *cpus, *gib));
    }
    world
}

fn submit(world: &mut World, resources: &str) -> JobId {
    world.submit(spec(&format!("[resources]\n{resources}\n")))
}

fn story(world: &mut World, job: &JobId) -> String {
    let explanation = world.planner.explain(job, Timestamp(world.now)).unwrap();
    for found in &explanation.counterfactuals {
        assert!(super::whatif::starts(world, job, found), "{found:?} was to start {job}");
    }
    let blockers = explanation.blockers.into_iter().map(|blocker| blocker.message);
    blockers.chain(explanation.suggestions).collect::<Vec<_>>().join("\n")
}

fn ranks(world: &World, attempt: &AttemptRef) -> Vec<(NodeId, usize)> {
    let placements = &world.job(&attempt.job).current().unwrap().placements;
    placements.iter().map(|p| (p.node.clone(), p.units.len())).collect()
}

#[test]
fn a_gang_is_spread_as_the_processors_and_the_memory_allow() {
    let mut world = world(&[("a", 8, 32, 256), ("b", 8, 32, 64), ("c", 8, 8, 256)]);
    submit(&mut world, "gpus = 7\ncpus_per_rank = 8\nmemory_per_rank = \"32GiB\"");
    let attempt = world.plan().remove(0);
    let found = ranks(&world, &attempt);
    assert_eq!(
        found.into_iter().collect::<BTreeMap<_, _>>(),
        [
            (node_id(1), 4), // by its processors
            (node_id(2), 2), // by its memory
            (node_id(3), 1),
        ]
        .into()
    );
    check(&world.state);
    let all = Host::of_rank(&Resources { cpus_per_rank: Some(32), ..Resources::default() });
    assert_eq!(taken(&world.state)[&node_id(1)].cpu_milli, all.cpu_milli);
}

#[test]
fn who_lacks_processors_is_told_so_and_what_would_do() {
    let mut world = world(&[("a", 8, 64, 512)]);
    submit(&mut world, "gpus = 4\ncpus_per_rank = 14\nmemory_per_rank = \"64GiB\"");
    assert_eq!(world.plan().len(), 1);
    let waits = submit(&mut world, "gpus = 2\ncpus_per_rank = 8\nmemory_per_rank = \"200GiB\"");
    assert!(world.plan().is_empty());
    let why = &world.planner.reasons(Timestamp(world.now))[&waits];
    assert!(why.iter().any(|blocker| blocker.kind == BlockerKind::Host));
    insta::assert_snapshot!(story(&mut world, &waits), @"
    needs 2 GPUs, with 8 CPUs and 200.0 GiB of memory for each rank; 4 of 8 are busy
    3 free units lack CPUs on the node: a has 8 of 64 free
    3 free units lack memory on the node: a has 256.0 GiB of 512.0 GiB free
    with `gpus = 1` it would start now
    it would start when job 00000000 ends, expected in 1h
    with 1 more node like a (8 GPUs) it would start now
    ");
    let waits = submit(&mut world, "gpus = 2\ncpus_per_rank = 8");
    assert!(world.plan().is_empty());
    insta::assert_snapshot!(story(&mut world, &waits), @"
    needs 2 GPUs, with 8 CPUs for each rank; 4 of 8 are busy
    3 free units lack CPUs on the node: a has 8 of 64 free
    with `cpus_per_rank = 4` it would start now
    with `gpus = 1` it would start now
    it would start when job 00000000 ends, expected in 1h
    with 1 more node like a (8 GPUs) it would start now
    ");
}

/// The same node with so many GB of disk and Gbps of network.
fn supplied(inventory: Inventory, gb: u64, gbps: u64) -> Inventory {
    let (disk, network) = (Bytes(gb * 1_000_000_000), BitRate(gbps * 1_000_000_000));
    Inventory { disk, network, ..inventory }
}

#[test]
fn disk_and_network_count_as_processors_do() {
    let mut world = World::new();
    world.register_node(1, supplied(gpus("a", "h100", 8, &[]), 1000, 100));
    world.register_node(2, supplied(gpus("b", "h100", 8, &[]), 4000, 20));
    world.register_node(3, gpus("c", "h100", 8, &[]));
    submit(&mut world, "gpus = 6\ndisk_per_rank = \"200GB\"\nnetwork_per_rank = \"10Gbps\"");
    let attempt = world.plan().remove(0);
    let found: BTreeMap<_, _> = ranks(&world, &attempt).into_iter().collect();
    // By disk, then by the network; of the last its agent told neither.
    assert_eq!(found.get(&node_id(3)), None);
    assert!(found[&node_id(1)] <= 5 && found[&node_id(2)] <= 2, "{found:?}");
    check(&world.state);
    assert!(!taken(&world.state).is_empty());
    let waits = submit(&mut world, "gpus = 2\nnetwork_per_rank = \"30Gbps\"");
    assert!(world.plan().is_empty());
    insta::assert_snapshot!(story(&mut world, &waits));
    let waits = submit(&mut world, "gpus = 3\ndisk_per_rank = \"2500GB\"");
    assert!(world.plan().is_empty());
    insta::assert_snapshot!(story(&mut world, &waits));
    world.exit_all(&attempt, 0);
    assert_eq!(world.plan().len(), 1, "what it had of the network is free again");
    check(&world.state);
}

#[test]
fn what_a_spec_or_a_node_says_of_disk_or_network_needs_level_6() {
    let level = |resources: &str| {
        let spec = spec(&format!("[resources]\n{resources}\n"));
        assert_eq!(spec.needs_level_6(), !resources.is_empty());
        let mutation = World::new().mutation();
        let job = JobId::from_random(1);
        let submit = Submit { mutation, job, spec, bundle: None, commit: None };
        Command::Submit(Box::new(submit)).level()
    };
    assert_eq!(level("disk_per_rank = \"1GB\""), PLACES_LEVEL);
    assert_eq!(level("network_per_rank = \"1Gbps\""), PLACES_LEVEL);
    assert_eq!(level(""), 1);
    let register = |inventory| Command::RegisterNode {
        node: node_id(1),
        session: session(1),
        inventory,
        running: BTreeSet::new(),
        gone: None,
    };
    let node = gpus("a", "h100", 8, &[]);
    assert_eq!(register(node.clone()).level(), 1);
    assert_eq!(register(supplied(node.clone(), 1, 0)).level(), PLACES_LEVEL);
    assert_eq!(register(supplied(node, 0, 1)).level(), PLACES_LEVEL);
}

#[test]
fn what_no_node_has_is_said_to_be_too_few() {
    let mut world = world(&[("a", 8, 64, 512), ("b", 8, 16, 512)]);
    let waits = submit(&mut world, "gpus = 8\ncpus_per_rank = 12");
    assert!(world.plan().is_empty());
    let why = &world.planner.reasons(Timestamp(world.now))[&waits][0];
    assert_eq!(why.kind, BlockerKind::TooFew);
    insta::assert_snapshot!(story(&mut world, &waits), @"
    needs 8 GPUs, with 12 CPUs for each rank; there are 16 GPUs on 2 nodes up, with room for 6 such ranks
    with `cpus_per_rank = 9` it would start now
    with `gpus = 6` it would start now
    with 1 more node like a (8 GPUs) it would start now
    ");
}

#[test]
fn an_attempt_that_ends_gives_back_what_it_had() {
    let mut world = world(&[("a", 2, 16, 64)]);
    submit(&mut world, "gpus = 1\ncpus_per_rank = 16");
    let first = world.plan().remove(0);
    let next = submit(&mut world, "gpus = 1\ncpus_per_rank = 1");
    assert!(world.plan().is_empty());
    world.exit_all(&first, 0);
    assert_eq!(world.plan().remove(0).job, next);
}

#[test]
fn who_asks_for_nothing_beside_its_units_is_in_nobodys_way() {
    let mut world = world(&[("a", 8, 8, 64)]);
    submit(&mut world, "gpus = 1\ncpus_per_rank = 8\nmemory_per_rank = \"64GiB\"");
    submit(&mut world, "gpus = 7");
    assert_eq!(world.plan().len(), 2);
}

#[test]
fn compact_gangs_take_no_more_nodes_than_processors_make_them() {
    let mut world = world(&[("a", 8, 32, 64), ("b", 8, 32, 64), ("c", 8, 32, 64)]);
    submit(&mut world, "gpus = 6\ncpus_per_rank = 8\ncompact = true");
    let attempt = world.plan().remove(0);
    assert_eq!(ranks(&world, &attempt).len(), 2, "four ranks a node");
    submit(&mut world, "gpus = 5\ncpus_per_rank = 8\ncompact = true");
    let attempt = world.plan().remove(0);
    assert_eq!(ranks(&world, &attempt).len(), 2);
}

#[test]
fn jobs_are_stopped_for_their_processors_too() {
    let mut world = world(&[("a", 8, 32, 64)]);
    let low = submit(&mut world, "gpus = 1\ncpus_per_rank = 30");
    let idle = submit(&mut world, "gpus = 2");
    assert_eq!(world.plan().len(), 2);
    world.now += 86_400_000;
    let mut urgent = spec("[resources]\ngpus = 2\ncpus_per_rank = 4\n");
    urgent.priority = 9;
    let urgent = world.submit(urgent);
    let now = Timestamp(world.now);
    let plan = world.planner.plan(now, WorkBudget::UNLIMITED);
    let stopped: Vec<&JobId> = plan.stops.iter().map(|stop| &stop.job).collect();
    assert_eq!(stopped, [&low], "five units are free, and {idle} has no processors");
    assert_eq!(plan, Planner::of(&world.state).plan(now, WorkBudget::UNLIMITED));
    assert!(plan.starts.iter().all(|start| start.job != urgent));
}

#[test]
fn a_stop_frees_processors_where_units_are_free_already() {
    let mut world = world(&[("a", 8, 32, 64)]);
    submit(&mut world, "gpus = 2");
    submit(&mut world, "gpus = 3");
    let filler = world.plan().remove(1);
    let low = submit(&mut world, "gpus = 1\ncpus_per_rank = 30");
    assert_eq!(world.plan().len(), 1);
    world.exit_all(&filler, 0);
    world.now += 86_400_000;
    let mut urgent = spec("[resources]\ngpus = 2\ncpus_per_rank = 4\n");
    urgent.priority = 9;
    world.submit(urgent);
    let plan = world.planner.plan(Timestamp(world.now), WorkBudget::UNLIMITED);
    let stopped: Vec<&JobId> = plan.stops.iter().map(|stop| &stop.job).collect();
    assert_eq!(stopped, [&low], "it goes to units that the other did not have");
}

#[test]
fn what_is_kept_for_one_is_lent_with_its_processors() {
    let mut world = world(&[("a", 4, 16, 64)]);
    world.queue("root", |queue| queue.policy = Some(Policy::Fifo));
    submit(&mut world, "gpus = 2\ncpus_per_rank = 4\n[limits]\ntime = \"20d\"");
    assert_eq!(world.plan().len(), 1);
    submit(&mut world, "gpus = 4\ncpus_per_rank = 1");
    world.now += PATIENCE.0;
    assert!(world.plan().is_empty());
    for _ in 0..2 {
        submit(&mut world, "gpus = 1\ncpus_per_rank = 6\n[limits]\ntime = \"1m\"");
    }
    assert_eq!(world.plan().len(), 1, "two would have twelve of eight");
    check(&world.state);
}

#[test]
fn fewer_processors_are_offered_as_a_change() {
    let mut world = world(&[("a", 2, 16, 64)]);
    let waits = submit(&mut world, "gpus = 2\ncpus_per_rank = 9\nmemory_per_rank = \"40GB\"");
    assert!(world.plan().is_empty());
    let found = world.planner.explain(&waits, Timestamp(world.now)).unwrap().counterfactuals;
    assert!(found.iter().any(|c| c.change == Change::Gpus(1)));
    let waits = submit(&mut world, "gpus = 2\ncpus_per_rank = 9");
    let found = world.planner.explain(&waits, Timestamp(world.now)).unwrap().counterfactuals;
    assert!(found.iter().any(|c| c.change == Change::CpusPerRank(Some(8))));
}
