//! What is remembered of what workers say.

use super::*;
use crate::decide::stage::{node, session, unit};

fn moment(seconds: u64) -> Moment {
    let running = Duration::from_secs(seconds);
    Moment { running, wall: Timestamp(1_000_000_000 + seconds * 1000) }
}

/// A GPU of node 1 that is so busy.
fn busy(unit: &UnitId, percent: f64) -> v1::DeviceSample {
    let (unit, utilisation_percent) = (unit.to_string(), Some(percent));
    v1::DeviceSample { unit, utilisation_percent, ..Default::default() }
}

fn says(devices: Vec<v1::DeviceSample>) -> Word {
    Word { sample: Some(v1::NodeSample { devices, ..Default::default() }), ..Word::default() }
}

fn attempt(job: u64, number: u32) -> AttemptRef {
    let (attempt, generation) = (trainyard_jobs::AttemptNo(number), trainyard_jobs::Generation(0));
    AttemptRef { job: JobId::from_random(job), attempt, generation }
}

/// A job has these units since the beginning.
fn taken(units: &[UnitId]) -> Tenants {
    let tenant = Tenant { attempt: attempt(1, 1), since: moment(0).wall, gang: false };
    units.iter().map(|unit| (unit.clone(), tenant.clone())).collect()
}

#[test]
fn a_unit_that_is_busy_though_nobody_has_it_is_left_alone() {
    let mut contacts = Contacts::default();
    let free = Tenants::new();
    let mut place = Place::default();
    for second in 0..60 {
        // A job of ours has it for twenty seconds; then somebody else works on it.
        let tenants = if second < 20 { taken(&[unit(1, 0)]) } else { free.clone() };
        let word = says(vec![busy(&unit(1, 0), 98.0), busy(&unit(1, 1), f64::NAN)]);
        contacts.heard(&node(1), session(1), word, &tenants, moment(second));
        let condition = contacts.condition(&node(1), &tenants, moment(second).wall);
        let left_alone = condition.strained.contains(&unit(1, 0));
        assert_eq!(left_alone, second >= 30, "ten seconds after the job has left it: {second}");
        assert_eq!(condition.strained.len(), usize::from(left_alone), "what is no number is none");
        let told = !contacts.since(&mut place).nodes.is_empty();
        assert!(told || !left_alone, "whoever plans is told");
    }
    // A job gets it all the same: that it is busy is no wonder any more.
    let next = Tenant { attempt: attempt(1, 2), since: moment(59).wall, gang: false };
    let tenants = [(unit(1, 0), next)].into();
    assert_eq!(contacts.condition(&node(1), &tenants, moment(59).wall), Condition::default());
    assert_eq!(contacts.condition(&node(1), &free, moment(130).wall), Condition::default(), "old");
}

#[test]
fn a_share_shows_the_use_of_the_others_of_its_gpu() {
    let mut contacts = Contacts::default();
    let shares = [UnitId("gpu-1/0:2".into()), UnitId("gpu-1/1:2".into())];
    let tenants = taken(&shares[..1]);
    for second in 0..60 {
        let word = says(shares.iter().map(|share| busy(share, 98.0)).collect());
        contacts.heard(&node(1), session(1), word, &tenants, moment(second));
    }
    let condition = contacts.condition(&node(1), &tenants, moment(59).wall);
    assert_eq!(condition, Condition::default(), "it is our own job on the other half");
}

