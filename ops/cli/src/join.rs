//! `--join TOKEN`: how a machine gets its first certificate. The token names the authority by its
//! fingerprint, so the scheduler has to prove itself before the token's secret goes out; the
//! private key stays here. Done once: after that the certificate renews itself.

use std::{
    collections::VecDeque,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout};
use tonic::{Code, Status, transport::Endpoint as Address};
use trainyard_jobs::{NodeId, Token};
use trainyard_pki::{
    Authority, Connector, Credentials, Holder, Issued, PkiDir, Request, Subject, advice,
    pinned_client,
};
use trainyard_proto::{
    LEADER_METADATA,
    v1::{JoinAnswer, JoinRequest, join_client::JoinClient},
};

use crate::{endpoint::Endpoint, error::CliError, exit::Exit};

/// How long schedulers are asked in turn before it is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long one scheduler may take.
const CALL: Duration = Duration::from_secs(5);

/// What is read of a worker's data directory.
#[derive(Deserialize)]
struct Known {
    node: NodeId,
}

/// Who a worker with this data directory is: who it was, or whom its certificate names, or
/// somebody new.
pub(crate) fn node(data: &Path, pki: &Path) -> NodeId {
    let known = fs::read(data.join("identity.json")).ok();
    if let Some(Known { node }) = known.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
        return node;
    }
    let certified = Credentials::node(pki).ok().and_then(|own| own.identity());
    match certified.map(|identity| identity.subject) {
        Some(Subject::Worker(node)) => node,
        _ => NodeId::from_random(rand::random()),
    }
}

/// Gets `subject` its certificate, unless `dir` holds one that is good.
pub(crate) async fn join(
    token: &str,
    subject: &Subject,
    dir: PathBuf,
    endpoints: &[String],
) -> Result<(), CliError> {
    if Credentials::node(&dir).is_ok_and(|own| !own.is_expired()) {
        tracing::info!(pki = %dir.display(), "joined before: the token is not needed");
        return Ok(());
    }
    let read = token.trim().parse::<Token>().map_err(|e| CliError::usage(e.to_string()))?;
    let Token::Join { ca, .. } = &read else {
        return Err(CliError::usage("this token speaks for somebody, it lets no machine join")
            .help("`yard token create --role worker --ttl 15m` makes one that does"));
    };
    let fingerprint = ca.hex();
    let connector = Connector::new(pinned_client(&fingerprint)?);
    let dir = PkiDir::new(dir);
    let request = dir.request(Holder::Node)?;
    let ask = JoinRequest {
        token: read.expose(),
        subject: subject.to_string(),
        csr: request.csr().to_vec(),
    };
    let endpoints = endpoints.iter().map(|at| at.parse()).collect::<Result<Vec<_>, _>>()?;
    let answer = ask_all(&connector, endpoints, &ask).await?;
    store(&dir, &request, &answer, &fingerprint)?;
    tracing::info!(%subject, cluster = answer.cluster, "joined");
    Ok(())
}

/// Whose turn it is.
struct Rota {
    queue: VecDeque<Endpoint>,
    /// Those that were asked in this round.
    asked: Vec<Endpoint>,
}

impl Rota {
    fn next(&mut self) -> Option<Endpoint> {
        let endpoint = self.queue.pop_front()?;
        self.queue.push_back(endpoint.clone());
        if self.asked.len() + 1 >= self.queue.len() {
            self.asked.clear();
        } else {
            self.asked.push(endpoint.clone());
        }
        Some(endpoint)
    }

    /// Asks one that is said to lead next, but each once in a round: it may be gone.
    fn prefer(&mut self, leader: Endpoint) {
        if !self.asked.contains(&leader) {
            self.queue.retain(|known| *known != leader);
            self.queue.push_front(leader);
        }
    }
}

/// Asks each in turn, the leader when one names it, until somebody answers for good.
async fn ask_all(
    connector: &Connector,
    endpoints: Vec<Endpoint>,
    ask: &JoinRequest,
) -> Result<JoinAnswer, CliError> {
    let give_up = Instant::now() + PATIENCE;
    let mut rota = Rota { queue: endpoints.into(), asked: Vec::new() };
    loop {
        let Some(endpoint) = rota.next() else {
            return Err(CliError::usage("no scheduler is named").help("--endpoint HOST:PORT,…"));
        };
        let status = match ask_one(connector, &endpoint, ask).await {
            Ok(answer) => return Ok(answer),
            Err(status) => status,
        };
        let passing = matches!(
            status.code(),
            Code::Unavailable | Code::DeadlineExceeded | Code::Unknown | Code::ResourceExhausted
        );
        if !passing || Instant::now() >= give_up {
            return Err(CliError::refused(&format!("join at {endpoint}"), &status));
        }
        let leader = status.metadata().get(LEADER_METADATA).and_then(|at| at.to_str().ok());
        if let Some(leader) = leader.and_then(|at| at.parse::<Endpoint>().ok()) {
            rota.prefer(leader);
        }
        sleep(Duration::from_millis(rand::random_range(100..300))).await;
    }
}

async fn ask_one(
    connector: &Connector,
    endpoint: &Endpoint,
    ask: &JoinRequest,
) -> Result<JoinAnswer, Status> {
    let address = Address::from_shared(format!("https://{endpoint}"))
        .map_err(|error| Status::invalid_argument(error.to_string()))?
        .connect_timeout(CALL);
    let connected = address.connect_with_connector(connector.clone()).await;
    let channel = connected.map_err(|error| match advice(&error) {
        Some(text) => Status::unauthenticated(text),
        None => Status::unavailable("nobody answers"),
    })?;
    let mut client = JoinClient::new(channel);
    match timeout(CALL, client.join(ask.clone())).await {
        Ok(answer) => answer.map(tonic::Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded("it did not answer in time")),
    }
}

/// Keeps what came. The authority must be the one that the token names.
fn store(
    dir: &PkiDir,
    request: &Request,
    answer: &JoinAnswer,
    fingerprint: &str,
) -> Result<(), CliError> {
    if !trainyard_pki::fingerprints(&answer.ca)?.iter().any(|known| known == fingerprint) {
        return Err(CliError::new(Exit::Auth, "the answer is not of the token's authority"));
    }
    if answer.ca_key.is_empty() {
        dir.write_roots(&answer.ca)?;
    } else {
        let authority = Authority::from_pem(&answer.ca, &answer.ca_key)?;
        dir.write_authority(authority.certificate(), &authority.key())?;
    }
    let issued = Issued { certificate: answer.certificate.clone(), key: request.key() };
    dir.write_issued(Holder::Node, &issued)?;
    Credentials::node(dir.path())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_that_is_gone_keeps_nobody_from_the_others() {
        let [follower, other, gone] = ["a:1", "b:1", "c:1"].map(|at| at.parse().unwrap());
        let queue = [&follower, &other].map(Endpoint::clone).into();
        let mut rota = Rota { queue, asked: Vec::new() };
        let mut turns = Vec::new();
        while turns.len() < 9 {
            let turn: Endpoint = rota.next().unwrap();
            if turn == follower {
                rota.prefer(gone.clone());
            }
            turns.push(turn);
        }
        assert!(turns.chunks(3).all(|round| round.contains(&other)), "{turns:?}");
    }
}
