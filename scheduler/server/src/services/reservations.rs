//! Reservations of nodes: listed, made, deleted.

use std::collections::{BTreeMap, BTreeSet};

use tonic::{Request, Response, Status};
use trainyard_core::{
    Command, State,
    command::{CreateReservation, Mutation},
    state::Reservation,
};
use trainyard_jobs::{
    Digest, NodeSelection, ProjectName, Purpose, ReservationName, ReservationSpec, Timestamp,
};
use trainyard_proto::{
    convert::parse,
    v1::{self, reservations_server::Reservations},
};

use crate::{access::Caller, clock, error::Failure, replica::Replica};

pub(crate) struct ReservationsService(pub(crate) Replica);

#[tonic::async_trait]
impl Reservations for ReservationsService {
    async fn list_reservations(
        &self,
        request: Request<v1::ListReservationsRequest>,
    ) -> Result<Response<v1::ListReservationsAnswer>, Status> {
        let caller = Caller::of(&request)?;
        let stale = request.into_inner().stale;
        let mut reservations = self.0.read(stale, list).await?;
        // What is reserved keeps anybody's jobs waiting; for whom is not everybody's affair.
        let seen = |project: &String| project.parse().is_ok_and(|project| caller.sees(&project));
        let own = |user: &String| !caller.is_bound() || *user == caller.principal();
        for reservation in &mut reservations {
            reservation.projects.retain(seen);
            reservation.users.retain(own);
        }
        Ok(Response::new(v1::ListReservationsAnswer { reservations, stale }))
    }

    async fn create_reservation(
        &self,
        request: Request<v1::CreateReservationRequest>,
    ) -> Result<Response<v1::CreateReservationAnswer>, Status> {
        let caller = Caller::of(&request)?;
        Ok(Response::new(create(&self.0, &caller, request.into_inner()).await?))
    }

    async fn delete_reservation(
        &self,
        request: Request<v1::DeleteReservationRequest>,
    ) -> Result<Response<v1::DeleteReservationAnswer>, Status> {
        let caller = Caller::of(&request)?;
        Ok(Response::new(delete(&self.0, &caller, &request.into_inner()).await?))
    }
}

async fn create(
    replica: &Replica,
    caller: &Caller,
    request: v1::CreateReservationRequest,
) -> Result<v1::CreateReservationAnswer, Failure> {
    replica.must_lead()?;
    let name: ReservationName = parse("name", &request.name)?;
    caller.about(format!("reservation {name}"));
    let mutation = Mutation {
        key: parse("key", &request.key)?,
        request: digest(&request),
        principal: caller.principal(),
    };
    let spec = read(request)?;
    let create = CreateReservation { mutation, name: name.clone(), spec };
    replica.propose(Command::CreateReservation(Box::new(create))).await?;
    let shown = replica.look(|state| {
        state.reservations().get(&name).map(|reservation| view(state, &name, reservation))
    });
    Ok(v1::CreateReservationAnswer { reservation: shown })
}

async fn delete(
    replica: &Replica,
    caller: &Caller,
    request: &v1::DeleteReservationRequest,
) -> Result<v1::DeleteReservationAnswer, Failure> {
    replica.must_lead()?;
    let name: ReservationName = parse("name", &request.name)?;
    caller.about(format!("reservation {name}"));
    let mutation = Mutation {
        key: parse("key", &request.key)?,
        request: Digest::of(request.name.as_bytes()),
        principal: caller.principal(),
    };
    replica.propose(Command::DeleteReservation { mutation, name }).await?;
    Ok(v1::DeleteReservationAnswer {})
}

/// The same request has the same digest, whatever order its labels come in, and also later, when
/// what is relative to now comes to another time.
fn digest(request: &v1::CreateReservationRequest) -> Digest {
    let nodes = request.nodes.clone().unwrap_or_default();
    let labels: BTreeMap<String, String> = nodes.labels.into_iter().collect();
    let which = (nodes.all, nodes.names, labels);
    let when = (request.from_ms, request.begins_in_ms, request.lasts_ms);
    let who = (request.maintenance, &request.projects, &request.users);
    Digest::of(format!("{:?}", (&request.name, which, when, who, &request.reason)).as_bytes())
}

