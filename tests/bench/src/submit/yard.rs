//! Submits to Trainyard.

use tonic::{Status, transport::Channel};
use trainyard_jobs::Digest;
use trainyard_proto::v1::{BundleChunk, SubmitRequest, client_client::ClientClient};

use super::{BODY, load::Writer};
use crate::cluster::{Cluster, key, spec};

/// A client that submits one job after another.
pub(super) struct Submitter {
    client: ClientClient<Channel>,
    spec: Vec<u8>,
    bundle: String,
}

/// Stores a bundle, as `yard submit` does before the first submit of a work directory.
async fn store_bundle(cluster: &Cluster) -> anyhow::Result<String> {
    let data = b"a work directory".to_vec();
    let digest = Digest::of(&data).to_string();
    let chunk = BundleChunk { digest: digest.clone(), data };
    cluster.leader().await?.upload_bundle(futures::stream::iter([chunk])).await?;
    Ok(digest)
}

pub(super) async fn submitters(cluster: &Cluster, count: usize) -> anyhow::Result<Vec<Submitter>> {
    let (spec, bundle) = (spec(BODY)?, store_bundle(cluster).await?);
    let clients = cluster.clients(count).await?;
    let submitter = |client| Submitter { client, spec: spec.clone(), bundle: bundle.clone() };
    Ok(clients.into_iter().map(submitter).collect())
}

impl Writer for Submitter {
    async fn write(&mut self) -> Result<(), Status> {
        let request = SubmitRequest {
            key: key(),
            spec_json: self.spec.clone(),
            bundle: self.bundle.clone(),
            commit: String::new(),
        };
        self.client.submit(request).await.map(drop)
    }
}
