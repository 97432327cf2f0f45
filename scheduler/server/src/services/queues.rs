//! Queues: their settings, and what they use.

use std::collections::{BTreeMap, BTreeSet};

use tonic::{Request, Response, Status};
use trainyard_core::{
    Command, State,
    command::{Mutation, SetQueue},
};
use trainyard_jobs::{Digest, JobPhase, Policy, ProjectName, QueueSpec, queue::ROOT};
use trainyard_proto::{
    convert::parse,
    v1::{self, queues_server::Queues},
};

use crate::{access::Caller, error::Failure, replica::Replica};

/// The longest settings that are read, in bytes.
const LONGEST: usize = 64 << 10;

pub(crate) struct QueuesService(pub(crate) Replica);

#[tonic::async_trait]
impl Queues for QueuesService {
    async fn list_queues(
        &self,
        request: Request<v1::ListQueuesRequest>,
    ) -> Result<Response<v1::ListQueuesAnswer>, Status> {
        let caller = Caller::of(&request)?;
        let v1::ListQueuesRequest { name, stale } = request.into_inner();
        let all = self.0.read(stale, list).await?;
        let seen = |queue: &v1::Queue| {
            let named = name.is_empty() || queue.name == name;
            named && queue.name.parse().is_ok_and(|project| caller.sees(&project))
        };
        let queues: Vec<v1::Queue> = all.into_iter().filter(seen).collect();
        if queues.is_empty() && !name.is_empty() {
            return Err(Failure::NotFound(format!(
                "there is no queue {name}: `yard queue list` lists them"
            ))
            .into());
        }
        Ok(Response::new(v1::ListQueuesAnswer { queues, stale }))
    }

    async fn set_queue(
        &self,
        request: Request<v1::SetQueueRequest>,
    ) -> Result<Response<v1::SetQueueAnswer>, Status> {
        let caller = Caller::of(&request)?;
        Ok(Response::new(set(&self.0, &caller, request.into_inner()).await?))
    }
}

async fn set(
    replica: &Replica,
    caller: &Caller,
    request: v1::SetQueueRequest,
) -> Result<v1::SetQueueAnswer, Failure> {
    replica.must_lead()?;
    let queue: ProjectName = parse("name", &request.name)?;
    caller.about(format!("queue {}", queue.as_str()));
    if request.settings_json.len() > LONGEST {
        return Err(Failure::Invalid(format!("settings have at most {LONGEST} bytes")));
    }
    let spec: Option<QueueSpec> =
        match request.settings_json.as_str() {
            "" => None,
            json => Some(serde_json::from_str(json).map_err(|error| {
                Failure::Invalid(format!("the settings cannot be read: {error}"))
            })?),
        };
    let body = format!("{}\n{}\n{:?}", request.name, request.settings_json, request.version);
    let mutation = Mutation {
        key: parse("key", &request.key)?,
        request: Digest::of(body.as_bytes()),
        principal: caller.principal(),
    };
    let set = SetQueue { mutation, queue: queue.clone(), spec, version: request.version };
    replica.propose(Command::SetQueue(Box::new(set))).await?;
    let shown = replica.look(|state| view(state, &queue, &Totals::of(state)));
    Ok(v1::SetQueueAnswer { queue: Some(shown) })
}

/// What the jobs of each project come to.
#[derive(Default)]
struct Totals {
    units: BTreeMap<ProjectName, u64>,
    running: BTreeMap<ProjectName, u64>,
    waiting: BTreeMap<ProjectName, u64>,
}

impl Totals {
    fn of(state: &State) -> Self {
        let mut totals = Self::default();
        for job in state.live_jobs() {
            let project = job.spec.project.clone();
            match job.phase {
                JobPhase::Queued => *totals.waiting.entry(project).or_default() += 1,
                JobPhase::Running | JobPhase::Stopping => {
                    let ranks = job.current().map_or(0, |attempt| attempt.world_size());
                    *totals.units.entry(project.clone()).or_default() += u64::from(ranks);
                    *totals.running.entry(project).or_default() += 1;
                }
                _ => {}
            }
        }
        totals
    }
}

fn list(state: &State) -> Vec<v1::Queue> {
    let totals = Totals::of(state);
    let with_jobs = totals.units.keys().chain(totals.waiting.keys()).chain(state.usage().keys());
    let names: BTreeSet<&ProjectName> = state.queues().keys().chain(with_jobs).collect();
    names.into_iter().map(|name| view(state, name, &totals)).collect()
}

fn view(state: &State, name: &ProjectName, totals: &Totals) -> v1::Queue {
    let queue = state.queues().get(name);
    let count = |of: &BTreeMap<ProjectName, u64>| of.get(name).copied().unwrap_or_default();
    let used = state.usage().get(name).copied().unwrap_or_default();
    v1::Queue {
        name: name.as_str().to_owned(),
        settings_json: queue
            .and_then(|queue| serde_json::to_string(&queue.spec).ok())
            .unwrap_or_default(),
        version: queue.map_or(0, |queue| queue.version),
        units: count(&totals.units),
        running: count(&totals.running),
        waiting: count(&totals.waiting),
        used_unit_ms: used.at(state.time(), state.half_life(name)).unit_ms,
        policy: policy(state, name).as_str().to_owned(),
    }
}

/// The order that holds in a queue: its own, or that of the nearest queue above that has one.
fn policy(state: &State, name: &ProjectName) -> Policy {
    let mut at = Some(name);
    // As deep as a tree can be.
    for _ in 0..32 {
        let Some(queue) = at.and_then(|name| state.queues().get(name)) else { break };
        if let Some(policy) = queue.spec.policy {
            return policy;
        }
        at = queue.spec.parent.as_ref();
    }
    let root = state.queues().iter().find(|(name, _)| name.as_str() == ROOT);
    root.and_then(|(_, queue)| queue.spec.policy).unwrap_or_default()
}
