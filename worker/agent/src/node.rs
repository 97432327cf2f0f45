//! The attempts of this node and the newest desired set: brings the one to what the other says.
//! What to do is decided by [`Decisions`]; here it is done.

use std::{path::PathBuf, sync::Arc};

use tokio::task::{JoinSet, spawn_blocking};
use trainyard_jobs::{AttemptRef, Revision};
use trainyard_proto::{convert::Invalid, v1::DesiredSet};

use crate::{
    attempt::{AttemptDir, Context, Entry, Registry, report_never_ran, supervise},
    decide::{Decisions, NEVER_STARTED},
    error::WorkerError,
    reconcile::{Action, Stage},
};

/// The node's attempts, each with the task that supervises it.
pub(crate) struct Node {
    data_dir: PathBuf,
    registry: Arc<Registry>,
    context: Arc<Context>,
    pub(crate) decisions: Decisions,
    /// Supervising tasks, and others that live as long as the agent.
    pub(crate) tasks: JoinSet<()>,
}

impl Node {
    pub(crate) fn new(data_dir: PathBuf, context: Arc<Context>) -> Self {
        let registry = Arc::clone(&context.registry);
        Self { data_dir, registry, context, decisions: Decisions::default(), tasks: JoinSet::new() }
    }

    /// Takes up every attempt that an agent before left here.
    pub(crate) fn adopt(&mut self) -> Result<(), WorkerError> {
        let dir = &self.data_dir;
        for (dir, order) in AttemptDir::scan(dir).map_err(WorkerError::data(dir))? {
            let launched = dir.was_launched();
            tracing::info!(attempt = %order.attempt, launched, "attempt taken up");
            let stage = if launched { Stage::Active } else { Stage::Accepted };
            self.context.pins.adopt(&dir, &order.attempt);
            let entry = Entry::new(order, dir, stage);
            self.registry.insert(Arc::clone(&entry));
            if launched {
                self.supervise(entry);
            }
        }
        Ok(())
    }

    fn supervise(&mut self, entry: Arc<Entry>) {
        self.tasks.spawn(supervise(Arc::clone(&self.context), entry));
    }

    /// Takes the set of `revision`, which is on record, as what should run here.
    pub(crate) fn want(&mut self, revision: Revision, set: DesiredSet) -> Result<(), Invalid> {
        self.decisions.want(revision, set)
    }

    /// Brings the node to what the newest set says.
    pub(crate) async fn decide(&mut self) -> Result<(), WorkerError> {
        let actions = self.decisions.actions(&self.registry.known());
        let strangers = self.decisions.strangers(|attempt| {
            self.registry.get(attempt).is_none()
                // One that cannot be read may have ranks that run.
                && AttemptDir::new(&self.data_dir, attempt).is_absent()
        });
        for action in actions {
            self.carry_out(action).await?;
        }
        for attempt in strangers {
            self.disown(attempt, NEVER_STARTED.into());
        }
        self.ask_to_save();
        Ok(())
    }

    /// Asks ranks to save their state, once for each time that they are given.
    fn ask_to_save(&mut self) {
        for (attempt, before) in self.decisions.saves() {
            let entry = self.registry.get(attempt).filter(|e| e.stage() == Stage::Active);
            let Some(entry) = entry.filter(|entry| entry.note_save(before)) else {
                continue;
            };
            tracing::info!(%attempt, "asked to save its state");
            self.tasks.spawn(async move {
                let (dir, asked) = (entry.dir.clone(), entry.order.attempt.clone());
                let written = spawn_blocking(move || dir.ask_to_save(before)).await;
                if let Ok(Err(error)) = written {
                    // Its checkpoints of every so often go on; it is stopped without this one.
                    tracing::warn!(attempt = %asked, %error, "cannot ask for a checkpoint");
                }
            });
        }
    }

    /// Reports, until that is answered, that the attempt's ranks never ran here.
    fn disown(&mut self, attempt: AttemptRef, why: String) {
        tracing::warn!(%attempt, why, "reported as ended");
        self.decisions.tell(&attempt);
        let context = Arc::clone(&self.context);
        self.tasks.spawn(async move { report_never_ran(&context, &attempt, why).await });
    }

    async fn carry_out(&mut self, action: Action) -> Result<(), WorkerError> {
        tracing::info!(?action, "decided");
        match action {
            Action::Start(attempt) => self.begin(&attempt).await,
            Action::Stop(attempt) => {
                if let Some(entry) = self.registry.get(&attempt) {
                    let accepted = entry.stage() == Stage::Accepted;
                    entry.stop();
                    if accepted {
                        self.supervise(entry);
                    }
                }
                Ok(())
            }
            Action::Hold(attempt) => {
                tracing::warn!(%attempt, "unknown to the recovered cluster: held for an operator");
                self.hold(&attempt, true);
                Ok(())
            }
            Action::Release(attempt) => {
                self.hold(&attempt, false);
                Ok(())
            }
            Action::Remove(attempt) => self.remove(&attempt).await,
        }
    }

    fn hold(&self, attempt: &AttemptRef, held: bool) {
        if let Some(entry) = self.registry.get(attempt) {
            entry.set_held(held);
        }
    }

    async fn begin(&mut self, attempt: &AttemptRef) -> Result<(), WorkerError> {
        if let Some(entry) = self.registry.get(attempt) {
            self.registry.advance(&entry, Stage::Active);
            self.supervise(entry);
            return Ok(());
        }
        let Some(order) = self.decisions.order(attempt).cloned() else { return Ok(()) };
        let dir = AttemptDir::new(&self.data_dir, attempt);
        let (made, written) = (dir.clone(), order.clone());
        let created = spawn_blocking(move || made.create(&written)).await;
        let created = created.map_err(|error| WorkerError::stopped("disk task", error))?;
        if let Err(error) = created {
            tracing::error!(%attempt, %error, "cannot take the attempt on");
            if self.decisions.not_taken_on(attempt) {
                let why = format!("this node cannot make the attempt's directory: {error}");
                self.disown(attempt.clone(), why);
            }
            return Ok(());
        }
        let entry = Entry::new(order, dir, Stage::Active);
        self.registry.insert(Arc::clone(&entry));
        self.supervise(entry);
        Ok(())
    }

    async fn remove(&mut self, attempt: &AttemptRef) -> Result<(), WorkerError> {
        let Some(entry) = self.registry.get(attempt) else { return Ok(()) };
        let dir = entry.dir.clone();
        let removed = spawn_blocking(move || dir.remove()).await;
        match removed.map_err(|error| WorkerError::stopped("disk task", error))? {
            Ok(()) => {}
            // The next agent removes what is left; this one need not see it again.
            Err(error) => tracing::error!(%attempt, %error, "cannot remove the attempt"),
        }
        self.registry.remove(attempt);
        self.decisions.tell(attempt);
        Ok(())
    }
}
