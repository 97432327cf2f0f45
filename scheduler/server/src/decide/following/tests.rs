//! What the planner is told, and that it is told no more than that.

use std::{collections::BTreeMap, time::Duration};

use trainyard_core::{
    Planner,
    command::FEATURE_LEVEL,
    placement::{Condition, Progress, WorkBudget},
};
use trainyard_jobs::{AttemptNo, AttemptRef, Generation, Timestamp, UnitId};
use trainyard_proto::v1;

use super::*;
use crate::decide::{
    contacts::{Tenants, Word},
    stage::{Stage, node, session, unit},
};

fn at(stage: &Stage) -> Moment {
    Moment { running: Duration::from_millis(stage.now), wall: Timestamp(stage.now) }
}

/// Figures of one GPU of a node.
fn device(unit: &UnitId, celsius: f64) -> v1::DeviceSample {
    let (unit, temperature_celsius) = (unit.to_string(), Some(celsius));
    v1::DeviceSample { unit, temperature_celsius, ..Default::default() }
}

fn told(attempt: &AttemptRef, unix_ms: u64, step: f64) -> (AttemptRef, v1::Progress) {
    let metrics = [("step".to_owned(), step), ("total_steps".to_owned(), 100.0)];
    let metrics = metrics.into_iter().collect();
    (attempt.clone(), v1::Progress { attempt: Some(attempt.into()), unix_ms, metrics })
}

/// A stage, what workers say there, and a planner that follows both.
struct Theatre {
    stage: Stage,
    contacts: Contacts,
    following: Following,
}

impl Theatre {
    fn new(level: u16) -> Self {
        let stage = Stage::new(level);
        let following = Following::of(&stage.state);
        Self { stage, contacts: Contacts::default(), following }
    }

    fn says(&mut self, n: u64, word: Word) {
        let (now, tenants) = (at(&self.stage), tenants(&self.stage.state, &node(n)));
        self.contacts.heard(&node(n), session(n), word, &tenants, now);
    }

    fn is_hot(&mut self, n: u64, celsius: f64) {
        let devices = vec![device(&unit(n, 0), celsius)];
        let sample = Some(v1::NodeSample { devices, ..Default::default() });
        self.says(n, Word { sample, ..Word::default() });
    }

    /// What the planner is told now.
    fn news(&mut self) -> Vec<Delta> {
        let events = self.stage.events();
        if !events.is_empty() {
            self.following.take_in(&self.stage.state, &events);
        }
        let heard = self.following.hear(&self.stage.state, &mut self.contacts, at(&self.stage));
        self.following.tell(heard.clone());
        heard
    }

    /// The units of nodes that the planner was told now to leave alone.
    fn strained(&mut self) -> Vec<(NodeId, usize)> {
        let strained = |delta| match delta {
            Delta::Condition(node, Condition { strained, .. }) => Some((node, strained.len())),
            _ => None,
        };
        self.news().into_iter().filter_map(strained).collect()
    }
}

#[test]
fn what_a_project_used_reaches_whoever_follows() {
    let mut theatre = Theatre::new(FEATURE_LEVEL);
    theatre.stage.register(1, 1);
    theatre.stage.submit(1, "project = \"busy\"");
    let attempt = theatre.stage.start_all().remove(0);
    theatre.news();
    theatre.stage.now += 3_600_000;
    theatre.stage.exit(&attempt, 0);
    // One of a project that has used nothing comes later, and goes first.
    let busy = theatre.stage.submit(1, "project = \"busy\"");
    let idle = theatre.stage.submit(1, "project = \"idle\"");
    theatre.news();
    let mut anew = Planner::of(&theatre.stage.state);
    assert_eq!(theatre.following.planner, anew, "it knows what was used");
    let now = Timestamp(theatre.stage.now);
    let of = |planner: &mut Planner, job| planner.explain(job, now).map(|e| e.position);
    for job in [&busy, &idle] {
        assert_eq!(of(&mut theatre.following.planner, job), of(&mut anew, job));
    }
    let plan = theatre.following.planner.plan(now, WorkBudget::UNLIMITED);
    assert_eq!(plan.starts[0].job, idle);
}

