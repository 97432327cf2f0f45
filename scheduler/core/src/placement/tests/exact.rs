//! A full pass against the best there is, on small random instances. The objective was fixed before
//! the first result was seen, and is the planner's own: in the policy's order, whoever can start
//! does; of all ways to place those who start, the one is best whose hours cost least (price and
//! worth of the units for as long as the work takes there, expected losses) together with what the
//! jobs that wait could not use of what is left (`score`). The optimum is found by dynamic
//! programming over what is free, with bounds; where it is small enough an integer program, solved
//! by `microlp`, has to come to the same.

#![allow(clippy::as_conversions, clippy::print_stdout, reason = "small test numbers; a report")]

use std::collections::{BTreeMap, HashMap};

use microlp::{ComparisonOp::Eq, LinearExpr, OptimizationDirection::Minimize, Problem};
use trainyard_jobs::{JobId, Policy, Timestamp, spec::Speed};

use super::super::{
    Plan, Planner, WorkBudget,
    fit::{Hints, Host, Request, WHOLE},
    score::{Demand, Mix, Residue, Stakes, Terms, VALUE},
    topology::Span,
};
use crate::world::{World, gpus, node_id, spec};

const MODELS: [&str; 3] = ["h100", "a100", "v100"];

/// The most nodes of an instance.
const NODES: usize = 6;

/// So many free units of each node.
type Free = [u8; NODES];

/// Linear congruential (Knuth, TAOCP 2, 3.3.4).
struct Draw(u64);

impl Draw {
    fn below(&mut self, n: u32) -> u32 {
        let Self(state) = self;
        *state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) as u32 % n
    }
}

/// A node in the model.
struct Site {
    model: String,
    price: u64,
    units: u8,
    /// What so many free units of it that wait for the likely jobs lose.
    waste: Vec<i128>,
}

/// A way to place a gang: how many units of each node, and what its hours cost.
struct Way {
    takes: Free,
    cost: i128,
}

struct Instance {
    world: World,
    sites: Vec<Site>,
    gangs: Vec<JobId>,
}

