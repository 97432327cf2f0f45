//! The layer in front of all services: row, caller, permission, limits; then the service; then
//! the record of what came of it.

use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderMap, Request, Response, header::AUTHORIZATION, request::Parts};
use tonic::{Code, Status, body::Body, metadata::MetadataValue};
use tower_layer::Layer;
use tower_service::Service;
use trainyard_core::state::TokenRecord;

use super::{
    Caller, Limits, Who,
    body::{Bounded, Held},
    identify::identify,
    limits::Open,
    table::{self, Kind, Rule},
};
use crate::{
    audit::{Entry, Event},
    clock,
    peer::Peer,
    replica::Replica,
};

/// The metadata key by which gRPC tells a client when to try again, in milliseconds.
const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// Puts the guard before a service.
#[derive(Clone)]
pub(crate) struct Guard {
    replica: Replica,
    limits: Limits,
}

impl Guard {
    pub(crate) fn new(replica: Replica) -> Self {
        let limits = Limits::new(replica.config.limits);
        Self { replica, limits }
    }
}

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { guard: Arc::new(self.clone()), inner }
    }
}

/// A service behind the guard, which is shared: the service is copied for each request.
#[derive(Clone)]
pub(crate) struct Guarded<S> {
    guard: Arc<Guard>,
    inner: S,
}

/// Who was let through, and what for.
struct Admitted {
    rule: &'static Rule,
    caller: Caller,
    open: Open,
}

/// A refusal, and whom it was for.
struct Refused {
    rpc: String,
    caller: Caller,
    credential: &'static str,
    status: Status,
}

type Answer<E> = Pin<Box<dyn Future<Output = Result<Response<Body>, E>> + Send>>;

impl<S> Service<Request<Body>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Answer<S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let guard = Arc::clone(&self.guard);
        let (mut parts, body) = request.into_parts();
        let Admitted { rule, caller, open } = match guard.admit(&parts) {
            Ok(admitted) => admitted,
            Err(refused) => {
                let answer = guard.refuse(*refused);
                return Box::pin(async move { Ok(answer) });
            }
        };
        // The token is for the guard alone.
        parts.headers.remove(AUTHORIZATION);
        parts.extensions.insert(caller.clone());
        let request = Request::from_parts(parts, Body::new(Bounded::new(body, rule)));
        // The clone takes the place of the one that is ready.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        Box::pin(async move {
            let response = inner.call(request).await?;
            guard.note(rule, &caller, response.headers());
            let good = guard.still_good(rule, &caller);
            Ok(response.map(|body| Body::new(Held::new(body, open, good))))
        })
    }
}

impl Guard {
    fn admit(&self, parts: &Parts) -> Result<Admitted, Box<Refused>> {
        let path = parts.uri.path();
        let rule = table::rule(path);
        let rpc = rule.map_or("unknown", Rule::name);
        let refused = |caller, credential, status| {
            Box::new(Refused { rpc: rpc.to_owned(), caller, credential, status })
        };
        let Some(peer) = parts.extensions.get::<Peer>() else {
            let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
            let status = Status::internal("the connection has no peer");
            return Err(refused(Caller::new(Who::Nobody, nowhere), "none", status));
        };
        let nobody = Caller::new(Who::Nobody, peer.address);
        let who = match identify(&self.replica, peer, &parts.headers) {
            Ok(who) => who,
            Err(status) => {
                let status = self.slow_stranger(peer, status);
                return Err(refused(nobody, "refused", status));
            }
        };
        let caller = Caller::new(who, peer.address);
        let Some(rule) = rule else {
            let status =
                Status::unimplemented("there is no such call: is yard newer than this scheduler?");
            return Err(refused(caller.clone(), credential_kind(&caller), status));
        };
        if let Err(status) = permit(rule, &caller) {
            let status = match caller.who {
                Who::Nobody => self.slow_stranger(peer, status),
                _ => status,
            };
            return Err(refused(caller.clone(), credential_kind(&caller), status));
        }
        match self.within_limits(rule, &caller) {
            Ok(open) => Ok(Admitted { rule, caller, open }),
            Err(status) => Err(refused(caller.clone(), credential_kind(&caller), status)),
        }
    }

    /// Whoever keeps asking without a name is told so less and less.
    fn slow_stranger(&self, peer: &Peer, status: Status) -> Status {
        match self.limits.strangers.take(&peer.address.ip().to_string(), 1) {
            Ok(()) => status,
            Err(wait) => too_much("requests without a valid certificate or token", wait),
        }
    }

    fn within_limits(&self, rule: &Rule, caller: &Caller) -> Result<Open, Status> {
        let name = match caller.who {
            Who::Nobody => caller.address.ip().to_string(),
            _ => caller.principal(),
        };
        let buckets = match caller.who {
            Who::Nobody => &self.limits.strangers,
            _ => &self.limits.callers,
        };
        // The schedulers' own traffic must not be held up: it is what keeps the cluster alive.
        if !matches!(caller.who, Who::Scheduler(_)) {
            let taken = buckets.take(&name, rule.cost);
            taken.map_err(|wait| too_much(&format!("requests by {name}"), wait))?;
        }
        self.limits.open(&name, rule.kind).map_err(|count| {
            let text = format!("{name} has {count} calls of this kind open");
            too_much(&text, Duration::from_secs(1))
        })
    }

