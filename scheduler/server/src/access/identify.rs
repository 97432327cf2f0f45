//! Who asks: by the token in `authorization: Bearer …` if there is one, else by the certificate
//! of the connection. A token that is not good is refused, never passed over.

use http::{HeaderMap, header::AUTHORIZATION};
use tonic::Status;
use trainyard_core::State;
use trainyard_jobs::{Timestamp, Token, TokenKind};
use trainyard_pki::{Identity, Subject};

use super::Who;
use crate::{clock, peer::Peer, replica::Replica};

/// Says who asks.
pub(super) fn identify(replica: &Replica, peer: &Peer, headers: &HeaderMap) -> Result<Who, Status> {
    if let Some(value) = headers.get(AUTHORIZATION) {
        let text = value.to_str().ok().and_then(|text| text.strip_prefix("Bearer "));
        let text = text.ok_or_else(|| {
            Status::unauthenticated("the authorization is not `Bearer yard_api_…`")
        })?;
        return by_token(replica, text);
    }
    peer.identity.as_ref().map_or(Ok(Who::Nobody), |identity| by_certificate(replica, identity))
}

fn by_certificate(replica: &Replica, identity: &Identity) -> Result<Who, Status> {
    if identity.cluster != replica.config.cluster {
        return Err(Status::unauthenticated(format!(
            "the certificate is of cluster {}, this is {}: use the one of this cluster",
            identity.cluster, replica.config.cluster
        )));
    }
    Ok(match &identity.subject {
        Subject::Scheduler(id) => Who::Scheduler(*id),
        Subject::Worker(node) => Who::Worker(node.clone()),
        Subject::Person { role, name } => Who::Person {
            name: name.clone(),
            role: *role,
            projects: trainyard_jobs::Projects::All,
            token: None,
        },
    })
}

fn by_token(replica: &Replica, text: &str) -> Result<Who, Status> {
    let token: Token = text.parse().map_err(|error: trainyard_jobs::token::InvalidToken| {
        Status::unauthenticated(error.to_string())
    })?;
    if matches!(token, Token::Join { .. }) {
        return Err(Status::unauthenticated(
            "a join token lets a machine join, it does not speak for anybody: use an API token",
        ));
    }
    match replica.look(|state| known(state, &token, clock::now())) {
        Known::Good(who) => Ok(who),
        Known::Over(text) => Err(Status::unauthenticated(text)),
        // A member that lags may not have heard of it yet: the leader knows.
        Known::No => Err(replica.must_lead().map_or_else(Status::from, |_| {
            Status::unauthenticated(
                "the token is not known here: it is of another cluster, or long over",
            )
        })),
    }
}

enum Known {
    Good(Who),
    /// It was good once; told to those alone who showed its secret.
    Over(String),
    No,
}

fn known(state: &State, token: &Token, now: Timestamp) -> Known {
    let Some(record) = state.token(token.id()) else { return Known::No };
    let right = record.digest.same(&token.secret().digest());
    let TokenKind::Api { role, projects, name } = &record.kind else { return Known::No };
    if !right {
        return Known::No;
    }
    if record.revoked.is_some() {
        return Known::Over(format!("token {} was revoked: ask an admin for another", record.id));
    }
    if !record.is_valid(now.max(state.time())) {
        return Known::Over(format!("token {} has expired: ask an admin for another", record.id));
    }
    Known::Good(Who::Person {
        name: name.clone(),
        role: *role,
        projects: projects.clone(),
        token: Some(record.id.clone()),
    })
}
