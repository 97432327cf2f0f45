//! A job's states, and what a follower is told of them.

use super::*;

fn job(phase: &str) -> v1::Job {
    v1::Job { phase: phase.into(), ..v1::Job::default() }
}

fn attempt(number: u32, nodes: &[&str]) -> v1::Attempt {
    let placement = |node: &&str| v1::Placement { node: (*node).into(), ..Default::default() };
    v1::Attempt {
        number,
        started_ms: 5,
        placements: nodes.iter().map(placement).collect(),
        ..Default::default()
    }
}

fn progress(unix_ms: u64, step: f64) -> v1::Progress {
    let metrics = [("step", step), ("total_steps", 100.0), ("loss", 0.5)];
    let attempt = v1::AttemptRef { job: String::new(), attempt: 1, generation: 1 };
    let metrics = metrics.map(|(name, value)| (name.to_owned(), value)).into();
    v1::Progress { attempt: Some(attempt), unix_ms, metrics }
}

#[test]
fn nothing_is_said_twice() {
    let mut tracker = Tracker::default();
    assert_eq!(tracker.observe(&job("queued")).len(), 1);
    assert!(tracker.observe(&job("queued")).is_empty());
    let mut running = job("running");
    running.attempts = vec![attempt(1, &["a", "b"])];
    running.progress = Some(progress(1000, 10.0));
    let first = tracker.observe(&running);
    assert!(matches!(
        first.as_slice(),
        [
            Happening::Started { attempt: 1, from_step: None, .. },
            Happening::Phase { .. },
            Happening::Figures(_)
        ]
    ));
    assert!(tracker.observe(&running).is_empty());
}

#[test]
fn a_restart_says_where_it_goes_on() {
    let mut tracker = Tracker::default();
    let mut running = job("running");
    running.attempts = vec![attempt(1, &["a"])];
    running.checkpoints = vec![v1::Checkpoint { id: 40, step: 200, size: 9, ..Default::default() }];
    tracker.observe(&running);
    running.attempts[0].ended_ms = 9;
    running.attempts[0].end = "node a was lost".into();
    running.attempts.push(v1::Attempt { resumed_from: 40, ..attempt(2, &["c"]) });
    assert_eq!(
        tracker.observe(&running),
        [
            Happening::Ended { attempt: 1, end: "node a was lost".into() },
            Happening::Started { attempt: 2, nodes: vec!["c".into()], from_step: Some(200) },
        ]
    );
}

#[test]
fn the_time_left_follows_from_the_pace() {
    let mut tracker = Tracker::default();
    let mut running = job("running");
    let mut left = |unix_ms, step| {
        running.progress = Some(progress(unix_ms, step));
        match tracker.observe(&running).pop() {
            Some(Happening::Figures(figures)) => figures.left_s,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(left(1000, 10.0), None);
    assert_eq!(left(3000, 20.0), Some(16.0));
    assert_eq!(left(4000, 5.0), None, "a rollback begins the pace anew");
}