#[test]
fn a_rise_of_the_feature_level_is_noticed_without_an_event() {
    // From level 3 on an elastic job starts with what there is.
    let mut theatre = Theatre::new(2);
    theatre.stage.register(1, 2);
    theatre.stage.submit(4, "");
    theatre.news();
    for level in 3..=FEATURE_LEVEL {
        theatre.stage.raise(level);
        let changed = theatre.stage.events();
        assert!(changed.is_empty(), "nothing tells of it");
        theatre.news();
        assert_eq!(theatre.following.level(), level);
    }
    // The same if it is seen with the next event.
    let mut theatre = Theatre::new(FEATURE_LEVEL - 1);
    theatre.stage.raise(FEATURE_LEVEL);
    theatre.stage.register(1, 2);
    let events = theatre.stage.events();
    theatre.following.take_in(&theatre.stage.state, &events);
    assert_eq!(theatre.following.level(), FEATURE_LEVEL);
    assert_eq!(theatre.following.planner, Planner::of(&theatre.stage.state));
}

#[test]
fn elastic_jobs_start_small_as_soon_as_the_level_lets_them() {
    let mut theatre = Theatre::new(2);
    theatre.stage.register(1, 2);
    theatre.stage.submit_elastic(4, 1);
    theatre.news();
    let plan = |theatre: &mut Theatre| {
        let now = Timestamp(theatre.stage.now);
        theatre.following.planner.plan(now, WorkBudget::UNLIMITED).starts.len()
    };
    assert_eq!(plan(&mut theatre), 0);
    theatre.stage.raise(4);
    theatre.news();
    assert_eq!(plan(&mut theatre), 1);
}

#[test]
fn nothing_is_told_twice() {
    let mut theatre = Theatre::new(FEATURE_LEVEL);
    for n in 1..=50 {
        theatre.stage.register(n, 1);
    }
    theatre.stage.submit(1, "");
    let attempt = theatre.stage.start_all().remove(0);
    let home = theatre.stage.nodes_of(&attempt).remove(0);
    let home = (1..=50).find(|n| node(*n) == home).expect("one of them");
    for n in 1..=50 {
        theatre.is_hot(n, 40.0);
    }
    theatre.news();
    assert_eq!(theatre.news(), [], "nothing happened");
    for n in 1..=50 {
        theatre.is_hot(n, 41.0);
    }
    assert_eq!(theatre.news(), [], "nothing that matters");
    theatre.stage.now += 1000;
    theatre.is_hot(7, 95.0);
    let progress = vec![told(&attempt, theatre.stage.now, 5.0)];
    theatre.says(home, Word { progress: progress.clone(), ..Word::default() });
    let unusable = Delta::Unusable(node(7), BTreeMap::new());
    let strained = [unit(7, 0)].into();
    let condition = Delta::Condition(node(7), Condition { strained, ..Condition::default() });
    let seen = Progress { done: 5, total: Some(100), at: Timestamp(theatre.stage.now) };
    let said = Delta::Progress(attempt.job.clone(), seen);
    assert_eq!(theatre.news(), [unusable, condition, said.clone()]);
    theatre.says(home, Word { progress, ..Word::default() });
    assert_eq!(theatre.strained(), [], "told already");
    // What the state changes of a job is a reason to tell it again.
    theatre.stage.now += 1000;
    let started = trainyard_core::Command::ReportStarted { node: node(home), attempt };
    theatre.stage.apply(started);
    assert!(theatre.news().contains(&said));
}

#[test]
fn another_term_begins_with_nothing() {
    let mut theatre = Theatre::new(FEATURE_LEVEL);
    theatre.stage.register(1, 1);
    theatre.is_hot(1, 95.0);
    assert_eq!(theatre.strained(), [(node(1), 1)]);
    assert_ne!(theatre.following.planner, Planner::of(&theatre.stage.state));
    theatre.contacts.clear();
    theatre.news();
    assert_eq!(theatre.following.planner, Planner::of(&theatre.stage.state));
}

