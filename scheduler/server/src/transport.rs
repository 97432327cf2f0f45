//! Raft's messages between schedulers: opaque bytes over one long stream a peer, snapshots over
//! a stream of their own, in chunks. What cannot be sent is dropped and reported; raft repeats.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
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
use trainyard_raft::{RaftHandle, Transport};

use crate::archive::{ArchiveError, ArchiveStore};

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

/// Sends to every peer.
pub(crate) struct Peers {
    runtime: Handle,
    from: u64,
    cluster: String,
    raft: LateHandle,
    archive: ArchiveStore,
    peers: BTreeMap<u64, Peer>,
}

struct Peer {
    queue: mpsc::Sender<Vec<u8>>,
    channel: Channel,
}

impl Peers {
    /// Starts a sender a peer.
    pub(crate) fn new(
        from: u64,
        cluster: String,
        addresses: &BTreeMap<u64, String>,
        credentials: &Credentials,
        raft: &LateHandle,
        archive: &ArchiveStore,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let mut peers = BTreeMap::new();
        for (&to, address) in addresses.iter().filter(|(id, _)| **id != from) {
            let connector = Connector::to(credentials, Expected::Scheduler(to))?;
            let channel = Endpoint::from_shared(format!("https://{address}"))?
                .connect_timeout(Duration::from_secs(1))
                .http2_keep_alive_interval(Duration::from_secs(5))
                .keep_alive_timeout(Duration::from_secs(5))
                .connect_with_connector_lazy(connector);
            let (queue, messages) = mpsc::channel(QUEUE);
            let link = Link { from, to, cluster: cluster.clone(), channel: channel.clone() };
            tokio::spawn(link.feed(messages, Arc::clone(raft)));
            peers.insert(to, Peer { queue, channel });
        }
        let (runtime, raft) = (Handle::current(), Arc::clone(raft));
        Ok(Self { runtime, from, cluster, raft, archive: archive.clone(), peers })
    }
}

impl Transport for Peers {
    fn send(&mut self, to: u64, message: Vec<u8>) {
        let sent = self.peers.get(&to).is_some_and(|peer| peer.queue.try_send(message).is_ok());
        if !sent && let Some(raft) = self.raft.get() {
            raft.report_unreachable(to);
        }
    }

    fn send_snapshot(&mut self, to: u64, message: Vec<u8>) {
        let Some(peer) = self.peers.get(&to) else { return };
        let link = Link {
            from: self.from,
            to,
            cluster: self.cluster.clone(),
            channel: peer.channel.clone(),
        };
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
    from: u64,
    to: u64,
    cluster: String,
    channel: Channel,
}

impl Link {
    /// Keeps one stream to the peer, as long as there is anything to send through it.
    async fn feed(self, mut messages: mpsc::Receiver<Vec<u8>>, raft: LateHandle) {
        while let Some(first) = messages.recv().await {
            if self.stream(first, &mut messages).await.is_err() {
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
        let (cluster, from, to) = (self.cluster.clone(), self.from, self.to);
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
        let (cluster, from, to) = (self.cluster.clone(), self.from, self.to);
        (0..pieces).map(move |i| {
            let greets = greeting && i == 0;
            let start = i * CHUNK_BYTES;
            let end = message.len().min(start + CHUNK_BYTES);
            RaftChunk {
                cluster: if greets { cluster.clone() } else { String::new() },
                from: if greets { from } else { 0 },
                to: if greets { to } else { 0 },
                data: message.get(start..end).unwrap_or_default().to_vec(),
                last: i + 1 == pieces,
            }
        })
    }
}
