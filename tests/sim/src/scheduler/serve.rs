//! What callers ask of a scheduler: the services of the daemon, between the wire and the rules.

use std::collections::BTreeSet;

use futures::executor::block_on;
use trainyard_core::{
    Command,
    command::{Mutation, SetQueue, Submit},
};
use trainyard_jobs::{AttemptRef, Digest, IdempotencyKey, JobId, JobSpec, Timestamp, queue::ROOT};
use trainyard_proto::v1;
use trainyard_raft::Input;
use trainyard_scheduler::{
    Failure,
    decide::{
        admission,
        contacts::{Moment, Word, tenants},
        reports,
        session::{Attendance, Greeting, desired_set, progress, unknown},
    },
};

use super::{
    CLUSTER,
    desk::{Newcomer, Stream, Then},
    life::Life,
};
use crate::{
    around::Around,
    facts::Fact,
    letters::{Answer, Down, Letter, Place, Request, Up},
};

impl Life {
    /// Takes one letter.
    pub(super) fn serve(&mut self, around: &mut Around, wall: u64, from: Place, letter: Letter) {
        match letter {
            Letter::Raft { bytes, .. } => self.feed(Input::Message(bytes)),
            Letter::Call { call, request } => {
                if let Err(failure) = self.request(around, wall, from, call, request) {
                    self.answer(around, from, call, Err(failure));
                }
            }
            Letter::Up { stream, number, body: Up::Beat(beat) } => {
                self.heard(around, wall, stream, number, beat);
            }
            Letter::Up { stream, body: Up::Roll(held), .. } => {
                self.rolled(around, wall, stream, &held);
            }
            Letter::Answer { .. } | Letter::Down { .. } => {}
        }
    }

    pub(super) fn answer(
        &mut self,
        around: &mut Around,
        caller: Place,
        call: u64,
        answer: Result<Answer, Failure>,
    ) {
        let answer = answer.map_err(tonic::Status::from);
        let from = Place::Scheduler(self.status().id);
        around.send(from, caller, Letter::Answer { call, answer });
    }

    fn request(
        &mut self,
        around: &mut Around,
        wall: u64,
        caller: Place,
        call: u64,
        request: Request,
    ) -> Result<(), Failure> {
        let then = Then::Answer { caller, call };
        match request {
            Request::Hello { stream, hello } => {
                return self.greeted(around, wall, caller, call, stream, hello);
            }
            Request::Started(report) => {
                self.propose(around, wall, reports::started(report)?, then);
            }
            Request::Ended(report) => self.propose(around, wall, reports::ended(report)?, then),
            Request::Checkpoint(report) => {
                self.must_lead()?;
                let claim = self.look(|state| reports::claim(report, state))?;
                if around.depot.away {
                    return Err(Failure::Busy);
                }
                let command = block_on(claim.check(&around.depot.store))?;
                self.propose(around, wall, command, then);
            }
            Request::Submit { key, spec } => {
                self.must_lead()?;
                let command = self.submission(key, &spec)?;
                self.propose(around, wall, command, then);
            }
            Request::Cancel { key, job } => {
                let request = Digest::of(format!("cancel {job}").as_bytes());
                let mutation = Mutation { key, request, principal: "local".to_owned() };
                self.propose(around, wall, Command::Cancel { mutation, job }, then);
            }
            Request::SetQueue { key, spec } => {
                let request = Digest::of(format!("{spec:?}").as_bytes());
                let mutation = Mutation { key, request, principal: "local".to_owned() };
                let queue = ROOT.parse().expect("a name");
                let set = SetQueue { mutation, queue, spec: Some(spec), version: None };
                self.propose(around, wall, Command::SetQueue(Box::new(set)), then);
            }
            Request::Get { job } => self.read(around, Then::Read { caller, call, job }),
        }
        Ok(())
    }

    fn submission(&mut self, key: IdempotencyKey, spec: &[u8]) -> Result<Command, Failure> {
        let request = Digest::of(spec);
        let spec = JobSpec::from_canonical(spec).map_err(|e| Failure::Invalid(e.to_string()))?;
        self.look(|state| admission::check(state, &spec.resources))?;
        Ok(Command::Submit(Box::new(Submit {
            mutation: Mutation { key, request, principal: "local".to_owned() },
            job: JobId::from_random(self.desk.draws.draw()),
            spec,
            bundle: None,
            commit: None,
        })))
    }

