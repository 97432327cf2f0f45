//! The worker's service: sessions, and the reports that agents repeat until they are answered.

use std::collections::BTreeMap;

use tonic::{Request, Response, Status, Streaming};
use trainyard_core::{Command, command::EndedReport};
use trainyard_jobs::{AttemptRef, Bytes, CheckpointPart, FileEntry, NodeId};
use trainyard_proto::{
    convert::{exit_from, parse, required},
    v1::{self, worker_server::Worker},
};
use trainyard_store::keys;

use super::{Answers, session};
use crate::{error::Failure, peer, replica::Replica};

pub(crate) struct WorkerService(pub(crate) Replica);

/// Longest text that a report may bring into the log.
const MAX_TEXT: usize = 4096;

/// Most metrics that a report may bring into the log.
const MAX_METRICS: usize = 256;

/// Most artifacts of a run.
const MAX_FILES: usize = 10_000;

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
        let node = peer::worker(&request)?;
        peer::must_be(&node, &request.get_ref().node)?;
        Ok(Response::new(self.started(request.into_inner()).await?))
    }

    async fn report_ended(
        &self,
        request: Request<v1::EndedReport>,
    ) -> Result<Response<v1::ReportAnswer>, Status> {
        let node = peer::worker(&request)?;
        peer::must_be(&node, &request.get_ref().node)?;
        Ok(Response::new(self.ended(request.into_inner()).await?))
    }

    async fn report_checkpoint(
        &self,
        request: Request<v1::CheckpointReport>,
    ) -> Result<Response<v1::ReportAnswer>, Status> {
        let node = peer::worker(&request)?;
        peer::must_be(&node, &request.get_ref().node)?;
        Ok(Response::new(self.checkpoint(request.into_inner()).await?))
    }
}

impl WorkerService {
    async fn started(&self, report: v1::StartedReport) -> Result<v1::ReportAnswer, Failure> {
        let node: NodeId = parse("node", &report.node)?;
        let attempt = AttemptRef::try_from(required("attempt", report.attempt)?)?;
        self.0.propose(Command::ReportStarted { node, attempt }).await?;
        Ok(v1::ReportAnswer {})
    }

    async fn ended(&self, report: v1::EndedReport) -> Result<v1::ReportAnswer, Failure> {
        let report = ended_report(report)?;
        self.0.propose(Command::ReportEnded(Box::new(report))).await?;
        Ok(v1::ReportAnswer {})
    }

    /// The manifest is read back and every file of it looked up before anything is proposed:
    /// what is catalogued can be resumed from.
    async fn checkpoint(&self, report: v1::CheckpointReport) -> Result<v1::ReportAnswer, Failure> {
        self.0.must_lead()?;
        let node: NodeId = parse("node", &report.node)?;
        let attempt = AttemptRef::try_from(required("attempt", report.attempt)?)?;
        let current = self.0.look(|s| s.job(&attempt.job).is_some_and(|j| j.is_current(&attempt)));
        if !current {
            return Err(trainyard_core::Refusal::Superseded(attempt).into());
        }
        let manifest = FileEntry::try_from(required("manifest", report.manifest)?)?;
        let stored = self.0.store.check_manifest(&manifest).await?;
        let right = stored.attempt == attempt
            && stored.part == report.part
            && stored.description.step == report.step
            && stored.description.parts == report.parts;
        if !right {
            let text = format!("the manifest `{}` is not of this checkpoint", manifest.key);
            return Err(Failure::Invalid(text));
        }
        let size = stored.files.iter().map(|f| f.size.0).fold(0, u64::saturating_add);
        let part = CheckpointPart {
            attempt,
            step: report.step,
            part: report.part,
            parts: report.parts,
            manifest,
            size: Bytes(size),
        };
        self.0.propose(Command::ReportCheckpoint { node, part }).await?;
        Ok(v1::ReportAnswer {})
    }
}

fn ended_report(report: v1::EndedReport) -> Result<EndedReport, Failure> {
    let attempt = AttemptRef::try_from(required("attempt", report.attempt)?)?;
    let exits: Result<BTreeMap<_, _>, _> = report.ranks.iter().map(exit_from).collect();
    if report.artifacts.len() > MAX_FILES || report.metrics.len() > MAX_METRICS {
        return Err(Failure::Invalid(format!(
            "a run leaves at most {MAX_FILES} artifacts and {MAX_METRICS} metrics"
        )));
    }
    let artifacts: Result<Vec<FileEntry>, _> =
        report.artifacts.into_iter().map(FileEntry::try_from).collect();
    let artifacts = artifacts?;
    let own = keys::attempt_prefix(&attempt);
    if let Some(foreign) = artifacts.iter().find(|file| !file.key.starts_with(&own)) {
        return Err(Failure::Invalid(format!("`{}` is not the attempt's own", foreign.key)));
    }
    let text: String = report.start_error.chars().take(MAX_TEXT).collect();
    // Text, because replicas compare bytes.
    let metrics = report.metrics.into_iter().map(|(name, value)| (name, value.to_string()));
    Ok(EndedReport {
        node: parse("node", &report.node)?,
        attempt,
        exits: exits?,
        first_failure: report.first_failure,
        start_error: Some(text).filter(|text| !text.is_empty()),
        time_limit: report.time_limit,
        artifacts,
        metrics: metrics.collect(),
    })
}
