use super::{figures::percentile, *};

fn fate(gpus: u32, submit_s: u64, duration_s: u64, ended_s: u64, crowd: f64) -> Fate {
    Fate {
        id: "1".into(),
        project: "p".into(),
        gpus,
        gpu_milli: 1000,
        submit_ms: submit_s * 1000,
        duration_ms: duration_s * 1000,
        least_ms: duration_s * 1000,
        started_ms: Some(submit_s * 1000),
        ended_ms: Some(ended_s * 1000),
        failed: false,
        runs: 1,
        preemptions: 2,
        evictions: 1,
        losses: 0,
        failures: 3,
        held_gpu_ms: 0,
        lost_gpu_ms: 3_600_000,
        lost_to_others_gpu_ms: 900_000,
        cost_usd: 1.5,
        crowd,
    }
}

#[test]
fn percentiles_are_values_that_occurred() {
    let values: Vec<u64> = (1..=200).collect();
    assert_eq!(percentile(&values, 0.5), Some(100));
    assert_eq!(percentile(&values, 0.99), Some(198));
    assert_eq!(percentile(&[7], 0.99), Some(7));
    assert_eq!(percentile::<u64>(&[], 0.99), None);
}

#[test]
fn figures_are_what_the_fates_say() {
    let fates = vec![fate(8, 0, 100, 100, 1.0), fate(8, 0, 100, 300, 2.0)];
    let usage = Usage { held_gpu_ms: 8 * 200_000, ..Usage::default() };
    let tariff = Tariff::new(36.0, &[]);
    let reserved_gpu_ms = 8 * 1_800_000;
    let outcome = Outcome { fates, usage, gpus: 8, pace: 8.0, tariff, reserved_gpu_ms };
    let figures = Figures::of("fifo", &outcome);
    let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
    assert!(close(figures.avg_jct_s, 200.0), "{figures:?}");
    assert!(close(figures.makespan_s, 300.0));
    assert!(close(figures.gpu_util, 2.0 / 3.0) && close(figures.goodput, 2.0 / 3.0));
    // The second shared with one other: 200 s would have been fair, 300 s it took.
    assert!(close(figures.rho_avg, 1.25) && close(figures.rho_p99, 1.5));
    assert!(close(figures.cluster_cost_usd, 3.0) && close(figures.cost_usd, 3.0));
    assert_eq!((figures.preemptions, figures.finished, figures.unfinished), (4, 2, 0));
    assert!(close(figures.lost_gpu_h, 2.0));
    assert_eq!((figures.job_failures, figures.evictions), (6, 2));
    assert!(close(figures.lost_to_reservations_gpu_h, 0.5) && close(figures.reserved_gpu_h, 4.0));
    // One after the other, both on all GPUs.
    assert!(close(figures.bound_avg_jct_s, 150.0), "{}", figures.bound_avg_jct_s);
}

#[test]
fn nothing_gives_zeros() {
    let (usage, tariff) = (Usage::default(), Tariff::default());
    let outcome = Outcome { fates: vec![], usage, gpus: 8, pace: 8.0, tariff, reserved_gpu_ms: 0 };
    let figures = Figures::of("fifo", &outcome);
    assert_eq!((figures.jobs, figures.finished), (0, 0));
    assert!(figures.avg_jct_s == 0.0 && figures.gpu_util == 0.0 && figures.rho_p99 == 0.0);
}
