//! What the leader holds of connected workers, shared between their streams, the services and the
//! loops: [`Contacts`] under a lock, and a bell.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use trainyard_jobs::{JobId, NodeId, SessionId};
use trainyard_proto::v1;

use crate::{
    clock,
    decide::contacts::{Contacts, Live, Tenants, Word},
};

/// All workers that the leader hears.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sessions {
    contacts: Arc<Mutex<Contacts>>,
    /// Rung when figures changed that the planner looks at.
    pub(crate) changed: Arc<Notify>,
}

impl Sessions {
    /// Looks at the contacts, or changes them.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Contacts) -> T) -> T {
        act(&mut self.contacts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Forgets everything: a new term begins.
    pub(crate) fn clear(&self) {
        self.with(Contacts::clear);
    }

    /// A worker has connected, and holds what the state does not know.
    pub(crate) fn connected(&self, node: &NodeId, session: SessionId, held: Vec<v1::HeldAttempt>) {
        self.with(|contacts| contacts.connected(node, session, held, clock::monotonic()));
        self.changed.notify_one();
    }

    /// What a node holds that the state does not know.
    pub(crate) fn held(&self, node: &NodeId) -> Vec<v1::HeldAttempt> {
        self.with(|contacts| contacts.get(node).map(|l| l.held.clone()).unwrap_or_default())
    }

    /// A worker has reported. What another life of it says is ignored.
    pub(crate) fn heard(&self, node: &NodeId, session: SessionId, word: Word, tenants: &Tenants) {
        let now = clock::moment();
        if self.with(|contacts| contacts.heard(node, session, word, tenants, now)) {
            self.changed.notify_one();
        }
    }

    /// What is known of one worker.
    pub(crate) fn get(&self, node: &NodeId) -> Option<Live> {
        self.with(|contacts| contacts.get(node).cloned())
    }

    /// The newest figures of a job's runs.
    pub(crate) fn progress(&self, job: &JobId) -> Option<v1::Progress> {
        self.with(|contacts| contacts.progress(job))
    }
}
