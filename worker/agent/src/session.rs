//! The stream to the leader: hello and figures up, desired sets down. Finds the leader among
//! the schedulers, comes back after every break, and never touches the ranks: what a set means
//! is decided elsewhere.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Code, Status, Streaming,
    transport::{Channel, Endpoint},
};
use trainyard_jobs::{ClusterId, Inventory, SessionId};
use trainyard_pki::{Connector, advice};
use trainyard_proto::{
    LEADER_METADATA, MAX_MESSAGE_BYTES,
    v1::{
        DesiredSet, Heartbeat, Hello, Roll, SchedulerMessage, Welcome, WorkerMessage,
        scheduler_message::Body as Down, worker_client::WorkerClient, worker_message::Body as Up,
    },
};

use crate::{
    attempt::Registry,
    backoff::Backoff,
    metrics::Counters,
    patience::{LONGEST, Patience},
    report::Leader,
    standing::Standing,
    telemetry::Sampler,
};

/// The longest that a connection may take to open.
const CONNECT: Duration = Duration::from_secs(2);
/// A leader that is frozen, or cut off, must be left well within any grace: its successor counts
/// that from the moment it leads.
const PING: Duration = Duration::from_secs(1);
/// A peer that does not answer a ping this long is gone.
const PONG: Duration = Duration::from_secs(1);
const HEARTBEATS: std::ops::RangeInclusive<u64> = 50..=60_000;
const MAX_ENDPOINTS: usize = 64;

/// What the session tells the agent.
pub(crate) enum News {
    /// A leader has welcomed us; the answer says whether to stay.
    Welcome(Invitation, tokio::sync::oneshot::Sender<bool>),
    /// What should run here.
    Desired(DesiredSet),
    /// A scheduler refuses us; it is asked again, unless the agent gives up.
    Refused { endpoint: String, status: Status },
}

/// What a leader says of its cluster.
#[derive(Debug, Clone)]
pub(crate) struct Invitation {
    pub cluster: ClusterId,
    /// Its recovery epoch; 0 of a version that does not say.
    pub epoch: u64,
    /// The proof that it is of that epoch.
    pub grant: Vec<u8>,
}

/// The session's view of the agent.
pub(crate) struct Session {
    pub node: String,
    pub session: SessionId,
    pub inventory: Inventory,
    pub registry: Arc<Registry>,
    pub sampler: Arc<Sampler>,
    pub counters: Counters,
    pub standing: watch::Receiver<Standing>,
    pub leader: watch::Sender<Option<Leader>>,
    pub news: mpsc::Sender<News>,
    /// Known schedulers; the one to try next stands first.
    pub endpoints: VecDeque<String>,
    pub connector: Connector,
    /// How many schedulers in a row could not be trusted, or did not trust us, before any did.
    pub strangers: usize,
    /// Tells others of the agent which schedulers there are.
    pub known: watch::Sender<Vec<String>>,
}

/// How a stream ended.
enum End {
    /// Another scheduler leads.
    Follow(String),
    /// This scheduler refuses us.
    Refused(Status),
    /// Its certificate or ours is of somebody else's cluster.
    Stranger(String),
    /// The agent has gone.
    Over,
    /// It did not welcome us in time.
    Silent,
    /// Anything else; `welcomed` tells whether we had been taken in.
    Broken { welcomed: bool, reason: String },
}

