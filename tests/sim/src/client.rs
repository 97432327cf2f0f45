//! People who submit, cancel and ask, through whichever scheduler answers, with one key for each
//! thing that they want: asked again until it is answered, and sometimes once more.

use tonic::Code;
use trainyard_jobs::{IdempotencyKey, JobId, QueueSpec};

use crate::{
    around::{Around, Ms},
    facts::Fact,
    letters::{Answer, Letter, Place, Request},
    note,
    scenario::Scenario,
};

const PATIENCE: Ms = 3_000;

/// How many cancellations and questions come on one submission.
const OTHERS: u64 = 2;

#[derive(Debug)]
struct Wish {
    request: Request,
    /// Asked again though it was answered.
    doubts: bool,
    read: u64,
    call: Option<u64>,
    at: Ms,
    to: u64,
}

/// One client.
pub struct Client {
    n: usize,
    schedulers: Vec<u64>,
    next: Ms,
    next_question: Ms,
    left: usize,
    wishes: Vec<Wish>,
    jobs: Vec<(JobId, IdempotencyKey)>,
    /// Set before anything else.
    settings: Option<QueueSpec>,
}

/// A `UUIDv7` of a time.
fn key(around: &mut Around, unix: u64) -> IdempotencyKey {
    let random = around.rng.draw();
    let high = u128::from(unix) << 80 | 0x7 << 76 | u128::from(random >> 52) << 64;
    let low = 0x8 << 60 | u128::from(random & 0x0fff_ffff_ffff_ffff);
    IdempotencyKey(uuid::Uuid::from_u128(high | low))
}

impl Client {
    pub fn new(n: usize, jobs: usize, schedulers: Vec<u64>, settings: Option<QueueSpec>) -> Self {
        Self {
            n,
            schedulers,
            next: 500,
            next_question: 0,
            left: jobs,
            wishes: Vec::new(),
            jobs: Vec::new(),
            settings,
        }
    }

    /// A scheduler stands in another's place.
    pub fn knows(&mut self, old: u64, new: u64) {
        self.schedulers.retain(|id| *id != old);
        self.schedulers.push(new);
    }

    /// Everything was asked and answered.
    pub fn is_done(&self) -> bool {
        self.left == 0 && self.wishes.is_empty()
    }

    /// Time has passed.
    pub fn look(&mut self, around: &mut Around, scenario: &Scenario) {
        if let Some(spec) = self.settings.take() {
            let unix = around.unix();
            let key = key(around, unix);
            self.ask(around, Request::SetQueue { key, spec });
        }
        if around.now >= self.next && self.left > 0 {
            let span = scenario.trouble / (scenario.jobs as u64 + 1) * scenario.clients as u64;
            self.next = around.now + around.rng.below(span.max(2));
            self.wish(around, scenario);
        }
        if scenario.curious
            && around.now >= self.next_question
            && self.left > 0
            && self.wishes.len() < 20
        {
            self.next_question = around.now + 30 + around.rng.below(250);
            let newest = self.jobs.last().map(|(job, _)| job.clone());
            if let Some(job) = newest {
                self.ask(around, Request::Get { job });
            }
        }
        for wish in &mut self.wishes {
            if around.now < wish.at {
                continue;
            }
            if wish.call.take().is_some() {
                wish.to = self.schedulers[around.rng.below(self.schedulers.len() as u64) as usize];
            }
            let call = around.number();
            wish.call = Some(call);
            wish.at = around.now + PATIENCE;
            let letter = Letter::Call { call, request: wish.request.clone() };
            around.send(Place::Client(self.n), Place::Scheduler(wish.to), letter);
        }
    }

    fn wish(&mut self, around: &mut Around, scenario: &Scenario) {
        self.left -= 1;
        let spec = scenario.job(&mut around.rng);
        let unix = around.unix();
        let fresh = key(around, unix);
        self.ask(around, Request::Submit { key: fresh, spec: spec.clone() });
        if around.rng.chance(10) {
            // Far too old: it may have been forgotten.
            let old = key(around, unix - 25 * 3_600_000);
            self.ask(around, Request::Submit { key: old, spec: spec.clone() });
        }
        for _ in 0..OTHERS {
            if self.jobs.is_empty() {
                continue;
            }
            let pick = around.rng.below(self.jobs.len() as u64) as usize;
            let (job, used) = self.jobs[pick].clone();
            match around.rng.below(10) {
                0 | 1 => {
                    let key = key(around, unix);
                    around.tell(Fact::CancelAsked { job: &job });
                    self.ask(around, Request::Cancel { key, job });
                }
                // A key that was used for something else.
                2 => self.ask(around, Request::Submit { key: used, spec: spec.clone() }),
                _ => self.ask(around, Request::Get { job }),
            }
        }
    }

    fn ask(&mut self, around: &mut Around, request: Request) {
        let read = around.number();
        if let Request::Get { job } = &request {
            around.tell(Fact::ReadBegan { read, job });
        }
        let to = self.schedulers[around.rng.below(self.schedulers.len() as u64) as usize];
        let doubts = around.rng.chance(25);
        self.wishes.push(Wish { request, doubts, read, call: None, at: around.now, to });
    }

    /// An answer has come.
    pub fn take(&mut self, around: &mut Around, letter: Letter) {
        let Letter::Answer { call, answer } = letter else { return };
        let Some(at) = self.wishes.iter().position(|wish| wish.call == Some(call)) else { return };
        let wish = &mut self.wishes[at];
        wish.call = None;
        wish.at = around.now + 50 + around.rng.below(300);
        match answer {
            Ok(answer) => {
                let again = std::mem::take(&mut wish.doubts);
                self.answered(around, at, answer, again);
            }
            Err(status) => {
                let leader = status.metadata().get(trainyard_proto::LEADER_METADATA);
                let leader = leader.and_then(|l| l.to_str().ok()?.strip_prefix('s')?.parse().ok());
                let other = around.rng.below(self.schedulers.len() as u64) as usize;
                wish.to = leader.unwrap_or(self.schedulers[other]);
                if status.code() != Code::Unavailable {
                    note!(around, "c{} is refused: {}", self.n, status.message());
                    self.wishes.remove(at);
                }
            }
        }
    }

    fn answered(&mut self, around: &mut Around, at: usize, answer: Answer, again: bool) {
        let wish = &self.wishes[at];
        match (&wish.request, answer) {
            (Request::Submit { key, .. }, Answer::Submitted { job, existed, index }) => {
                note!(around, "c{} has job {job}, existed {existed}", self.n);
                around.tell(Fact::Acknowledged { key: *key, job: &job, index });
                self.jobs.push((job, *key));
            }
            (Request::Cancel { job, .. }, _) => around.tell(Fact::CancelTaken { job }),
            (Request::Get { job }, Answer::Job { index, phase }) => {
                around.tell(Fact::ReadDone { read: wish.read, job, index, phase });
                self.wishes.remove(at);
                return;
            }
            _ => {}
        }
        if !again {
            self.wishes.remove(at);
        }
    }
}
