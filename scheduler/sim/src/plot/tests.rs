use super::*;
use crate::{
    Cluster, Setting, read_text, replay,
    report::{Moment, Usage},
};

#[test]
fn drawings_show_every_policy_by_name() {
    let trace = "submit_time_s,gpus,duration_s\n0,4,100\n10,4,100\n20,8,50\n";
    let workload = read_text("t.csv", trace, None).expect("a trace");
    let cluster = Cluster::read("1x8").expect("a cluster");
    let outcome = replay(&workload, &cluster, &Setting::default()).expect("a replay");
    let folder = std::env::temp_dir().join(format!("trainyard-sim-plot-{}", std::process::id()));
    let files = plot(&folder, &[("fifo", &outcome), ("las", &outcome)]).expect("drawings");
    assert_eq!(files.len(), 4);
    for file in &files {
        let text = std::fs::read_to_string(file).expect("a drawing");
        assert!(text.starts_with("<svg") && text.trim_end().ends_with("</svg>"), "{text}");
        assert!(text.contains("fifo") && text.contains("las"), "{}", file.display());
    }
    std::fs::remove_dir_all(&folder).expect("tidied up");
}

#[test]
fn a_line_over_time_holds_the_same_area() {
    let moment = |at_s: u64, used| Moment { at_ms: at_s * 1000, used_milli: used, waiting: 0 };
    let timeline = vec![moment(0, 4), moment(10, 8), moment(100, 0), moment(110, 8)];
    let usage = Usage { timeline, until_ms: 160_000, ..Usage::default() };
    let (fates, tariff) = (Vec::new(), crate::Tariff::default());
    let outcome = Outcome { fates, usage, gpus: 8, pace: 8.0, tariff, reserved_gpu_ms: 0 };
    let line = steps(&outcome, |moment| moment.used_milli);
    let width_ms = 80.0;
    let area: f64 = line.iter().map(|(_, used)| used * width_ms).sum();
    assert!((area - 1_160_000.0).abs() < 1.0, "{area}");
}
