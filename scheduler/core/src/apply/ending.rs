//! The end of a run that went well: its artifacts were verified, and its model is registered
//! once; or they do not verify, and the attempt counts as failed.

use trainyard_jobs::{
    AttemptNo, Bytes, EndReason, JobId, JobPhase, Lineage, ModelVersion, model::files_digest,
    spec::Register,
};
use trainyard_probe::reached;

use super::Applied;
use crate::{
    command::Reply,
    event::Event,
    refusal::Refusal,
    state::{Job, State},
};

impl State {
    pub(super) fn complete(
        &mut self,
        id: &JobId,
        attempt: AttemptNo,
        events: &mut Vec<Event>,
    ) -> Applied {
        let job = self.finishing(id, attempt)?;
        let Some(register) = job.spec.register.clone() else {
            self.end_job(id, JobPhase::Succeeded, EndReason::Completed, events);
            return Ok(Reply::Done);
        };
        reached("core: a model is registered");
        let mut version = self.model_version(job, &register);
        let versions = self.models.entry(register.model.clone()).or_default();
        let last = versions.last_key_value().map_or(0, |(last, _)| *last);
        let number = last.max(self.version_floor).saturating_add(1);
        version.version = number;
        versions.insert(number, version);
        if let Some(job) = self.jobs.get_mut(id) {
            job.registered = Some((register.model.clone(), number));
        }
        events.push(Event::Model { model: register.model, version: number });
        self.end_job(id, JobPhase::Succeeded, EndReason::Completed, events);
        Ok(Reply::Done)
    }

    pub(super) fn reject_artifacts(
        &mut self,
        id: &JobId,
        attempt: AttemptNo,
        message: String,
        events: &mut Vec<Event>,
    ) -> Applied {
        self.finishing(id, attempt)?;
        self.requeue(id, true, EndReason::BadArtifacts { message }, events);
        Ok(Reply::Done)
    }

    fn finishing(&self, id: &JobId, attempt: AttemptNo) -> Result<&Job, Refusal> {
        let job = self.job(id).ok_or_else(|| Refusal::NoJob(id.clone()))?;
        let current = job.current().is_some_and(|a| a.number == attempt);
        if job.phase == JobPhase::Finishing && current {
            Ok(job)
        } else {
            Err(Refusal::WrongPhase { job: id.clone(), phase: job.phase.to_string() })
        }
    }

    fn model_version(&self, job: &Job, register: &Register) -> ModelVersion {
        let outcome = job.outcome.clone().unwrap_or_default();
        let attempt = job.current();
        let resumed = job.attempts.iter().rev().find_map(|a| a.resume);
        let nodes = attempt.map_or(&[][..], |a| &a.placements);
        ModelVersion {
            model: register.model.clone(),
            version: 0,
            project: job.spec.project.clone(),
            created: self.time,
            size: Bytes(outcome.artifacts.iter().map(|f| f.size.0).sum()),
            digest: files_digest(&outcome.artifacts),
            files: outcome.artifacts,
            metrics: outcome.metrics,
            metric: register.metric.clone(),
            goal: register.goal,
            lineage: Lineage {
                job: job.id.clone(),
                attempt: attempt.map_or(AttemptNo(0), |a| a.number),
                spec: job.spec.digest(),
                bundle: job.bundle,
                commit: job.commit.clone(),
                resumed_from: resumed,
                last_checkpoint: job.checkpoints.last().map(|c| c.id),
                nodes: nodes.iter().map(|p| p.node_name.clone()).collect(),
            },
        }
    }
}
