//! The stream to the leader, as the agent's session keeps it: greet, be welcomed, beat, notice when
//! nobody answers, try the next.

use std::collections::VecDeque;

use tonic::Code;
use trainyard_jobs::ClusterId;
use trainyard_proto::v1;

use super::{Body, agent::Agent, disk::Trouble};
use crate::{
    around::{Around, Ms},
    letters::{Answer, Down, Letter, Place, Request, Up},
    note,
    scheduler::{CLUSTER, HEARTBEAT},
};

const WELCOME: Ms = 3_000;
/// A peer that does not answer a ping this long is gone.
const PING: Ms = 3_000;

#[derive(Debug)]
enum State {
    Down { retry: Ms },
    Greeting { call: u64, until: Ms },
    Up { beat: Ms },
}

#[derive(Debug)]
pub struct Link {
    state: State,
    endpoints: VecDeque<u64>,
    failures: usize,
    backoff: Ms,
    stream: u64,
    sent: u64,
    arrives: Ms,
    read: u64,
    heard: Ms,
}

impl Link {
    pub fn new(schedulers: &[u64], around: &mut Around) -> Self {
        Self {
            state: State::Down { retry: around.now + around.rng.below(100) },
            endpoints: schedulers.iter().copied().collect(),
            failures: 0,
            backoff: 100,
            stream: 0,
            sent: 0,
            arrives: 0,
            read: 0,
            heard: 0,
        }
    }

    /// A scheduler stands in another's place.
    pub fn knows(&mut self, old: u64, new: u64) {
        self.endpoints.retain(|id| *id != old);
        self.endpoints.push_back(new);
    }

    /// The scheduler that leads, while there is a stream to it.
    pub fn leader(&self) -> Option<u64> {
        let up = matches!(self.state, State::Up { .. });
        self.endpoints.front().copied().filter(|_| up)
    }

    pub const fn is_greeting(&self, number: u64) -> bool {
        matches!(self.state, State::Greeting { call, .. } if call == number)
    }

    /// The stream is over, or there was none.
    fn broken(&mut self, around: &mut Around, follow: Option<u64>) {
        if matches!(self.state, State::Up { .. }) {
            self.backoff = 100;
            self.failures = 0;
        }
        self.failures += 1;
        match follow {
            Some(leader) => {
                self.endpoints.retain(|id| *id != leader);
                self.endpoints.push_front(leader);
            }
            None => self.endpoints.rotate_left(1),
        }
        let mut retry = around.now + 1;
        if self.failures >= self.endpoints.len() {
            self.failures = 0;
            retry += self.backoff / 2 + around.rng.below(self.backoff / 2 + 1);
            self.backoff = (self.backoff * 2).min(2_000);
        }
        self.state = State::Down { retry };
    }
}

/// The scheduler that a status names as the leader.
fn hint(status: &tonic::Status) -> Option<u64> {
    let leader = status.metadata().get(trainyard_proto::LEADER_METADATA)?;
    let unavailable = status.code() == Code::Unavailable;
    leader.to_str().ok()?.strip_prefix('s')?.parse().ok().filter(|_| unavailable)
}

impl Agent {
    /// Greets, beats, or gives up on a leader that is silent.
    pub(super) fn look_at_link(&mut self, around: &mut Around, body: &Body<'_>) {
        let now = around.now;
        match self.link.state {
            State::Down { retry } if now >= retry => self.greet(around, body),
            State::Greeting { until, .. } if now >= until => self.link.broken(around, None),
            State::Up { .. } if now > self.link.heard + PING => {
                note!(around, "w{} hears nothing from its leader", body.n);
                self.link.broken(around, None);
            }
            State::Up { beat } if now >= beat => {
                self.link.state = State::Up { beat: now + HEARTBEAT };
                let Some(leader) = self.link.endpoints.front().copied() else { return };
                self.link.sent += 1;
                let sample = Some(body.sample());
                let beat = v1::Heartbeat { sample, ..v1::Heartbeat::default() };
                let (stream, number) = (self.link.stream, self.link.sent);
                let letter = Letter::Up { stream, number, body: Up::Beat(beat) };
                let (from, to) = (Place::Worker(body.n), Place::Scheduler(leader));
                self.link.arrives = around.send_surely(from, to, letter, self.link.arrives);
            }
            State::Down { .. } | State::Greeting { .. } | State::Up { .. } => {}
        }
    }

    fn greet(&mut self, around: &mut Around, body: &Body<'_>) {
        let Some(endpoint) = self.link.endpoints.front().copied() else { return };
        let standing = body.disk.standing;
        let (stream, call) = (around.number(), around.number());
        let hello = v1::Hello {
            cluster: standing.cluster.map(|cluster| cluster.to_string()).unwrap_or_default(),
            node: body.node.to_string(),
            session: self.session.to_string(),
            inventory: Some(body.inventory.into()),
            running: self.running(body.disk),
            revision: Some(standing.revision.into()),
            answers_roll_call: true,
        };
        self.link.stream = stream;
        self.link.sent = 0;
        self.link.read = 0;
        self.link.arrives = around.now;
        self.link.state = State::Greeting { call, until: around.now + WELCOME };
        let request = Request::Hello { stream, hello };
        let (from, to) = (Place::Worker(body.n), Place::Scheduler(endpoint));
        // A connection carries it: it comes once or never.
        around.send_surely(from, to, Letter::Call { call, request }, 0);
    }

    pub(super) fn greeting_answered(
        &mut self,
        around: &mut Around,
        body: &Body<'_>,
        answer: Result<Answer, tonic::Status>,
    ) {
        // The welcome itself comes down the stream.
        let Err(status) = answer else { return };
        let refused = matches!(
            status.code(),
            Code::AlreadyExists | Code::FailedPrecondition | Code::InvalidArgument
        );
        if refused {
            note!(around, "w{} is refused: {}", body.n, status.message());
        }
        self.link.broken(around, hint(&status));
    }

    /// Something comes down a stream.
    pub(super) fn down(
        &mut self,
        around: &mut Around,
        body: &mut Body<'_>,
        from: Place,
        (stream, number): (u64, u64),
        down: Down,
    ) -> Result<(), Trouble> {
        let current = stream == self.link.stream && !matches!(self.link.state, State::Down { .. });
        if !current || self.link.endpoints.front().map(|id| Place::Scheduler(*id)) != Some(from) {
            return Ok(());
        }
        if number != self.link.read + 1 {
            // A stream with a gap is broken, whatever closes it.
            self.link.broken(around, None);
            return Ok(());
        }
        self.link.read = number;
        self.link.heard = around.now;
        match down {
            Down::RollCall(asked) => {
                let held = asked.into_iter().filter(|a| self.holds(a)).collect();
                self.link.sent += 1;
                let number = self.link.sent;
                let letter = Letter::Up { stream, number, body: Up::Roll(held) };
                let own = Place::Worker(body.n);
                self.link.arrives = around.send_surely(own, from, letter, self.link.arrives);
            }
            Down::Welcome => {
                let cluster = ClusterId(uuid::Uuid::from_u128(CLUSTER));
                let Ok(joined) = body.disk.standing.joining(cluster) else {
                    self.link.broken(around, None);
                    return Ok(());
                };
                if joined != body.disk.standing {
                    body.disk.write(|disk| disk.standing = joined)?;
                }
                self.link.state = State::Up { beat: around.now };
            }
            Down::Desired(set) => self.accept(around, body, set)?,
            Down::Pong => {}
            Down::Close(status) => self.link.broken(around, hint(&status)),
        }
        Ok(())
    }
}
