//! Properties of the decisions, against any history of sets.

use proptest::prelude::*;
use trainyard_jobs::{AttemptNo, Generation, JobId};

use super::*;

fn attempt(job: u64, number: u32) -> AttemptRef {
    AttemptRef {
        job: JobId::from_random(job),
        attempt: AttemptNo(number),
        generation: Generation(1),
    }
}

fn at(epoch: u64, index: u64) -> Revision {
    Revision { epoch, index }
}

fn known(started: Revision, stage: Stage) -> Known {
    Known { started, stage, held: false }
}

fn decide(revision: Revision, wanted: &[AttemptRef], held: &[(AttemptRef, Known)]) -> Vec<Action> {
    let (wanted, held) = (wanted.iter().cloned().collect(), held.iter().cloned().collect());
    reconcile(revision, &wanted, &BTreeSet::new(), &held)
}

#[test]
fn what_is_named_to_be_stopped_is_stopped_in_any_epoch() {
    let a = attempt(1, 1);
    let named = BTreeSet::from([a.clone()]);
    for held in [false, true] {
        let of = Known { held, ..known(at(1, 5), Stage::Active) };
        let held = BTreeMap::from([(a.clone(), of)]);
        let decided = reconcile(at(2, 1), &BTreeSet::new(), &named, &held);
        assert_eq!(decided, [Action::Stop(a.clone())]);
        // But never by a set that may be older than its start.
        assert_eq!(reconcile(at(1, 5), &BTreeSet::new(), &named, &held), []);
    }
}

#[test]
fn an_unknown_attempt_is_started_and_a_known_one_left_alone() {
    let (a, b) = (attempt(1, 1), attempt(2, 1));
    let held = [(b.clone(), known(at(1, 5), Stage::Active))];
    assert_eq!(decide(at(1, 5), &[a.clone(), b], &held), [Action::Start(a)]);
}

#[test]
fn absence_stops_only_above_the_start_and_within_the_epoch() {
    let a = attempt(1, 1);
    let held = [(a.clone(), known(at(1, 5), Stage::Active))];
    assert_eq!(decide(at(1, 4), &[], &held), []);
    assert_eq!(decide(at(1, 5), &[], &held), []);
    assert_eq!(decide(at(1, 6), &[], &held), [Action::Stop(a.clone())]);
    assert_eq!(decide(at(2, 1), &[], &held), [Action::Hold(a.clone())]);
    assert_eq!(decide(at(2, 900), &[], &held), [Action::Hold(a)]);
}

#[test]
fn a_held_attempt_that_is_known_again_is_released() {
    let a = attempt(1, 1);
    let held = [(a.clone(), Known { held: true, ..known(at(1, 5), Stage::Active) })];
    assert_eq!(decide(at(2, 7), &[], &held), []);
    assert_eq!(decide(at(2, 7), std::slice::from_ref(&a), &held), [Action::Release(a)]);
}

#[test]
fn only_what_is_settled_and_gone_is_removed() {
    let a = attempt(1, 1);
    for (stage, expected) in [
        (Stage::Ended, None),
        (Stage::Stopping, None),
        (Stage::Settled, Some(Action::Remove(a.clone()))),
    ] {
        let held = [(a.clone(), known(at(1, 5), stage))];
        assert_eq!(decide(at(1, 6), &[], &held), Vec::from_iter(expected));
        assert_eq!(decide(at(1, 5), &[], &held), [], "the set may be older than the start");
        assert_eq!(decide(at(1, 6), std::slice::from_ref(&a), &held), [], "never started again");
    }
}

/// The naive model of a node: carries the actions out and watches the rules.
#[derive(Default)]
struct Node {
    held: BTreeMap<AttemptRef, Known>,
    starts: BTreeMap<AttemptRef, u32>,
    revision: Revision,
}

impl Node {
    fn receive(&mut self, revision: Revision, wanted: &BTreeSet<AttemptRef>) {
        if revision < self.revision {
            return;
        }
        self.revision = revision;
        for action in reconcile(revision, wanted, &BTreeSet::new(), &self.held) {
            self.carry_out(revision, wanted, action);
        }
        let again = reconcile(revision, wanted, &BTreeSet::new(), &self.held);
        assert!(again.is_empty(), "a re-sent set changes nothing: {again:?}");
    }

    fn carry_out(&mut self, revision: Revision, wanted: &BTreeSet<AttemptRef>, action: Action) {
        match action {
            Action::Start(a) => {
                assert!(wanted.contains(&a));
                *self.starts.entry(a.clone()).or_default() += 1;
                let started = self.held.get(&a).map_or(revision, |known| known.started);
                self.held.insert(a, known(started, Stage::Active));
            }
            Action::Stop(a) => {
                let known = self.held.get_mut(&a).unwrap();
                assert!(!wanted.contains(&a) && revision > known.started);
                assert!(known.stage == Stage::Accepted || revision.epoch == known.started.epoch);
                known.stage = Stage::Stopping;
            }
            Action::Hold(a) => {
                let known = self.held.get_mut(&a).unwrap();
                assert!(revision.epoch > known.started.epoch);
                known.held = true;
            }
            Action::Release(a) => self.held.get_mut(&a).unwrap().held = false,
            Action::Remove(a) => {
                let known = self.held.remove(&a).unwrap();
                assert!(known.stage == Stage::Settled && !wanted.contains(&a));
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Set(Revision, BTreeSet<AttemptRef>),
    Advance(AttemptRef),
}

fn step() -> impl Strategy<Value = Step> {
    let any_attempt = (0..3u64, 1..3u32).prop_map(|(job, number)| attempt(job, number));
    let revision = (1..3u64, 0..20u64).prop_map(|(epoch, index)| at(epoch, index));
    let wanted = proptest::collection::btree_set(any_attempt.clone(), 0..4);
    prop_oneof![
        (revision, wanted).prop_map(|(revision, wanted)| Step::Set(revision, wanted)),
        any_attempt.prop_map(Step::Advance),
    ]
}

proptest! {
    #[test]
    fn no_history_breaks_the_rules(steps in proptest::collection::vec(step(), 0..60)) {
        let mut node = Node::default();
        for step in steps {
            match step {
                Step::Set(revision, wanted) => node.receive(revision, &wanted),
                Step::Advance(a) => if let Some(known) = node.held.get_mut(&a) {
                    known.stage = match known.stage {
                        Stage::Accepted | Stage::Active | Stage::Stopping => Stage::Ended,
                        Stage::Ended | Stage::Settled => Stage::Settled,
                    };
                },
            }
            for (a, known) in &node.held {
                prop_assert!(known.stage != Stage::Accepted && node.starts[a] >= 1);
            }
        }
    }

    #[test]
    fn an_older_set_never_stops_anything(
        started in (1..4u64, 0..20u64), revision in (1..4u64, 0..20u64), stage in 0..5usize,
    ) {
        let stages =
            [Stage::Accepted, Stage::Active, Stage::Stopping, Stage::Ended, Stage::Settled];
        let (started, revision) = (at(started.0, started.1), at(revision.0, revision.1));
        let actions = decide(revision, &[], &[(attempt(1, 1), known(started, stages[stage]))]);
        if revision <= started {
            prop_assert_eq!(actions, []);
        }
    }
}
