//! Every change that an explanation offers is made, for real and in a state of its own, and the job
//! then starts.

use proptest::prelude::*;
use trainyard_jobs::{Inventory, JobId, Millis, Policy, Purpose, Quota, Timestamp, spec::Fraction};

use super::super::{Change, Counterfactual, Delta, Limit, Planner, Running, Waiting, WorkBudget};
use crate::{
    Command, State,
    world::{World, gpus, hosted, shares, slices, spec},
};

/// What a change makes of a job's wishes.
fn altered(state: &State, id: &JobId, change: &Change) -> Waiting {
    let mut job = Waiting::from(state.job(id).unwrap());
    let r = &mut job.resources;
    match change {
        Change::Gpus(ranks) => r.gpus = *ranks,
        Change::MinGpus(ranks) => r.min_gpus = Some(*ranks),
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
        Change::Priority { priority, .. } => job.priority = *priority,
        Change::Limit(_)
        | Change::Ends(_)
        | Change::Nodes { .. }
        | Change::Until(_)
        | Change::Unreserved(_) => {}
    }
    job
}

/// Makes the change and plans, at the time that was told, with a planner that never heard of the
/// question.
pub(super) fn starts(world: &World, id: &JobId, found: &Counterfactual) -> bool {
    let change = &found.change;
    let mut copy = World::of(world.state.clone());
    copy.now = world.now;
    let mut at = Timestamp(copy.now);
    match change {
        Change::Ends(jobs) => return start_when_gone(world, id, jobs, found.starts),
        Change::Priority { stops, .. } => {
            let altered = altered(&copy.state, id, change);
            return start_once_stopped(&mut copy, altered, stops);
        }
        Change::Until(then) => at = *then,
        Change::Limit(limits) => limits.iter().for_each(|limit| raise(&mut copy, limit, limit.to)),
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
    assert_eq!(found.starts, at, "when it starts is told");
    let planner = with(&copy.state, altered(&copy.state, id, change));
    is_started(planner, id, at)
}

fn with(state: &State, job: Waiting) -> Planner {
    let mut planner = Planner::of(state);
    planner.update(Delta::Waits(Box::new(job)));
    planner
}

fn is_started(mut planner: Planner, id: &JobId, at: Timestamp) -> bool {
    let plan = planner.plan(at, WorkBudget::UNLIMITED);
    plan.starts.iter().any(|start| start.job == *id)
}

fn raise(world: &mut World, limit: &Limit, to: u32) {
    world.queue(limit.queue.as_str(), |spec| {
        for quota in spec.quotas.iter_mut().filter(|quota| quota.gpu_type == limit.gpu_type) {
            assert_eq!(quota.limit, Some(limit.from), "what it is now is told");
            quota.limit = Some(to);
        }
    });
}

/// Running jobs are gone by then, and their projects are charged with what they used. Nothing else
/// is different: what their ends teach of how long jobs take is not what is asked.
fn start_when_gone(world: &World, id: &JobId, jobs: &[JobId], at: Timestamp) -> bool {
    let mut copy = World::of(world.state.clone());
    copy.now = at.0;
    let mut planner = Planner::of(&world.state);
    for job in jobs {
        let job = copy.state.job(job).unwrap();
        let attempt = job.attempt_ref(job.current().unwrap());
        copy.exit_all(&attempt, 0);
        planner.update(Delta::Gone(attempt.job));
    }
    for node in copy.state.nodes().keys() {
        planner.update(Delta::of_node(&copy.state, node));
    }
    for project in copy.state.usage().keys() {
        planner.update(Delta::of_usage(&copy.state, project));
    }
    is_started(planner, id, at)
}

/// With its priority a job starts, or has just these stopped and starts once they are.
fn start_once_stopped(world: &mut World, job: Waiting, stops: &[JobId]) -> bool {
    let (id, now) = (job.id.clone(), Timestamp(world.now));
    let mut planner = with(&world.state, job.clone());
    let plan = planner.plan(now, WorkBudget::UNLIMITED);
    if stops.is_empty() {
        return plan.starts.iter().any(|start| start.job == id);
    }
    assert!(stops.iter().all(|job| plan.stops.iter().any(|stop| stop.job == *job)), "{plan:?}");
    for stop in plan.stops {
        world.apply(Command::Preempt(Box::new(stop.into()))).unwrap();
    }
    for start in plan.starts {
        world.apply(Command::StartAttempt(Box::new(start))).unwrap();
    }
    let leaving = |job: &&crate::state::Job| Running::of(job).is_some_and(|job| job.is_leaving());
    let attempts: Vec<_> = world.state.live_jobs().filter(leaving).collect();
    let attempts: Vec<_> = attempts.iter().map(|j| j.attempt_ref(j.current().unwrap())).collect();
    attempts.iter().for_each(|attempt| world.exit_all(attempt, 143));
    is_started(with(&world.state, job), &id, now)
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
    /// It may start with one rank.
    elastic: bool,
    /// It saves its state when it is asked to.
    saves: bool,
    project: &'static str,
    priority: i32,
    hours: Option<u64>,
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
    let project = prop_oneof![Just("a"), Just("b")];
    let run = (any::<bool>(), any::<bool>(), project, 0i32..3, proptest::option::of(1u64..9));
    (1u32..10, model, any::<bool>(), spread, label, speed, (part, run), host).prop_map(
        |(ranks, model, memory, spread, label, speed, (part, run), host)| {
            let (elastic, saves, project, priority, hours) = run;
            Wish {
                ranks,
                model,
                memory,
                spread,
                label,
                speed,
                part,
                elastic,
                saves,
                project,
                priority,
                hours,
                host,
            }
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
        if self.elastic && self.ranks > 2 {
            text += "min_gpus = 2\n";
        }
        if self.saves {
            text += "[checkpoint]\non_request = true\n";
        }
        if let Some(hours) = self.hours {
            text += &format!("[schedule]\nest_duration = \"{hours}h\"\n");
        }
        let mut spec = spec(&text);
        (spec.project, spec.priority) = (self.project.parse().unwrap(), self.priority);
        spec
    }
}

fn limit() -> impl Strategy<Value = (&'static str, Option<String>, u32)> {
    let queue = prop_oneof![Just("a"), Just("b"), Just("lab")];
    let model = proptest::option::of(prop_oneof![Just("h100".to_owned()), Just("a100".to_owned())]);
    (queue, model, 0u32..12)
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
        limits in proptest::collection::vec(limit(), 0..3),
        passed in prop_oneof![Just(0u64), 0u64..20_000_000],
    ) {
        let mut world = World::new();
        world.queue("root", |queue| queue.policy = policy);
        world.queue("lab", |_| {});
        world.queue("a", |queue| queue.parent = Some("lab".parse().unwrap()));
        for (queue, gpu_type, limit) in limits {
            let quota = Quota { gpu_type, guaranteed: 0, limit: Some(limit) };
            world.queue(queue, |spec| {
                spec.quotas.retain(|known| known.gpu_type != quota.gpu_type);
                spec.quotas.push(quota);
            });
        }
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
        world.now += passed;
        for wish in rest {
            world.submit(wish.spec());
        }
        super::host::check(&world.state);
        let now = Timestamp(world.now);
        let waiting: Vec<JobId> = world.planner.reasons(now).into_keys().collect();
        let expected = world.planner.expected_starts(now);
        for id in waiting {
            let before = world.planner.clone();
            let explanation = world.planner.explain(&id, now).unwrap();
            prop_assert_eq!(&before, &world.planner, "a question changes nothing");
            prop_assert!(!explanation.blockers.is_empty(), "nothing waits without a reason");
            prop_assert_eq!(expected.get(&id).copied(), world.planner.expected_start(&id, now));
            for found in &explanation.counterfactuals {
                prop_assert!(starts(&world, &id, found), "{found:?} was to start {id}");
                if let Change::Limit(limits) = &found.change
                    && let [limit] = limits.as_slice()
                {
                    let mut less = found.clone();
                    less.change =
                        Change::Limit(vec![Limit { to: limit.to - 1, ..limit.clone() }]);
                    prop_assert!(!starts(&world, &id, &less), "less than {found:?} is enough");
                }
            }
        }
    }
}
