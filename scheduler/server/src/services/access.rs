//! Tokens and the audit trail.

use futures::StreamExt;
use tonic::{Request, Response, Status};
use trainyard_core::{
    Command, Reply, State,
    command::{CreateToken, Mutation},
    state::TokenRecord,
};
use trainyard_jobs::{
    Digest, JoinRole, Millis, ProjectName, Projects, Role, Timestamp, TokenId, TokenKind,
    token::is_bearer_name,
};
use trainyard_proto::{
    convert::parse,
    v1::{self, access_server::Access},
};

use super::Answers;
use crate::{access::Caller, audit, clock, error::Failure, replica::Replica};

/// Projects of one token at most.
const MOST_PROJECTS: usize = 100;

pub(crate) struct AccessService(pub(crate) Replica);

#[tonic::async_trait]
impl Access for AccessService {
    async fn create_token(
        &self,
        request: Request<v1::CreateTokenRequest>,
    ) -> Result<Response<v1::CreateTokenAnswer>, Status> {
        let caller = Caller::of(&request)?;
        Ok(Response::new(create(&self.0, &caller, request.into_inner()).await?))
    }

    async fn list_tokens(
        &self,
        request: Request<v1::ListTokensRequest>,
    ) -> Result<Response<v1::ListTokensAnswer>, Status> {
        let stale = request.get_ref().stale;
        let now = clock::now();
        let all = |state: &State| state.tokens().values().map(|token| view(token, now)).collect();
        let tokens = self.0.read(stale, all).await?;
        Ok(Response::new(v1::ListTokensAnswer { tokens, stale }))
    }

    async fn revoke_token(
        &self,
        request: Request<v1::RevokeTokenRequest>,
    ) -> Result<Response<v1::RevokeTokenAnswer>, Status> {
        let caller = Caller::of(&request)?;
        Ok(Response::new(revoke(&self.0, &caller, request.into_inner()).await?))
    }

    type AuditStream = Answers<v1::AuditChunk>;

    async fn audit(
        &self,
        request: Request<v1::AuditRequest>,
    ) -> Result<Response<Self::AuditStream>, Status> {
        let lines = audit::lines(self.0.clone(), request.into_inner());
        Ok(Response::new(lines.boxed()))
    }

    async fn verify_audit(
        &self,
        _: Request<v1::VerifyAuditRequest>,
    ) -> Result<Response<v1::VerifyAuditAnswer>, Status> {
        let chains = audit::verify(&self.0).await?;
        Ok(Response::new(v1::VerifyAuditAnswer { chains }))
    }
}

async fn create(
    replica: &Replica,
    caller: &Caller,
    request: v1::CreateTokenRequest,
) -> Result<v1::CreateTokenAnswer, Failure> {
    replica.must_lead()?;
    let body = [
        request.role.as_str(),
        &request.projects.join(" "),
        &request.name,
        &request.ttl_ms.to_string(),
        &request.digest,
    ];
    let mutation = Mutation {
        key: parse("key", &request.key)?,
        request: Digest::of(body.join("\n").as_bytes()),
        principal: caller.principal(),
    };
    let kind = kind(&request)?;
    let create = CreateToken {
        mutation,
        token: clock::draw_token_id(),
        kind,
        digest: parse("digest", &request.digest)?,
        ttl: Millis(request.ttl_ms),
    };
    let token = match replica.propose(Command::CreateToken(Box::new(create))).await? {
        Reply::TokenCreated(token) => token,
        other => return Err(Failure::Invalid(format!("unexpected reply {other:?}"))),
    };
    caller.about(format!("token {token}"));
    let ca = replica.pki.authority.fingerprint();
    Ok(v1::CreateTokenAnswer { token: Some(shown(replica, &token)?), ca })
}

