//! Answers that cost a pass over the state, kept for as long as they are true, or nearly: why
//! jobs wait and when they are expected to start, and the state's hash. However many ask, the queue
//! is gone through a few times a second; the state's lock is held for what changed alone.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::broadcast::{Receiver, error::TryRecvError},
    time::Instant,
};
use trainyard_core::{
    State, codec,
    placement::{Blockers, Explanation},
};
use trainyard_jobs::{JobId, Timestamp};

use crate::{clock, decide::following::Following, machine::Events, replica::Replica};

/// How long reasons serve while the state goes on.
const NEARLY: Duration = Duration::from_millis(100);

/// How long they serve while it does not: units come and go outside it as well.
const TRUE: Duration = Duration::from_millis(500);

/// More changes than this are not followed one by one: to look at everything keeps commands waiting
/// for less.
const FOLLOWED: usize = 20_000;

/// What was expected serves for so many times as long as it took to find out: a long queue is gone
/// through in a twentieth of the time at most.
const WORTH: u32 = 20;

/// Why each waiting job waits.
type All = Arc<BTreeMap<JobId, Blockers>>;

/// Between when each is expected to start of which anything is expected.
pub(crate) type Starts = Arc<BTreeMap<JobId, (Timestamp, Timestamp)>>;

/// Why a job waits, and between when it is expected to start.
#[derive(Debug, Default)]
pub(crate) struct Explained {
    pub(crate) explanation: Explanation,
    pub(crate) starts: Option<(Timestamp, Timestamp)>,
}

/// A planner that follows the state for those who ask why, and the reasons given last.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reasons(Arc<Mutex<Option<Follower>>>);

#[derive(Debug)]
struct Follower {
    following: Following,
    events: Receiver<Events>,
    /// When and for which log index they were given.
    last: Option<(Instant, u64, All)>,
    /// When that was found out, and for how long it serves.
    starts: Option<(Instant, Duration, Starts)>,
}

impl Reasons {
    /// Why each waiting job waits.
    pub(crate) fn of(&self, replica: &Replica) -> All {
        let mut follower = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let index = replica.look(|state| state.revision().index);
        let follower = follower.get_or_insert_with(|| Follower::begin(replica));
        if let Some((at, then, all)) = &follower.last {
            let age = at.elapsed();
            if age < NEARLY || (*then == index && age < TRUE) {
                return Arc::clone(all);
            }
        }
        follower.catch_up(replica);
        let all = All::new(follower.following.planner().reasons(clock::now()));
        follower.last = Some((Instant::now(), index, Arc::clone(&all)));
        all
    }

    /// Between when each waiting job is expected to start: a walk through the queue, so not for a
    /// thread that others wait for.
    pub(crate) fn starts(&self, replica: &Replica) -> Starts {
        let mut follower = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let follower = follower.get_or_insert_with(|| Follower::begin(replica));
        if let Some(known) = follower.known_starts() {
            return Arc::clone(known);
        }
        follower.catch_up(replica);
        let begun = Instant::now();
        let starts = Starts::new(follower.following.planner().expected_starts(clock::now()));
        let serves = begun.elapsed().saturating_mul(WORTH).max(TRUE);
        follower.starts = Some((Instant::now(), serves, Arc::clone(&starts)));
        starts
    }

    /// Why one job waits, in one line, if it does.
    pub(crate) fn line(all: &BTreeMap<JobId, Blockers>, job: &JobId) -> Option<String> {
        let texts: Vec<&str> = all.get(job)?.iter().map(|b| b.message.as_str()).collect();
        Some(texts.join("; "))
    }

    /// Everything that there is to say of why a job waits: dozens of plans, so not for a thread
    /// that others wait for.
    pub(crate) fn explain(&self, replica: &Replica, job: &JobId) -> Explained {
        let mut follower = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let follower = follower.get_or_insert_with(|| Follower::begin(replica));
        follower.catch_up(replica);
        let now = clock::now();
        let explanation = follower.following.planner().explain(job, now).unwrap_or_default();
        let starts = match follower.known_starts() {
            Some(known) => known.get(job).copied(),
            None => follower.following.planner().expected_start(job, now),
        };
        Explained { explanation, starts }
    }
}

impl Follower {
    fn begin(replica: &Replica) -> Self {
        // Subscribed before the state is read, so that no change falls between.
        let events = replica.events.subscribe();
        let following = replica.look(Following::of);
        Self { following, events, last: None, starts: None }
    }

    /// What is expected, if that was found out lately.
    fn known_starts(&self) -> Option<&Starts> {
        let (at, serves, starts) = self.starts.as_ref()?;
        (at.elapsed() < *serves).then_some(starts)
    }

    /// Takes in what happened since; all of the state, if that was too much to follow.
    fn catch_up(&mut self, replica: &Replica) {
        let (mut batches, mut changes) = (Vec::new(), 0);
        loop {
            match self.events.try_recv() {
                Ok(batch) if changes < FOLLOWED => {
                    changes += batch.len();
                    batches.push(batch);
                }
                Ok(_) | Err(TryRecvError::Lagged(_)) => return *self = Self::begin(replica),
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        let now = clock::moment();
        let heard = replica.look(|state| {
            for batch in batches {
                self.following.take_in(state, &batch);
            }
            replica.sessions.with(|contacts| self.following.hear(state, contacts, now))
        });
        self.following.tell(heard);
    }
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