/// Two to six nodes of one to eight units, of one to three types that cost and serve differently;
/// a part of them is in use. Two to eight gangs.
fn instance(seed: u64) -> Instance {
    let mut draw = Draw(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut world = World::new();
    world.queue("root", |queue| queue.policy = Some(Policy::Fifo));
    let types = 1 + draw.below(3);
    let prices: Vec<u32> = (0..types).map(|_| draw.below(9)).collect();
    let mut sites = Vec::new();
    for n in 0..2 + draw.below(5) {
        let kind = draw.below(types) as usize;
        let (units, halves) = (1 + draw.below(8), prices[kind]);
        let price = format!("{}.{}", halves / 2, halves % 2 * 5);
        let labels = [("usd_per_unit_hour", price.as_str())];
        world.register_node(u64::from(n), gpus(&format!("n{n}"), MODELS[kind], units, &labels));
        let terms = Terms::of(&world.state.node(&node_id(n.into())).unwrap().inventory.labels);
        sites.push(Site {
            model: MODELS[kind].to_owned(),
            price: terms.price.micro_usd(),
            units: units as u8,
            waste: Vec::new(),
        });
    }
    for _ in 0..draw.below(3) {
        world.submit(spec(&format!("[resources]\ngpus = {}\n", 1 + draw.below(4))));
    }
    for attempt in world.plan() {
        world.started(&attempt);
    }
    let waiting: Vec<JobId> = world.planner.reasons(Timestamp(world.now)).into_keys().collect();
    waiting.iter().for_each(|job| world.cancel(job));
    let gangs = (0..2 + draw.below(7)).map(|_| {
        let text = gang(&mut draw, types);
        world.submit(spec(&text))
    });
    let gangs = gangs.collect();
    Instance { world, sites, gangs }
}

/// One to eight ranks; half of them run faster or slower on some types, some take few types, some
/// have to be on few nodes, or on several.
fn gang(draw: &mut Draw, types: u32) -> String {
    let mut text = format!("[resources]\ngpus = {}\n", 1 + draw.below(8));
    match draw.below(8) {
        0 => text += "compact = true\n",
        1 => text += &format!("max_ranks_per_node = {}\n", 1 + draw.below(4)),
        _ => {}
    }
    if draw.below(4) == 0 {
        text += &format!("gpu_type = [\"{}\"]\n", MODELS[draw.below(types) as usize]);
    }
    if draw.below(2) == 0 {
        let speed = |model: &&str| format!("{model} = {}.{}", draw.below(4), 1 + draw.below(9));
        let speeds: Vec<String> = MODELS.iter().take(types as usize).map(speed).collect();
        text += &format!("speed = {{ {} }}\n", speeds.join(", "));
    }
    text
}

impl Instance {
    /// What is free before the pass.
    fn free(&self) -> Free {
        let mut free = [0; NODES];
        for (n, site) in self.sites.iter().enumerate() {
            let node = self.world.state.node(&node_id(n as u64)).unwrap();
            free[n] = site.units - node.owners.len() as u8;
        }
        free
    }

    fn request(&self, job: &JobId) -> Request {
        Request::from(&self.world.job(job).spec.resources)
    }

    fn answers(&self, request: &Request, site: &Site) -> bool {
        let memory = if site.model == "h100" { 80 } else { 40 };
        request.takes(
            trainyard_jobs::DeviceKind::Gpu,
            &site.model,
            trainyard_jobs::Bytes(memory << 30),
            WHOLE,
        )
    }

    /// What the likely jobs lose by free units, from the score's own measure.
    fn know_waste(&mut self) {
        let mut counts: BTreeMap<Request, u64> = BTreeMap::new();
        for job in &self.gangs {
            *counts.entry(self.request(job)).or_default() += 1;
        }
        let mix = Mix::of(counts.iter().map(|(request, n)| (request, *n)), 16);
        let alike = |a: &Site, b: &Site| (&a.model, a.price) == (&b.model, b.price);
        for n in 0..self.sites.len() {
            let site = &self.sites[n];
            let largest = self.sites.iter().filter(|s| alike(s, site)).map(|s| s.units).max();
            let demand = |(request, weight): &(Request, u64)| Demand {
                weight: *weight,
                ranks: u64::from(request.ranks.min(request.most_per_node)),
                compact: request.compact,
                largest: largest.unwrap().into(),
                share: request.share,
                host: Host::default(),
                answered: self.answers(request, site),
            };
            let demands: Vec<Demand> = mix.shapes().iter().map(demand).collect();
            let weight: u64 = demands.iter().map(|demand| demand.weight).sum();
            let waste = |whole: u8| {
                let (total, whole) = (site.units.into(), whole.into());
                let left = Residue { total, whole, parts: Vec::new(), host: Host::default() };
                let scale = i128::from(weight) * Residue::SCALE;
                i128::from(left.fragments(&demands)) * i128::from(VALUE) / scale
            };
            self.sites[n].waste = (0..=site.units).map(waste).collect();
        }
    }

    /// What an hour's work of a gang costs with these units; nothing if it may not have them.
    fn hours(&self, job: &JobId, takes: &Free) -> Option<i128> {
        let resources = &self.world.job(job).spec.resources;
        let request = Request::from(resources);
        let used = || self.sites.iter().zip(takes).filter(|(_, units)| **units > 0);
        let nodes = used().count();
        let largest = used().map(|(site, _)| {
            let alike = self.sites.iter().filter(|other| other.model == site.model);
            alike.map(|site| u32::from(site.units)).max().unwrap()
        });
        let each = largest.max().unwrap().min(request.most_per_node);
        let is_near = !request.compact || nodes <= request.ranks.div_ceil(each) as usize;
        let may = |(site, units): (&Site, &u8)| {
            self.answers(&request, site) && u32::from(*units) <= request.most_per_node
        };
        if !is_near || !used().all(may) {
            return None;
        }
        let slowdown = if nodes > 1 { Span::Any.slowdown(nodes) } else { 1000 };
        let pace = used().map(|(site, _)| resources.speed.on(&site.model)).min();
        let pace = pace.unwrap_or(Speed::ONE).milli();
        let hour = |site: &Site| {
            let price = format!("{}", site.price as f64 / 1e6);
            let labels = BTreeMap::from([("usd_per_unit_hour".to_owned(), price)]);
            Terms::of(&labels).hour(Stakes::default(), false, (slowdown, pace))
        };
        Some(used().map(|(site, units)| i128::from(hour(site)) * i128::from(*units)).sum())
    }

    /// All ways to place a gang, the cheapest first.
    fn ways(&self, job: &JobId) -> Vec<Way> {
        let mut all = Vec::new();
        let free = self.free();
        let mut takes = [0; NODES];
        let ranks = self.request(job).ranks as u8;
        spread(&free, ranks, 0, &mut takes, &mut |takes| {
            if let Some(cost) = self.hours(job, takes) {
                all.push(Way { takes: *takes, cost });
            }
        });
        all.sort_by_key(|way| way.cost);
        all
    }

    fn waste(&self, free: &Free) -> i128 {
        self.sites.iter().zip(free).map(|(site, free)| site.waste[usize::from(*free)]).sum()
    }

    /// Those that keep a gang on one type if one has room for it, by itself.
    fn ways_of_one_type(&self, job: &JobId) -> Vec<Way> {
        let mut ways = self.ways(job);
        let is_pure = |way: &Way| {
            let mut used = self.sites.iter().zip(&way.takes).filter(|(_, units)| **units > 0);
            let first = used.next().map(|(site, _)| &site.model);
            used.all(|(site, _)| Some(&site.model) == first)
        };
        if ways.iter().any(is_pure) {
            ways.retain(is_pure);
        }
        ways
    }

    /// The least that gangs can cost together that may be placed so, of which it is known that they
    /// cost no more than `known`, if anything is.
    fn best(&self, ways: &[Vec<Way>], known: i128) -> Option<i128> {
        let least = |free: &Free| -> i128 {
            let of_site = |(site, free): (&Site, &u8)| {
                *site.waste.iter().take(usize::from(*free) + 1).min().unwrap()
            };
            self.sites.iter().zip(free).map(of_site).sum()
        };
        let mut reached = HashMap::from([(self.free(), 0_i128)]);
        for (n, of_job) in ways.iter().enumerate() {
            let rest: i128 = ways[n + 1..].iter().map(|ways| ways[0].cost).sum();
            let mut next: HashMap<Free, i128> = HashMap::new();
            for (free, so_far) in &reached {
                for Way { takes, cost } in of_job {
                    let all = so_far + cost;
                    if all + rest > known {
                        break;
                    }
                    let Some(left) = without(free, takes) else { continue };
                    if all + rest + least(&left) > known {
                        continue;
                    }
                    let before = next.entry(left).or_insert(i128::MAX);
                    *before = all.min(*before);
                }
            }
            reached = next;
        }
        reached.iter().map(|(free, cost)| cost + self.waste(free)).min()
    }

    /// Whether all of these find room at once.
    fn fit(&self, jobs: &[&JobId]) -> bool {
        let mut reached = std::collections::HashSet::from([self.free()]);
        for job in jobs {
            let ways = self.ways(job);
            let left = |free: &Free| -> Vec<Free> {
                ways.iter().filter_map(|way| without(free, &way.takes)).collect()
            };
            reached = reached.iter().flat_map(left).collect();
        }
        !reached.is_empty()
    }

    /// What the plan's starts cost, by the model and by the yard.
    fn cost(&mut self, plan: &Plan) -> i128 {
        let mut free = self.free();
        let mut cost = 0;
        for start in &plan.starts {
            let mut takes = [0; NODES];
            for place in &start.placements {
                let site = (0..self.sites.len()).find(|n| node_id(*n as u64) == place.node);
                takes[site.unwrap()] += place.units.len() as u8;
            }
            cost += self.hours(&start.job, &takes).expect("a place that it may have");
            free = without(&free, &takes).expect("units that are free");
        }
        let cost = cost + self.waste(&free);
        let told = told(&mut self.world.planner, plan);
        assert!((told - cost).abs() <= 100, "the yard says {told}, the model {cost}");
        cost
    }
}

fn spread(free: &Free, ranks: u8, at: usize, takes: &mut Free, each: &mut dyn FnMut(&Free)) {
    if at == NODES {
        if ranks == 0 {
            each(takes);
        }
        return;
    }
    for units in 0..=ranks.min(free[at]) {
        takes[at] = units;
        spread(free, ranks - units, at + 1, takes, each);
    }
    takes[at] = 0;
}

fn without(free: &Free, takes: &Free) -> Option<Free> {
    let mut left = *free;
    for (left, takes) in left.iter_mut().zip(takes) {
        *left = left.checked_sub(*takes)?;
    }
    Some(left)
}

/// What a plan's starts cost by the yard's account: hours and what is of no use then.
fn told(planner: &mut Planner, plan: &Plan) -> i128 {
    planner.try_out(|planner, yard| {
        let mut cost = 0;
        for start in &plan.starts {
            let resources = &planner.job(&start.job).unwrap().resources;
            let place = yard.placement(&start.placements, resources);
            let hints = Hints::of(resources);
            cost += yard.hours_of(&Request::from(resources), &hints, &place);
            yard.take(&place);
        }
        cost + yard.waste_of_all()
    })
}

/// How far above the optimum a plan is, in parts of it.
struct Measured {
    seed: u64,
    /// Of what the planner's rules admit, and of all ways, types mixed at will.
    above: [f64; 2],
    /// Whether those start that the order says.
    in_order: bool,
}

/// Nothing if the plan starts nobody.
fn measure(seed: u64) -> Option<Measured> {
    let mut instance = instance(seed);
    instance.know_waste();
    let now = Timestamp(instance.world.now);
    let plan = instance.world.planner.plan(now, WorkBudget::UNLIMITED);
    let starts: Vec<&JobId> = plan.starts.iter().map(|start| &start.job).collect();
    if starts.is_empty() {
        return None;
    }
    let ours = instance.cost(&plan);
    let any: Vec<Vec<Way>> = starts.iter().map(|job| instance.ways(job)).collect();
    let pure: Vec<Vec<Way>> = starts.iter().map(|job| instance.ways_of_one_type(job)).collect();
    let any = instance.best(&any, ours).expect("the plan's own way is one");
    // A plan that had to mix types at a job's turn may cost less than any that does not.
    let pure = instance.best(&pure, ours).unwrap_or(ours);
    assert!(any <= ours && any <= pure, "nothing is better than the best");
    let mut before: Vec<&JobId> = Vec::new();
    let mut in_order = true;
    for job in &instance.gangs {
        before.push(job);
        if !starts.contains(&job) {
            in_order &= !instance.fit(&before);
            before.pop();
        }
    }
    let above = [pure, any].map(|best| ours as f64 / best as f64 - 1.0);
    Some(Measured { seed, above, in_order })
}

/// The mean, the worst, and how many are more than a tenth above. Prints all of it.
fn report(what: &str, all: &[Measured], at: usize) -> (f64, f64, usize) {
    let mut over: Vec<(f64, u64)> = all.iter().map(|m| (m.above[at], m.seed)).collect();
    over.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mean = over.iter().map(|(above, _)| above).sum::<f64>() / over.len() as f64;
    let part = |part: usize| 100.0 * over[(over.len() - 1) * part / 1000].0;
    let beyond = |most: f64| over.iter().filter(|(above, _)| *above > most).count();
    println!(
        "{what}: mean {:.3} %, median {:.3} %, p90 {:.2} %, p99 {:.2} %, worst {:.2} %; \
         {} above 2 %, {} above 10 %; worst seeds {:?}",
        100.0 * mean,
        part(500),
        part(900),
        part(990),
        part(1000),
        beyond(0.02),
        beyond(0.10),
        over.iter().rev().take(12).collect::<Vec<_>>()
    );
    (mean, part(1000) / 100.0, beyond(0.10))
}

#[test]
fn a_full_pass_is_near_the_best_there_is() {
    let all: Vec<Measured> = (1..).filter_map(measure).take(500).collect();
    let (mean, worst, far) = report("by the planner's rules", &all, 0);
    report("types mixed at will", &all, 1);
    let others: Vec<u64> = all.iter().filter(|m| !m.in_order).map(|m| m.seed).collect();
    println!("{} start others than the order says: {others:?}", others.len());
    assert!(mean <= 0.02, "{mean:.4} above the best on average");
    assert!(far == 0 && worst <= 0.10, "{far} are a tenth above, the worst by {worst:.4}");
}

/// The same optimum as an integer program: each gang has one of its ways, each site one number of
/// free units.
fn by_program(instance: &Instance, ways: &[Vec<Way>]) -> f64 {
    let mut program = Problem::new(Minimize);
    let mut balance: Vec<LinearExpr> = instance.sites.iter().map(|_| LinearExpr::empty()).collect();
    for of_job in ways {
        let mut one = LinearExpr::empty();
        for way in of_job {
            let chosen = program.add_binary_var(way.cost as f64);
            one.add(chosen, 1.0);
            for (units, balance) in way.takes.iter().zip(&mut balance) {
                balance.add(chosen, f64::from(*units));
            }
        }
        program.add_constraint(one, Eq, 1.0);
    }
    let free = instance.free();
    for ((site, free), mut balance) in instance.sites.iter().zip(free).zip(balance) {
        let mut one = LinearExpr::empty();
        for left in 0..=free {
            let chosen = program.add_binary_var(site.waste[usize::from(left)] as f64);
            one.add(chosen, 1.0);
            balance.add(chosen, f64::from(left));
        }
        program.add_constraint(one, Eq, 1.0);
        program.add_constraint(balance, Eq, f64::from(free));
    }
    program.solve().unwrap().into_solution().unwrap().objective()
}

#[test]
fn an_integer_program_knows_nothing_better() {
    let mut compared = 0;
    for seed in 1..400 {
        let mut instance = instance(seed);
        instance.know_waste();
        let now = Timestamp(instance.world.now);
        let plan = instance.world.planner.plan(now, WorkBudget::UNLIMITED);
        let ways: Vec<Vec<Way>> =
            plan.starts.iter().map(|start| instance.ways(&start.job)).collect();
        let all: usize = ways.iter().map(Vec::len).sum();
        if ways.len() < 2 || all > 60 {
            continue;
        }
        let best = instance.best(&ways, i128::MAX / 4).expect("the plan's own way is one") as f64;
        let program = by_program(&instance, &ways);
        assert!((best - program).abs() <= 1.0 + best * 1e-6, "seed {seed}: {best} and {program}");
        compared += 1;
    }
    assert!(compared >= 40, "{compared} instances are small enough");
}
