//! The leader's loops, as the daemon carries them out: plan, watch, conclude, retire. What they do
//! is decided by `trainyard_scheduler::decide`; here is when, and what is done with the answers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use futures::executor::block_on;
use tokio::sync::broadcast::error::TryRecvError;
use trainyard_core::{Command, Refusal, Reply, codec};
use trainyard_jobs::{AttemptRef, JobId, Timestamp};
use trainyard_raft::{Applied, Input, ProposeError, ReadError};
use trainyard_scheduler::{
    Failure,
    decide::{
        contacts::{Contacts, Moment},
        finishing::finishing,
        planning::Planning,
        retention::{Surplus, surplus},
        session::{Attendance, Greeting, desired_set},
        watch::{HandedOn, Watch},
    },
};

use super::{GRACE, HEARTBEAT, life::Life};
use crate::{
    around::{Around, Ms},
    facts::Fact,
    letters::{Answer, Down, Letter, Place},
};

const GATHER: Ms = 5;
const IDLE: Ms = 1_000;
const PAUSE: Ms = 100;
const LOOK_FINISHING: Ms = 1_000;
const LOOK_OLD: Ms = 2_000;
/// After this long without a word the transport calls a stream dead.
const DEAF: Ms = 10_000;

/// What happens once a proposal or a read is answered.
pub(super) enum Then {
    /// A caller is answered.
    Answer { caller: Place, call: u64 },
    /// A worker that greeted is welcomed.
    Welcome(Box<Newcomer>),
    /// A start of the running round is decided.
    Started { term: u64 },
    /// A look was answered; the watch goes on by itself.
    Lost,
    /// A run is concluded.
    Concluded { job: JobId },
    /// A checkpoint may be deleted.
    Retired { old: Surplus },
    /// It is forgotten.
    Forgotten,
    /// A client reads a job.
    Read { caller: Place, call: u64, job: JobId },
}

/// A worker that greeted and is not registered yet.
pub(super) struct Newcomer {
    pub caller: Place,
    pub call: u64,
    pub stream: u64,
    pub greeting: Greeting,
    pub term: u64,
    /// What it is asked about before that.
    pub asked: BTreeSet<AttemptRef>,
}

/// A worker's stream.
pub(super) struct Stream {
    pub here: Attendance,
    pub worker: Place,
    /// Messages sent down, and when the last of them arrives.
    pub sent: u64,
    pub arrives: Ms,
    /// Heartbeats read.
    pub read: u64,
    pub heard: Ms,
    /// A heartbeat came since it was looked at.
    pub news: bool,
}

struct Leading {
    term: u64,
    planning: Planning,
    plan_at: Ms,
    outstanding: usize,
    failed: bool,
    watch: Watch,
    look_at: Ms,
    finish_at: Ms,
    retain_at: Ms,
    retaining: VecDeque<Surplus>,
    retaining_one: bool,
}

pub(super) struct Desk {
    pub contacts: Contacts,
    handed_on: HandedOn,
    leading: Option<Leading>,
    concluding: BTreeSet<JobId>,
    pub streams: BTreeMap<u64, Stream>,
    /// Those that a roll call goes out to, by their streams.
    pub newcomers: BTreeMap<u64, Newcomer>,
    /// Ids drawn by this life.
    pub draws: trainyard_raft::sim::Rng,
}

fn mono(now: Ms) -> std::time::Duration {
    std::time::Duration::from_millis(now)
}

impl Desk {
    pub fn new(salt: u64) -> Self {
        Self {
            contacts: Contacts::default(),
            handed_on: HandedOn::default(),
            leading: None,
            concluding: BTreeSet::new(),
            streams: BTreeMap::new(),
            newcomers: BTreeMap::new(),
            draws: trainyard_raft::sim::Rng(salt),
        }
    }

    pub fn next_due(&self) -> Ms {
        let Some(leading) = &self.leading else { return Ms::MAX };
        let plan = if leading.outstanding > 0 { Ms::MAX } else { leading.plan_at };
        // What waits for an answer is not due.
        let retain = if leading.retaining_one { Ms::MAX } else { leading.retain_at };
        plan.min(leading.look_at).min(leading.finish_at).min(retain)
    }

    pub fn connections(&self) -> Vec<(u64, Place, u64)> {
        self.streams.iter().map(|(id, s)| (*id, s.worker, s.sent + 1)).collect()
    }

    /// What the planner looks at has changed outside of the state.
    pub fn figures_changed(&mut self, now: Ms) {
        if let Some(leading) = &mut self.leading {
            leading.plan_at = leading.plan_at.min(now + GATHER);
        }
    }
}

impl Life {
    /// The loops of a member that leads, as far as they are due.
    pub(super) fn duties(&mut self, around: &mut Around, wall: u64) {
        self.follow_term(around);
        let changed = self.drain_events(around);
        self.check_streams(around, changed);
        if self.desk.leading.is_none() {
            return;
        }
        self.plan(around, wall);
        self.watch(around, wall);
        self.conclude(around, wall);
        self.retain(around, wall);
    }