/// What a request asks for. What comes relative to now is by this scheduler's clock.
fn read(request: v1::CreateReservationRequest) -> Result<ReservationSpec, Failure> {
    let now = clock::now();
    let from = match request.begins_in_ms {
        Some(ms) => Timestamp(now.0.saturating_add(ms)),
        None => Timestamp(request.from_ms),
    };
    let until = Timestamp(from.0.saturating_add(request.lasts_ms));
    let nodes = selection(request.nodes.unwrap_or_default())?;
    let given = !request.projects.is_empty() || !request.users.is_empty();
    if request.maintenance && given {
        let message = "in maintenance nobody runs: name projects and users, or maintenance";
        return Err(Failure::Invalid(message.into()));
    }
    let purpose = if request.maintenance {
        Purpose::Maintenance
    } else {
        let projects = request.projects.iter().map(|name| parse("project", name));
        let projects: BTreeSet<ProjectName> = projects.collect::<Result<_, _>>()?;
        Purpose::For { projects, users: request.users.into_iter().collect() }
    };
    let spec = ReservationSpec { from, until, nodes, purpose, reason: request.reason };
    match spec.problem(now) {
        Some(problem) => Err(Failure::Invalid(problem)),
        None => Ok(spec),
    }
}

fn selection(asked: v1::NodeSelection) -> Result<NodeSelection, Failure> {
    match (asked.all, asked.names.is_empty(), asked.labels.is_empty()) {
        (true, true, true) => Ok(NodeSelection::All),
        (false, false, true) => {
            let names = asked.names.iter().map(|name| parse("node", name));
            Ok(NodeSelection::Names(names.collect::<Result<_, _>>()?))
        }
        (false, true, false) => Ok(NodeSelection::Labels(asked.labels.into_iter().collect())),
        _ => Err(Failure::Invalid("name nodes, or labels, or all of them".into())),
    }
}

fn list(state: &State) -> Vec<v1::Reservation> {
    let now = clock::now();
    let all = state.reservations().iter().filter(|(_, known)| known.spec.until > now);
    let mut list: Vec<_> = all.map(|(name, known)| view(state, name, known)).collect();
    list.sort_by(|a, b| (a.from_ms, &a.name).cmp(&(b.from_ms, &b.name)));
    list
}

fn view(state: &State, name: &ReservationName, known: &Reservation) -> v1::Reservation {
    let spec = &known.spec;
    let covers = state
        .nodes()
        .values()
        .filter(|node| spec.nodes.covers(node.inventory.name.as_str(), &node.inventory.labels));
    let (maintenance, projects, users) = match &spec.purpose {
        Purpose::Maintenance => (true, Vec::new(), Vec::new()),
        Purpose::For { projects, users } => {
            let projects = projects.iter().map(ToString::to_string).collect();
            (false, projects, users.iter().cloned().collect())
        }
    };
    v1::Reservation {
        name: name.to_string(),
        from_ms: spec.from.0,
        until_ms: spec.until.0,
        nodes: Some(selected(&spec.nodes)),
        maintenance,
        projects,
        users,
        reason: spec.reason.clone(),
        created_ms: known.created.0,
        created_by: known.created_by.clone(),
        covers: u32::try_from(covers.count()).unwrap_or(u32::MAX),
        begun: spec.holds_at(clock::now()),
    }
}

fn selected(nodes: &NodeSelection) -> v1::NodeSelection {
    match nodes {
        NodeSelection::All => v1::NodeSelection { all: true, ..Default::default() },
        NodeSelection::Names(names) => {
            let names = names.iter().map(ToString::to_string).collect();
            v1::NodeSelection { names, ..Default::default() }
        }
        NodeSelection::Labels(labels) => {
            let labels = labels.clone().into_iter().collect();
            v1::NodeSelection { labels, ..Default::default() }
        }
    }
}

/// The reservation that holds on a node, or else the next one.
pub(super) fn of_node(
    state: &State,
    name: &str,
    labels: &BTreeMap<String, String>,
    now: Timestamp,
) -> Option<v1::NodeReservation> {
    let all = state.reservations().iter();
    let here =
        all.filter(|(_, known)| known.spec.until > now && known.spec.nodes.covers(name, labels));
    let (name, known) = here.min_by_key(|(name, known)| (known.spec.from, *name))?;
    Some(v1::NodeReservation {
        name: name.to_string(),
        from_ms: known.spec.from.0,
        until_ms: known.spec.until.0,
        maintenance: known.spec.purpose == Purpose::Maintenance,
    })
}
