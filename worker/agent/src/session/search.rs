//! The search for the scheduler that leads. Schedulers are asked in turn, the next one as soon as
//! one says no, or says nothing for a moment: what is frozen or cut off holds nobody up (as
//! addresses are tried in RFC 8305). It may answer while others are asked: a leader may have many
//! to welcome.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Code, Status, Streaming,
    transport::{Channel, Endpoint},
};
use trainyard_pki::{Connector, advice};
use trainyard_proto::{
    LEADER_METADATA, MAX_MESSAGE_BYTES,
    v1::{
        Roll, SchedulerMessage, Welcome, WorkerMessage, scheduler_message::Body as Down,
        worker_client::WorkerClient, worker_message::Body as Up,
    },
};

use super::{News, Own};
use crate::{backoff::Backoff, report::Leader};

/// The longest that a connection may take to open.
const CONNECT: Duration = Duration::from_secs(2);
/// The longest that a scheduler may take to welcome us.
pub(super) const LONGEST: Duration = Duration::from_secs(5);
/// How long one may say nothing before the next is asked beside it.
const MOMENT: Duration = Duration::from_millis(250);
/// A leader that is frozen, or cut off, must be left well within any grace: its successor counts
/// that from the moment it leads.
const PING: Duration = Duration::from_secs(1);
/// A peer that does not answer a ping this long is gone.
const PONG: Duration = Duration::from_secs(1);
const MAX_ENDPOINTS: usize = 64;

/// The schedulers that are known, and how it went with them.
#[derive(Debug)]
pub(crate) struct Search {
    connector: Connector,
    /// The one to ask first stands first.
    endpoints: VecDeque<String>,
    /// Between rounds.
    backoff: Backoff,
    /// How many in a row could not be trusted, or did not trust us, before any did.
    strangers: usize,
}

/// A stream that begins with a welcome.
pub(super) struct Opening {
    pub endpoint: String,
    pub client: Leader,
    pub down: Streaming<SchedulerMessage>,
    pub up: mpsc::Sender<WorkerMessage>,
    pub welcome: Welcome,
}

/// Why there is no stream, or no more.
#[derive(Debug)]
pub(super) enum No {
    /// Another scheduler leads.
    Follow(String),
    /// This one refuses us.
    Refused(Status),
    /// Its certificate or ours is of somebody else's cluster.
    Stranger(String),
    /// Anything else.
    Broken(String),
}

/// What one scheduler said.
struct Answer {
    endpoint: String,
    said: Result<Box<Opening>, No>,
}

/// Each scheduler is asked once in a round.
struct Round {
    left: VecDeque<String>,
    /// All were asked: the next round begins after a pause.
    over: bool,
}

impl Round {
    /// Asks `endpoint` next if it is still to be asked, or was not known to be a scheduler.
    fn prefer(&mut self, endpoint: &str, known: bool) {
        let before = self.left.len();
        self.left.retain(|left| left != endpoint);
        if self.left.len() < before || !known {
            self.left.push_front(endpoint.to_owned());
        }
    }
}

impl Search {
    pub(crate) const fn new(connector: Connector, endpoints: VecDeque<String>) -> Self {
        Self { connector, endpoints, backoff: Backoff::scheduler(), strangers: 0 }
    }

    /// Every scheduler that is known.
    pub(super) fn known(&self) -> Vec<String> {
        self.endpoints.iter().cloned().collect()
    }

    /// More schedulers than were known.
    pub(super) fn learn(&mut self, endpoints: &[String]) {
        for endpoint in endpoints {
            if !self.endpoints.contains(endpoint) && self.endpoints.len() < MAX_ENDPOINTS {
                self.endpoints.push_back(endpoint.clone());
            }
        }
    }

    /// Asks `endpoint` first.
    pub(super) fn prefer(&mut self, endpoint: String) {
        self.endpoints.retain(|known| *known != endpoint);
        self.endpoints.push_front(endpoint);
        self.endpoints.truncate(MAX_ENDPOINTS);
    }

    /// Asks `endpoint` last.
    pub(super) fn avoid(&mut self, endpoint: String) {
        self.endpoints.retain(|known| *known != endpoint);
        self.endpoints.push_back(endpoint);
    }

    /// Pauses between rounds start anew, and are never longer than `most`.
    pub(super) const fn reset(&mut self, most: Duration) {
        self.backoff.reset(most);
    }

    /// A pause, longer each time.
    pub(super) async fn pause(&mut self) {
        self.backoff.wait().await;
    }

