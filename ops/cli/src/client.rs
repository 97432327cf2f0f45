//! The connection to the schedulers: every call is tried at every endpoint in turn, follows the
//! leader's address when another scheduler names it, and is given up after about ten seconds.
//! Only calls that may be repeated go through here: reads, and mutations that carry a key.

use std::{
    collections::{HashMap, VecDeque},
    error::Error as _,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep, timeout};
use tonic::{Code, Response, Status, service::interceptor::InterceptedService, transport::Channel};
use trainyard_jobs::Token;
use trainyard_pki::{Connector, Credentials, Expected, advice};
use trainyard_proto::{
    LEADER_METADATA, MAX_MESSAGE_BYTES,
    v1::{access_client::AccessClient, client_client::ClientClient, cluster_client::ClusterClient},
};

use crate::{endpoint::Endpoint, error::CliError, exit::Exit};

mod bearer;
mod logs;
mod watch;

pub(crate) use bearer::Bearer;
pub(crate) use logs::LogTail;
pub(crate) use watch::JobWatch;

/// One connection, with the user's token on every request.
pub(crate) type Line = InterceptedService<Channel, Bearer>;

/// A scheduler's client service over one connection.
pub(crate) type Service = ClientClient<Line>;

/// A scheduler's service of tokens and the audit trail over one connection.
pub(crate) type AccessService = AccessClient<Line>;

/// The metadata key by which a scheduler says that trying again a little later will do.
const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// A scheduler's own service over one connection.
pub(crate) type Members = ClusterClient<Line>;

/// How long a connection may take to open.
const CONNECT: Duration = Duration::from_secs(2);

/// How long one scheduler may take to answer before the next is asked.
const CALL: Duration = Duration::from_secs(5);

/// How long all tries together may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The pause after the first round in vain: a leader that was stopped in good order has a successor
/// within that time.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// The longest pause between two rounds: an election takes less than a second, and whoever waits
/// at a prompt should not wait longer than the cluster does.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// The cluster, as a command sees it.
#[derive(Debug)]
pub(crate) struct Cluster {
    endpoints: Vec<Endpoint>,
    patience: Duration,
    bearer: Bearer,
    connector: Connector,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    channels: HashMap<Endpoint, Channel>,
    leader: Option<Endpoint>,
}

impl Cluster {
    /// Opens nothing yet.
    pub(crate) fn new(
        endpoints: Vec<Endpoint>,
        credentials: &Credentials,
    ) -> Result<Self, CliError> {
        let connector = Connector::to(credentials, Expected::AnyScheduler)?;
        let (bearer, known) = (Bearer::default(), Mutex::default());
        Ok(Self { endpoints, patience: PATIENCE, connector, bearer, known })
    }

    /// The same cluster, asked by whoever bears a token.
    pub(crate) fn bearing(mut self, token: Option<&Token>) -> Self {
        self.bearer = Bearer::new(token);
        self
    }

