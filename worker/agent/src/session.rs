//! The stream to the leader: hello and figures up, desired sets down. It comes back after every
//! break, and never touches the ranks: what a set means is decided elsewhere.

mod search;

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval},
};
use tonic::Status;
use trainyard_jobs::{ClusterId, Inventory, SessionId};
use trainyard_proto::v1::{
    DesiredSet, Heartbeat, Hello, SchedulerMessage, Welcome, WorkerMessage,
    scheduler_message::Body as Down, worker_message::Body as Up,
};

pub(crate) use self::search::Search;
use self::search::{LONGEST, No, Opening};
use crate::{
    attempt::Registry, metrics::Counters, report::Leader, standing::Standing, telemetry::Sampler,
};

const HEARTBEATS: RangeInclusive<u64> = 50..=60_000;
/// The longest pause in a search for the leader; two heartbeats if that is less.
const PAUSE: Duration = Duration::from_secs(2);

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

/// What a scheduler is told of us.
pub(crate) struct Own {
    pub node: String,
    pub session: SessionId,
    pub inventory: Inventory,
    pub registry: Arc<Registry>,
    pub standing: watch::Receiver<Standing>,
}

/// The session's view of the agent.
pub(crate) struct Session {
    pub own: Arc<Own>,
    pub search: Search,
    pub sampler: Arc<Sampler>,
    pub counters: Counters,
    pub leader: watch::Sender<Option<Leader>>,
    pub news: mpsc::Sender<News>,
    /// Tells others of the agent which schedulers there are.
    pub known: watch::Sender<Vec<String>>,
}

/// How a stream ended.
enum End {
    /// The agent has gone.
    Over,
    /// We did not take the welcome.
    Declined,
    /// The scheduler said so, or it broke.
    No(No),
}

impl Own {
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
}

impl Session {
    /// Keeps a stream to the leader until the agent is gone.
    pub(crate) async fn run(mut self) {
        while let Some(opening) = self.search.leader(&self.own, &self.news).await {
            let endpoint = opening.endpoint.clone();
            let every = heartbeats(&opening.welcome);
            let since = Instant::now();
            let end = self.stay(*opening).await;
            let was_steady = since.elapsed() > every;
            self.leader.send_replace(None);
            match end {
                End::Over => return,
                End::Declined => {
                    tracing::warn!(endpoint, "it leads another cluster, or one of another epoch");
                    self.search.avoid(endpoint);
                }
                End::No(No::Follow(leader)) => {
                    tracing::info!(endpoint, leader, "another leads now");
                    self.search.prefer(leader);
                }
                End::No(No::Refused(status)) => {
                    self.search.avoid(endpoint.clone());
                    if self.news.send(News::Refused { endpoint, status }).await.is_err() {
                        return;
                    }
                }
                End::No(No::Stranger(reason) | No::Broken(reason)) => {
                    tracing::warn!(endpoint, reason, "the leader is gone");
                    self.search.avoid(endpoint);
                }
            }
            // One that welcomes us only to drop us must not make us spin.
            if was_steady {
                self.search.reset(PAUSE.min(2 * every));
            } else {
                self.search.pause().await;
            }
        }
    }

    /// Stays with a leader as long as it can be.
    async fn stay(&mut self, opening: Opening) -> End {
        let Opening { endpoint, client, down, up, welcome } = opening;
        match self.enter(&welcome).await {
            Some(true) => {}
            Some(false) => return End::Declined,
            None => return End::Over,
        }
        tracing::info!(endpoint, "joined the leader");
        self.counters.sessions.inc();
        self.leader.send_replace(Some(client));
        self.follow(down, up, &welcome).await
    }

    /// Whether to stay with the scheduler that sent `welcome`; nothing if the agent has gone.
    async fn enter(&mut self, welcome: &Welcome) -> Option<bool> {
        let Ok(cluster) = welcome.cluster.parse() else { return Some(false) };
        let standing = *self.own.standing.borrow();
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
            self.search.learn(&welcome.endpoints);
            self.known.send_replace(self.search.known());
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
        mut down: tonic::Streaming<SchedulerMessage>,
        up: mpsc::Sender<WorkerMessage>,
        welcome: &Welcome,
    ) -> End {
        let broken = |reason: &str| End::No(No::Broken(reason.into()));
        let every = heartbeats(welcome);
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut taken = Instant::now();
        // Sets are whole, and those of one stream rise: a newer one stands for all before.
        let mut newest = None;
        loop {
            tokio::select! {
                message = down.message() => match message {
                    Err(status) => return End::No(No::of(status)),
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
                        progress: self.own.registry.progress(),
                        held: self.own.registry.started_before(welcome.epoch),
                    };
                    match up.try_send(WorkerMessage { body: Some(Up::Heartbeat(beat)) }) {
                        Ok(()) => taken = Instant::now(),
                        Err(mpsc::error::TrySendError::Closed(_)) => {
                            return broken("the leader closed the stream");
                        }
                        // Figures are not worth waiting for; a leader that takes none is gone.
                        Err(mpsc::error::TrySendError::Full(_)) => {
                            if taken.elapsed() > LONGEST + 4 * every {
                                return broken("the leader takes no figures");
                            }
                        }
                    }
                }
            }
        }
    }
}

/// How often the leader wants to hear of us.
fn heartbeats(welcome: &Welcome) -> Duration {
    Duration::from_millis(welcome.heartbeat_ms.clamp(*HEARTBEATS.start(), *HEARTBEATS.end()))
}
