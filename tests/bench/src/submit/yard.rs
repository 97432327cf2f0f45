//! Submits to Trainyard.

use tonic::{Status, transport::Channel};
use trainyard_proto::v1::{SubmitRequest, client_client::ClientClient};

use super::{BODY, load::Writer};
use crate::cluster::{Cluster, key, spec};

/// A client that submits one job after another.
pub(super) struct Submitter {
    client: ClientClient<Channel>,
    spec: Vec<u8>,
}

pub(super) async fn submitters(cluster: &Cluster, count: usize) -> anyhow::Result<Vec<Submitter>> {
    let spec = spec(BODY)?;
    let clients = cluster.clients(count).await?;
    Ok(clients.into_iter().map(|client| Submitter { client, spec: spec.clone() }).collect())
}

impl Writer for Submitter {
    async fn write(&mut self) -> Result<(), Status> {
        let request = SubmitRequest {
            key: key(),
            spec_json: self.spec.clone(),
            bundle: String::new(),
            commit: String::new(),
        };
        self.client.submit(request).await.map(drop)
    }
}
