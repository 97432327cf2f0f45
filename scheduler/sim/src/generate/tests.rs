use super::*;

#[test]
fn equal_seeds_give_equal_workloads() {
    let shape = Shape::default();
    let [a, b] = [generate(&shape, 1), generate(&shape, 1)].map(|w| w.expect("a workload"));
    assert_eq!(a, b);
    assert_ne!(a, generate(&shape, 2).expect("a workload"));
}

#[test]
fn the_shape_is_what_was_asked_for() {
    let shape = Shape { jobs: 20_000, gpus: 512, load: 0.8, ..Shape::default() };
    let workload = generate(&shape, 3).expect("a workload");
    let ones = workload.jobs.iter().filter(|job| job.gpus == 1).count();
    assert!((14_000..14_800).contains(&ones), "72 % ask for one GPU: {ones}");
    let mut times: Vec<_> = workload.jobs.iter().map(|job| job.duration.0).collect();
    times.sort_unstable();
    let median = times[times.len() / 2];
    assert!((1_080_000..1_320_000).contains(&median), "20 minutes, within a tenth: {median}");
    let last = workload.jobs.last().expect("jobs").submit.0;
    let load = float_sum(workload.work()) / float(512 * last);
    assert!((0.75..0.85).contains(&load), "{load}");
}

#[test]
fn no_gang_is_larger_than_the_cluster() {
    let shape = Shape { jobs: 5000, gpus: 8, ..Shape::default() };
    let workload = generate(&shape, 4).expect("a workload");
    assert_eq!(workload.jobs.iter().map(|job| job.gpus).max(), Some(8));
}

#[test]
fn impossible_shapes_are_refused() {
    for shape in [
        Shape { load: 0.0, ..Shape::default() },
        Shape { load: f64::NAN, ..Shape::default() },
        Shape { sigma: -1.0, ..Shape::default() },
        Shape { sigma: f64::NAN, ..Shape::default() },
        Shape { gpus: 0, ..Shape::default() },
    ] {
        assert!(generate(&shape, 1).is_err(), "{shape:?}");
    }
    assert!(generate(&Shape { jobs: 0, ..Shape::default() }, 1).expect("none").jobs.is_empty());
}
