mod failing;
mod market;
mod parts;
mod windows;

use trainyard_jobs::{Backfill, Policy};

use super::*;
use crate::{Arrivals, Figures, Shape, generate, read_text};

/// Who came first goes first, and nobody is stopped.
fn fifo() -> Setting {
    let spec = QueueSpec { policy: Some(Policy::Fifo), ..QueueSpec::default() };
    Setting { queues: vec![("root".parse().expect("a name"), spec)], ..Setting::default() }
}

fn run(trace: &str, cluster: &str) -> Outcome {
    let head = "job_id,submit_time_s,gpus,duration_s\n";
    let workload = read_text("t.csv", &format!("{head}{trace}"), None).expect("a trace");
    let cluster = Cluster::read(cluster).expect("a cluster");
    replay(&workload, &cluster, &fifo()).expect("a replay")
}

fn ends(outcome: &Outcome) -> Vec<Option<u64>> {
    outcome.fates.iter().map(|fate| fate.ended_ms.map(|ms| ms / 1000)).collect()
}

#[test]
fn jobs_that_fit_run_side_by_side_and_others_wait() {
    let outcome = run("a,0,4,100\nb,10,4,100\nc,20,8,50\n", "1x8");
    assert_eq!(ends(&outcome), [Some(100), Some(110), Some(160)]);
    let figures = Figures::of("fifo", &outcome);
    assert!((figures.avg_jct_s - (100.0 + 100.0 + 140.0) / 3.0).abs() < 1e-9);
    assert!((figures.gpu_util - 1200.0 / 1280.0).abs() < 1e-9, "{}", figures.gpu_util);
    assert_eq!(outcome.fates[2].started_ms, Some(110_000));
}

#[test]
fn who_may_pass_is_the_queues_to_say() {
    // Two GPUs are free until the first ends. The fourth would keep the third waiting.
    let trace = "submit_time_s,gpus,duration_s\n0,2,2000\n1,3,1000\n2,4,1000\n3,1,3000\n4,2,500\n";
    let workload = read_text("t.csv", trace, None).expect("a trace");
    let cluster = Cluster::read("1x4").expect("a cluster");
    let starts = |backfill| {
        let mut setting = Setting { known_durations: true, ..fifo() };
        setting.queues[0].1.backfill = Some(backfill);
        setting.restart_cost = Millis(0);
        let outcome = replay(&workload, &cluster, &setting).expect("a replay");
        let start = |fate: &Fate| fate.started_ms.expect("starts") / 1000;
        outcome.fates.iter().map(start).collect::<Vec<_>>()
    };
    assert_eq!(starts(Backfill::None), [0, 2000, 3000, 4000, 4000]);
    let conservative = starts(Backfill::Conservative);
    assert_eq!(conservative[..4], [0, 2000, 3000, 4000]);
    assert_eq!(conservative[4], 4, "it is gone before the second starts");
    assert_eq!(starts(Backfill::Easy)[3], 3, "young jobs are passed");
}

#[test]
fn a_job_beyond_the_cluster_never_ends_and_keeps_nobody() {
    let outcome = run("a,0,9,100\nb,0,8,100\n", "1x8");
    assert_eq!(ends(&outcome), [None, Some(100)]);
    assert_eq!(Figures::of("fifo", &outcome).unfinished, 1);
    let late = run("a,0,8,100\nb,50,9,100\n", "1x8");
    assert_eq!(ends(&late), [Some(100), None]);
}

#[test]
fn a_job_of_no_length_ends_at_once() {
    let outcome = run("a,5,1,0\n", "1x1");
    assert_eq!(ends(&outcome), [Some(5)]);
}

#[test]
fn a_slow_node_takes_longer() {
    let text = "[[nodes]]\ngpus = 2\nspeed = 0.5\nprice = 7.2\n";
    let cluster = Cluster::parse("c.toml", text).expect("a cluster");
    let trace = "submit_time_s,gpus,duration_s\n0,1,100\n";
    let workload = read_text("t.csv", trace, None).expect("a trace");
    let outcome = replay(&workload, &cluster, &fifo()).expect("a replay");
    assert_eq!(ends(&outcome), [Some(200)]);
    assert!((outcome.fates[0].cost_usd - 0.2).abs() < 1e-9, "one of two GPUs for 200 s");
}

#[test]
fn equal_seeds_give_equal_outcomes() {
    let shape = Shape { jobs: 300, gpus: 32, ..Shape::default() };
    let workload = generate(&shape, 5).expect("a workload");
    let cluster = Cluster::read("4x8").expect("a cluster");
    let again = || replay(&workload, &cluster, &fifo()).expect("a replay");
    let (a, b) = (again(), again());
    assert_eq!(a, b);
    assert!(a.fates.iter().all(|fate| fate.ended_ms.is_some()));
}