    /// The loops begin and end with a term.
    fn follow_term(&mut self, around: &mut Around) {
        let term = self.leading_term();
        if self.desk.leading.as_ref().map(|leading| leading.term) == term {
            return;
        }
        self.desk.leading = None;
        self.desk.concluding.clear();
        self.desk.newcomers.clear();
        if let Some(term) = term {
            let now = around.now;
            around.tell(Fact::Leads { term });
            self.desk.contacts.clear();
            let leading = Leading {
                term,
                planning: self.look(Planning::of),
                plan_at: now,
                outstanding: 0,
                failed: false,
                watch: Watch::new(mono(GRACE), mono(now)),
                look_at: now,
                finish_at: now,
                retain_at: now,
                retaining: VecDeque::new(),
                retaining_one: false,
            };
            self.desk.leading = Some(leading);
        }
    }

    /// Takes in what changed; gives the events, or nothing certain if there were too many.
    fn drain_events(&mut self, around: &Around) -> Vec<trainyard_scheduler::machine::Events> {
        let mut batches = Vec::new();
        loop {
            match self.events.try_recv() {
                Ok(batch) => batches.push(batch),
                Err(TryRecvError::Lagged(_)) => {
                    let planning = self.desk.leading.as_mut().map(|leading| &mut leading.planning);
                    if let Some(planning) = planning {
                        trainyard_scheduler::machine::read(&self.state, |s| planning.start_over(s));
                    }
                }
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        if let Some(leading) = &mut self.desk.leading
            && !batches.is_empty()
        {
            trainyard_scheduler::machine::read(&self.state, |state| {
                for batch in &batches {
                    leading.planning.take_in(state, batch);
                }
            });
            leading.plan_at = leading.plan_at.min(around.now + GATHER);
            leading.finish_at = leading.finish_at.min(around.now);
        }
        batches
    }

    /// Each stream looks whether it goes on, and whether its worker's set may have changed.
    fn check_streams(
        &mut self,
        around: &mut Around,
        changed: Vec<trainyard_scheduler::machine::Events>,
    ) {
        let leading = self.leading_term();
        let ids: Vec<u64> = self.desk.streams.keys().copied().collect();
        for id in ids {
            let stream = self.desk.streams.get_mut(&id).unwrap();
            if around.now > stream.heard + DEAF {
                self.desk.streams.remove(&id);
                continue;
            }
            let term_changed = leading != Some(stream.here.term);
            let woken = std::mem::take(&mut stream.news) || !changed.is_empty() || term_changed;
            if !woken {
                continue;
            }
            let concerned = changed.iter().any(|batch| stream.here.concerns(batch));
            let here = stream.here.clone();
            if let Err(parting) = self.look(|state| here.check(leading, state)) {
                let status = match self.must_lead() {
                    Err(failure) => failure.into(),
                    Ok(_) => tonic::Status::unavailable(format!("{parting:?}: connect again")),
                };
                self.send_down(around, id, Down::Close(status));
                self.desk.streams.remove(&id);
            } else if concerned {
                let set = self.look(|state| desired_set(state, &here.node));
                self.send_down(around, id, Down::Desired(set));
            }
        }
    }

    pub(super) fn send_down(&mut self, around: &mut Around, stream: u64, body: Down) {
        let from = Place::Scheduler(self.status().id);
        let Some(open) = self.desk.streams.get_mut(&stream) else { return };
        open.sent += 1;
        let letter = Letter::Down { stream, number: open.sent, body };
        open.arrives = around.send_surely(from, open.worker, letter, open.arrives);
    }

    fn plan(&mut self, around: &mut Around, wall: u64) {
        let Some(leading) = &mut self.desk.leading else { return };
        if leading.outstanding > 0 || around.now < leading.plan_at {
            return;
        }
        let now = Moment { running: mono(around.now), wall: Timestamp(wall) };
        let contacts = &mut self.desk.contacts;
        let heard = trainyard_scheduler::machine::read(&self.state, |state| {
            leading.planning.hear(state, contacts, now)
        });
        let round = leading.planning.round(heard, now.wall);
        let term = leading.term;
        leading.outstanding = round.starts.len() + round.stops.len();
        leading.failed = false;
        leading.plan_at = around.now + if round.more_to_do { GATHER } else { IDLE };
        for stop in round.stops {
            let command = Command::Preempt(Box::new(stop.into()));
            self.propose(around, wall, command, Then::Started { term });
        }
        for start in round.starts {
            let command = Command::StartAttempt(Box::new(start));
            self.propose(around, wall, command, Then::Started { term });
        }
    }

    fn watch(&mut self, around: &mut Around, wall: u64) {
        let now = around.now;
        let Some(leading) = self.desk.leading.as_mut().filter(|l| now >= l.look_at) else { return };
        leading.look_at = now + HEARTBEAT;
        let term = leading.term;
        let verdict = trainyard_scheduler::machine::read(&self.state, |state| {
            leading.watch.look(state, &self.desk.contacts, mono(now))
        });
        if verdict.suspects_itself {
            crate::note!(around, "s{} suspects itself", self.status().id);
            let others = self.status().voters.len() > 1;
            if others && self.desk.handed_on.ask(mono(GRACE), mono(now)) {
                self.feed(Input::Transfer(None));
            }
        }
        for silent in verdict.lost {
            let (node, session) = (&silent.node, silent.session);
            around.tell(Fact::CallsLost { term, node, session, grace: GRACE });
            self.propose(around, wall, silent.command(), Then::Lost);
        }
    }

    fn conclude(&mut self, around: &mut Around, wall: u64) {
        let now = around.now;
        let Some(leading) = self.desk.leading.as_mut().filter(|l| now >= l.finish_at) else {
            return;
        };
        leading.finish_at = now + LOOK_FINISHING;
        for run in self.look(finishing) {
            if self.desk.concluding.contains(&run.job) || around.depot.away {
                continue;
            }
            let Ok(command) = block_on(run.conclude(&around.depot.store)) else { continue };
            self.desk.concluding.insert(run.job.clone());
            self.propose(around, wall, command, Then::Concluded { job: run.job });
        }
    }

    fn retain(&mut self, around: &mut Around, wall: u64) {
        let now = around.now;
        let Some(leading) = self.desk.leading.as_mut() else { return };
        if leading.retaining_one {
            return;
        }
        if leading.retaining.is_empty() && now >= leading.retain_at {
            leading.retain_at = now + LOOK_OLD;
            leading.retaining = trainyard_scheduler::machine::read(&self.state, surplus).into();
        }
        let Some(old) = leading.retaining.pop_front() else { return };
        leading.retaining_one = true;
        match old.before() {
            Some(command) => self.propose(around, wall, command, Then::Retired { old }),
            None => self.delete(around, wall, &old),
        }
    }

    /// Deletes the bytes of a checkpoint that is retired.
    fn delete(&mut self, around: &mut Around, wall: u64, old: &Surplus) {
        let deleted = !around.depot.away
            && old
                .prefixes
                .iter()
                .all(|prefix| block_on(around.depot.store.delete_prefix(prefix)).is_ok());
        if deleted {
            self.propose(around, wall, old.after(), Then::Forgotten);
        } else {
            self.next_old();
        }
    }

    fn next_old(&mut self) {
        if let Some(leading) = &mut self.desk.leading {
            leading.retaining_one = false;
        }
    }

    /// Goes on with what waited for a proposal.
    pub(super) fn answered(
        &mut self,
        around: &mut Around,
        wall: u64,
        then: Then,
        result: Result<Applied, ProposeError>,
    ) {
        let index = result.as_ref().map_or(0, |applied| applied.index);
        let outcome = outcome(result);
        match then {
            Then::Answer { caller, call } => {
                let answer = outcome.map(|reply| match reply {
                    Reply::Submitted { job, existed } => Answer::Submitted { job, existed, index },
                    _ => Answer::Done,
                });
                self.answer(around, caller, call, answer);
            }
            Then::Welcome(newcomer) => match outcome {
                Ok(_) => self.welcome(around, &newcomer),
                Err(failure) => self.answer(around, newcomer.caller, newcomer.call, Err(failure)),
            },
            Then::Started { term } => {
                let now = around.now;
                let leading = self.desk.leading.as_mut().filter(|leading| leading.term == term);
                if let Some(leading) = leading {
                    leading.outstanding = leading.outstanding.saturating_sub(1);
                    let refused = matches!(outcome, Err(Failure::Refused(_)));
                    leading.failed |= outcome.is_err() && !refused;
                    if leading.outstanding == 0 {
                        leading.plan_at = now + if leading.failed { PAUSE } else { GATHER };
                    }
                }
            }
            Then::Lost => {}
            Then::Concluded { job } => drop(self.desk.concluding.remove(&job)),
            Then::Retired { old } => match outcome {
                Ok(_) => self.delete(around, wall, &old),
                Err(_) => self.next_old(),
            },
            Then::Forgotten | Then::Read { .. } => self.next_old(),
        }
    }

    /// Goes on with what waited for a read.
    pub(super) fn read_done(
        &mut self,
        around: &mut Around,
        then: Then,
        result: Result<u64, ReadError>,
    ) {
        let Then::Read { caller, call, job } = then else { return };
        let answer = match result {
            Ok(index) => {
                let phase = self.look(|state| state.job(&job).map(|job| job.phase));
                Ok(Answer::Job { index, phase })
            }
            Err(error) => Err(Failure::of_read(&error, |id| Some(format!("s{id}")))),
        };
        self.answer(around, caller, call, answer);
    }
}

/// What a proposal came to, as the daemon's replica reads it.
fn outcome(result: Result<Applied, ProposeError>) -> Result<Reply, Failure> {
    let applied = result.map_err(|e| Failure::of_proposal(&e, |id| Some(format!("s{id}"))))?;
    let reply: Result<Reply, Refusal> = codec::decode("a reply", &applied.response).unwrap();
    Ok(reply?)
}
