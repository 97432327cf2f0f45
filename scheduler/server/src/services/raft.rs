//! The receiving end of raft's messages: joins chunks, hands whole messages to the driver, which
//! checks them. A peer of another cluster or epoch, one that was removed, or one that is not the
//! member its certificate names, is refused at its first chunk.

use tonic::{Request, Response, Status, Streaming};
use trainyard_proto::v1::{
    ArchiveHeadAnswer, ArchiveHeadRequest, ArchivePiece, RaftAnswer, RaftChunk, raft_server::Raft,
};

use super::archive;
use crate::{chunks::Joiner, peer, replica::Replica};

/// The largest joined message: a snapshot.
const MAX_JOINED: usize = 4 << 30;

pub(crate) struct RaftService(pub(crate) Replica);

impl RaftService {
    pub(super) fn greet(&self, chunk: &RaftChunk, member: u64) -> Result<(), Status> {
        let config = &self.0.config;
        if chunk.cluster != config.cluster.to_string() {
            let text = format!("this scheduler belongs to cluster {}", config.cluster);
            return Err(Status::failed_precondition(text));
        }
        if chunk.to != config.id {
            let text = format!("this is scheduler {}, not {}", config.id, chunk.to);
            return Err(Status::failed_precondition(text));
        }
        if chunk.from != member {
            let text = format!("scheduler {member} cannot speak for {}", chunk.from);
            return Err(Status::permission_denied(text));
        }
        let (epoch, former) =
            self.0.look(|state| (state.revision(), state.is_former_member(chunk.from)));
        // A member without a state has no epoch yet, and is told one by the snapshot to come.
        if chunk.epoch != 0 && epoch.index != 0 && chunk.epoch != epoch.epoch {
            let text = format!(
                "this scheduler is of epoch {}, the cluster was recovered meanwhile or is another: epoch {} is fenced off",
                epoch.epoch, chunk.epoch
            );
            return Err(Status::failed_precondition(text));
        }
        if former {
            let text = format!(
                "member {} was removed from the cluster: stop it; its place can be taken by a new one (`yard cluster add`)",
                chunk.from
            );
            return Err(Status::failed_precondition(text));
        }
        self.0.book.hear(chunk.from, &chunk.address);
        Ok(())
    }
}

#[tonic::async_trait]
impl Raft for RaftService {
    async fn exchange(
        &self,
        request: Request<Streaming<RaftChunk>>,
    ) -> Result<Response<RaftAnswer>, Status> {
        let member = peer::scheduler(&request).inspect_err(|_| self.0.raft.count_refused())?;
        let mut chunks = request.into_inner();
        let mut greeted = false;
        let mut joiner = Joiner::new(MAX_JOINED);
        while let Some(chunk) = chunks.message().await? {
            if !greeted {
                self.greet(&chunk, member).inspect_err(|_| self.0.raft.count_refused())?;
                greeted = true;
            }
            let joined = joiner.push(&chunk.data, chunk.last).map_err(|error| {
                self.0.raft.count_refused();
                Status::resource_exhausted(error.to_string())
            })?;
            if let Some(message) = joined {
                self.0.raft.receive(message);
            }
        }
        Ok(Response::new(RaftAnswer {}))
    }

    async fn archive_head(
        &self,
        request: Request<ArchiveHeadRequest>,
    ) -> Result<Response<ArchiveHeadAnswer>, Status> {
        let member = peer::scheduler(&request)?;
        archive::head(self, member, request.into_inner())
    }

    async fn take_archive(
        &self,
        request: Request<Streaming<ArchivePiece>>,
    ) -> Result<Response<ArchiveHeadAnswer>, Status> {
        let member = peer::scheduler(&request)?;
        archive::take(self, member, request.into_inner()).await
    }
}