    /// The leader, once one welcomes us; nothing if the agent has gone.
    pub(super) async fn leader(
        &mut self,
        own: &Arc<Own>,
        news: &mpsc::Sender<News>,
    ) -> Option<Box<Opening>> {
        let mut answers = JoinSet::new();
        let mut waiting = BTreeSet::new();
        let mut round = self.round(&waiting);
        let mut next = Instant::now();
        loop {
            tokio::select! {
                Some(answer) = answers.join_next() => {
                    let Ok(Answer { endpoint, said }) = answer else { continue };
                    waiting.remove(&endpoint);
                    let no = match said {
                        Ok(opening) => {
                            self.strangers = 0;
                            return Some(opening);
                        }
                        Err(no) => no,
                    };
                    if let No::Follow(leader) = &no {
                        round.prefer(leader, self.endpoints.contains(leader));
                    }
                    self.note(endpoint, no, news).await?;
                    if !round.over {
                        next = Instant::now();
                    }
                }
                () = sleep_until(next) => {
                    if round.over {
                        round = self.round(&waiting);
                    }
                    match round.left.pop_front() {
                        Some(endpoint) => {
                            tracing::trace!(endpoint, "is asked");
                            waiting.insert(endpoint.clone());
                            answers.spawn(ask(endpoint, self.connector.clone(), Arc::clone(own)));
                            next = Instant::now() + MOMENT;
                        }
                        None => {
                            round.over = true;
                            next = Instant::now() + self.backoff.step();
                        }
                    }
                }
            }
        }
    }

    /// A new round: all but those that have not answered yet.
    fn round(&self, waiting: &BTreeSet<String>) -> Round {
        let left = self.endpoints.iter().filter(|endpoint| !waiting.contains(*endpoint));
        Round { left: left.cloned().collect(), over: false }
    }

    /// Draws the consequences of a no; nothing if the agent has gone.
    async fn note(&mut self, endpoint: String, no: No, news: &mpsc::Sender<News>) -> Option<()> {
        if !matches!(no, No::Stranger(_)) {
            self.strangers = 0;
        }
        match no {
            No::Follow(leader) => {
                tracing::debug!(endpoint, leader, "another leads");
                self.prefer(leader);
            }
            No::Refused(status) => news.send(News::Refused { endpoint, status }).await.ok()?,
            No::Stranger(reason) => {
                tracing::warn!(endpoint, reason, "no trust");
                self.strangers += 1;
                if self.strangers >= self.endpoints.len() {
                    self.strangers = 0;
                    let status = Status::unauthenticated(reason);
                    news.send(News::Refused { endpoint, status }).await.ok()?;
                }
            }
            No::Broken(reason) => tracing::debug!(endpoint, reason, "no stream"),
        }
        Some(())
    }
}

/// Greets a scheduler, and waits for its welcome.
async fn ask(endpoint: String, connector: Connector, own: Arc<Own>) -> Answer {
    let said = timeout(LONGEST, greet(&endpoint, connector, &own)).await;
    let said = said.unwrap_or_else(|_| Err(No::Broken("no welcome in time".into())));
    Answer { endpoint, said }
}

async fn greet(endpoint: &str, connector: Connector, own: &Own) -> Result<Box<Opening>, No> {
    let channel = timeout(CONNECT, connect(endpoint, connector)).await;
    let channel = channel.map_err(|_| No::Broken("no connection in time".into()))??;
    let mut client = WorkerClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let (up, messages) = mpsc::channel(4);
    let hello = WorkerMessage { body: Some(Up::Hello(own.hello())) };
    up.send(hello).await.map_err(|_| No::Broken("the stream closed".into()))?;
    let answer = client.session(ReceiverStream::new(messages)).await.map_err(No::of)?;
    let mut down = answer.into_inner();
    let mut first = down.message().await.map_err(No::of)?;
    if let Some(SchedulerMessage { body: Some(Down::RollCall(call)) }) = first {
        let held = own.registry.held_among(call.attempts);
        // It fails only with the stream, and then there is no welcome either.
        let _ = up.send(WorkerMessage { body: Some(Up::Roll(Roll { held })) }).await;
        first = down.message().await.map_err(No::of)?;
    }
    match first {
        Some(SchedulerMessage { body: Some(Down::Welcome(welcome)) }) => {
            Ok(Box::new(Opening { endpoint: endpoint.to_owned(), client, down, up, welcome }))
        }
        _ => Err(No::Broken("the scheduler did not begin with a welcome".into())),
    }
}

async fn connect(endpoint: &str, connector: Connector) -> Result<Channel, No> {
    let endpoint = Endpoint::from_shared(format!("https://{endpoint}"))
        .map_err(|error| No::Broken(format!("not an address: {error}")))?
        .http2_keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .keep_alive_while_idle(true);
    endpoint.connect_with_connector(connector).await.map_err(|error| {
        if let Some(reason) = advice(&error) {
            return No::Stranger(reason);
        }
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        No::Broken(cause.unwrap_or_else(|| error.to_string()))
    })
}

impl No {
    /// What the end of a stream means.
    pub(super) fn of(status: Status) -> Self {
        let leader = status.metadata().get(LEADER_METADATA).and_then(|value| value.to_str().ok());
        match (status.code(), leader) {
            (Code::Unavailable, Some(leader)) if !leader.is_empty() => {
                Self::Follow(leader.to_owned())
            }
            (
                Code::AlreadyExists
                | Code::FailedPrecondition
                | Code::InvalidArgument
                | Code::PermissionDenied
                | Code::Unauthenticated,
                _,
            ) => Self::Refused(status),
            _ => match advice(&status) {
                Some(reason) => Self::Stranger(reason),
                None => Self::Broken(status.message().to_owned()),
            },
        }
    }
}