#[test]
fn an_operator_is_told_why_units_are_used_last() {
    let mut contacts = Contacts::default();
    let figures = |second: u64| {
        let hot = v1::DeviceSample {
            unit: unit(1, 0).to_string(),
            temperature_celsius: Some(91.4),
            ..Default::default()
        };
        (says(vec![hot, busy(&unit(1, 1), 70.0), busy(&unit(1, 2), 3.0)]), moment(second))
    };
    for second in 0..=10 {
        let (word, now) = figures(second);
        contacts.heard(&node(1), session(1), word, &Tenants::new(), now);
    }
    let remarks = contacts.remarks(&node(1), &Tenants::new(), moment(10).wall).join("\n");
    insta::assert_snapshot!(remarks, @r"
    gpu-1-0: it is 91 °C hot
    gpu-1-1: no job here has it, and it is 70 % busy
    ");
    assert!(contacts.remarks(&node(1), &Tenants::new(), moment(90).wall).is_empty(), "old");
}

#[test]
fn a_word_without_figures_makes_none_younger() {
    let mut contacts = Contacts::default();
    let hot = v1::DeviceSample {
        unit: unit(1, 0).to_string(),
        temperature_celsius: Some(99.0),
        ..Default::default()
    };
    contacts.heard(&node(1), session(1), says(vec![hot]), &Tenants::new(), moment(0));
    contacts.heard(&node(1), session(1), Word::default(), &Tenants::new(), moment(70));
    let strained = |second: u64| contacts.condition(&node(1), &Tenants::new(), moment(second).wall);
    assert_eq!(strained(59).strained, [unit(1, 0)].into());
    assert_eq!(strained(70), Condition::default());
}

#[test]
fn what_cannot_be_handed_out_asks_for_a_plan_at_once() {
    let mut contacts = Contacts::default();
    let broken = |problem: Option<&str>| {
        says(vec![v1::DeviceSample {
            unit: unit(1, 0).to_string(),
            problem: problem.map(str::to_owned),
            ..Default::default()
        }])
    };
    let mut hear = |life, word, second| {
        contacts.heard(&node(1), session(life), word, &Tenants::new(), moment(second))
    };
    assert!(hear(1, broken(Some("lost")), 0));
    assert!(!hear(1, broken(Some("lost")), 1));
    assert!(!hear(2, broken(None), 2), "another life of the worker says nothing");
    assert!(hear(1, broken(None), 3));
}

#[test]
fn a_job_is_known_by_what_its_own_attempt_says_last() {
    let mut contacts = Contacts::default();
    let mut place = Place::default();
    let (first, second) = (attempt(1, 1), attempt(1, 2));
    let says = |attempt: &AttemptRef, unix_ms, step: f64| {
        let metrics = [("step".to_owned(), step)].into_iter().collect();
        (attempt.clone(), v1::Progress { attempt: None, unix_ms, metrics })
    };
    let mut hear = |n, progress, at| {
        let word = Word { progress, ..Word::default() };
        contacts.heard(&node(n), session(n), word, &Tenants::new(), moment(at));
        let jobs = contacts.since(&mut place).jobs.len();
        let done = |attempt| contacts.progress_of(attempt).map(|progress| progress.done);
        (jobs, done(&first), done(&second))
    };
    assert_eq!(hear(1, vec![says(&first, 1, 50.0)], 0), (1, Some(50), None));
    assert_eq!(hear(1, vec![says(&first, 1, 50.0)], 1), (0, Some(50), None), "nothing new");
    assert_eq!(hear(2, vec![says(&second, 2, 3.0)], 2), (1, Some(50), Some(3)));
    assert_eq!(hear(2, vec![says(&second, 3, 3.0)], 3), (1, Some(50), Some(3)), "it stands still");
    assert_eq!(hear(1, Vec::new(), 4), (0, None, Some(3)), "the first is over");
    assert_eq!(contacts.progress(&first.job).unwrap().unix_ms, 3);
    assert_eq!(contacts.tellers.len(), 1);
    // The agent of the second node begins anew, with nothing.
    contacts.connected(&node(2), session(9), Vec::new(), Duration::from_secs(5));
    assert_eq!(contacts.progress(&first.job), None);
    assert!(contacts.tellers.is_empty(), "nothing is kept of whom nobody speaks");
}

#[test]
fn a_new_term_knows_nothing_of_the_one_before() {
    let mut contacts = Contacts::default();
    let mut place = Place::default();
    contacts.heard(&node(1), session(1), says(Vec::new()), &Tenants::new(), moment(0));
    assert!(!contacts.since(&mut place).anew, "who begins has nothing to forget");
    contacts.clear();
    assert_eq!(contacts.since(&mut place), News { anew: true, ..News::default() });
    assert_eq!(contacts.since(&mut place), News::default());
    contacts.connected(&node(1), session(1), Vec::new(), Duration::ZERO);
    assert_eq!(contacts.since(&mut place).nodes, [node(1)].into());
}
