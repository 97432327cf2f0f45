//! When figures count, and when they say nothing.

use super::*;

#[test]
fn only_fresh_figures_of_the_same_attempt_count() {
    let at = |at| Reading { at: Timestamp(at), celsius: Some(90), strangers: None };
    let now = Timestamp(1_000_000);
    assert_eq!(at(990_000).strain(now, None), Some(Strain::Hot(90)));
    assert_eq!(at(990_000).strain(now, Some(Timestamp(980_000))), Some(Strain::Hot(90)));
    assert_eq!(at(990_000).strain(now, Some(Timestamp(995_000))), None, "older than its job");
    assert_eq!(at(900_000).strain(now, None), None, "stale");
    assert_eq!(at(1_100_000).strain(now, None), None, "a clock ahead of ours");
    let cool = Reading { celsius: Some(60), ..at(1_000_000) };
    assert_eq!(cool.strain(now, None), None);
    assert_eq!(Reading { celsius: None, ..cool }.strain(now, None), None);
}

#[test]
fn a_busy_unit_is_left_alone_only_while_nobody_of_ours_has_it() {
    let reading = Reading { at: Timestamp(1000), celsius: Some(60), strangers: Some(70) };
    let now = Timestamp(2000);
    assert_eq!(reading.strain(now, None), Some(Strain::Strangers(70)));
    assert_eq!(reading.strain(now, Some(Timestamp(500))), None, "it is busy with its job");
    assert_eq!(reading.strain(Timestamp(100_000), None), None, "stale");
}

/// What is believed after each second's utilisation.
fn believed(percents: impl IntoIterator<Item = u32>) -> Vec<bool> {
    let mut known = StrangersUse::default();
    let seconds = (0..).map(|second| Timestamp(1_000_000 + second * 1000));
    let told = seconds.zip(percents).map(|(at, percent)| {
        known.note(percent, at);
        known.percent().is_some()
    });
    told.collect()
}

#[test]
fn only_what_lasts_is_believed() {
    let burst = [vec![90; 9], vec![0; 5], vec![90; 9]].concat();
    assert!(believed(burst).iter().all(|busy| !busy), "bursts");
    let lasting =
        believed([vec![90; 11], vec![15; 100], vec![0; 20], vec![90], vec![0; 40]].concat());
    assert_eq!(lasting.iter().position(|busy| *busy), Some(10), "after ten seconds");
    let (last, before) = lasting.split_at(132);
    assert!(last[10..].iter().all(|busy| *busy), "neither what lies between nor a pause ends it");
    assert_eq!(before.iter().position(|busy| !*busy), Some(30), "after thirty seconds");
    // Between two thresholds nothing begins either.
    assert!(believed(vec![20; 100]).iter().all(|busy| !busy));
}

#[test]
fn of_a_while_without_figures_nothing_follows() {
    let mut known = StrangersUse::default();
    known.note(90, Timestamp(1_000_000));
    known.note(90, Timestamp(1_200_000));
    assert_eq!(known.percent(), None, "two words that are far apart");
    known.note(95, Timestamp(1_210_000));
    assert_eq!(known.percent(), Some(95));
    known.note(95, Timestamp(1_205_000));
    assert_eq!(known.percent(), None, "the clock was set back");
}