impl Session {
    /// Keeps a stream to the leader until the agent is gone.
    pub(crate) async fn run(mut self) {
        let mut backoff = Backoff::scheduler();
        let mut failures = 0;
        let mut patience = Patience::new();
        loop {
            let Some(endpoint) = self.endpoints.front().cloned() else { return };
            let end = self.stream(&endpoint, patience.get()).await;
            self.leader.send_replace(None);
            match end {
                End::Over => return,
                End::Follow(leader) => {
                    self.prefer(leader);
                    // Two that name each other must not make us spin.
                    failures += 1;
                }
                End::Refused(status) => {
                    let news = News::Refused { endpoint, status };
                    if self.news.send(news).await.is_err() {
                        return;
                    }
                    self.endpoints.rotate_left(1);
                    backoff.wait().await;
                }
                End::Stranger(reason) => {
                    tracing::warn!(endpoint, reason, "no trust");
                    self.strangers += 1;
                    if self.strangers >= self.endpoints.len() {
                        self.strangers = 0;
                        let status = Status::unauthenticated(reason);
                        if self.news.send(News::Refused { endpoint, status }).await.is_err() {
                            return;
                        }
                        backoff.wait().await;
                    }
                    self.endpoints.rotate_left(1);
                }
                End::Silent => {
                    self.strangers = 0;
                    tracing::debug!(endpoint, "no welcome in time");
                    patience.ran_out();
                    failures += 1;
                    self.endpoints.rotate_left(1);
                }
                End::Broken { welcomed, reason } => {
                    self.strangers = 0;
                    tracing::debug!(endpoint, reason, "no stream");
                    if welcomed {
                        tracing::warn!(endpoint, reason, "the leader is gone");
                        backoff.reset();
                        failures = 0;
                        patience = Patience::new();
                    }
                    failures += 1;
                    self.endpoints.rotate_left(1);
                }
            }
            if failures >= self.endpoints.len() {
                failures = 0;
                patience.next_round();
                backoff.wait().await;
            }
        }
    }

    /// Puts `endpoint` first, once.
    fn prefer(&mut self, endpoint: String) {
        self.endpoints.retain(|known| *known != endpoint);
        self.endpoints.push_front(endpoint);
        self.endpoints.truncate(MAX_ENDPOINTS);
    }

    async fn stream(&mut self, endpoint: &str, patience: Duration) -> End {
        let broken = |reason: String| End::Broken { welcomed: false, reason };
        let connecting = timeout(patience.min(CONNECT), connect(endpoint, &self.connector));
        let mut client = match connecting.await {
            Err(_) => return End::Silent,
            Ok(Err(end)) => return end,
            Ok(Ok(channel)) => WorkerClient::new(channel)
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES),
        };
        let (up, messages) = mpsc::channel(4);
        let hello = WorkerMessage { body: Some(Up::Hello(self.hello())) };
        if up.send(hello).await.is_err() {
            return broken("the stream closed".into());
        }
        let opening = async {
            let mut down = client.session(ReceiverStream::new(messages)).await?.into_inner();
            let mut first = down.message().await?;
            if let Some(SchedulerMessage { body: Some(Down::RollCall(call)) }) = first {
                let held = self.registry.held_among(call.attempts);
                // It fails only with the stream, and then there is no welcome either.
                let _ = up.send(WorkerMessage { body: Some(Up::Roll(Roll { held })) }).await;
                first = down.message().await?;
            }
            Ok((down, first))
        };
        let (down, first) = match timeout(patience, opening).await {
            Err(_) => return End::Silent,
            Ok(Err(status)) => return sort(status, false),
            Ok(Ok((down, Some(SchedulerMessage { body: Some(Down::Welcome(welcome)) })))) => {
                (down, welcome)
            }
            Ok(Ok(_)) => return broken("the scheduler did not begin with a welcome".into()),
        };
        match self.enter(&first).await {
            Some(true) => {}
            Some(false) => {
                return broken("it leads another cluster, or one of another epoch".into());
            }
            None => return End::Over,
        }
        tracing::info!(endpoint, "joined the leader");
        self.counters.sessions.inc();
        self.leader.send_replace(Some(client));
        self.follow(down, up, &first).await
    }

    fn hello(&self) -> Hello {
        let standing = *self.standing.borrow();
        Hello {
            cluster: standing.cluster.map(|cluster| cluster.to_string()).unwrap_or_default(),
            node: self.node.clone(),
            session: self.session.to_string(),
            inventory: Some((&self.inventory).into()),
            running: self.registry.running(),
            revision: Some(standing.revision.into()),
            answers_roll_call: true,
        }
    }

    /// Whether to stay with the scheduler that sent `welcome`; nothing if the agent has gone.
    async fn enter(&mut self, welcome: &Welcome) -> Option<bool> {
        let Ok(cluster) = welcome.cluster.parse() else { return Some(false) };
        let standing = *self.standing.borrow();
        let own = standing.revision.epoch;
        if welcome.epoch != 0 && welcome.epoch < own {
            tracing::warn!(own, theirs = welcome.epoch, "a scheduler of an epoch that is over");
            return Some(false);
        }
        // The first epoch that a worker sees is the one it joins.
        let known = standing.cluster == Some(cluster) && (welcome.epoch <= own || own == 0);
        let (epoch, grant) = (welcome.epoch, welcome.epoch_grant.clone());
        let stay = known || self.ask(Invitation { cluster, epoch, grant }).await?;
        if stay {
            for endpoint in &welcome.endpoints {
                if !self.endpoints.contains(endpoint) && self.endpoints.len() < MAX_ENDPOINTS {
                    self.endpoints.push_back(endpoint.clone());
                }
            }
            self.known.send_replace(self.endpoints.iter().cloned().collect());
        }
        Some(stay)
    }

    /// Whether to accept; nothing if the agent has gone.
    async fn ask(&self, invitation: Invitation) -> Option<bool> {
        let (answer, stay) = tokio::sync::oneshot::channel();
        self.news.send(News::Welcome(invitation, answer)).await.ok()?;
        stay.await.ok()
    }

    /// Passes desired sets on and sends figures until the stream breaks. An agent that is busy
    /// with a set, on a slow disk say, holds up no figures: without them its node looks lost.
    async fn follow(
        &self,
        mut down: Streaming<SchedulerMessage>,
        up: mpsc::Sender<WorkerMessage>,
        welcome: &Welcome,
    ) -> End {
        let broken = |reason: &str| End::Broken { welcomed: true, reason: reason.into() };
        let every = welcome.heartbeat_ms.clamp(*HEARTBEATS.start(), *HEARTBEATS.end());
        let mut ticks = interval(Duration::from_millis(every));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut taken = Instant::now();
        // Sets are whole, and those of one stream rise: a newer one stands for all before.
        let mut newest = None;
        loop {
            tokio::select! {
                message = down.message() => match message {
                    Err(status) => return sort(status, true),
                    Ok(None) => return broken("the leader ended the stream"),
                    Ok(Some(SchedulerMessage { body: Some(Down::Desired(set)) })) => {
                        newest = Some(set);
                    }
                    Ok(Some(_)) => {}
                },
                room = self.news.reserve(), if newest.is_some() => match (room, newest.take()) {
                    (Ok(room), Some(set)) => room.send(News::Desired(set)),
                    (Ok(_), None) => {}
                    (Err(_), _) => return End::Over,
                },
                _ = ticks.tick() => {
                    let beat = Heartbeat {
                        sample: Some(self.sampler.newest()),
                        progress: self.registry.progress(),
                        held: self.registry.started_before(welcome.epoch),
                    };
                    match up.try_send(WorkerMessage { body: Some(Up::Heartbeat(beat)) }) {
                        Ok(()) => taken = Instant::now(),
                        Err(mpsc::error::TrySendError::Closed(_)) => {
                            return broken("the leader closed the stream");
                        }
                        // Figures are not worth waiting for; a leader that takes none is gone.
                        Err(mpsc::error::TrySendError::Full(_)) => {
                            if taken.elapsed() > LONGEST + 4 * Duration::from_millis(every) {
                                return broken("the leader takes no figures");
                            }
                        }
                    }
                }
            }
        }
    }
}

