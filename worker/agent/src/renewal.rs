//! The agent's certificate renews itself: any scheduler signs for the node that the present one
//! names. An agent whose certificate has run out has to join again.

use std::time::Duration;

use tokio::{sync::watch, time::timeout};
use tonic::transport::Endpoint;
use trainyard_pki::{Connector, Credentials, keep_fresh};
use trainyard_proto::v1::{RenewRequest, join_client::JoinClient};

/// How long one scheduler may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Renews for as long as it is polled. `endpoints` are the schedulers that are known.
pub(crate) async fn run(
    credentials: Credentials,
    connector: Connector,
    endpoints: watch::Receiver<Vec<String>>,
) {
    keep_fresh(credentials, |csr| {
        let (connector, endpoints) = (connector.clone(), endpoints.borrow().clone());
        async move { ask_any(&connector, &endpoints, &csr).await }
    })
    .await;
}

async fn ask_any(
    connector: &Connector,
    endpoints: &[String],
    csr: &[u8],
) -> Result<String, String> {
    let mut reason = "no scheduler is known".to_owned();
    for endpoint in endpoints {
        match timeout(PATIENCE, ask(connector, endpoint, csr)).await {
            Ok(Ok(certificate)) => return Ok(certificate),
            Ok(Err(error)) => reason = format!("{endpoint}: {error}"),
            Err(_) => reason = format!("{endpoint} did not answer in time"),
        }
    }
    Err(reason)
}

async fn ask(connector: &Connector, endpoint: &str, csr: &[u8]) -> Result<String, String> {
    let address = format!("https://{endpoint}");
    let address = Endpoint::from_shared(address).map_err(|error| error.to_string())?;
    let channel = address.connect_with_connector(connector.clone()).await;
    let mut join = JoinClient::new(channel.map_err(|error| error.to_string())?);
    let answer = join.renew(RenewRequest { csr: csr.to_vec() }).await;
    Ok(answer.map_err(|status| status.message().to_owned())?.into_inner().certificate)
}
