//! Following one job: the stream is taken up at another scheduler when one goes away, so the
//! caller sees the job's states and never a reconnect.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tonic::{Status, Streaming};
use trainyard_proto::v1;

use super::{Cluster, may_repeat};
use crate::{error::CliError, view::job::phase_of};

/// A job's state now and at every change, until it is final.
#[derive(Debug)]
pub(crate) struct JobWatch<'a> {
    cluster: &'a Cluster,
    job: String,
    stream: Option<Streaming<v1::JobUpdate>>,
    heard: Instant,
    ended: bool,
}

impl<'a> JobWatch<'a> {
    /// Follows `job`, an id or the beginning of one.
    pub(crate) fn new(cluster: &'a Cluster, job: String) -> Self {
        Self { cluster, job, stream: None, heard: Instant::now(), ended: false }
    }

    /// The next state; nothing after the final one. Dropping the future loses no state.
    pub(crate) async fn next(&mut self) -> Result<Option<v1::Job>, CliError> {
        while !self.ended {
            let message = match &mut self.stream {
                Some(stream) => stream.message().await,
                None => {
                    self.stream = Some(self.open().await?);
                    continue;
                }
            };
            match message {
                Ok(Some(v1::JobUpdate { job: Some(job) })) => {
                    self.heard = Instant::now();
                    self.ended =
                        phase_of(&job.phase).is_some_and(trainyard_jobs::JobPhase::is_final);
                    return Ok(Some(job));
                }
                Ok(Some(_)) => {}
                Ok(None) => self.reopen(&Status::unavailable("it closed the stream")).await?,
                Err(status) if may_repeat(&status) => self.reopen(&status).await?,
                Err(status) => return Err(CliError::refused("follow the job", &status)),
            }
        }
        Ok(None)
    }

    /// Follows the job to its end and returns its final state.
    pub(crate) async fn last(mut self) -> Result<v1::Job, CliError> {
        let mut last = None;
        while let Some(job) = self.next().await? {
            last = Some(job);
        }
        last.ok_or_else(|| CliError::internal("the scheduler said nothing of the job"))
    }

    async fn open(&self) -> Result<Streaming<v1::JobUpdate>, CliError> {
        let request = v1::GetJobRequest { job: self.job.clone(), stale: false };
        self.cluster
            .call("follow the job", async |mut service| service.watch_job(request.clone()).await)
            .await
    }

    async fn reopen(&mut self, status: &Status) -> Result<(), CliError> {
        self.stream = None;
        if self.heard.elapsed() > self.cluster.patience * 2 {
            return Err(self.cluster.unreachable("follow the job", status));
        }
        tracing::debug!(error = %status.message(), "the stream broke, taking it up again");
        sleep(Duration::from_millis(rand::random_range(100..300))).await;
        Ok(())
    }
}