#[test]
fn what_is_held_is_the_work_when_nothing_is_lost() {
    let shape = Shape { jobs: 200, gpus: 16, arrivals: Arrivals::AtOnce, ..Shape::default() };
    let workload = generate(&shape, 6).expect("a workload");
    let cluster = Cluster::read("2x8").expect("a cluster");
    let outcome = replay(&workload, &cluster, &fifo()).expect("a replay");
    assert_eq!(outcome.usage.held_gpu_ms, workload.work());
    let held: u128 = outcome.fates.iter().map(|fate| fate.held_gpu_ms).sum();
    assert_eq!(held, workload.work());
}

fn with_cluster(text: &str, trace: &str, setting: &Setting) -> Outcome {
    let cluster = Cluster::parse("c.toml", text).expect("a cluster");
    let trace = format!("submit_time_s,gpus,duration_s\n{trace}");
    let workload = read_text("t.csv", &trace, None).expect("a trace");
    replay(&workload, &cluster, setting).expect("a replay")
}

#[test]
fn a_lost_node_costs_what_was_not_saved() {
    let text = "[[nodes]]\ncount = 2\ngpus = 8\nmtbf = \"6h\"\nrepair = \"30m\"\n";
    let bare = with_cluster(text, "0,8,36000\n0,8,36000\n", &fifo());
    let figures = Figures::of("fifo", &bare);
    assert_eq!(figures.finished, 2);
    assert!(figures.losses > 0 && figures.lost_gpu_h > 0.0, "{figures:?}");
    assert!(figures.goodput < figures.gpu_util, "{figures:?}");
    let saving = Setting { checkpoint_every: Some(Millis(600_000)), ..fifo() };
    let saved = Figures::of("fifo", &with_cluster(text, "0,8,36000\n0,8,36000\n", &saving));
    assert!(saved.losses > 0);
    let most = f64::from(u32::try_from(saved.losses).expect("few")) * 8.0 / 6.0;
    assert!(saved.lost_gpu_h <= most, "ten minutes of eight GPUs at most: {saved:?}");
    assert!(saved.avg_jct_s < figures.avg_jct_s);
}

#[test]
fn what_is_told_in_time_loses_no_work() {
    let text = "[[nodes]]\ncount = 2\ninterrupted_every = \"3h\"\nreplaced_after = \"10m\"\n";
    let outcome = with_cluster(text, "0,8,36000\n0,16,7200\n", &fifo());
    let figures = Figures::of("fifo", &outcome);
    assert!(figures.losses > 0 && figures.lost_gpu_h == 0.0, "{figures:?}");
    assert_eq!(figures.finished, 2);
}

#[test]
fn failures_go_on_for_ever_but_replays_end() {
    let text = "[[nodes]]\nmtbf = \"1h\"\nrepair = \"1m\"\n";
    let outcome = with_cluster(text, "0,9,60\n0,1,60\n", &fifo());
    assert_eq!(Figures::of("fifo", &outcome).unfinished, 1);
}

#[test]
fn what_is_stopped_saves_its_state_and_loses_the_restart() {
    let spec = QueueSpec { policy: Some(Policy::Srsf), ..QueueSpec::default() };
    let queues = vec![("root".parse().expect("a name"), spec)];
    let setting = Setting { queues, known_durations: true, ..Setting::default() };
    let outcome = with_cluster("[[nodes]]\n", "0,8,36000\n3600,8,600\n", &setting);
    // The short one goes first; the long one goes on where it was, a minute later.
    assert_eq!(ends(&outcome), [Some(36_000 + 600 + 60), Some(3600 + 600)]);
    let [long, short] = outcome.fates.as_slice() else { panic!("{outcome:?}") };
    assert_eq!((long.preemptions, long.runs, long.lost_gpu_ms), (1, 2, 0));
    assert_eq!((short.preemptions, short.runs), (0, 1));
}

#[test]
fn noise_is_of_the_seed_alone_and_changes_no_job() {
    let shape = Shape { jobs: 200, gpus: 16, ..Shape::default() };
    let workload = generate(&shape, 7).expect("a workload");
    let cluster = Cluster::read("2x8").expect("a cluster");
    let run = |seed, noise| {
        let setting = Setting { seed, noise, ..Setting::default() };
        replay(&workload, &cluster, &setting).expect("a replay")
    };
    assert_eq!(run(1, 0.3), run(1, 0.3));
    let all_done = |outcome: &Outcome| outcome.fates.iter().all(|fate| fate.ended_ms.is_some());
    assert!(all_done(&run(1, 0.3)) && all_done(&run(2, 0.0)));
}

#[test]
fn who_had_much_lately_comes_later() {
    let spec = QueueSpec { policy: Some(Policy::Fair), ..QueueSpec::default() };
    let queues = vec![("root".parse().expect("a name"), spec)];
    let setting = Setting { queues, ..Setting::default() };
    let trace = "submit_time_s,gpus,duration_s,vc\n0,1,10000,a\n100,1,1000,a\n200,1,1000,b\n";
    let workload = read_text("t.csv", trace, None).expect("a trace");
    let cluster = Cluster::read("1x1").expect("a cluster");
    let outcome = replay(&workload, &cluster, &setting).expect("a replay");
    assert_eq!(ends(&outcome), [Some(10_000), Some(12_000), Some(11_000)]);
}
