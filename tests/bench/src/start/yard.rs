//! Three schedulers and a worker.

use std::path::Path;

use futures::TryStreamExt as _;
use serde_json::json;
use tonic::transport::Channel;
use trainyard_jobs::JobSpec;
use trainyard_proto::v1::{GetJobRequest, SubmitRequest, client_client::ClientClient};

use super::{LIMIT, Starter};
use crate::cluster::{Cluster, key};

pub(super) struct Yard {
    cluster: Cluster,
    client: ClientClient<Channel>,
    last: Option<String>,
}

impl Yard {
    pub(super) async fn start(program: &Path, data: &Path) -> anyhow::Result<Self> {
        let mut cluster = Cluster::start(program, data, 3).await?;
        cluster.add_worker(4).await?;
        let client = cluster.leader().await?;
        Ok(Self { cluster, client, last: None })
    }
}

#[async_trait::async_trait(?Send)]
impl Starter for Yard {
    async fn submit(&mut self, program: &str) -> anyhow::Result<()> {
        let spec: JobSpec = serde_json::from_value(json!({
            "name": "start",
            "resources": { "gpus": 1, "device": "cpu" },
            "run": { "command": ["/bin/bash", "-c", program] },
        }))?;
        let spec_json = spec.canonical_json().into_bytes();
        let request = SubmitRequest { key: key(), spec_json, ..SubmitRequest::default() };
        self.last = Some(self.client.submit(request).await?.into_inner().job);
        Ok(())
    }

    async fn rest(&mut self) -> anyhow::Result<()> {
        self.cluster.check()?;
        let Some(job) = self.last.take() else { return Ok(()) };
        let watch = self.client.watch_job(GetJobRequest { job, stale: false }).await?.into_inner();
        tokio::time::timeout(LIMIT, watch.try_for_each(|_| async { Ok(()) })).await??;
        Ok(())
    }

    fn version(&self) -> String {
        self.cluster.version()
    }
}
