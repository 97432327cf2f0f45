//! The receiving end of raft's messages: joins chunks, hands whole messages to the driver, which
//! checks them. A peer of another cluster is refused at its first chunk.

use tonic::{Request, Response, Status, Streaming};
use trainyard_proto::v1::{
    ArchiveHeadAnswer, ArchiveHeadRequest, ArchivePiece, RaftAnswer, RaftChunk, raft_server::Raft,
};

use super::archive;
use crate::replica::Replica;

/// The largest joined message: a snapshot.
const MAX_JOINED: usize = 4 << 30;

pub(crate) struct RaftService(pub(crate) Replica);

impl RaftService {
    pub(super) fn greet(&self, chunk: &RaftChunk) -> Result<(), Status> {
        let config = &self.0.config;
        if chunk.cluster != config.cluster.to_string() {
            let text = format!("this scheduler belongs to cluster {}", config.cluster);
            return Err(Status::failed_precondition(text));
        }
        if chunk.to != config.id || !config.peers.contains_key(&chunk.from) {
            let text = format!("this is scheduler {}, not {}", config.id, chunk.to);
            return Err(Status::failed_precondition(text));
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl Raft for RaftService {
    async fn exchange(
        &self,
        request: Request<Streaming<RaftChunk>>,
    ) -> Result<Response<RaftAnswer>, Status> {
        let mut chunks = request.into_inner();
        let mut greeted = false;
        let mut message = Vec::new();
        while let Some(chunk) = chunks.message().await? {
            if !greeted {
                self.greet(&chunk)?;
                greeted = true;
            }
            if message.len().saturating_add(chunk.data.len()) > MAX_JOINED {
                return Err(Status::resource_exhausted("the message is larger than any snapshot"));
            }
            message.extend_from_slice(&chunk.data);
            if chunk.last {
                self.0.raft.receive(std::mem::take(&mut message));
            }
        }
        Ok(Response::new(RaftAnswer {}))
    }

    async fn archive_head(
        &self,
        request: Request<ArchiveHeadRequest>,
    ) -> Result<Response<ArchiveHeadAnswer>, Status> {
        archive::head(self, request.into_inner())
    }

    async fn take_archive(
        &self,
        request: Request<Streaming<ArchivePiece>>,
    ) -> Result<Response<ArchiveHeadAnswer>, Status> {
        archive::take(self, request.into_inner()).await
    }
}
