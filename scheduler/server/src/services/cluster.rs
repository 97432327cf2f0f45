//! The service of the schedulers themselves: members, backups, and what schedulers ask of each
//! other. It puts wishes on record; the leader's loop carries them out, whoever leads by then.

use futures::{StreamExt as _, future::join_all};
use tonic::{Request, Response, Status};
use trainyard_core::{Command, Reply};
use trainyard_jobs::{AttemptRef, NodeId};
use trainyard_proto::{
    convert::required,
    v1::{self, cluster_server::Cluster},
};

use super::{Answers, members};
use crate::{backup, error::Failure, peer, probes, replica::Replica};

pub(crate) struct ClusterService(pub(crate) Replica);

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Cluster for ClusterService {
    async fn members(&self, request: Request<v1::MembersRequest>) -> Answer<v1::MembersAnswer> {
        // The leader alone knows how far the others are.
        if !request.into_inner().stale {
            self.0.must_lead()?;
        }
        Ok(Response::new(members::answer(&self.0)))
    }

    async fn add_member(
        &self,
        request: Request<v1::AddMemberRequest>,
    ) -> Answer<v1::AddMemberAnswer> {
        Ok(Response::new(add(&self.0, request.into_inner().address, None).await?))
    }

    async fn remove_member(
        &self,
        request: Request<v1::RemoveMemberRequest>,
    ) -> Answer<v1::RemoveMemberAnswer> {
        let v1::RemoveMemberRequest { id, force } = request.into_inner();
        remove(&self.0, id, force).await?;
        Ok(Response::new(v1::RemoveMemberAnswer {}))
    }

    async fn replace_member(
        &self,
        request: Request<v1::ReplaceMemberRequest>,
    ) -> Answer<v1::AddMemberAnswer> {
        let v1::ReplaceMemberRequest { old, address } = request.into_inner();
        Ok(Response::new(add(&self.0, address, Some(old)).await?))
    }

    async fn transfer(&self, request: Request<v1::TransferRequest>) -> Answer<v1::TransferAnswer> {
        let to = transfer(&self.0, request.into_inner().to)?;
        Ok(Response::new(v1::TransferAnswer { to }))
    }

    type SnapshotStream = Answers<v1::SnapshotChunk>;

    async fn snapshot(&self, _: Request<v1::SnapshotRequest>) -> Answer<Self::SnapshotStream> {
        let pieces = backup::take(&self.0).await?;
        let message = |data: Result<Vec<u8>, Failure>| Ok(v1::SnapshotChunk { data: data? });
        Ok(Response::new(Box::pin(pieces.map(message))))
    }

    async fn release_attempt(
        &self,
        request: Request<v1::ReleaseAttemptRequest>,
    ) -> Answer<v1::ReleaseAttemptAnswer> {
        release(&self.0, request.into_inner()).await?;
        Ok(Response::new(v1::ReleaseAttemptAnswer {}))
    }

    async fn probe(&self, request: Request<v1::ProbeRequest>) -> Answer<v1::ProbeAnswer> {
        let request = request.into_inner();
        let config = &self.0.config;
        if request.cluster != config.cluster.to_string() || request.to != config.id {
            let text = format!("this is scheduler {} of cluster {}", config.id, config.cluster);
            return Err(Status::failed_precondition(text));
        }
        Ok(Response::new(probes::answer(&self.0)))
    }

    async fn rejoin(&self, request: Request<v1::RejoinRequest>) -> Answer<v1::AddMemberAnswer> {
        let own = peer::scheduler(&request)?;
        let v1::RejoinRequest { cluster, id, address } = request.into_inner();
        if own != id {
            let text = format!("scheduler {own} cannot speak for {id}");
            return Err(Status::permission_denied(text));
        }
        if cluster != self.0.config.cluster.to_string() {
            let text = format!("this scheduler belongs to cluster {}", self.0.config.cluster);
            return Err(Status::failed_precondition(text));
        }
        tracing::warn!(member = id, "its data is damaged: it asks for a new id");
        Ok(Response::new(add(&self.0, address, Some(id)).await?))
    }
}

