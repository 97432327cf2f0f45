//! How full a cluster gets: tasks are drawn at random from a file until they ask for 130 % of its
//! GPUs, and placed in that order; none leaves. After the method of Weng et al. (USENIX ATC 2023).

use std::{collections::BTreeMap, io::Read as _, path::Path};

use serde_json::{Value, json};
use trainyard_core::placement::{Hints, Mix, PlanNode, Request, WHOLE, Yard};
use trainyard_jobs::{Bytes, DeviceKind};

use crate::{cluster, rng::Rng};

const SEEDS: u64 = 10;

struct Task {
    request: Request,
    /// Thousandths of GPUs.
    gpus: u64,
}

pub(crate) fn run(folder: &str) -> Value {
    let nodes = nodes(Path::new(folder));
    let capacity: u64 = nodes.iter().map(|n| n.devices.len() as u64 * 1000).sum();
    let mut all = serde_json::Map::new();
    for set in ["default", "multigpu50"] {
        let tasks = tasks(&Path::new(folder).join(format!("fgd_pods_{set}.csv.gz")));
        let mut mix: BTreeMap<Request, u64> = BTreeMap::new();
        for task in &tasks {
            *mix.entry(task.request.clone()).or_default() += 1;
        }
        let mix = Mix::of(mix.iter().map(|(shape, n)| (shape, *n)), 256);
        let start = std::time::Instant::now();
        let told: Vec<f64> =
            (1..=SEEDS).map(|seed| fill(&nodes, capacity, &tasks, seed, Some(&mix))).collect();
        let seconds = start.elapsed().as_secs_f64();
        let learned: Vec<f64> =
            (1..=SEEDS).map(|seed| fill(&nodes, capacity, &tasks, seed, None)).collect();
        let value = json!({
            "allocated_percent": mean(&told), "seeds": told, "seconds": seconds,
            "allocated_percent_learning_the_mix": mean(&learned), "seeds_learning": learned,
        });
        all.insert(set.into(), value);
    }
    Value::Object(all)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The share of GPUs that is allocated at the end, in percent. Without a mix, the one that has
/// come so far is expected to go on.
fn fill(nodes: &[PlanNode], capacity: u64, tasks: &[Task], seed: u64, mix: Option<&Mix>) -> f64 {
    let mut yard = Yard::default();
    for node in nodes {
        yard.set(node, None);
    }
    if let Some(mix) = mix {
        yard.expect(mix.clone());
    }
    let mut rng = Rng(seed);
    let (mut asked, mut given) = (0, 0);
    let mut seen: BTreeMap<Request, u64> = BTreeMap::new();
    let mut drawn: u32 = 0;
    while asked * 10 < capacity * 13 {
        let task = &tasks[rng.below(tasks.len())];
        asked += task.gpus;
        drawn += 1;
        if mix.is_none() {
            *seen.entry(task.request.clone()).or_default() += 1;
            if drawn.is_power_of_two() || drawn.is_multiple_of(256) {
                yard.expect(Mix::of(seen.iter().map(|(shape, n)| (shape, *n)), 256));
            }
        }
        if let Some(place) = yard.place(&task.request, &Hints::default()) {
            yard.take(&place);
            given += task.gpus;
        }
    }
    given as f64 * 100.0 / capacity as f64
}

fn rows(path: &Path) -> Vec<Vec<String>> {
    let file = std::fs::File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).expect("gzipped text");
    let cells = |line: &str| line.split(',').map(str::to_owned).collect();
    text.lines().skip(1).map(cells).collect()
}

fn nodes(folder: &Path) -> Vec<PlanNode> {
    let mut nodes = Vec::new();
    for (n, row) in (1..).zip(rows(&folder.join("fgd_nodes.csv.gz"))) {
        let mut node = cluster::node(n, row[3].parse().unwrap(), &row[4].to_ascii_lowercase());
        node.host.cpu_milli = row[1].parse().unwrap();
        node.host.memory = Bytes(row[2].parse::<u64>().unwrap() << 20);
        nodes.push(node);
    }
    nodes
}

fn tasks(path: &Path) -> Vec<Task> {
    let task = |row: Vec<String>| {
        let gpus: u32 = row[3].parse().unwrap();
        let share: u16 = row[4].parse().unwrap();
        let mut request = cluster::gang(gpus.max(1));
        request.share = if gpus == 0 { 0 } else { share.min(WHOLE) };
        if gpus == 0 {
            request.device = DeviceKind::Cpu;
        }
        // A task is one container.
        request.compact = true;
        // The file says what all of a task needs: each of its ranks gets an equal part.
        request.host.cpu_milli = row[1].parse::<u64>().unwrap().div_ceil(u64::from(gpus.max(1)));
        let memory = row[2].parse::<u64>().unwrap() << 20;
        request.host.memory = Bytes(memory.div_ceil(u64::from(gpus.max(1))));
        let types = row.get(5).map(String::as_str).unwrap_or_default();
        request.types = types.split('|').filter(|t| !t.is_empty()).map(str::to_lowercase).collect();
        request.types.sort();
        Task { gpus: u64::from(gpus) * u64::from(request.share), request }
    };
    rows(path).into_iter().map(task).collect()
}
