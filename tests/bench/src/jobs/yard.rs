//! Short jobs on Trainyard: one scheduler, one worker.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use futures::{StreamExt, TryStreamExt, stream};
use tonic::transport::Channel;
use trainyard_proto::v1::{
    GetJobRequest, ListJobsRequest, SubmitRequest, client_client::ClientClient,
};

use super::{LIMIT, Queue};
use crate::cluster::{Cluster, key, spec};

const CLIENTS: usize = 16;
const POLL: Duration = Duration::from_millis(20);

pub(super) struct Yard {
    cluster: Cluster,
}

impl Yard {
    pub(super) async fn start(program: &Path, data: &Path, slots: u32) -> anyhow::Result<Self> {
        let mut cluster = Cluster::start(program, data, 1).await?;
        cluster.add_worker(slots).await?;
        Ok(Self { cluster })
    }
}

/// Waits until no job is left. The queue is first come first served, so the last job's events
/// tell when it is time to look: a listing says of each job why it waits, which is work.
async fn all_ended(
    client: &mut ClientClient<Channel>,
    last: Option<&String>,
) -> Result<(), tonic::Status> {
    let job = last.cloned().unwrap_or_default();
    let watch = client.watch_job(GetJobRequest { job, stale: false }).await?;
    watch.into_inner().try_for_each(|_| async { Ok(()) }).await?;
    let any = ListJobsRequest { limit: 1, ..ListJobsRequest::default() };
    while !client.list_jobs(any.clone()).await?.into_inner().jobs.is_empty() {
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

#[async_trait::async_trait(?Send)]
impl Queue for Yard {
    async fn run(&mut self, jobs: u32) -> anyhow::Result<Duration> {
        self.cluster.check()?;
        let spec = spec(0)?;
        let clients = self.cluster.clients(CLIENTS).await?;
        let started = Instant::now();
        let submitted: Vec<String> = stream::iter((0..jobs).zip(clients.iter().cycle()))
            .map(|(_, client)| {
                let request = SubmitRequest {
                    key: key(),
                    spec_json: spec.clone(),
                    bundle: String::new(),
                    commit: String::new(),
                };
                let mut client = client.clone();
                async move { client.submit(request).await.map(|answer| answer.into_inner().job) }
            })
            .buffer_unordered(CLIENTS)
            .try_collect()
            .await?;
        let mut client = clients.first().cloned().context("no client")?;
        tokio::time::timeout(LIMIT, all_ended(&mut client, submitted.last()))
            .await
            .with_context(|| format!("jobs have not ended after {LIMIT:?}"))??;
        let time = started.elapsed();
        for job in submitted {
            let request = GetJobRequest { job, stale: true };
            let job = client.get_job(request).await?.into_inner().job.unwrap_or_default();
            if job.phase != "succeeded" {
                bail!("job {} ended {}: {}", job.id, job.phase, job.reason);
            }
        }
        Ok(time)
    }

    fn version(&self) -> String {
        self.cluster.version()
    }
}