async fn add(
    replica: &Replica,
    address: String,
    replaces: Option<u64>,
) -> Result<v1::AddMemberAnswer, Failure> {
    replica.must_lead()?;
    let command = Command::AddMember { address: address.clone(), replaces };
    let Reply::Member(id) = replica.propose(command).await? else {
        return Err(Failure::Invalid("the state machine gave no id".into()));
    };
    let mut peers = replica.peers();
    peers.remove(&id);
    Ok(v1::AddMemberAnswer {
        id,
        cluster: replica.config.cluster.to_string(),
        address,
        store: replica.config.store.clone(),
        peers: peers.into_iter().filter(|(other, _)| Some(*other) != replaces).collect(),
        replaces: replaces.unwrap_or(0),
    })
}

/// Puts on record that a member is to leave, unless those that answer would then be no majority.
async fn remove(replica: &Replica, id: u64, force: bool) -> Result<(), Failure> {
    replica.must_lead()?;
    let status = replica.status().borrow().clone();
    let staying: Vec<u64> = status.voters.iter().copied().filter(|voter| *voter != id).collect();
    // Asked now: raft takes an election period to notice that one is gone.
    let asked = staying.iter().map(|voter| probes::answers_now(replica, *voter));
    let live = join_all(asked).await.into_iter().filter(|answers| *answers).count();
    let majority = staying.len() / 2 + 1;
    if status.voters.contains(&id) && live < majority && !force {
        return Err(Failure::Impossible(format!(
            "without member {id} there are {} voters, {majority} must answer and {live} do: bring the others back first, or `yard cluster replace` them; --force does it all the same",
            staying.len()
        )));
    }
    replica.propose(Command::LeaveMember { id }).await.map(drop)
}

fn transfer(replica: &Replica, to: u64) -> Result<u64, Failure> {
    replica.must_lead()?;
    let status = replica.status().borrow().clone();
    if to == status.id {
        return Ok(to);
    }
    if to != 0 && !status.voters.contains(&to) {
        return Err(Failure::Impossible(format!("member {to} does not vote, so it cannot lead")));
    }
    let able: Vec<u64> = status
        .voters
        .iter()
        .copied()
        .filter(|id| status.peers.get(id).is_some_and(|peer| peer.active))
        .collect();
    if able.is_empty() || (to != 0 && !able.contains(&to)) {
        return Err(Failure::Impossible("no other voter answers, so nobody can take over".into()));
    }
    let matched = |id: &u64| status.peers.get(id).map_or(0, |peer| peer.matched);
    let to = if to == 0 { able.into_iter().max_by_key(matched).unwrap_or(0) } else { to };
    replica.raft.transfer_leadership(Some(to));
    Ok(to)
}

async fn release(replica: &Replica, request: v1::ReleaseAttemptRequest) -> Result<(), Failure> {
    replica.must_lead()?;
    let attempt = AttemptRef::try_from(required("attempt", request.attempt)?)?;
    let named = |id: &NodeId, name: &str| id.as_str() == request.node || name == request.node;
    let node = replica.look(|state| {
        let mut nodes = state.nodes().values();
        nodes.find(|n| named(&n.id, n.inventory.name.as_str())).map(|n| n.id.clone())
    });
    let node = node.ok_or_else(|| {
        Failure::NotFound(format!(
            "there is no node `{}`: `yard node list` names them",
            request.node
        ))
    })?;
    if !replica
        .sessions
        .held(&node)
        .iter()
        .any(|held| held.attempt.as_ref() == Some(&(&attempt).into()))
    {
        return Err(Failure::NotFound(format!(
            "node {} holds no attempt {attempt}: `yard node list -o wide` shows what is held",
            request.node
        )));
    }
    replica.propose(Command::ReleaseAttempt { node, attempt }).await.map(drop)
}
