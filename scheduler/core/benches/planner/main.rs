//! The planner's figures, as JSON on stdout: `cargo bench -p trainyard-core --bench planner --
//! WHAT…`, where WHAT is `yard`, `state` or `packing=DIR` (a folder with `fgd_nodes.csv.gz` and
//! `fgd_pods_*.csv.gz`).

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "a benchmark: what is wrong with its input ends it"
)]

mod cluster;
mod memory;
mod packing;
mod rng;
mod state;
mod yard;

fn main() {
    let mut results = serde_json::Map::new();
    for what in std::env::args().skip(1) {
        match what.split_once('=') {
            Some(("packing", folder)) => {
                results.insert("packing".into(), packing::run(folder));
            }
            None if what == "yard" => {
                results.insert("yard".into(), yard::run());
            }
            None if what == "state" => {
                results.insert("state".into(), state::run());
            }
            // What `cargo bench` itself adds.
            None if what == "--bench" => {}
            _ => panic!("unknown benchmark `{what}`: try `yard`, `state` or `packing=DIR`"),
        }
    }
    let results = serde_json::Value::Object(results);
    println!("{}", serde_json::to_string_pretty(&results).expect("plain JSON"));
}