/// What the token is to be good for. The role's name says which kind it is.
fn kind(request: &v1::CreateTokenRequest) -> Result<TokenKind, Failure> {
    let join = [JoinRole::Worker, JoinRole::Scheduler];
    if let Some(role) = join.into_iter().find(|role| role.as_str() == request.role) {
        if !request.projects.is_empty() || !request.name.is_empty() {
            return Err(Failure::Invalid("a machine has neither projects nor a name here".into()));
        }
        return Ok(TokenKind::Join { role });
    }
    let role: Role = request.role.parse().map_err(|_| {
        Failure::Invalid(format!(
            "`{}` is not a role: expected viewer, researcher, operator or admin for people, \
             worker or scheduler for machines",
            request.role.chars().take(40).collect::<String>()
        ))
    })?;
    if !request.name.is_empty() && !is_bearer_name(&request.name) {
        return Err(Failure::Invalid(
            "the name may have letters, digits and .-_@+, up to 64 in all".into(),
        ));
    }
    if request.projects.len() > MOST_PROJECTS {
        return Err(Failure::Invalid(format!("a token has at most {MOST_PROJECTS} projects")));
    }
    let projects = if request.projects.is_empty() {
        Projects::All
    } else {
        let named = request.projects.iter().map(|name| parse::<ProjectName>("projects", name));
        Projects::Only(named.collect::<Result<_, _>>()?)
    };
    if role >= Role::Operator && projects != Projects::All {
        return Err(Failure::Invalid(format!(
            "the role {role} reaches every project: leave --project out"
        )));
    }
    Ok(TokenKind::Api { role, projects, name: request.name.clone() })
}

async fn revoke(
    replica: &Replica,
    caller: &Caller,
    request: v1::RevokeTokenRequest,
) -> Result<v1::RevokeTokenAnswer, Failure> {
    let token = replica.read(false, |state| find(state, &request.token)).await??;
    caller.about(format!("token {token}"));
    let mutation = Mutation {
        key: parse("key", &request.key)?,
        request: Digest::of(format!("revoke {token}").as_bytes()),
        principal: caller.principal(),
    };
    replica.propose(Command::RevokeToken { mutation, token: token.clone() }).await?;
    Ok(v1::RevokeTokenAnswer { token: Some(shown(replica, &token)?) })
}

/// The token that an id or a unique prefix of one names.
fn find(state: &State, text: &str) -> Result<TokenId, Failure> {
    let mut named = state.tokens().keys().filter(|id| id.as_str().starts_with(text));
    match (named.next(), named.next()) {
        (Some(id), None) if !text.is_empty() => Ok(id.clone()),
        (Some(_), Some(_)) if !text.is_empty() => Err(Failure::Invalid(format!(
            "several tokens begin with `{text}`: give more of the id"
        ))),
        _ => Err(Failure::NotFound("there is no such token: `yard token list` lists them".into())),
    }
}

fn shown(replica: &Replica, id: &TokenId) -> Result<v1::Token, Failure> {
    let token = replica.look(|state| state.token(id).map(|token| view(token, clock::now())));
    token.ok_or_else(|| Failure::NotFound(format!("there is no token {id}")))
}

fn view(token: &TokenRecord, now: Timestamp) -> v1::Token {
    let (kind, role, projects, name) = match &token.kind {
        TokenKind::Api { role, projects, name } => {
            ("api", role.as_str(), Some(projects), name.as_str())
        }
        TokenKind::Join { role } => ("join", role.as_str(), None, ""),
    };
    let projects = match projects {
        Some(Projects::Only(projects)) => projects.iter().map(ToString::to_string).collect(),
        _ => Vec::new(),
    };
    let state = match token {
        TokenRecord { revoked: Some(_), .. } => "revoked",
        TokenRecord { redeemed: Some(_), .. } => "used",
        token if token.is_valid(now) => "valid",
        _ => "expired",
    };
    v1::Token {
        id: token.id.to_string(),
        kind: kind.to_owned(),
        role: role.to_owned(),
        projects,
        name: name.to_owned(),
        created_ms: token.created.0,
        expires_ms: token.expires.0,
        created_by: token.created_by.clone(),
        state: state.to_owned(),
    }
}
