//! Jobs that fail by their own doing.

use super::*;
use crate::Failures;

fn failing(failures: Failures, max_restarts: u32) -> Setting {
    let restart_cost = Millis(0);
    Setting { failures: Some(failures), max_restarts: Some(max_restarts), restart_cost, ..fifo() }
}

#[test]
fn who_fails_too_often_has_failed() {
    let setting = failing(Failures::Share(1.0), 2);
    let outcome = with_cluster("[[nodes]]\ncount = 2\n", "0,16,36000\n", &setting);
    let figures = Figures::of("fifo", &outcome);
    assert_eq!((figures.failed, figures.finished, figures.job_failures), (1, 0, 3));
    assert_eq!((outcome.fates[0].runs, outcome.fates[0].losses), (3, 0));
    assert_eq!(outcome.usage.held_gpu_ms, outcome.fates[0].lost_gpu_ms, "all of it was in vain");
    assert!(figures.lost_gpu_h > 0.0);
}

#[test]
fn a_failure_costs_what_was_not_saved() {
    let saving = Setting {
        checkpoint_every: Some(Millis(600_000)),
        ..failing(Failures::Every(Millis(7_200_000)), 1000)
    };
    let outcome = with_cluster("[[nodes]]\n", "0,8,72000\n", &saving);
    let figures = Figures::of("fifo", &outcome);
    assert_eq!((figures.finished, figures.failed), (1, 0));
    assert!((3..30).contains(&figures.job_failures), "ten are likely: {figures:?}");
    let most = f64::from(u32::try_from(figures.job_failures).expect("few")) * 8.0 / 6.0;
    assert!(figures.lost_gpu_h > 0.0 && figures.lost_gpu_h <= most, "{figures:?}");
}

#[test]
fn so_many_fail_as_were_asked_for_and_equal_seeds_fail_alike() {
    let shape = Shape { jobs: 400, gpus: 16, ..Shape::default() };
    let workload = generate(&shape, 8).expect("a workload");
    let cluster = Cluster::read("2x8").expect("a cluster");
    let run = |seed| {
        let setting = Setting { seed, ..failing(Failures::Share(0.1), 3) };
        replay(&workload, &cluster, &setting).expect("a replay")
    };
    let outcome = run(1);
    assert_eq!(outcome, run(1));
    assert_ne!(outcome, run(2));
    let runs: u32 = outcome.fates.iter().map(|fate| fate.runs).sum();
    let failures: u32 = outcome.fates.iter().map(|fate| fate.failures).sum();
    let share = f64::from(failures) / f64::from(runs);
    assert!((0.06..0.14).contains(&share), "{failures} of {runs}");
}
