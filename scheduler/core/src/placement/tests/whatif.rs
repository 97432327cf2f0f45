//! Every change that an explanation offers is made, for real and in a state of its own, and the job
//! then starts.

use proptest::prelude::*;
use trainyard_jobs::{Inventory, JobId, Millis, Policy, Purpose, Timestamp, spec::Fraction};

use super::super::{Change, Counterfactual, Delta, Planner, Waiting, WorkBudget};
use crate::{
    State,
    world::{World, gpus, hosted, shares, slices, spec},
};

/// What a change makes of a job's wishes.
fn altered(state: &State, id: &JobId, change: &Change) -> Waiting {
    let mut job = Waiting::from(state.job(id).unwrap());
    let r = &mut job.resources;
    match change {
        Change::Gpus(ranks) => r.gpus = *ranks,
        Change::Type(model) => r.gpu_type = vec![model.clone()],
        Change::AnyType => r.gpu_type.clear(),
        Change::Fraction(milli) => r.gpu_fraction = Fraction::from_milli(*milli),
        Change::WholeGpus => r.gpu_fraction = None,
        Change::AnyMemory => r.min_gpu_memory = None,
        Change::CpusPerRank(cpus) => r.cpus_per_rank = *cpus,
        Change::MemoryPerRank(memory) => r.memory_per_rank = *memory,
        Change::DiskPerRank(disk) => r.disk_per_rank = *disk,
        Change::NetworkPerRank(network) => r.network_per_rank = *network,
        Change::AnySpread => r.max_ranks_per_node = None,
        Change::AnyNode => r.node_labels.clear(),
        Change::Within(left) => job.time_left = Some(*left),
        Change::Ends(_) | Change::Nodes { .. } | Change::Unreserved(_) => {}
    }
    job
}

/// Makes the change and plans, with a planner that never heard of the question.
pub(super) fn starts(world: &World, id: &JobId, change: &Change) -> bool {
    let mut copy = World::of(world.state.clone());
    copy.now = world.now;
    match change {
        Change::Ends(jobs) => {
            for job in jobs {
                let job = copy.state.job(job).unwrap();
                let attempt = job.attempt_ref(job.current().unwrap());
                copy.exit_all(&attempt, 0);
            }
        }
        Change::Nodes { like, count } => {
            let like = copy.state.node(like).unwrap().inventory.clone();
            for n in 0..u64::from(*count) {
                let mut inventory = like.clone();
                inventory.name = format!("more-{n}").parse().unwrap();
                copy.register_node(1000 + n, inventory);
            }
        }
        Change::Unreserved(name) => drop(copy.unreserve(name.as_str())),
        _ => {}
    }
    let mut planner = Planner::of(&copy.state);
    planner.update(Delta::Waits(Box::new(altered(&copy.state, id, change))));
    let plan = planner.plan(Timestamp(copy.now), WorkBudget::UNLIMITED);
    plan.starts.iter().any(|start| start.job == *id)
}

/// For a project that has no jobs.
fn nobody_here() -> Purpose {
    let projects = std::collections::BTreeSet::from(["other".parse().unwrap()]);
    Purpose::For { projects, users: std::collections::BTreeSet::new() }
}

