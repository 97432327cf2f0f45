//! Answers that cost a pass over the state, kept for as long as they are true, or nearly: why
//! jobs wait, and the state's hash. However many ask, the state is gone through a few times a
//! second, and plans are made outside its lock.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use trainyard_core::{
    Planner, State, codec,
    placement::{Blocker, Delta},
};
use trainyard_jobs::JobId;

use crate::{clock, replica::Replica};

/// How long reasons serve while the state goes on.
const NEARLY: Duration = Duration::from_millis(100);

/// How long they serve while it does not: units come and go outside it as well.
const TRUE: Duration = Duration::from_millis(500);

/// Why each waiting job waits, in one line.
type Lines = Arc<BTreeMap<JobId, String>>;

/// The reasons given last, with when and for which log index.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reasons(Arc<Mutex<Option<(Instant, u64, Lines)>>>);

impl Reasons {
    /// Why each waiting job waits.
    pub(crate) fn of(&self, replica: &Replica) -> Lines {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let index = replica.look(|state| state.revision().index);
        if let Some((at, then, lines)) = last.as_ref() {
            let age = at.elapsed();
            if age < NEARLY || (*then == index && age < TRUE) {
                return Arc::clone(lines);
            }
        }
        let planner = replica.look(|state| planner(replica, state));
        let line = |(id, blockers): (JobId, Vec<Blocker>)| {
            let texts: Vec<String> = blockers.into_iter().map(|b| b.message).collect();
            (id, texts.join("; "))
        };
        let lines = Lines::new(planner.reasons(clock::now()).into_iter().map(line).collect());
        *last = Some((Instant::now(), index, Arc::clone(&lines)));
        lines
    }
}

/// A planner that knows the state and what the leader hears of its workers.
pub(crate) fn planner(replica: &Replica, state: &State) -> Planner {
    let mut planner = Planner::of(state);
    for (node, units) in replica.sessions.unusable() {
        planner.update(Delta::Unusable(node, units));
    }
    planner
}

/// How long a hash serves while the state goes on: encoding the state keeps commands waiting.
const HASH: Duration = Duration::from_secs(1);

/// The hash computed last, with when and its log index.
#[derive(Debug, Clone, Default)]
pub(crate) struct StateHash(Arc<Mutex<Option<(Instant, u64, String)>>>);

impl StateHash {
    /// The state's hash and the log index that it is of. However many ask, a state that changes
    /// all the time is encoded once a second, and its lock is held for a cheap copy alone.
    pub(crate) fn of(&self, replica: &Replica) -> (u64, String) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let index = replica.look(|state| state.revision().index);
        if let Some((at, then, hash)) = last.as_ref()
            && (*then == index || (*then < index && at.elapsed() < HASH))
        {
            return (*then, hash.clone());
        }
        let state = replica.look(State::frozen);
        let (index, hash) = (state.revision().index, codec::state_hash(&state).to_string());
        *last = Some((Instant::now(), index, hash.clone()));
        (index, hash)
    }
}
