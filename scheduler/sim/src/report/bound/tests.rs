use std::collections::BTreeMap;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use trainyard_jobs::{Policy, QueueSpec};

use super::*;
use crate::{Arrivals, Cluster, Figures, Setting, Shape, generate, replay};

/// A gang of so many GPUs that needs a run time of so many units.
fn gang(release_ms: u64, gpus: u64, least_ms: u64) -> Piece {
    Piece { release_ms, work: u128::from(1000 * gpus * least_ms), least_ms }
}

#[test]
fn on_one_gpu_it_is_the_shortest_job_first() {
    let jobs = [gang(0, 1, 30), gang(0, 1, 10), gang(0, 1, 20)];
    let best = (10.0 + 30.0 + 60.0) / 3.0;
    assert!((least_mean_completion(&jobs, 1.0) - best).abs() < 1e-9);
}

#[test]
fn a_long_job_gives_way_to_one_that_comes_later() {
    // Work of 40 from 0 on and of 10 from 10 on, on two GPUs: half of the long one is done before.
    let jobs = [gang(0, 2, 20), gang(10, 2, 5)];
    let busy = mean_busy_times(&jobs, 2.0);
    assert!((busy[0] - (10.0 * 5.0 + 10.0 * 20.0) / 20.0).abs() < 1e-9, "{busy:?}");
    assert!((busy[1] - 12.5).abs() < 1e-9);
    // It ends at 25 at the earliest, if it stops for the other.
    let bound = least_mean_completion(&jobs, 2.0);
    assert!((bound - (12.5 + 10.0 + 2.5 + 2.5) / 2.0).abs() < 1e-9, "{bound}");
}

#[test]
fn where_nobody_waits_it_is_the_run_time() {
    let jobs = [gang(0, 1, 100), gang(5, 1, 50)];
    assert!((least_mean_completion(&jobs, 64.0) - 75.0).abs() < 1e-9);
    assert!(least_mean_completion(&[], 64.0) == 0.0);
    assert!((least_mean_completion(&[gang(7, 1, 0)], 1.0) - 0.0).abs() < 1e-9);
}

/// The least sum of completion times if whole gangs may be exchanged each unit of time, by trying
/// all ways. The bound allows more, so it must not be above.
fn best(jobs: &[(u64, u64, u64)], gpus: u64) -> u64 {
    fn go(
        now: u64,
        left: Vec<u64>,
        jobs: &[(u64, u64, u64)],
        gpus: u64,
        known: &mut BTreeMap<(u64, Vec<u64>), u64>,
    ) -> u64 {
        if left.iter().all(|left| *left == 0) {
            return 0;
        }
        if let Some(sum) = known.get(&(now, left.clone())) {
            return *sum;
        }
        let may = |at: &usize| left[*at] > 0 && jobs[*at].0 <= now;
        let there: Vec<usize> = (0..jobs.len()).filter(may).collect();
        let mut least = u64::MAX;
        for chosen in 0..1_u32 << there.len() {
            let on = |(bit, _): &(usize, &usize)| chosen >> bit & 1 == 1;
            let some: Vec<usize> = there.iter().enumerate().filter(on).map(|(_, at)| *at).collect();
            if some.iter().map(|at| jobs[*at].1).sum::<u64>() > gpus {
                continue;
            }
            if some.is_empty() && !there.is_empty() {
                continue;
            }
            let mut after = left.clone();
            let mut ended = 0;
            for at in &some {
                after[*at] -= 1;
                ended += if after[*at] == 0 { now + 1 - jobs[*at].0 } else { 0 };
            }
            least = least.min(ended.saturating_add(go(now + 1, after, jobs, gpus, known)));
        }
        known.insert((now, left), least);
        least
    }
    let left = jobs.iter().map(|job| job.2).collect();
    go(0, left, jobs, gpus, &mut BTreeMap::new())
}

#[test]
fn no_schedule_of_a_few_jobs_is_below_it() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let (mut bounds, mut bests) = (0.0, 0.0);
    for _ in 0..150 {
        let gpus = rng.random_range(1..=4);
        let jobs: Vec<(u64, u64, u64)> = (0..rng.random_range(1..=4))
            .map(|_| (rng.random_range(0..4), rng.random_range(1..=gpus), rng.random_range(1..=3)))
            .collect();
        let pieces: Vec<Piece> = jobs.iter().map(|(r, g, d)| gang(*r, *g, *d)).collect();
        let bound = least_mean_completion(&pieces, float(gpus));
        let best = float(best(&jobs, gpus)) / float(count(jobs.len()));
        assert!(bound <= best + 1e-9, "{jobs:?} on {gpus}: {bound} is above {best}");
        bounds += bound;
        bests += best;
    }
    assert!(bounds > 0.85 * bests, "it says something: {bounds} of {bests}");
}

#[test]
fn no_policy_is_below_it() {
    let cluster = Cluster::read("2x8").expect("a cluster");
    for (seed, load, arrivals) in
        [(1, 0.7, Arrivals::Daily), (2, 1.5, Arrivals::Steady), (3, 1.0, Arrivals::AtOnce)]
    {
        let shape = Shape { jobs: 200, gpus: 16, load, arrivals, ..Shape::default() };
        let workload = generate(&shape, seed).expect("a workload");
        for policy in Policy::ALL {
            let spec = QueueSpec { policy: Some(policy), ..QueueSpec::default() };
            let setting = Setting {
                queues: vec![("root".parse().expect("a name"), spec)],
                restart_cost: trainyard_jobs::Millis(0),
                spread: true,
                known_durations: true,
                ..Setting::default()
            };
            let outcome = replay(&workload, &cluster, &setting).expect("a replay");
            let figures = Figures::of(policy.as_str(), &outcome);
            assert_eq!(figures.finished, 200);
            assert!(figures.bound_avg_jct_s > 0.0);
            assert!(figures.avg_jct_s >= figures.bound_avg_jct_s, "{policy}, {seed}: {figures:?}");
            if policy == Policy::Srsf {
                let gap = figures.avg_jct_s / figures.bound_avg_jct_s;
                assert!(gap < 2.5, "seed {seed}: it is near enough to say something: {gap}");
            }
        }
    }
}
