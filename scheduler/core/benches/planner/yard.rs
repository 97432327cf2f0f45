//! Placements a second: an empty cluster of 10,000 nodes × 8 GPUs is filled with gangs.

use std::time::Instant;

use serde_json::{Value, json};
use trainyard_core::placement::{Hints, Yard};

use crate::{cluster, rng::Rng};

const NODES: u64 = 10_000;

pub(crate) fn run() -> Value {
    let nodes: Vec<_> = (1..=NODES).map(|n| cluster::node(n, 8, "h100")).collect();
    let mut yard = Yard::default();
    for node in &nodes {
        yard.set(node, None);
    }
    let as_in_philly = |rng: &mut Rng| match rng.below(1000) {
        0..500 => 1,
        500..650 => 2,
        650..780 => 4,
        780..900 => 8,
        900..950 => 16,
        950..975 => 32,
        975..988 => 64,
        988..995 => 128,
        995..998 => 256,
        _ => 512,
    };
    let any_power = |rng: &mut Rng| 1_u32 << rng.below(10);
    json!({
        "mostly_small": fill(&mut yard, as_in_philly, false),
        "mostly_small_with_names_of_units": fill(&mut yard, as_in_philly, true),
        "powers_of_two_alike": fill(&mut yard, any_power, false),
        "powers_of_two_alike_with_names_of_units": fill(&mut yard, any_power, true),
    })
}

fn fill(yard: &mut Yard, draw: impl Fn(&mut Rng) -> u32, with_names: bool) -> Value {
    let mut rng = Rng(7);
    let mut rates = Vec::new();
    let (mut placed, mut units) = (0_u64, 0_u64);
    for _ in 0..5 {
        let sizes: Vec<_> = (0..40_000).map(|_| cluster::gang(draw(&mut rng))).collect();
        let mark = yard.mark();
        (placed, units) = (0, 0);
        let mut assignments = 0;
        let start = Instant::now();
        for request in &sizes {
            if yard.is_full() {
                break;
            }
            let Some(place) = yard.place(request, &Hints::default()) else { continue };
            yard.take(&place);
            if with_names {
                assignments += yard.assignments(&place).len();
            }
            placed += 1;
            units += u64::from(request.ranks);
        }
        rates.push(placed as f64 / start.elapsed().as_secs_f64());
        assert!(assignments > 0 || !with_names);
        yard.rewind(mark);
    }
    rates.sort_by(f64::total_cmp);
    json!({ "placements_per_second": rates[rates.len() / 2], "placed": placed, "units": units })
}
