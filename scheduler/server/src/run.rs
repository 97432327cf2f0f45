//! Puts a scheduler together and runs it until it is told to stop.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock, RwLock, atomic::AtomicU64},
    time::Duration,
};

use futures::stream::unfold;
use tokio::{net::TcpListener, sync::broadcast};
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use trainyard_core::State;
use trainyard_pki::{Clients, Limits, Protocol, accept};
use trainyard_proto::{
    MAX_MESSAGE_BYTES,
    v1::{
        access_server::AccessServer, client_server::ClientServer, cluster_server::ClusterServer,
        join_server::JoinServer, queues_server::QueuesServer, raft_server::RaftServer,
        reservations_server::ReservationsServer, worker_server::WorkerServer,
    },
};
use trainyard_raft::{RaftHandle, Role};
use trainyard_store::Store;

use crate::{
    access::Guard,
    announce::Announcing,
    archive::ArchiveStore,
    audit::{self, Audit},
    book::Book,
    config::Config,
    error::SchedulerError,
    identity, leader,
    machine::{EVENTS_KEPT, Machine},
    metrics,
    peer::Connection,
    pki::Pki,
    probes::{self, Probes},
    reasons::{Reasons, StateHash},
    rejoin::rejoin,
    replica::Replica,
    seen::SeenBundles,
    services::{
        AccessService, ClientService, ClusterService, JoinService, QueuesService, RaftService,
        ReservationsService, WorkerService,
    },
    sessions::Sessions,
    transport::{LateHandle, Peers, Speaker},
};

/// Ticks without a leader's word before an election, at least; at most twice as many.
const ELECTION_TICKS: u32 = 50;

/// Ticks between a leader's words.
const HEARTBEAT_TICKS: u32 = 10;

/// Ticks after which a linearizable read gives up.
const READ_TICKS: u32 = 300;

/// Ticks after which a snapshot of which nothing was heard counts as lost.
const SNAPSHOT_TICKS: u32 = 60_000;

/// How long a leader that stops waits for its successor, while it still answers who that is.
const HANDOVER: Duration = Duration::from_millis(500);

/// How long open streams may take to end once the daemon stops.
const FAREWELL: Duration = Duration::from_millis(500);

/// Requests that may be open on one connection at once.
const MAX_STREAMS: u32 = 1024;

/// The most bytes of a request's headers: a token has less than two hundred.
const MAX_HEADERS: u32 = 16 << 10;

/// Requests that a client may take back before they were looked at, until it is cut off.
const MAX_RESETS: usize = 64;

/// Runs a scheduler until `shutdown` resolves. A leader hands over first.
///
/// # Errors
/// When it cannot start: configuration, address, data directory or store; or cannot go on.
pub async fn run(
    config: Config,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), SchedulerError> {
    config.validate()?;
    let mut config = identity::resolve(config)?;
    tokio::pin!(shutdown);
    loop {
        let error = match run_once(config.clone(), shutdown.as_mut()).await {
            Err(error) if error.is_damage() && config.auto_replace => error,
            ended => return ended,
        };
        tracing::error!(%error, "this member's data is damaged: asking for a new id");
        tokio::select! {
            rejoined = rejoin(&config) => config = rejoined?,
            () = &mut shutdown => return Err(error),
        }
    }
}

async fn run_once(
    config: Config,
    shutdown: Pin<&mut (impl Future<Output = ()> + Send)>,
) -> Result<(), SchedulerError> {
    let pki = Arc::new(Pki::open(&config)?);
    let listener = listen(config.listen, "listen").await?;
    let metrics_listener = match config.metrics_listen {
        Some(address) => Some(listen(address, "metrics_listen").await?),
        None => None,
    };
    let store = Store::open(&config.store)?;
    let replica = replica(config, store, pki).await?;
    let stop = CancellationToken::new();
    let export = audit::export(replica.clone());
    tokio::spawn(stop.clone().run_until_cancelled_owned(export));
    tokio::spawn(leader::run(replica.clone(), stop.clone()));
    tokio::spawn(stop.clone().run_until_cancelled_owned(probes::run(replica.clone())));
    let fresh = Arc::clone(&replica.pki).keep_fresh(replica.config.id);
    tokio::spawn(stop.clone().run_until_cancelled_owned(fresh));
    if let Some(listener) = metrics_listener {
        metrics::start(listener, replica.clone())?;
    }
    tracing::info!(id = replica.config.id, listen = %replica.config.listen, "scheduler serves");
    let served = tokio::select! {
        served = serve(listener, &replica, shutdown, &stop) => served,
        fatal = replica.raft.failed() => Err(SchedulerError::Failed(fatal)),
    };
    stop.cancel();
    replica.audit.close().await;
    let raft = replica.raft.clone();
    // Hands the leadership over and closes the log; blocks, so not on the runtime's threads.
    let _ = tokio::task::spawn_blocking(move || raft.shutdown()).await;
    served
}

async fn listen(
    address: std::net::SocketAddr,
    field: &'static str,
) -> Result<TcpListener, SchedulerError> {
    TcpListener::bind(address).await.map_err(|source| SchedulerError::Listen {
        address,
        field,
        source,
    })
}

/// Opens the audit trail, beside the log.
fn open_audit(config: &Config) -> Result<Audit, SchedulerError> {
    let path = config.data_dir.join("audit");
    let opened = Audit::open(&path, config.cluster, config.id, config.audit_every.into());
    opened.map_err(|source| SchedulerError::Audit { path, source })
}

