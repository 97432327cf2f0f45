//! Plants each old bug and counts the seeds until one of the checkers sees it; and looks which
//! branches many seeds together have reached.

use std::{collections::BTreeMap, sync::Mutex, thread};

use trainyard_probe as probe;
use trainyard_sim_tests::{Coverage, Outcome, Scenario, Violation, canaries::CANARIES, run};

/// Within so many seeds each must be found.
const MOST: u64 = 500;

/// Plants a fault by name in this thread.
pub(crate) fn plant(name: &str) -> bool {
    let known = CANARIES.iter().find(|(known, _)| *known == name);
    probe::plant(known.map(|(name, _)| *name));
    known.is_some()
}

/// Hunts all of them, two at a time; whether each was found.
pub(crate) fn hunt() -> bool {
    let queue = Mutex::new(CANARIES.iter());
    let found = Mutex::new(BTreeMap::new());
    let threads = thread::available_parallelism().map_or(1, |n| n.get());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((name, _)) = next(&queue) {
                    let seen = search(name);
                    println!(
                        "{name}: {}",
                        seen.as_ref().map_or("not found".into(), |(seed, v)| v.told(*seed))
                    );
                    if let Ok(mut found) = found.lock() {
                        found.insert(*name, seen);
                    }
                }
            });
        }
    });
    let found = found.into_inner().unwrap_or_default();
    println!("{:<34} {:>5}  seen by", "planted", "seed");
    for (name, _) in CANARIES {
        match found.get(name) {
            Some(Some((seed, violation))) => {
                println!("{name:<34} {seed:>5}  {}", violation.invariant);
            }
            _ => println!("{name:<34} {:>5}  nobody within {MOST} seeds", "-"),
        }
    }
    let last = found.values().flatten().map(|(seed, _)| *seed).max().unwrap_or(0);
    let sound = (0..=last).filter(|seed| !holds(*seed)).count();
    println!("without any of them {} of {} seeds hold", last + 1 - sound as u64, last + 1);
    sound == 0 && found.len() == CANARIES.len() && found.values().all(Option::is_some)
}

fn next<T>(queue: &Mutex<impl Iterator<Item = T>>) -> Option<T> {
    queue.lock().ok()?.next()
}

fn search(name: &'static str) -> Option<(u64, Violation)> {
    probe::plant(Some(name));
    (0..MOST).find_map(|seed| Some((seed, run(&Scenario::of(seed), false).violation?)))
}

fn holds(seed: u64) -> bool {
    probe::plant(None);
    let outcome = run(&Scenario::of(seed), false);
    if let Some(violation) = &outcome.violation {
        println!("{}", violation.told(seed));
    }
    outcome.violation.is_none()
}

/// Prints what was reached, and says whether that is everything.
pub(crate) fn covered(outcomes: &[Outcome]) -> bool {
    let mut coverage = Coverage::default();
    for (mark, times) in probe::take_reached() {
        coverage.add(mark, times);
    }
    for (outcome, times) in outcomes.iter().flat_map(|outcome| &outcome.outcomes) {
        coverage.add(outcome, *times);
    }
    for (mark, times) in coverage.reached() {
        println!("{times:>10}  {mark}");
    }
    let missing = coverage.missing();
    for mark in &missing {
        println!("   NOT REACHED  {mark}");
    }
    missing.is_empty()
}