    fn greeted(
        &mut self,
        around: &mut Around,
        wall: u64,
        caller: Place,
        call: u64,
        stream: u64,
        hello: v1::Hello,
    ) -> Result<(), Failure> {
        let term = self.must_lead()?;
        let cluster = uuid::Uuid::from_u128(CLUSTER).to_string();
        let epoch = self.look(|state| state.revision().epoch);
        let greeting = Greeting::read(hello, &cluster, epoch)?;
        let asked = self.look(|state| greeting.doubts(state));
        let newcomer = Newcomer { caller, call, stream, greeting, term, asked };
        if newcomer.asked.is_empty() {
            self.register(around, wall, newcomer);
            return Ok(());
        }
        let body = Down::RollCall(newcomer.asked.clone());
        let letter = Letter::Down { stream, number: 1, body };
        around.send_surely(Place::Scheduler(self.status().id), caller, letter, 0);
        self.desk.newcomers.insert(stream, newcomer);
        Ok(())
    }

    /// A worker has answered a roll call.
    fn rolled(&mut self, around: &mut Around, wall: u64, stream: u64, held: &BTreeSet<AttemptRef>) {
        let Some(mut newcomer) = self.desk.newcomers.remove(&stream) else { return };
        newcomer.greeting.rolled(newcomer.asked.clone(), held);
        self.register(around, wall, newcomer);
    }

    fn register(&mut self, around: &mut Around, wall: u64, newcomer: Newcomer) {
        match self.look(|state| newcomer.greeting.registration(state)) {
            Some(command) => {
                self.propose(around, wall, command, Then::Welcome(Box::new(newcomer)));
            }
            None => self.welcome(around, &newcomer),
        }
    }

    /// The worker is registered: its stream begins.
    pub(super) fn welcome(&mut self, around: &mut Around, newcomer: &Newcomer) {
        let Newcomer { caller: worker, call, stream: id, greeting, term, asked } = newcomer;
        let (worker, call, id, term) = (*worker, *call, *id, *term);
        let called = u64::from(!asked.is_empty());
        let (node, session) = (greeting.node.clone(), greeting.session);
        let now = std::time::Duration::from_millis(around.now);
        let held = self.look(|state| unknown(state, greeting.held.clone()));
        self.desk.contacts.connected(&node, session, held, now);
        around.tell(Fact::Heard { term, node: &node, session });
        let withheld = self.look(|state| greeting.withheld(state));
        let here = Attendance { node: node.clone(), session, term, withheld };
        let stream = Stream {
            here,
            worker,
            sent: called,
            arrives: around.now,
            read: called,
            heard: around.now,
            news: true,
        };
        self.desk.streams.insert(id, stream);
        self.answer(around, worker, call, Ok(Answer::Done));
        self.send_down(around, id, Down::Welcome);
        let set = self.look(|state| desired_set(state, &node));
        self.send_down(around, id, Down::Desired(set));
    }

    /// A heartbeat. A stream with a gap is broken.
    fn heard(&mut self, around: &mut Around, wall: u64, id: u64, number: u64, beat: v1::Heartbeat) {
        let leads = self.leading_term();
        let Some(stream) = self.desk.streams.get_mut(&id) else { return };
        if number != stream.read + 1 {
            self.desk.streams.remove(&id);
            return;
        }
        stream.read = number;
        stream.heard = around.now;
        stream.news = true;
        let (node, session) = (stream.here.node.clone(), stream.here.session);
        if let Some(term) = leads {
            around.tell(Fact::Heard { term, node: &node, session });
        }
        let now =
            Moment { running: std::time::Duration::from_millis(around.now), wall: Timestamp(wall) };
        let progress = progress(beat.progress);
        let (held, tenants) = self.look(|state| (unknown(state, beat.held), tenants(state, &node)));
        let word = Word { sample: beat.sample, held, progress };
        if self.desk.contacts.heard(&node, session, word, &tenants, now) {
            self.desk.figures_changed(around.now);
        }
        self.send_down(around, id, Down::Pong);
    }
}
