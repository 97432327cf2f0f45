//! Who asks, as services see it, and what a request turned out to be about.

use std::{
    fmt::Display,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use tonic::{Request, Status};
use trainyard_core::State;
use trainyard_jobs::{JobId, NodeId, ProjectName, Projects, Role, TokenId};

use crate::error::Failure;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Who {
    /// Somebody who showed neither a certificate nor a token.
    Nobody,
    /// Somebody with a role.
    Person {
        /// The name in the audit trail.
        name: String,
        /// What they may do.
        role: Role,
        /// Where.
        projects: Projects,
        /// The token that they showed; none: a certificate.
        token: Option<TokenId>,
    },
    /// A worker's agent.
    Worker(NodeId),
    /// A member of the replicated scheduler.
    Scheduler(u64),
}

/// What a request turned out to be about; the guard writes it into the audit trail.
#[derive(Debug, Default)]
pub(crate) struct Subject {
    /// A job, token, model, node.
    pub(crate) name: String,
    /// It exists, and the caller was told that it does not.
    pub(crate) hidden: bool,
}

/// Who asks, from where.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) who: Who,
    pub(crate) address: SocketAddr,
    subject: Arc<Mutex<Subject>>,
}

impl Caller {
    pub(crate) fn new(who: Who, address: SocketAddr) -> Self {
        Self { who, address, subject: Arc::default() }
    }

    /// The caller of a request that passed the guard. One that did not is answered by nobody.
    pub(crate) fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        let caller = request.extensions().get::<Self>().cloned();
        caller.ok_or_else(|| Status::internal("the request did not pass the guard"))
    }

    /// The name under which things are done: in jobs, idempotency keys, the audit trail. People's
    /// names hold no `/`, so nobody is taken for a machine.
    pub(crate) fn principal(&self) -> String {
        match &self.who {
            Who::Nobody => "nobody".to_owned(),
            Who::Person { name, token: Some(id), .. } if name.is_empty() => format!("token/{id}"),
            Who::Person { name, .. } => name.clone(),
            Who::Worker(node) => format!("worker/{node}"),
            Who::Scheduler(id) => format!("scheduler/{id}"),
        }
    }

    /// Whether things of a project exist for the caller.
    pub(crate) fn sees(&self, project: &ProjectName) -> bool {
        match &self.who {
            Who::Person { projects, .. } => projects.contain(project),
            Who::Scheduler(_) => true,
            Who::Nobody | Who::Worker(_) => false,
        }
    }

    /// The projects whose things exist for the caller; none: all.
    pub(crate) fn projects(&self) -> Option<Vec<ProjectName>> {
        match &self.who {
            Who::Person { projects: Projects::Only(own), .. } => {
                Some(own.iter().cloned().collect())
            }
            Who::Person { projects: Projects::All, .. } | Who::Scheduler(_) => None,
            Who::Nobody | Who::Worker(_) => Some(Vec::new()),
        }
    }

    /// Whether the caller sees only some projects.
    pub(crate) fn is_bound(&self) -> bool {
        self.projects().is_some()
    }

    /// Refuses to act in a project that is not the caller's. Whether it is anybody's is not told.
    pub(crate) fn must_act_in(&self, project: &ProjectName) -> Result<(), Failure> {
        if self.sees(project) {
            return Ok(());
        }
        let own = match &self.who {
            Who::Person { projects: Projects::Only(own), .. } => {
                own.iter().map(ProjectName::as_str).collect::<Vec<_>>().join(", ")
            }
            _ => "none".to_owned(),
        };
        Err(Failure::Denied(format!(
            "{} may not act in the project `{project}`: theirs are {own}",
            self.principal()
        )))
    }

    /// Takes the ids of jobs that the caller does not see out of a text that explains something.
    pub(crate) fn veil(&self, state: &State, text: &str) -> String {
        if !self.is_bound() {
            return text.to_owned();
        }
        let foreign = |id: &str| {
            let named = id.parse::<JobId>().ok().and_then(|id| state.job(&id));
            let named = named.or_else(|| state.jobs_with_prefix(id).into_iter().next());
            named.is_some_and(|job| !self.sees(&job.spec.project))
        };
        let mut words: Vec<&str> = text.split(' ').collect();
        for i in 1..words.len() {
            let after_job = words.get(i - 1) == Some(&"job");
            let id =
                words.get(i).map_or("", |word| word.trim_end_matches(&[',', ';', '.', ':'][..]));
            if after_job
                && id.len() >= 8
                && foreign(id)
                && let Some(word) = words.get_mut(i)
            {
                *word = "of another project";
            }
        }
        words.join(" ")
    }

    /// Notes what the request is about.
    pub(crate) fn about(&self, subject: impl Display) {
        self.subject().name = subject.to_string();
    }

    /// Notes that the request was about something that the caller may not know of.
    pub(crate) fn hid(&self, subject: impl Display) {
        let mut noted = self.subject();
        noted.name = subject.to_string();
        noted.hidden = true;
    }

    /// What was noted.
    pub(crate) fn subject(&self) -> std::sync::MutexGuard<'_, Subject> {
        self.subject.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
