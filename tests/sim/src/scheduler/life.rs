//! One life of a scheduler: what arrives is taken in at once, flushed once, and what came of it is
//! handed to those who wait, as the raft thread and the runtime do it.

use std::{
    collections::{BTreeMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, RwLock},
};

use tokio::sync::broadcast;
use trainyard_core::{Command, Envelope, State, codec};
use trainyard_jobs::{ClusterId, Digest, Timestamp};
use trainyard_raft::{
    Applied, Capture, Config, Driver, Input, ProposeError, ReadError, Reply, RestoreError, Role,
    StateMachine, Status,
    sim::{self, Outbox, SimDisk},
};
use trainyard_scheduler::{
    ArchiveStore, Failure,
    machine::{EVENTS_KEPT, Events, Machine, Shared, read},
};

use super::{
    CLUSTER, TICK,
    desk::{Desk, Then},
};
use crate::{
    around::{Around, Ms},
    facts::Fact,
    letters::{Letter, Place},
};

/// What a member applied since somebody looked.
#[derive(Debug)]
struct Record {
    index: u64,
    term: u64,
    command: Vec<u8>,
    hash: Option<Digest>,
}

/// Every so many entries the members' states are compared.
const COMPARED: u64 = 16;

type Mail<T> = Arc<Mutex<Vec<T>>>;

/// The daemon's machine, watched.
struct Watched {
    inner: Machine,
    records: Mail<Record>,
}

impl StateMachine for Watched {
    fn apply(&mut self, index: u64, term: u64, command: &[u8]) -> Vec<u8> {
        let response = self.inner.apply(index, term, command);
        let compared = index.is_multiple_of(COMPARED);
        let hash = compared.then(|| read(&self.inner.state, codec::state_hash));
        let record = Record { index, term, command: command.to_vec(), hash };
        self.records.lock().unwrap().push(record);
        response
    }

    fn applied(&mut self) {
        self.inner.applied();
    }

    fn snapshot(&self) -> Vec<u8> {
        self.inner.snapshot()
    }

    fn capture(&self) -> Box<dyn Capture> {
        self.inner.capture()
    }

    fn check(&self, snapshot: &[u8]) -> Result<(), RestoreError> {
        self.inner.check(snapshot)
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        self.inner.restore(snapshot)
    }
}

pub struct Life {
    pub(super) driver: Driver,
    pub(super) state: Shared,
    pub(super) events: broadcast::Receiver<Events>,
    records: Mail<Record>,
    answers: Mail<(u64, Result<Applied, ProposeError>)>,
    reads: Mail<(u64, Result<u64, ReadError>)>,
    pub(super) waiting: BTreeMap<u64, Then>,
    pub(super) letters: VecDeque<(Place, Letter)>,
    pub(super) desk: Desk,
    /// What the member last published of itself.
    status: Status,
    next_tick: Ms,
    pub busy_until: Ms,
    pub(super) woken_at: Ms,
    /// Something was given to the driver that a flush must carry out.
    fed: bool,
    /// A vote has left since this was last asked.
    pub(super) voted: bool,
}

/// How a vote that is given begins on the wire: raft's message of this type.
const VOTE: [u8; 2] = [8, 6];

/// Runs what may panic as raft does on broken invariants.
fn guarded<T>(act: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(act)).map_err(|payload| {
        let text = payload.downcast_ref::<String>().cloned();
        let text = text.or_else(|| payload.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        format!("panicked: {}", text.unwrap_or_default())
    })
}

impl Life {
    pub fn open(
        number: u64,
        config: &Config,
        disk: &SimDisk,
        around: &mut Around,
    ) -> Result<Self, String> {
        let state = Arc::new(RwLock::new(State::new(ClusterId(uuid::Uuid::from_u128(CLUSTER)))));
        let (sender, events) = broadcast::channel(EVENTS_KEPT);
        let records = Mail::default();
        let archive = ArchiveStore::open(&config.dir).map_err(|e| e.to_string())?;
        let inner = Machine::new(Arc::clone(&state), archive, sender);
        let machine = Box::new(Watched { inner, records: Arc::clone(&records) });
        let driver = guarded(|| sim::open(config, disk, machine))?.map_err(|e| e.to_string())?;
        let status = driver.status();
        // Everything random of this life differs from that of any before.
        let salt = around.rng.draw() ^ number;
        let mut life = Self {
            driver,
            state,
            events,
            records,
            answers: Mail::default(),
            reads: Mail::default(),
            waiting: BTreeMap::new(),
            letters: VecDeque::new(),
            desk: Desk::new(salt),
            status,
            next_tick: around.now + TICK,
            busy_until: around.now,
            woken_at: 0,
            fed: true,
            voted: false,
        };
        life.publish(around, config.id);
        Ok(life)
    }

    pub const fn status(&self) -> &Status {
        &self.status
    }

