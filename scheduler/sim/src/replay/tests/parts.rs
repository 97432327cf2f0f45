//! Parts of GPUs, processors and memory.

use super::*;

fn with_columns(text: &str, columns: &str, lines: &str, setting: &Setting) -> Outcome {
    let trace = format!("submit_time_s,gpus,duration_s,{columns}\n{lines}");
    let workload = read_text("t.csv", &trace, None).expect("a trace");
    let cluster = Cluster::parse("c.toml", text).expect("a cluster");
    replay(&workload, &cluster, setting).expect("a replay")
}

#[test]
fn shares_of_one_gpu_are_used_side_by_side() {
    let text = "[[nodes]]\ngpus = 1\nshares = 4\nprice = 4.0\n";
    let lines = "0,1,3600,0.25\n".repeat(4) + "0,1,3600,0.1\n";
    let outcome = with_columns(text, "gpu_fraction", &lines, &fifo());
    let hour = Some(3600);
    assert_eq!(ends(&outcome), [hour, hour, hour, hour, Some(7200)]);
    assert!(outcome.fates.iter().all(|fate| (fate.cost_usd - 1.0).abs() < 1e-9));
    assert_eq!(outcome.usage.held_gpu_ms, 5 * 900_000, "five quarters of an hour");
    assert_eq!(outcome.fates[4].held_gpu_ms, 900_000, "what it has, not what it asked for");
    let figures = Figures::of("fifo", &outcome);
    assert!((figures.gpu_util - 1.25 / 2.0).abs() < 1e-9, "{figures:?}");
    assert!((figures.goodput - 1.1 / 2.0).abs() < 1e-9, "{figures:?}");
}

#[test]
fn who_finds_no_part_that_is_enough_asks_for_a_whole_gpu() {
    let text = "[[nodes]]\nname = \"split\"\ngpus = 1\nshares = 2\n\
                [[nodes]]\nname = \"whole\"\ngpus = 1\n";
    let lines = "0,1,100,0.7\n0,1,100,\n0,1,100,0.5\n0,1,100,0.3\n";
    let outcome = with_columns(text, "gpu_fraction", lines, &fifo());
    assert_eq!(ends(&outcome), [Some(100), Some(200), Some(100), Some(100)]);
    let parts: Vec<u16> = outcome.fates.iter().map(|fate| fate.gpu_milli).collect();
    assert_eq!(parts, [1000, 1000, 500, 300]);
    let whole = with_columns("[[nodes]]\n", "gpu_fraction", lines, &fifo());
    assert_eq!(ends(&whole), [Some(100); 4]);
}

#[test]
fn slices_are_as_large_as_their_profile() {
    let text = "[[nodes]]\ngpus = 1\nmig = [\"4g.40gb\", \"3g.40gb\"]\n";
    let lines = "0,1,100,0.5\n0,1,100,0.5\n0,1,100,0.4\n";
    let outcome = with_columns(text, "gpu_fraction", lines, &fifo());
    assert_eq!(ends(&outcome), [Some(100), Some(200), Some(100)]);
    assert_eq!(outcome.usage.held_gpu_ms, (571 + 571 + 429) * 100);
}

#[test]
fn gangs_run_on_parts_of_several_gpus() {
    let text = "[[nodes]]\ngpus = 4\nshares = 2\n";
    let outcome =
        with_columns(text, "gpu_fraction", "0,4,100,0.5\n0,4,100,0.5\n0,2,50,0.5\n", &fifo());
    assert_eq!(ends(&outcome), [Some(100), Some(100), Some(150)]);
}

#[test]
fn ranks_have_the_processors_and_the_memory_that_they_ask_for() {
    let text = "[[nodes]]\ngpus = 8\ncpus = 16\nmemory = \"64GiB\"\n";
    let lines = "0,1,100,8,\n0,1,100,8,\n0,1,100,1,\n0,2,100,,16GiB\n0,1,100,,40GiB\n";
    let outcome = with_columns(text, "cpus_per_rank,memory_per_rank", lines, &fifo());
    let [a, b] = [Some(100), Some(200)];
    assert_eq!(ends(&outcome), [a, a, b, a, b]);
    let plenty = with_columns("[[nodes]]\n", "cpus_per_rank,memory_per_rank", lines, &fifo());
    assert_eq!(ends(&plenty), [a; 5], "what a file says nothing of is in nobody's way");
}

#[test]
fn a_drawn_workload_fills_shares() {
    let shape = Shape { jobs: 300, gpus: 16, parts: 0.8, ..Shape::default() };
    let workload = generate(&shape, 9).expect("a workload");
    let parts = workload.jobs.iter().filter(|job| job.fraction.is_some()).count();
    assert!((120..220).contains(&parts), "{parts}");
    let text = "[[nodes]]\nname = \"split\"\nshares = 4\n[[nodes]]\nname = \"whole\"\n";
    let cluster = Cluster::parse("c.toml", text).expect("a cluster");
    let setting = Setting { known_durations: true, ..Setting::default() };
    let outcome = replay(&workload, &cluster, &setting).expect("a replay");
    let figures = Figures::of("auto", &outcome);
    let stuck = outcome.fates.iter().filter(|fate| fate.ended_ms.is_none() && fate.gpus <= 8);
    assert_eq!(stuck.count(), 0, "those of sixteen find eight whole GPUs");
    assert!(figures.avg_jct_s >= figures.bound_avg_jct_s, "{figures:?}");
    assert_eq!(outcome, replay(&workload, &cluster, &setting).expect("a replay"));
}
