//! A fixed budget of seeds, and that a seed tells the same story twice.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use trainyard_sim_tests::{Scenario, run};

fn hold(seeds: std::ops::Range<u64>) {
    let failures: Vec<String> = seeds
        .filter_map(|seed| Some(run(&Scenario::of(seed), false).violation?.told(seed)))
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn a_seed_gives_the_same_run_twice() {
    for seed in [3, 7] {
        let (one, two) = (run(&Scenario::of(seed), false), run(&Scenario::of(seed), false));
        assert!(one.digest.1 > 50, "nothing happened");
        assert_eq!(one.digest, two.digest, "seed {seed}");
    }
}

#[test]
fn every_invariant_holds_one() {
    hold(0..100);
}

#[test]
fn every_invariant_holds_two() {
    hold(100..200);
}

#[test]
fn every_invariant_holds_three() {
    hold(200..300);
}

#[test]
fn every_invariant_holds_four() {
    hold(300..400);
}
