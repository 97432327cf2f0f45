//! Reports to the leader: sent until they are answered, whoever leads meanwhile. They are
//! idempotent, so one whose answer was lost is sent again.

use std::time::Duration;

use tokio::{sync::watch, time::timeout};
use tonic::{Response, Status, transport::Channel};
use trainyard_jobs::{AttemptRef, CheckpointPart, NodeId, SessionId};
use trainyard_proto::v1::{
    CheckpointReport, EndedReport, ReportAnswer, StartedReport, worker_client::WorkerClient,
};

use crate::{
    backoff::Backoff,
    delivery::{Next, What, after, reduced},
};

/// A client of the scheduler that leads.
pub(crate) type Leader = WorkerClient<Channel>;

const PATIENCE: Duration = Duration::from_secs(10);

/// Sends reports to whoever leads.
#[derive(Debug, Clone)]
pub(crate) struct Reporter {
    leader: watch::Receiver<Option<Leader>>,
    node: NodeId,
    session: SessionId,
}

impl Reporter {
    pub(crate) const fn new(
        leader: watch::Receiver<Option<Leader>>,
        node: NodeId,
        session: SessionId,
    ) -> Self {
        Self { leader, node, session }
    }

    /// This worker, as reports name it.
    pub(crate) fn node(&self) -> String {
        self.node.to_string()
    }

    /// This life of the agent, as reports name it.
    pub(crate) fn session(&self) -> String {
        self.session.to_string()
    }

    /// Reports that the ranks were started.
    pub(crate) async fn started(&self, attempt: &AttemptRef) {
        let report = StartedReport {
            node: self.node(),
            session: self.session(),
            attempt: Some(attempt.into()),
        };
        let send = |mut leader: Leader, r| async move { leader.report_started(r).await };
        self.deliver(What::Start, attempt, report, send).await;
    }

    /// Reports that the ranks have ended; without what the run leaves, if no leader can take
    /// that, because their devices are held until the end is known.
    pub(crate) async fn ended(&self, attempt: &AttemptRef, report: EndedReport) {
        let send = |mut leader: Leader, r| async move { leader.report_ended(r).await };
        let Some(refusal) = self.deliver(What::End, attempt, report.clone(), send).await else {
            return;
        };
        tracing::error!(%attempt, refusal, "the end is reported without artifacts and metrics");
        self.deliver(What::BareEnd, attempt, reduced(report, &refusal), send).await;
    }

    /// Reports a checkpoint part that is stored.
    pub(crate) async fn checkpoint(&self, part: &CheckpointPart) {
        let report = CheckpointReport {
            node: self.node(),
            session: self.session(),
            attempt: Some((&part.attempt).into()),
            step: part.step,
            part: part.part,
            parts: part.parts,
            manifest: Some((&part.manifest).into()),
            size: part.size.0,
        };
        let send = |mut leader: Leader, r| async move { leader.report_checkpoint(r).await };
        self.deliver(What::Checkpoint, &part.attempt, report, send).await;
    }

    /// Sends `report` until it is answered. Gives the refusal of one that no leader can take.
    async fn deliver<R, F>(
        &self,
        what: What,
        attempt: &AttemptRef,
        report: R,
        send: impl Fn(Leader, R) -> F,
    ) -> Option<String>
    where
        R: Clone,
        F: Future<Output = Result<Response<ReportAnswer>, Status>>,
    {
        let mut backoff = Backoff::scheduler();
        let mut leader = self.leader.clone();
        loop {
            // The session keeps its end as long as the agent runs.
            let connected = leader.wait_for(Option::is_some).await.map(|found| found.clone());
            let Ok(Some(client)) = connected else { return std::future::pending().await };
            match timeout(PATIENCE, send(client, report.clone())).await {
                Ok(Ok(_)) => return None,
                Ok(Err(status)) => match after(status.code(), what) {
                    Next::Done => {
                        let reason = status.message();
                        tracing::info!(%attempt, ?what, reason, "report refused");
                        return None;
                    }
                    Next::Reduce => return Some(status.message().to_owned()),
                    Next::Again => {
                        tracing::debug!(%attempt, ?what, error = %status.message(), "not answered");
                    }
                    Next::AgainOddly => {
                        tracing::warn!(%attempt, ?what, code = ?status.code(), error = %status.message(),
                            "report refused; sending it again");
                    }
                },
                Err(_) => tracing::debug!(%attempt, ?what, "not answered in time"),
            }
            backoff.wait().await;
        }
    }
}
