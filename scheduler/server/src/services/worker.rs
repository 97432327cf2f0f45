//! The worker's service: sessions, and the reports that agents repeat until they are answered.

use tonic::{Request, Response, Status, Streaming};
use trainyard_proto::v1::{self, worker_server::Worker};

use super::{Answers, session};
use crate::{access::Caller, decide::reports, error::Failure, peer, replica::Replica};

pub(crate) struct WorkerService(pub(crate) Replica);

#[tonic::async_trait]
impl Worker for WorkerService {
    type SessionStream = Answers<v1::SchedulerMessage>;

    async fn session(
        &self,
        request: Request<Streaming<v1::WorkerMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let node = peer::worker(&request)?;
        Ok(Response::new(session::open(&self.0, &node, request.into_inner()).await?))
    }

    async fn report_started(
        &self,
        request: Request<v1::StartedReport>,
    ) -> Result<Response<v1::ReportAnswer>, Status> {
        peer::must_be(&peer::worker(&request)?, &request.get_ref().node)?;
        note(&request, request.get_ref().attempt.as_ref())?;
        let command = reports::started(request.into_inner())?;
        self.0.propose(command).await?;
        Ok(Response::new(v1::ReportAnswer {}))
    }

    async fn report_ended(
        &self,
        request: Request<v1::EndedReport>,
    ) -> Result<Response<v1::ReportAnswer>, Status> {
        peer::must_be(&peer::worker(&request)?, &request.get_ref().node)?;
        note(&request, request.get_ref().attempt.as_ref())?;
        let command = reports::ended(request.into_inner())?;
        self.0.propose(command).await?;
        Ok(Response::new(v1::ReportAnswer {}))
    }

    async fn report_checkpoint(
        &self,
        request: Request<v1::CheckpointReport>,
    ) -> Result<Response<v1::ReportAnswer>, Status> {
        peer::must_be(&peer::worker(&request)?, &request.get_ref().node)?;
        note(&request, request.get_ref().attempt.as_ref())?;
        Ok(Response::new(self.checkpoint(request.into_inner()).await?))
    }
}

/// Notes for the audit trail which attempt is reported on.
fn note<T>(request: &Request<T>, attempt: Option<&v1::AttemptRef>) -> Result<(), Status> {
    if let Some(v1::AttemptRef { job, attempt, generation }) = attempt {
        Caller::of(request)?.about(format!("{job}.{attempt}.{generation}"));
    }
    Ok(())
}

impl WorkerService {
    async fn checkpoint(&self, report: v1::CheckpointReport) -> Result<v1::ReportAnswer, Failure> {
        self.0.must_lead()?;
        let claim = self.0.look(|state| reports::claim(report, state))?;
        let command = claim.check(&self.0.store).await?;
        self.0.propose(command).await?;
        Ok(v1::ReportAnswer {})
    }
}
