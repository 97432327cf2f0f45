//! Nodes that are reserved for a time.

use super::*;

/// One node that is reserved as `text` says.
fn reserved(text: &str) -> String {
    format!("[[nodes]]\n[[reservations]]\n{text}\n")
}

#[test]
fn jobs_keep_off_a_window_that_they_would_meet() {
    let setting = Setting { known_durations: true, ..fifo() };
    let text = reserved("nodes = [\"node-0\"]\nfrom = \"1h\"\nto = \"2h\"");
    let outcome = with_cluster(&text, "0,8,7200\n0,8,1800\n", &setting);
    // The second is gone before.
    assert_eq!(ends(&outcome), [Some(7200 + 7200), Some(1800)]);
    let figures = Figures::of("fifo", &outcome);
    assert_eq!((figures.evictions, figures.preemptions), (0, 0));
    assert!((figures.reserved_gpu_h - 8.0).abs() < 1e-9, "{figures:?}");
}

#[test]
fn who_runs_there_saves_its_state_and_goes() {
    let setting = Setting { restart_cost: Millis(0), ..fifo() };
    let text = reserved("from = \"2h\"\nto = \"3h\"\nannounced = \"1h\"");
    let outcome = with_cluster(&text, "0,8,36000\n", &setting);
    let figures = Figures::of("fifo", &outcome);
    assert_eq!((figures.evictions, figures.preemptions, figures.finished), (1, 0, 1));
    assert!(figures.lost_to_reservations_gpu_h == 0.0, "it was asked in time: {figures:?}");
    let late = ends(&outcome)[0].expect("ended") - 36_000 - 3600;
    assert!(late < 900, "an hour, and no longer before it than the notice: {late}");
}

#[test]
fn a_window_that_has_begun_costs_what_was_not_saved() {
    let setting = Setting { restart_cost: Millis(0), ..fifo() };
    let text = reserved("from = 0\nto = \"3h\"\nannounced = \"2h\"");
    let outcome = with_cluster(&text, "0,8,36000\n", &setting);
    let figures = Figures::of("fifo", &outcome);
    assert_eq!(figures.evictions, 1);
    assert!((figures.lost_to_reservations_gpu_h - 16.0).abs() < 1e-9, "{figures:?}");
    assert!((figures.lost_gpu_h - 16.0).abs() < 1e-9, "it counts there too");
    assert_eq!(ends(&outcome), [Some(3 * 3600 + 36_000)]);
}

#[test]
fn what_is_reserved_for_a_project_is_its_own() {
    let trace = "submit_time_s,gpus,duration_s,vc\n0,8,600,b\n1,8,600,a\n";
    let workload = read_text("t.csv", trace, None).expect("a trace");
    let text = reserved("name = \"course\"\nfrom = 0\nto = \"1d\"\nfor = [\"a\"]");
    let cluster = Cluster::parse("c.toml", &text).expect("a cluster");
    let outcome = replay(&workload, &cluster, &fifo()).expect("a replay");
    assert_eq!(ends(&outcome), [Some(86_400 + 600), Some(601)]);
}

#[test]
fn hours_that_are_reserved_twice_count_once() {
    let text = "[[nodes]]\nname = \"a\"\nlabels = { hall = \"1\" }\ncount = 2\n\
        [[nodes]]\nname = \"b\"\ngpus = 4\n\
        [[reservations]]\nlabels = { hall = \"1\" }\nfrom = \"1h\"\nto = \"3h\"\n\
        [[reservations]]\nnodes = [\"a-1\", \"b-0\"]\nfrom = \"2h\"\nto = \"5h\"\n";
    let cluster = Cluster::parse("c.toml", text).expect("a cluster");
    let hours =
        |from: u64, to: u64| cluster.reserved_gpu_ms(from * 3_600_000, to * 3_600_000) / 3_600_000;
    assert_eq!(hours(0, 10), 8 * 2 + 8 * 4 + 4 * 3);
    assert_eq!(hours(2, 4), 8 + 8 * 2 + 4 * 2);
    assert_eq!(hours(6, 9), 0);
}
