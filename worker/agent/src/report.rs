//! Reports to the leader: sent until they are answered, whoever leads meanwhile. They are
//! idempotent, so one whose answer was lost is sent again.

use std::{collections::HashMap, time::Duration};

use tokio::{sync::watch, time::timeout};
use tonic::{Code, Response, Status, transport::Channel};
use trainyard_jobs::{AttemptRef, CheckpointPart, NodeId, SessionId};
use trainyard_proto::v1::{
    CheckpointReport, EndedReport, ReportAnswer, StartedReport, worker_client::WorkerClient,
};

use crate::backoff::Backoff;

/// A client of the scheduler that leads.
pub(crate) type Leader = WorkerClient<Channel>;

const PATIENCE: Duration = Duration::from_secs(10);
/// The most characters of why a report was refused.
const MAX_REASON: usize = 1000;

/// What a report is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Start,
    Checkpoint,
    End,
    /// An end without what the run leaves.
    BareEnd,
}

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
                Ok(Err(status)) if is_final(status.code(), what) => {
                    let reason = status.message();
                    tracing::info!(%attempt, ?what, reason, "report refused");
                    return None;
                }
                Ok(Err(status)) if what == What::End && is_unfit(status.code()) => {
                    return Some(status.message().to_owned());
                }
                Ok(Err(status)) if is_passing(status.code()) => {
                    tracing::debug!(%attempt, ?what, error = %status.message(), "not answered");
                }
                Ok(Err(status)) => {
                    tracing::warn!(%attempt, ?what, code = ?status.code(), error = %status.message(),
                        "report refused; sending it again");
                }
                Err(_) => tracing::debug!(%attempt, ?what, "not answered in time"),
            }
            backoff.wait().await;
        }
    }
}

/// Whether a refusal answers the report. The end is repeated as long as there may be somebody
/// who waits for it, because devices are held until it is known.
fn is_final(code: Code, what: What) -> bool {
    match code {
        // Superseded, or of a job that nobody knows.
        Code::FailedPrecondition | Code::NotFound => true,
        Code::InvalidArgument => !matches!(what, What::End | What::BareEnd),
        _ => false,
    }
}

/// Whether a refusal is of what the report holds, so that every leader will repeat it.
const fn is_unfit(code: Code) -> bool {
    matches!(code, Code::InvalidArgument | Code::OutOfRange | Code::ResourceExhausted)
}

/// The end alone, with the refusal in place of what was refused.
fn reduced(report: EndedReport, refusal: &str) -> EndedReport {
    let mut why = format!("the report was refused: {refusal}");
    if !report.start_error.is_empty() {
        why = format!("{why}; it said: {}", report.start_error);
    }
    EndedReport {
        start_error: why.chars().take(MAX_REASON).collect(),
        artifacts: Vec::new(),
        metrics: HashMap::new(),
        ..report
    }
}

fn is_passing(code: Code) -> bool {
    matches!(code, Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_repeated_unless_nobody_waits_for_it() {
        for what in [What::Start, What::Checkpoint, What::End, What::BareEnd] {
            assert!(is_final(Code::FailedPrecondition, what));
            assert!(is_final(Code::NotFound, what));
            assert!(!is_final(Code::Unavailable, what));
            assert!(!is_final(Code::Internal, what));
        }
        assert!(is_final(Code::InvalidArgument, What::Checkpoint));
        assert!(!is_final(Code::InvalidArgument, What::End));
        assert!(!is_final(Code::InvalidArgument, What::BareEnd));
        for unfit in [Code::InvalidArgument, Code::OutOfRange, Code::ResourceExhausted] {
            assert!(is_unfit(unfit));
        }
        assert!(!is_unfit(Code::Unavailable) && !is_unfit(Code::Internal));
    }

    #[test]
    fn a_reduced_end_is_short_and_says_why() {
        let report = EndedReport {
            node: "n".into(),
            start_error: "x".repeat(5000),
            artifacts: vec![trainyard_proto::v1::File::default()],
            metrics: HashMap::from([("loss".into(), f64::NAN)]),
            time_limit: true,
            ..EndedReport::default()
        };
        let bare = reduced(report, "metric `loss` is NaN");
        let begin = "the report was refused: metric `loss` is NaN; it said: xxx";
        assert!(bare.start_error.starts_with(begin), "{}", bare.start_error);
        assert_eq!(bare.start_error.chars().count(), MAX_REASON);
        assert!(bare.artifacts.is_empty() && bare.metrics.is_empty());
        assert!(bare.time_limit && bare.node == "n");
    }
}
