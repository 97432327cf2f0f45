//! Whether a history of concurrent operations can be explained by some order of them, one at a
//! time, that contradicts no clock: linearizability (Herlihy and Wing 1990), by the search of Wing
//! and Gong (1993) with Lowe's memory of what was tried (2017).
//!
//! An operation whose outcome nobody learnt may have taken effect at any time since its call, or
//! never. The published checker for Rust, `porcupine-rs` 0.3, links a benchmark framework into
//! whatever uses it and reports a time-out as a violation where it also explains; so this one is
//! ours, held against known histories and against brute force.

use std::{collections::HashSet, fmt, hash::Hash, time::Instant};

#[cfg(test)]
mod tests;

/// What an object does when nobody interferes.
pub trait Model {
    /// Its state.
    type State: Clone + Eq + Hash + fmt::Debug;
    /// An operation with what it answered, if that is known.
    type Operation: fmt::Debug;

    /// The object before all operations.
    fn begin(&self) -> Self::State;

    /// The state after `operation`, if it can have answered so in `state`.
    fn apply(&self, state: &Self::State, operation: &Self::Operation) -> Option<Self::State>;
}

/// One operation of a history.
#[derive(Debug, Clone)]
pub struct Call<O> {
    /// When it was asked.
    pub called: Instant,
    /// When it was answered; never, if its outcome is unknown.
    pub answered: Option<Instant>,
    /// What was asked, and what was answered.
    pub operation: O,
}

/// A history that no order explains.
#[derive(Debug, thiserror::Error)]
#[error("no order of these operations explains their answers:\n{0}")]
pub struct Violation(String);

/// Which calls have been given a place.
type Placed = Vec<bool>;

/// Checks a history of one object.
pub fn check<M: Model>(model: &M, history: &[Call<M::Operation>]) -> Result<(), Violation> {
    // Memory of what was tried makes the search finite and quick; an own stack bounds no history.
    let mut tried: HashSet<(Placed, M::State)> = HashSet::new();
    let mut open = vec![(vec![false; history.len()], model.begin())];
    let mut furthest = 0;
    while let Some((placed, state)) = open.pop() {
        furthest = furthest.max(placed.iter().filter(|is| **is).count());
        let mut left = history.iter().zip(&placed).filter(|(_, is)| !**is).map(|(call, _)| call);
        if left.all(|call| call.answered.is_none()) {
            return Ok(());
        }
        for next in candidates(history, &placed) {
            let Some(call) = history.get(next) else { continue };
            let Some(after) = model.apply(&state, &call.operation) else { continue };
            let mut placed = placed.clone();
            if let Some(is) = placed.get_mut(next) {
                *is = true;
            }
            if tried.insert((placed.clone(), after.clone())) {
                open.push((placed, after));
            }
        }
    }
    Err(Violation(describe(history, furthest)))
}

/// The calls that may come next: those that were asked before any other one left was answered.
fn candidates<O>(history: &[Call<O>], placed: &[bool]) -> Vec<usize> {
    let left = || history.iter().zip(placed).enumerate().filter(|(_, (_, is))| !**is);
    let first_answer = left().filter_map(|(_, (call, _))| call.answered).min();
    left()
        .filter(|(_, (call, _))| first_answer.is_none_or(|first| call.called <= first))
        .map(|(number, _)| number)
        .collect()
}

fn describe<O: fmt::Debug>(history: &[Call<O>], furthest: usize) -> String {
    let begin = history.iter().map(|call| call.called).min();
    let since = |at: Instant| begin.map_or(0.0, |b| at.duration_since(b).as_secs_f64() * 1e3);
    let mut calls: Vec<_> = history.iter().collect();
    calls.sort_by_key(|call| call.called);
    let line = |call: &Call<O>| {
        let answered = call.answered.map_or("?".to_owned(), |at| format!("{:.1}", since(at)));
        format!("{:>10.1} to {answered:>10} ms  {:?}\n", since(call.called), call.operation)
    };
    let lines: String = calls.into_iter().map(line).collect();
    format!("{lines}the longest explanation covers {furthest} of {} of them", history.len())
}