    /// The same cluster for a follower of a long job, who would rather wait than be sent away.
    pub(crate) fn patient(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Where it was told to ask.
    pub(crate) fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// Makes a call that may be repeated. `doing` completes «cannot …».
    pub(crate) async fn call<T>(
        &self,
        doing: &str,
        call: impl AsyncFn(Service) -> Result<Response<T>, Status>,
    ) -> Result<T, CliError> {
        self.repeat(doing, async |line| call(service(line)).await).await
    }

    /// The same, to the schedulers' own service.
    pub(crate) async fn call_members<T>(
        &self,
        doing: &str,
        call: impl AsyncFn(Members) -> Result<Response<T>, Status>,
    ) -> Result<T, CliError> {
        self.repeat(doing, async |line| call(ClusterClient::new(line)).await).await
    }

    /// The same, to the service of tokens.
    pub(crate) async fn call_access<T>(
        &self,
        doing: &str,
        call: impl AsyncFn(AccessService) -> Result<Response<T>, Status>,
    ) -> Result<T, CliError> {
        self.repeat(doing, async |line| call(AccessClient::new(line)).await).await
    }

    /// The same, to whatever service speaks over a connection.
    pub(crate) async fn call_line<T>(
        &self,
        doing: &str,
        call: impl AsyncFn(Line) -> Result<Response<T>, Status>,
    ) -> Result<T, CliError> {
        self.repeat(doing, call).await
    }

    async fn repeat<T>(
        &self,
        doing: &str,
        call: impl AsyncFn(Line) -> Result<Response<T>, Status>,
    ) -> Result<T, CliError> {
        let give_up = Instant::now() + self.patience;
        let mut pause = FIRST_PAUSE;
        let mut last = Status::unavailable("no endpoint");
        loop {
            match self.round(give_up, &mut last, &call).await {
                Ok(answer) => return Ok(answer),
                Err(Refused) if may_repeat(&last) => {}
                Err(Refused) => return Err(CliError::refused(doing, &last)),
            }
            if Instant::now() + pause >= give_up {
                return Err(self.unreachable(doing, &last));
            }
            sleep(pause.mul_f64(rand::random_range(0.5..1.5))).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Asks each scheduler once, the leader first if it is known. `last` is what the last one said
    /// that said anything.
    async fn round<T>(
        &self,
        give_up: Instant,
        last: &mut Status,
        call: &impl AsyncFn(Line) -> Result<Response<T>, Status>,
    ) -> Result<T, Refused> {
        let mut queue: VecDeque<Endpoint> = self.endpoints.iter().cloned().collect();
        if let Some(leader) = self.known(|known| known.leader.take()) {
            put_first(&mut queue, leader);
        }
        let mut asked = Vec::new();
        while let Some(endpoint) = queue.pop_front() {
            let left = give_up.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            match self.once(&endpoint, call, CALL.min(left)).await {
                Ok(answer) => {
                    self.known(|known| known.leader = Some(endpoint));
                    return Ok(answer);
                }
                Err(status) if may_repeat(&status) => {
                    asked.push(endpoint);
                    if let Some(leader) = named_leader(&status).filter(|to| !asked.contains(to)) {
                        put_first(&mut queue, leader);
                    }
                    *last = status;
                }
                Err(status) => match advice(&status) {
                    // Another may be of the right cluster.
                    Some(text) => {
                        let text = format!("there is no trust between us and {endpoint}: {text}");
                        *last = Status::unauthenticated(text);
                        asked.push(endpoint);
                    }
                    None => {
                        *last = status;
                        break;
                    }
                },
            }
        }
        Err(Refused)
    }

    /// Asks one scheduler, once.
    pub(crate) async fn ask<T>(
        &self,
        endpoint: &Endpoint,
        call: &impl AsyncFn(Service) -> Result<Response<T>, Status>,
        limit: Duration,
    ) -> Result<T, Status> {
        self.once(endpoint, &async |line| call(service(line)).await, limit).await
    }

    /// Asks one scheduler's service of tokens, once.
    pub(crate) async fn ask_access<T>(
        &self,
        endpoint: &Endpoint,
        call: &impl AsyncFn(AccessService) -> Result<Response<T>, Status>,
        limit: Duration,
    ) -> Result<T, Status> {
        self.once(endpoint, &async |line| call(AccessClient::new(line)).await, limit).await
    }

    async fn once<T>(
        &self,
        endpoint: &Endpoint,
        call: &impl AsyncFn(Line) -> Result<Response<T>, Status>,
        limit: Duration,
    ) -> Result<T, Status> {
        let line = InterceptedService::new(self.channel(endpoint)?, self.bearer.clone());
        match timeout(limit, call(line)).await {
            Ok(answer) => answer.map(Response::into_inner),
            Err(_) => Err(Status::deadline_exceeded(format!("{endpoint} did not answer in time"))),
        }
    }

    fn channel(&self, endpoint: &Endpoint) -> Result<Channel, Status> {
        self.known(|known| {
            if let Some(channel) = known.channels.get(endpoint) {
                return Ok(channel.clone());
            }
            let channel = Channel::from_shared(format!("https://{endpoint}"))
                .map_err(|error| Status::internal(format!("endpoint `{endpoint}`: {error}")))?
                .connect_timeout(CONNECT)
                .http2_keep_alive_interval(Duration::from_secs(5))
                .keep_alive_timeout(Duration::from_secs(5))
                .keep_alive_while_idle(true)
                .connect_with_connector_lazy(self.connector.clone());
            known.channels.insert(endpoint.clone(), channel.clone());
            Ok(channel)
        })
    }

    fn known<T>(&self, with: impl FnOnce(&mut Known) -> T) -> T {
        with(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn unreachable(&self, doing: &str, last: &Status) -> CliError {
        let tried: Vec<String> = self.endpoints.iter().map(ToString::to_string).collect();
        let seconds = self.patience.as_secs_f64().ceil();
        let message = format!(
            "cannot {doing}: no leading scheduler answered in {seconds} s (tried {}); the last one said: {}",
            tried.join(", "),
            reason(last),
        );
        CliError::new(Exit::Unavailable, message).help(
            "is the cluster up? `yard cluster status` asks each scheduler; `yard dev` starts one \
             here; --endpoint or YARD_ENDPOINT names another",
        )
    }
}

fn service(line: Line) -> Service {
    ClientClient::new(line)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

/// Nobody carried the call out.
struct Refused;

/// Whether another try, perhaps elsewhere, may succeed. A status with a source was made on this
/// side: the connection broke and the outcome is unknown, which repeating resolves.
pub(crate) fn may_repeat(status: &Status) -> bool {
    if advice(status).is_some() {
        return false;
    }
    matches!(
        status.code(),
        Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Unknown
            | Code::Cancelled
            | Code::Aborted
    ) || status.source().is_some()
        || status.metadata().contains_key(PUSHBACK)
}

/// The leader that a scheduler names; whoever answers there has to prove it.
fn named_leader(status: &Status) -> Option<Endpoint> {
    status.metadata().get(LEADER_METADATA)?.to_str().ok()?.parse().ok()
}

fn put_first(queue: &mut VecDeque<Endpoint>, endpoint: Endpoint) {
    queue.retain(|other| *other != endpoint);
    queue.push_front(endpoint);
}

/// The innermost cause, which is where transport errors say what happened.
pub(crate) fn reason(status: &Status) -> String {
    if let Some(text) = advice(status) {
        return text;
    }
    let mut cause = status.source();
    while let Some(inner) = cause.and_then(std::error::Error::source) {
        cause = Some(inner);
    }
    cause.map_or_else(|| status.message().to_owned(), ToString::to_string)
}

#[cfg(test)]
mod tests;