/// Into how many shares GPUs are split, if not into slices of so many sevenths.
type Split = (u16, &'static [u16]);

fn split() -> impl Strategy<Value = Split> {
    let slices = proptest::sample::select(vec![&[3, 2, 1][..], &[2, 2]]);
    prop_oneof![
        3 => Just((1, &[][..])),
        1 => (2u16..5).prop_map(|of| (of, &[][..])),
        1 => slices.prop_map(|sevenths| (1, sevenths)),
    ]
}

fn offered(whole: Inventory, (of, sevenths): &Split) -> Inventory {
    match (*of, *sevenths) {
        (1, []) => whole,
        (1, sevenths) => slices(whole, sevenths),
        (of, _) => shares(whole, of),
    }
}

#[derive(Debug, Clone)]
struct Wish {
    ranks: u32,
    model: Option<&'static str>,
    memory: bool,
    spread: Option<u32>,
    label: bool,
    speed: Option<&'static str>,
    part: Option<u16>,
    /// Processors and GiB of memory for each rank.
    host: (Option<u32>, Option<u64>),
}

fn wish() -> impl Strategy<Value = Wish> {
    let model = proptest::option::of(prop_oneof![Just("h100"), Just("a100")]);
    let spread = proptest::option::weighted(0.2, 1u32..3);
    let speed = prop_oneof![Just("h100 = 3"), Just("a100 = 1.5, h100 = 0.5")];
    let speed = proptest::option::of(speed);
    let part = proptest::option::weighted(0.4, 100u16..1000);
    let host = |most: u32| proptest::option::weighted(0.3, 1..most);
    let host = (host(20), host(40)).prop_map(|(cpus, gib)| (cpus, gib.map(u64::from)));
    let label = proptest::bool::weighted(0.2);
    (1u32..10, model, any::<bool>(), spread, label, speed, part, host).prop_map(
        |(ranks, model, memory, spread, label, speed, part, host)| Wish {
            ranks,
            model,
            memory,
            spread,
            label,
            speed,
            part,
            host,
        },
    )
}

impl Wish {
    fn spec(&self) -> trainyard_jobs::JobSpec {
        let mut text = format!("[resources]\ngpus = {}\n", self.ranks);
        if let Some(model) = self.model {
            text += &format!("gpu_type = [\"{model}\"]\n");
        }
        if let Some(milli) = self.part {
            text += &format!("gpu_fraction = {}\n", f64::from(milli) / 1e3);
        }
        if let Some(cpus) = self.host.0 {
            text += &format!("cpus_per_rank = {cpus}\n");
        }
        if let Some(gib) = self.host.1 {
            text += &format!("memory_per_rank = \"{gib}GiB\"\n");
        }
        if self.memory {
            text += "min_gpu_memory = \"60GB\"\n";
        }
        if let Some(most) = self.spread {
            text += &format!("max_ranks_per_node = {most}\n");
        }
        if self.label {
            text += "node_labels = { rack = \"a\" }\n";
        }
        if let Some(speed) = self.speed {
            text += &format!("speed = {{ {speed} }}\n");
        }
        spec(&text)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn what_is_offered_works(
        nodes in proptest::collection::vec((any::<bool>(), 1u32..9, any::<bool>(), split()), 1..5),
        hosts in proptest::collection::vec((0u32..64, 0u64..128), 4),
        wishes in proptest::collection::vec(wish(), 1..14),
        late in 0usize..6,
        policy in proptest::option::of(proptest::sample::select(Policy::ALL.to_vec())),
        reserved in proptest::collection::vec((0u64..10_000_000, 1usize..5, any::<bool>()), 0..3),
    ) {
        let mut world = World::new();
        world.queue("root", |queue| queue.policy = policy);
        for ((n, (h100, count, in_rack, split)), (cpus, gib)) in (1..).zip(&nodes).zip(&hosts) {
            let model = if *h100 { "h100" } else { "a100" };
            let rack = if *in_rack { "a" } else { "b" };
            let whole = gpus(&format!("n{n}"), model, *count, &[("rack", rack)]);
            world.register_node(n, hosted(offered(whole, split), *cpus, *gib));
        }
        for (n, (begins, node, maintenance)) in reserved.into_iter().enumerate() {
            let purpose = if maintenance { Purpose::Maintenance } else { nobody_here() };
            let (node, span) = (format!("n{node}"), (Millis(begins), Millis(1_000_000)));
            // A node that there is not is not reserved.
            let _ = world.reserve(&format!("r{n}"), &[&node], span, purpose);
        }
        let (first, rest) = wishes.split_at(wishes.len().saturating_sub(late));
        for wish in first {
            world.submit(wish.spec());
        }
        world.plan();
        for wish in rest {
            world.submit(wish.spec());
        }
        super::host::check(&world.state);
        let now = Timestamp(world.now);
        let waiting: Vec<JobId> = world.planner.reasons(now).into_keys().collect();
        for id in waiting {
            let before = world.planner.clone();
            let explanation = world.planner.explain(&id, now).unwrap();
            prop_assert_eq!(&before, &world.planner, "a question changes nothing");
            prop_assert!(!explanation.blockers.is_empty(), "nothing waits without a reason");
            for Counterfactual { change, .. } in &explanation.counterfactuals {
                prop_assert!(starts(&world, &id, change), "{change:?} was to start {id}");
            }
        }
    }
}

#[test]
fn the_whole_story_in_words() {
    let mut world = World::new();
    let price = ("usd_per_unit_hour", "2.5");
    world.register_node(1, gpus("n1", "h100", 8, &[price]));
    world.register_node(2, gpus("n2", "a100", 8, &[]));
    let text = "[resources]\ngpus = 6\ngpu_type = [\"h100\"]\n";
    let first = world.submit(spec(text));
    assert_eq!(world.plan().len(), 1);
    let job = world.submit(spec(text));
    let explanation = world.planner.explain(&job, Timestamp(world.now)).unwrap();
    let blockers: Vec<String> = explanation.blockers.into_iter().map(|b| b.message).collect();
    let story = format!("{}\n\n{}", blockers.join("\n"), explanation.suggestions.join("\n"));
    insta::assert_snapshot!(story.replace(first.short(), "FIRST"), @r"
    needs 6 h100 GPUs; 6 of 8 are busy

    without `gpu_type` it would start now
    with `gpus = 2` it would start now
    it would start when job FIRST ends, expected in 1h
    with 1 more node like n1 (8 h100 GPUs) it would start now, for $20.00 an hour
    ");
}