async fn connect(endpoint: &str, connector: &Connector) -> Result<Channel, End> {
    let broken = |reason: String| End::Broken { welcomed: false, reason };
    let endpoint = Endpoint::from_shared(format!("https://{endpoint}"))
        .map_err(|error| broken(format!("not an address: {error}")))?
        .http2_keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .keep_alive_while_idle(true);
    endpoint.connect_with_connector(connector.clone()).await.map_err(|error| {
        if let Some(reason) = advice(&error) {
            return End::Stranger(reason);
        }
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        broken(cause.unwrap_or_else(|| error.to_string()))
    })
}

fn sort(status: Status, welcomed: bool) -> End {
    let leader = status.metadata().get(LEADER_METADATA).and_then(|value| value.to_str().ok());
    match (status.code(), leader) {
        (Code::Unavailable, Some(leader)) if !leader.is_empty() => End::Follow(leader.to_owned()),
        (
            Code::AlreadyExists
            | Code::FailedPrecondition
            | Code::InvalidArgument
            | Code::PermissionDenied
            | Code::Unauthenticated,
            _,
        ) => End::Refused(status),
        _ => match advice(&status) {
            Some(reason) if !welcomed => End::Stranger(reason),
            _ => End::Broken { welcomed, reason: status.message().to_owned() },
        },
    }
}
