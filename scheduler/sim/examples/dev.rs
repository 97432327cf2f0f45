//! dev
#![allow(clippy::all, clippy::print_stdout, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]
use trainyard_sim::*;
use std::time::Instant;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let workload = if let Some(n) = args[1].strip_prefix("gen:") {
        let mut it = n.split(',');
        let jobs = it.next().unwrap().parse().unwrap();
        let gpus = it.next().unwrap().parse().unwrap();
        let load = it.next().unwrap().parse().unwrap();
        generate(&Shape { jobs, gpus, load, ..Shape::default() }, 1).unwrap()
    } else { read(std::path::Path::new(&args[1]), None).unwrap() };
    let cluster = Cluster::read(&args[2]).unwrap();
    let setting = Setting::default();
    let t = Instant::now();
    let outcome = replay(&workload, &cluster, &setting).unwrap();
    println!("{:#?}\n{:?}", Figures::of("x", &outcome), t.elapsed());
}
