//! Raft's messages between schedulers: opaque bytes over one long stream a peer, snapshots over
//! a stream of their own, in chunks. What cannot be sent is dropped and reported; raft repeats.
//! Whom a message goes to is looked up each time: peers come, go and move while this runs.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{runtime::Handle, sync::mpsc, time::sleep};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use trainyard_pki::{Connector, Credentials, Expected};
use trainyard_proto::{
    CHUNK_BYTES, MAX_MESSAGE_BYTES,
    v1::{ArchiveHeadRequest, ArchivePiece, RaftChunk, raft_client::RaftClient},
};
use trainyard_raft::{Answer, RaftHandle, Transport};

use crate::{
    archive::{ArchiveError, ArchiveStore},
    book::Book,
};

/// Messages that may wait for one peer.
const QUEUE: usize = 4096;

/// Chunks that may be on their way to one peer.
const IN_FLIGHT: usize = 64;

/// The wait after a connection failed.
const RETRY: Duration = Duration::from_millis(100);

/// The longest that a snapshot may take.
const SNAPSHOT_TIME: Duration = Duration::from_secs(600);

/// The raft handle, known only once the driver that sends through this transport has started.
pub(crate) type LateHandle = Arc<OnceLock<RaftHandle>>;

/// Who speaks, in every greeting.
#[derive(Debug, Clone)]
pub(crate) struct Speaker {
    pub(crate) id: u64,
    pub(crate) cluster: String,
    /// Where it listens.
    pub(crate) address: String,
    /// The epoch of its state; 0 while it has none.
    pub(crate) epoch: Arc<AtomicU64>,
}

/// Sends to every peer.
pub(crate) struct Peers {
    runtime: Handle,
    speaker: Speaker,
    credentials: Credentials,
    raft: LateHandle,
    book: Book,
    archive: ArchiveStore,
    peers: BTreeMap<u64, Peer>,
    /// To the task that wakes those who wait for their commands.
    answers: mpsc::UnboundedSender<Vec<Answer>>,
}

struct Peer {
    address: String,
    queue: mpsc::Sender<Vec<u8>>,
    channel: Channel,
}

/// A connection to a scheduler, opened when it is first needed and again whenever it broke.
pub(crate) fn channel(
    credentials: &Credentials,
    expected: Expected,
    address: &str,
) -> Result<Channel, Box<dyn std::error::Error + Send + Sync>> {
    let connector = Connector::to(credentials, expected)?;
    let endpoint = Endpoint::from_shared(format!("https://{address}"))?
        .connect_timeout(Duration::from_secs(1))
        .http2_keep_alive_interval(Duration::from_secs(5))
        .keep_alive_timeout(Duration::from_secs(5));
    Ok(endpoint.connect_with_connector_lazy(connector))
}

impl Peers {
    /// Knows nobody yet.
    pub(crate) fn new(
        speaker: Speaker,
        book: Book,
        credentials: Credentials,
        raft: &LateHandle,
        archive: &ArchiveStore,
    ) -> Self {
        let (peers, archive) = (BTreeMap::new(), archive.clone());
        let (runtime, raft) = (Handle::current(), Arc::clone(raft));
        let (answers, batches) = mpsc::unbounded_channel();
        runtime.spawn(give_answers(batches));
        Self { runtime, speaker, credentials, raft, book, archive, peers, answers }
    }

    /// The peer at its present address; a link to where it was before ends with its queue.
    fn peer(&mut self, to: u64) -> Option<&Peer> {
        let address = self.book.address(to)?;
        let known = self.peers.get(&to).is_some_and(|peer| peer.address == address);
        if !known {
            // Lazy connections and tasks want a runtime, and this is raft's own thread.
            let _runtime = self.runtime.enter();
            let channel = channel(&self.credentials, Expected::Scheduler(to), &address)
                .map_err(|error| tracing::error!(to, address, %error, "not an address"))
                .ok()?;
            let (queue, messages) = mpsc::channel(QUEUE);
            let link = Link { speaker: self.speaker.clone(), to, channel: channel.clone() };
            tokio::spawn(link.feed(messages, Arc::clone(&self.raft)));
            self.peers.insert(to, Peer { address, queue, channel });
        }
        self.peers.get(&to)
    }
}

/// Answers from within the runtime: a task that another one wakes needs no signal between threads.
async fn give_answers(mut batches: mpsc::UnboundedReceiver<Vec<Answer>>) {
    while let Some(batch) = batches.recv().await {
        batch.into_iter().for_each(Answer::give);
    }
}

impl Transport for Peers {
    fn send(&mut self, to: u64, message: Vec<u8>) {
        let sent = self.peer(to).is_some_and(|peer| peer.queue.try_send(message).is_ok());
        if !sent && let Some(raft) = self.raft.get() {
            raft.report_unreachable(to);
        }
    }

    fn answer(&mut self, answers: Vec<Answer>) {
        // With the runtime went everybody who waited.
        let _ = self.answers.send(answers);
    }

