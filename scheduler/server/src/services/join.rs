//! How machines join and stay: a token is redeemed in the log and a certificate signed for it; a
//! certificate that nears its end is signed anew for whom it names, by any member, quorum or not.

use tonic::{Request, Response, Status};
use trainyard_core::{Command, Reply, state::NodeState};
use trainyard_jobs::{Digest, JoinRole, NodeId, Token, TokenKind, token::InvalidToken};
use trainyard_pki::{Identity, PkiError, Subject, requested_key};
use trainyard_proto::v1::{self, join_server::Join};

use crate::{access::Caller, error::Failure, peer, replica::Replica};

pub(crate) struct JoinService(pub(crate) Replica);

#[tonic::async_trait]
impl Join for JoinService {
    async fn join(
        &self,
        request: Request<v1::JoinRequest>,
    ) -> Result<Response<v1::JoinAnswer>, Status> {
        let caller = Caller::of(&request)?;
        Ok(Response::new(join(&self.0, &caller, request.into_inner()).await?))
    }

    async fn renew(
        &self,
        request: Request<v1::RenewRequest>,
    ) -> Result<Response<v1::RenewAnswer>, Status> {
        let subject = peer::identity(&request)?.subject;
        if matches!(subject, Subject::Person { .. }) {
            let text = "a person's certificate is not renewed: ask an admin for another";
            return Err(Status::permission_denied(text));
        }
        let pki = &self.0.pki;
        let signed = pki.authority.sign(&request.into_inner().csr, subject.clone(), pki.life);
        let certificate = signed.map_err(|error| Status::from(unfit(&error)))?;
        tracing::info!(%subject, "certificate renewed");
        Ok(Response::new(v1::RenewAnswer { certificate }))
    }
}

async fn join(
    replica: &Replica,
    caller: &Caller,
    request: v1::JoinRequest,
) -> Result<v1::JoinAnswer, Failure> {
    let unread = |error: InvalidToken| Failure::Invalid(error.to_string());
    let token: Token = request.token.parse().map_err(unread)?;
    let subject = subject(replica, &request.subject)?;
    caller.about(format!("{subject} with token {}", token.id()));
    // All that can be wrong with the request is said before the token is used up.
    let key = requested_key(&request.csr).map_err(|error| unfit(&error))?;
    replica.must_lead()?;
    let digest = token.secret().digest();
    check(replica, &token, &digest, &subject)?;
    let command = Command::RedeemToken {
        token: token.id().clone(),
        digest,
        requester: Digest::of(&[&key[..], subject.to_string().as_bytes()].concat()),
    };
    let Reply::TokenRedeemed(role) = replica.propose(command).await? else {
        return Err(Failure::Invalid("the token was not redeemed".into()));
    };
    if role != role_of(&subject) {
        return Err(wrong_role(role, &subject));
    }
    let pki = &replica.pki;
    let certificate = pki.authority.sign(&request.csr, subject.clone(), pki.life);
    let certificate = certificate.map_err(|error| unfit(&error))?;
    tracing::info!(%subject, token = %token.id(), "joined");
    Ok(v1::JoinAnswer {
        certificate,
        ca: pki.authority.certificate().to_owned(),
        cluster: replica.config.cluster.to_string(),
        endpoints: replica.peers().values().cloned().collect(),
        ca_key: if role == JoinRole::Scheduler { pki.authority.key() } else { String::new() },
    })
}

/// Who wants to join: a node or a member, never a person.
fn subject(replica: &Replica, text: &str) -> Result<Subject, Failure> {
    let identity: Result<Identity, _> =
        format!("trainyard://{}/{text}", replica.config.cluster).parse();
    match identity.map(|identity| identity.subject) {
        Ok(subject @ (Subject::Worker(_) | Subject::Scheduler(1..))) => Ok(subject),
        _ => {
            let text: String = text.chars().take(80).collect();
            Err(Failure::Invalid(format!(
                "`{text}` cannot join: a worker/NODE or scheduler/ID can"
            )))
        }
    }
}

fn role_of(subject: &Subject) -> JoinRole {
    if matches!(subject, Subject::Scheduler(_)) { JoinRole::Scheduler } else { JoinRole::Worker }
}

fn wrong_role(role: JoinRole, subject: &Subject) -> Failure {
    Failure::Impossible(format!(
        "the token lets a {role} join, not {subject}: `yard token create --role …` makes another"
    ))
}

/// What would use the token up for nothing.
fn check(
    replica: &Replica,
    token: &Token,
    digest: &Digest,
    subject: &Subject,
) -> Result<(), Failure> {
    let (role, up) = replica.look(|state| {
        let record = state.token(token.id()).filter(|record| record.digest.same(digest));
        let role = record.and_then(|record| match record.kind {
            TokenKind::Join { role } => Some(role),
            TokenKind::Api { .. } => None,
        });
        let up = |node: &NodeId| state.node(node).is_some_and(|n| n.state == NodeState::Up);
        (role, matches!(subject, Subject::Worker(node) if up(node)))
    });
    if let Some(role) = role.filter(|role| *role != role_of(subject)) {
        return Err(wrong_role(role, subject));
    }
    if up {
        return Err(Failure::Impossible(format!(
            "{subject} is in the cluster and up: nobody else can become it"
        )));
    }
    Ok(())
}

fn unfit(error: &PkiError) -> Failure {
    Failure::Invalid(error.to_string())
}