#[test]
fn a_node_that_comes_back_is_known_as_it_is_now() {
    let mut theatre = Theatre::new(FEATURE_LEVEL);
    theatre.stage.register(1, 1);
    theatre.is_hot(1, 95.0);
    assert_eq!(theatre.strained(), [(node(1), 1)]);
    let lost = trainyard_core::Command::MarkLost { node: node(1), session: session(1) };
    theatre.stage.apply(lost);
    assert_eq!(theatre.news(), [], "of one that does not count nothing is told");
    theatre.stage.register(1, 1);
    assert_eq!(theatre.strained(), [(node(1), 1)]);
}

#[test]
fn figures_grow_old_without_anybody_saying_so() {
    let mut theatre = Theatre::new(FEATURE_LEVEL);
    theatre.stage.register(1, 1);
    theatre.is_hot(1, 95.0);
    assert_eq!(theatre.strained(), [(node(1), 1)]);
    theatre.stage.now += 50_000;
    assert_eq!(theatre.strained(), [], "fresh enough");
    theatre.stage.now += 20_000;
    assert_eq!(theatre.strained(), [(node(1), 0)]);
    theatre.stage.now += 20_000;
    assert_eq!(theatre.strained(), [], "said once");
}

#[test]
fn figures_from_before_an_attempt_say_nothing_of_its_units() {
    let mut theatre = Theatre::new(FEATURE_LEVEL);
    theatre.stage.register(1, 1);
    theatre.is_hot(1, 95.0);
    assert_eq!(theatre.strained(), [(node(1), 1)], "of a free unit they do");
    theatre.stage.now += 500;
    theatre.stage.submit(1, "");
    theatre.stage.start_all();
    assert_eq!(theatre.strained(), [(node(1), 0)], "older than the job that has it");
    theatre.stage.now += 500;
    theatre.is_hot(1, 95.0);
    assert_eq!(theatre.strained(), [(node(1), 1)], "it is hot by its own work");
}

#[test]
fn what_another_attempt_says_is_not_how_far_the_job_is() {
    let mut theatre = Theatre::new(FEATURE_LEVEL);
    theatre.stage.register(1, 1);
    theatre.stage.submit(1, "");
    let attempt = theatre.stage.start_all().remove(0);
    theatre.news();
    let other = AttemptRef { attempt: AttemptNo(7), ..attempt.clone() };
    let unix_ms = theatre.stage.now + 1000;
    let progress = vec![told(&other, unix_ms, 90.0)];
    theatre.says(1, Word { progress, ..Word::default() });
    assert_eq!(theatre.news(), []);
    let older = AttemptRef { generation: Generation(0), ..attempt };
    let progress = vec![told(&older, unix_ms, 90.0)];
    theatre.says(1, Word { progress, ..Word::default() });
    assert_eq!(theatre.news(), []);
}

#[test]
fn a_workers_clock_may_be_ahead() {
    let mut theatre = Theatre::new(FEATURE_LEVEL);
    theatre.stage.register(1, 1);
    theatre.stage.submit(1, "");
    let attempt = theatre.stage.start_all().remove(0);
    theatre.news();
    theatre.stage.now += 10_000;
    for unix_ms in [theatre.stage.now + 3_600_000, u64::MAX] {
        let progress = vec![told(&attempt, unix_ms, 10.0)];
        theatre.says(1, Word { progress, ..Word::default() });
        let seen = Progress { done: 10, total: Some(100), at: Timestamp(theatre.stage.now) };
        assert_eq!(theatre.news(), [Delta::Progress(attempt.job.clone(), seen)]);
    }
    // Its figures are as old as its word, whatever it says itself.
    let sample = v1::NodeSample {
        unix_ms: u64::MAX,
        devices: vec![device(&unit(1, 0), 95.0)],
        ..Default::default()
    };
    theatre.says(1, Word { sample: Some(sample), ..Word::default() });
    assert_eq!(theatre.strained(), [(node(1), 1)]);
    // The leader's own clock was set back: what was heard then is of the future.
    theatre.stage.now -= 5000;
    let condition = theatre.contacts.condition(&node(1), &Tenants::new(), at(&theatre.stage).wall);
    assert_eq!(condition, Condition::default());
}