    fn send_snapshot(&mut self, to: u64, message: Vec<u8>) {
        let Some(channel) = self.peer(to).map(|peer| peer.channel.clone()) else { return };
        let link = Link { speaker: self.speaker.clone(), to, channel };
        let raft = Arc::clone(&self.raft);
        let archive = self.archive.clone();
        self.runtime.spawn(async move {
            let send = async {
                // First what the snapshot relies on: without it the peer would refuse it.
                link.send_archive(&archive).await?;
                link.send_one(message).await
            };
            let arrived = match tokio::time::timeout(SNAPSHOT_TIME, send).await {
                Ok(Ok(())) => true,
                Ok(Err(status)) => {
                    tracing::warn!(to, code = ?status.code(), message = status.message(), "snapshot not sent");
                    false
                }
                Err(_) => false,
            };
            if let Some(raft) = raft.get() {
                raft.report_snapshot(to, arrived);
            }
        });
    }
}

struct Link {
    speaker: Speaker,
    to: u64,
    channel: Channel,
}

impl Link {
    /// Keeps one stream to the peer, as long as there is anything to send through it.
    async fn feed(self, mut messages: mpsc::Receiver<Vec<u8>>, raft: LateHandle) {
        let mut refusals = 0u64;
        while let Some(first) = messages.recv().await {
            if let Err(status) = self.stream(first, &mut messages).await {
                if status.code() == tonic::Code::FailedPrecondition {
                    refusals = refusals.saturating_add(1);
                    // Each power of two: a peer that refuses for good must not flood the log.
                    if refusals.is_power_of_two() {
                        let why = status.message();
                        tracing::error!(to = self.to, why, "another scheduler refuses this one");
                    }
                }
                if let Some(raft) = raft.get() {
                    raft.report_unreachable(self.to);
                }
                // What is queued by now is stale; raft sends what matters again.
                while messages.try_recv().is_ok() {}
                sleep(RETRY).await;
            }
        }
    }

    /// Opens a stream and feeds it until it breaks.
    async fn stream(
        &self,
        first: Vec<u8>,
        messages: &mut mpsc::Receiver<Vec<u8>>,
    ) -> Result<(), tonic::Status> {
        let (chunks, outgoing) = mpsc::channel(IN_FLIGHT);
        let mut client = self.client();
        let call = client.exchange(ReceiverStream::new(outgoing));
        tokio::pin!(call);
        let closed = || tonic::Status::unavailable("the stream to the peer is closed");
        let feed = async {
            let mut greeting = true;
            let mut next = Some(first);
            while let Some(message) = next {
                for chunk in self.chunks(message, greeting) {
                    chunks.send(chunk).await.map_err(|_| closed())?;
                }
                greeting = false;
                next = messages.recv().await;
            }
            Ok(())
        };
        tokio::select! {
            answer = &mut call => answer.and(Err(closed())),
            fed = feed => fed,
        }
    }

    /// Sends one message over a stream of its own, and waits until the peer has it.
    async fn send_one(&self, message: Vec<u8>) -> Result<(), tonic::Status> {
        let chunks = self.chunks(message, true);
        self.client().exchange(tokio_stream::iter(chunks)).await.map(drop)
    }

    /// Sends the archived jobs that the peer lacks, and waits until they are on its disk.
    async fn send_archive(&self, archive: &ArchiveStore) -> Result<(), tonic::Status> {
        let end = archive.head().count;
        if end == 0 {
            return Ok(());
        }
        let (cluster, from) = (self.speaker.cluster.clone(), self.speaker.id);
        let to = self.to;
        let ask = ArchiveHeadRequest { cluster: cluster.clone(), from, to };
        let has = self.client().archive_head(ask).await?.into_inner().count;
        if has >= end {
            return Ok(());
        }
        tracing::info!(to, records = end - has, "sending archived jobs");
        let (pieces, outgoing) = mpsc::channel(2);
        let archive = archive.clone();
        let read = tokio::task::spawn_blocking(move || -> Result<(), ArchiveError> {
            let mut position = has;
            while position < end {
                let records = archive.piece(position, end)?;
                let next = position.saturating_add(u64::try_from(records.len()).unwrap_or(1));
                let cluster = if position == has { cluster.clone() } else { String::new() };
                let piece = ArchivePiece { cluster, from, to, position, records };
                if pieces.blocking_send(piece).is_err() {
                    break;
                }
                position = next;
            }
            Ok(())
        });
        self.client().take_archive(ReceiverStream::new(outgoing)).await?;
        let read = read.await.map_err(|error| tonic::Status::internal(error.to_string()))?;
        read.map_err(|error| tonic::Status::data_loss(error.to_string()))
    }

    fn client(&self) -> RaftClient<Channel> {
        RaftClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Cuts a message into chunks; the first of a stream says who speaks to whom.
    fn chunks(&self, message: Vec<u8>, greeting: bool) -> impl Iterator<Item = RaftChunk> + use<> {
        let pieces = message.len().div_ceil(CHUNK_BYTES).max(1);
        let (speaker, to) = (self.speaker.clone(), self.to);
        (0..pieces).map(move |i| {
            let greets = greeting && i == 0;
            let start = i * CHUNK_BYTES;
            let end = message.len().min(start + CHUNK_BYTES);
            RaftChunk {
                cluster: if greets { speaker.cluster.clone() } else { String::new() },
                from: if greets { speaker.id } else { 0 },
                to: if greets { to } else { 0 },
                address: if greets { speaker.address.clone() } else { String::new() },
                epoch: if greets { speaker.epoch.load(Ordering::Relaxed) } else { 0 },
                data: message.get(start..end).unwrap_or_default().to_vec(),
                last: i + 1 == pieces,
            }
        })
    }
}