/// Opens the log and starts raft on a thread of its own.
async fn replica(config: Config, store: Store, pki: Arc<Pki>) -> Result<Replica, SchedulerError> {
    let config = Arc::new(config);
    let state = Arc::new(RwLock::new(State::new(config.cluster)));
    let archive = ArchiveStore::open(&config.data_dir)?;
    let (events, _) = broadcast::channel(EVENTS_KEPT);
    let book = Book::new(config.peers.clone());
    let raft = raft(&config, &state, &archive, &events, &book, &pki).await?;
    let audit = open_audit(&config)?;
    Ok(Replica {
        audit,
        raft,
        state,
        events,
        archive,
        store,
        config,
        sessions: Sessions::default(),
        handed_on: Arc::default(),
        reasons: Reasons::default(),
        hash: StateHash::default(),
        book,
        probes: Probes::default(),
        bundles: SeenBundles::default(),
        pki,
    })
}

async fn raft(
    config: &Arc<Config>,
    state: &crate::machine::Shared,
    archive: &ArchiveStore,
    events: &broadcast::Sender<crate::machine::Events>,
    book: &Book,
    pki: &Pki,
) -> Result<RaftHandle, SchedulerError> {
    let late: LateHandle = Arc::new(OnceLock::new());
    let own = config.peers.get(&config.id).cloned();
    let epoch = Arc::new(AtomicU64::new(0));
    let speaker = Speaker {
        id: config.id,
        cluster: config.cluster.to_string(),
        address: own.unwrap_or_else(|| config.listen.to_string()),
        epoch: Arc::clone(&epoch),
    };
    let peers = Peers::new(speaker, book.clone(), pki.credentials.clone(), &late, archive);
    let settings = trainyard_raft::Config {
        tick: config.tick.into(),
        election_ticks: ELECTION_TICKS,
        heartbeat_ticks: HEARTBEAT_TICKS,
        read_timeout_ticks: READ_TICKS,
        snapshot_send_ticks: SNAPSHOT_TICKS,
        snapshot_every: config.snapshot_every,
        join: config.join,
        keep_entries: config.keep_entries,
        ..trainyard_raft::Config::new(
            config.id,
            *config.cluster.0.as_bytes(),
            config.data_dir.clone(),
            config.peers.clone(),
        )
    };
    let machine = Machine::new(Arc::clone(state), archive.clone(), events.clone());
    let machine = Announcing::new(machine, book.clone(), epoch);
    let started =
        tokio::task::spawn_blocking(move || trainyard_raft::start(settings, machine, peers)).await;
    let raft = started.map_err(|source| SchedulerError::Serve {
        address: config.listen,
        source: Box::new(source),
    })??;
    // Set once, right here.
    let _ = late.set(raft.clone());
    Ok(raft)
}

/// Lets another member lead before the port closes: whoever asks meanwhile is told who leads, and
/// the cluster is without a leader for no longer than a vote takes.
async fn hand_over(replica: &Replica) {
    let mut status = replica.status();
    if replica.peers().len() < 2 || status.borrow().role != Role::Leader {
        return;
    }
    replica.raft.transfer_leadership(None);
    let followed = status.wait_for(|s| s.role != Role::Leader && s.leader.is_some());
    // Without a successor in time it just goes, and the others elect one.
    let _ = tokio::time::timeout(HANDOVER, followed).await;
}

async fn serve(
    listener: TcpListener,
    replica: &Replica,
    shutdown: Pin<&mut (impl Future<Output = ()> + Send)>,
    stop: &CancellationToken,
) -> Result<(), SchedulerError> {
    let tls = replica.pki.credentials.server(Clients::Anybody, Protocol::Http2)?;
    let counters = Arc::clone(&replica.pki.port);
    let incoming = accept(listener, tls, Limits::default(), counters);
    let connections = unfold(incoming, async |mut incoming| {
        let connection = Connection(incoming.next().await);
        Some((Ok::<_, std::io::Error>(connection), incoming))
    });
    let client = ClientServer::new(ClientService(replica.clone()));
    let worker = WorkerServer::new(WorkerService(replica.clone()));
    let raft = RaftServer::new(RaftService(replica.clone()));
    let access = AccessServer::new(AccessService(replica.clone()));
    let queues = QueuesServer::new(QueuesService(replica.clone()));
    let reservations = ReservationsServer::new(ReservationsService(replica.clone()));
    let join = JoinServer::new(JoinService(replica.clone()));
    let cluster = ClusterServer::new(ClusterService(replica.clone()));
    let server = Server::builder()
        .layer(Guard::new(replica.clone()))
        .http2_keepalive_interval(Some(Duration::from_secs(5)))
        .http2_keepalive_timeout(Some(Duration::from_secs(5)))
        .max_concurrent_streams(MAX_STREAMS)
        .http2_max_header_list_size(MAX_HEADERS)
        .http2_max_pending_accept_reset_streams(Some(MAX_RESETS))
        .add_service(client.max_decoding_message_size(MAX_MESSAGE_BYTES))
        .add_service(worker.max_decoding_message_size(MAX_MESSAGE_BYTES))
        .add_service(raft.max_decoding_message_size(MAX_MESSAGE_BYTES))
        .add_service(access)
        .add_service(queues)
        .add_service(reservations)
        .add_service(join)
        .add_service(cluster.max_decoding_message_size(MAX_MESSAGE_BYTES))
        .serve_with_incoming_shutdown(connections, stop.cancelled());
    tokio::pin!(server);
    let failed = |source: tonic::transport::Error| SchedulerError::Serve {
        address: replica.config.listen,
        source: Box::new(source),
    };
    tokio::select! {
        served = &mut server => return served.map_err(failed),
        () = async { shutdown.await; hand_over(replica).await } => stop.cancel(),
    }
    // Long streams would hold the server open: they get a moment.
    match tokio::time::timeout(FAREWELL, server).await {
        Ok(served) => served.map_err(failed),
        Err(_) => Ok(()),
    }
}