    /// Reads the state as it is here.
    pub fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        read(&self.state, look)
    }

    /// The term in which this member leads and has applied an entry of its own, if it does.
    pub fn leading_term(&self) -> Option<u64> {
        self.status.leader_ready.then_some(self.status.term)
    }

    pub(super) fn must_lead(&self) -> Result<u64, Failure> {
        let other = self.status.leader.filter(|id| *id != self.status.id);
        let leader = other.map(|id| format!("s{id}"));
        self.leading_term().ok_or(Failure::NotLeader { leader })
    }

    /// When something is due by itself.
    pub fn next_due(&self) -> Ms {
        self.next_tick.min(self.desk.next_due())
    }

    /// Streams with their workers, and the number of the next message down.
    pub fn connections(&self) -> Vec<(u64, Place, u64)> {
        self.desk.connections()
    }

    /// Gives the driver an input; the next flush carries it out.
    pub fn feed(&mut self, input: Input) {
        self.fed = true;
        self.driver.step(input);
    }

    /// Proposes a command; `then` is done once its fate is known.
    pub(super) fn propose(&mut self, around: &mut Around, wall: u64, command: Command, then: Then) {
        let level = command.level();
        let envelope = Envelope { level, time: Timestamp(wall), command };
        let ticket = around.number();
        self.waiting.insert(ticket, then);
        let answers = Arc::clone(&self.answers);
        let reply = Reply::new(move |result| answers.lock().unwrap().push((ticket, result)));
        self.feed(Input::Propose(codec::encode(&envelope), reply));
    }

    /// Asks for a linearizable read.
    pub(super) fn read(&mut self, around: &mut Around, then: Then) {
        let ticket = around.number();
        self.waiting.insert(ticket, then);
        let reads = Arc::clone(&self.reads);
        let reply = Reply::new(move |result| reads.lock().unwrap().push((ticket, result)));
        self.feed(Input::Read(reply));
    }

    /// Takes everything that has come and sees it through. Says whether the disk was written.
    ///
    /// An error is the end of the process.
    pub(super) fn run(&mut self, around: &mut Around, id: u64, wall: u64) -> Result<bool, String> {
        let commits = self.driver.counters().log_commits;
        while let Some((from, letter)) = self.letters.pop_front() {
            guarded(|| self.serve(around, wall, from, letter))?;
        }
        if around.now >= self.next_tick {
            // One tick however late.
            self.next_tick = (self.next_tick + TICK).max(around.now + TICK);
            guarded(|| self.feed(Input::Tick))?;
        }
        loop {
            if self.fed {
                self.fed = false;
                self.flush(around, id)?;
                self.publish(around, id);
            }
            let answers = std::mem::take(&mut *self.answers.lock().unwrap());
            for (ticket, result) in answers {
                if let Some(then) = self.waiting.remove(&ticket) {
                    self.answered(around, wall, then, result);
                }
            }
            let reads = std::mem::take(&mut *self.reads.lock().unwrap());
            for (ticket, result) in reads {
                if let Some(then) = self.waiting.remove(&ticket) {
                    self.read_done(around, then, result);
                }
            }
            self.duties(around, wall);
            if !self.fed {
                break;
            }
        }
        Ok(self.driver.counters().log_commits > commits)
    }

    fn flush(&mut self, around: &mut Around, id: u64) -> Result<(), String> {
        let mut out = Outbox::default();
        let flushed = guarded(|| self.driver.flush(&mut out));
        // What left before a failure is under way.
        for (to, bytes, snapshot) in out.0 {
            self.voted |= bytes.starts_with(&VOTE);
            let (from, to) = (Place::Scheduler(id), Place::Scheduler(to));
            around.send(from, to, Letter::Raft { bytes, snapshot });
        }
        let applied = std::mem::take(&mut *self.records.lock().unwrap());
        for Record { index, term, command, hash } in applied {
            around.tell(Fact::Applied { member: id, index, term, command: &command, hash });
        }
        flushed?.map_err(|fatal| fatal.to_string())
    }

    fn publish(&mut self, around: &mut Around, id: u64) {
        let status = self.driver.status();
        if status.applied != self.status.applied {
            let voters: Vec<u64> = status.voters.iter().copied().collect();
            let learners: Vec<u64> = status.learners.iter().copied().collect();
            let (voters, learners) = (&voters[..], &learners[..]);
            let applied = status.applied;
            around.tell(Fact::Members { member: id, applied, voters, learners });
        }
        if (status.role, status.term, status.leader_ready)
            != (self.status.role, self.status.term, self.status.leader_ready)
        {
            crate::note!(
                around,
                "s{id} is {:?} of {}, ready {}",
                status.role,
                status.term,
                status.leader_ready
            );
        }
        if status.role == Role::Leader {
            around.tell(Fact::Elected { member: id, term: status.term });
        }
        self.status = status;
        // Records of a replay at the start.
        let applied = std::mem::take(&mut *self.records.lock().unwrap());
        for Record { index, term, command, hash } in applied {
            around.tell(Fact::Applied { member: id, index, term, command: &command, hash });
        }
    }
}
