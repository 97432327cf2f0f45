//! The receiving end of another member's archive: what is missing here, before the snapshot that
//! relies on it comes. Each record is checked against the chain; the state counts none of them
//! before the snapshot is installed.

use tonic::{Response, Status, Streaming};
use trainyard_proto::v1;

use super::raft::RaftService;
use crate::{
    archive::{ArchiveError, ArchiveStore},
    error::Failure,
};

pub(super) fn head(
    service: &RaftService,
    member: u64,
    request: v1::ArchiveHeadRequest,
) -> Result<Response<v1::ArchiveHeadAnswer>, Status> {
    let v1::ArchiveHeadRequest { cluster, from, to } = request;
    service.greet(&v1::RaftChunk { cluster, from, to, ..Default::default() }, member)?;
    Ok(Response::new(answer(&service.0.archive)))
}

pub(super) async fn take(
    service: &RaftService,
    member: u64,
    mut pieces: Streaming<v1::ArchivePiece>,
) -> Result<Response<v1::ArchiveHeadAnswer>, Status> {
    let replica = &service.0;
    let mut greeted = false;
    while let Some(piece) = pieces.message().await? {
        let v1::ArchivePiece { cluster, from, to, position, records } = piece;
        if !greeted {
            service.greet(&v1::RaftChunk { cluster, from, to, ..Default::default() }, member)?;
            greeted = true;
        }
        let taken = replica.archived(move |archive| archive.take_in(position, records));
        taken.await.map_err(refused)?;
    }
    replica.archived(ArchiveStore::sync).await?;
    Ok(Response::new(answer(&replica.archive)))
}

fn answer(archive: &ArchiveStore) -> v1::ArchiveHeadAnswer {
    v1::ArchiveHeadAnswer { count: archive.head().count }
}

/// What does not fit here is the sender's affair first; the text says whose records differ.
fn refused(failure: Failure) -> Status {
    match failure {
        Failure::Archive(error @ (ArchiveError::Damaged { .. } | ArchiveError::Gap { .. })) => {
            tracing::error!(%error, "another member's archive does not fit to this one's");
            Status::failed_precondition(error.to_string())
        }
        other => other.into(),
    }
}