    /// For a stream that is listened to by a token: whether the token is still good.
    fn still_good(
        &self,
        rule: &Rule,
        caller: &Caller,
    ) -> Option<Box<dyn Fn() -> Result<(), Status> + Send>> {
        let Who::Person { token: Some(token), .. } = &caller.who else { return None };
        if rule.kind != Kind::Watch {
            return None;
        }
        let (token, replica) = (token.clone(), self.replica.clone());
        Some(Box::new(move || {
            let now = clock::now();
            let valid = |record: &TokenRecord| record.is_valid(now);
            if replica.look(|state| state.token(&token).is_some_and(valid)) {
                return Ok(());
            }
            Err(Status::unauthenticated(format!("token {token} was revoked, or has expired")))
        }))
    }

    fn refuse(&self, refused: Refused) -> Response<Body> {
        let Refused { rpc, caller, credential, status } = refused;
        // Sent on to the leader: nobody was denied anything.
        if status.code() != Code::Unavailable {
            let mut entry = entry(Event::Denied, &rpc, &caller, status.code());
            if credential == "refused" {
                credential.clone_into(&mut entry.credential);
            }
            status.message().clone_into(&mut entry.reason);
            tracing::debug!(rpc, principal = entry.principal, code = ?status.code(), "denied");
            self.replica.audit.write(entry);
        }
        status.into_http()
    }

    /// Records what came of a request.
    fn note(&self, rule: &Rule, caller: &Caller, headers: &HeaderMap) {
        let code = headers.get("grpc-status").map_or(Code::Ok, |c| Code::from_bytes(c.as_bytes()));
        let hidden = caller.subject().hidden;
        let denied = hidden || matches!(code, Code::PermissionDenied | Code::Unauthenticated);
        let redirected = headers.contains_key(trainyard_proto::LEADER_METADATA);
        if !denied && (!rule.changes || redirected) {
            return;
        }
        let event = if denied { Event::Denied } else { Event::Change };
        let mut entry = entry(event, rule.name(), caller, code);
        if hidden {
            "of a project that is not theirs".clone_into(&mut entry.reason);
        }
        self.replica.audit.write(entry);
    }
}

/// Whether the row lets the caller in.
fn permit(rule: &Rule, caller: &Caller) -> Result<(), Status> {
    let needs = rule.needs;
    let has: String = match &caller.who {
        _ if needs.anybody => return Ok(()),
        Who::Nobody => {
            return Err(Status::unauthenticated(format!(
                "{} needs {}: show a token (YARD_TOKEN, or --token-file) or a certificate",
                rule.name(),
                rule.wanted()
            )));
        }
        Who::Person { role, .. } => match needs.role {
            Some(least) if *role >= least => return Ok(()),
            _ => format!("has the role {role}"),
        },
        Who::Worker(_) if needs.worker => return Ok(()),
        Who::Scheduler(_) if needs.scheduler => return Ok(()),
        Who::Worker(_) => "shows a worker's certificate".to_owned(),
        Who::Scheduler(_) => "shows a scheduler's certificate".to_owned(),
    };
    Err(Status::permission_denied(format!(
        "{} needs {}; {} {has}",
        rule.name(),
        rule.wanted(),
        caller.principal()
    )))
}

fn too_much(what: &str, wait: Duration) -> Status {
    let wait = wait.max(Duration::from_millis(1)).as_millis();
    let mut status = Status::resource_exhausted(format!("too many {what}: try again in {wait} ms"));
    if let Ok(value) = wait.to_string().parse::<MetadataValue<_>>() {
        status.metadata_mut().insert(PUSHBACK, value);
    }
    status
}

const fn credential_kind(caller: &Caller) -> &'static str {
    match &caller.who {
        Who::Nobody => "none",
        Who::Person { token: Some(_), .. } => "token",
        Who::Person { .. } | Who::Worker(_) | Who::Scheduler(_) => "certificate",
    }
}

fn entry(event: Event, rpc: &str, caller: &Caller, code: Code) -> Entry {
    let (role, token) = match &caller.who {
        Who::Person { role, token, .. } => (role.as_str(), token.as_ref()),
        Who::Nobody | Who::Worker(_) | Who::Scheduler(_) => ("", None),
    };
    let credential =
        token.map_or_else(|| credential_kind(caller).to_owned(), |token| format!("token {token}"));
    Entry {
        time_ms: clock::now().0,
        event,
        principal: caller.principal(),
        credential,
        role: role.to_owned(),
        address: caller.address.to_string(),
        rpc: rpc.to_owned(),
        subject: caller.subject().name.chars().take(200).collect(),
        outcome: word(code),
        reason: String::new(),
        request: clock::draw_request_id(),
    }
}

/// A code as gRPC's documents spell it, in lower case.
fn word(code: Code) -> String {
    let mut word = String::new();
    for (i, c) in format!("{code:?}").chars().enumerate() {
        if c.is_uppercase() && i > 0 {
            word.push('_');
        }
        word.extend(c.to_lowercase());
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_spelled_as_in_grpcs_documents() {
        assert_eq!(word(Code::PermissionDenied), "permission_denied");
        assert_eq!(word(Code::Ok), "ok");
    }
}
