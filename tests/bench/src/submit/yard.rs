//! Submits to Trainyard.

use tonic::Status;
use trainyard_jobs::Digest;
use trainyard_proto::v1::{BundleChunk, SubmitAnswer, SubmitRequest};

use super::{BODY, load::Writer, unary::Unary};
use crate::cluster::{Cluster, key, spec};

const SUBMIT: &str = "/trainyard.v1.Client/Submit";

/// A client that submits one job after another.
pub(super) struct Submitter {
    calls: Unary,
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
    let address = cluster.leader_address().await?;
    let mut submitters = Vec::with_capacity(count);
    for _ in 0..count {
        let calls = Unary::connect(cluster.connector(), &address, SUBMIT).await?;
        submitters.push(Submitter { calls, spec: spec.clone(), bundle: bundle.clone() });
    }
    Ok(submitters)
}

impl Writer for Submitter {
    async fn write(&mut self) -> Result<(), Status> {
        let request = SubmitRequest {
            key: key(),
            spec_json: self.spec.clone(),
            bundle: self.bundle.clone(),
            commit: String::new(),
        };
        self.calls.call::<SubmitAnswer>(&request).await.map(drop)
    }
}
