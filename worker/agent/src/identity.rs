//! Who this worker is, kept in its data directory: the node id that its certificate names, the
//! cluster that it joined, and the highest revision that it accepted. What is accepted here is on disk before it is acted
//! upon. One agent at a time holds the directory.

use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use trainyard_jobs::{ClusterId, NodeId, Revision};

use crate::{durable, error::WorkerError, standing::Standing};

/// The newest format of the data directory that this version reads.
const FORMAT: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    format: u32,
    node: NodeId,
    cluster: Option<ClusterId>,
    revision: Revision,
}

/// Only the format, so that a newer file is named as such whatever else it holds.
#[derive(Deserialize)]
struct Probe {
    format: u32,
}

/// The worker's identity and its hold on the data directory.
#[derive(Debug)]
pub(crate) struct Identity {
    dir: PathBuf,
    state: State,
    /// The highest epoch that was proved to be the cluster's.
    granted: u64,
    /// Held for the agent's life.
    _lock: File,
}

impl Identity {
    /// Takes the data directory `dir` and reads who we are; a new one belongs to `node`, whom the
    /// certificate names.
    pub(crate) fn open(dir: &Path, node: &NodeId) -> Result<Self, WorkerError> {
        durable::private_dir(dir).map_err(WorkerError::data(dir))?;
        let lock = durable::lock_file(&dir.join("lock")).map_err(WorkerError::data(dir))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(WorkerError::Busy { path: dir.to_owned() });
            }
            Err(TryLockError::Error(error)) => return Err(WorkerError::data(dir)(error)),
        }
        let path = dir.join("identity.json");
        let probe: Option<Probe> = durable::read_json(&path).map_err(WorkerError::data(&path))?;
        let state = match probe {
            Some(Probe { format }) if format > FORMAT => {
                return Err(WorkerError::NewerFormat { path, found: format, known: FORMAT });
            }
            Some(_) => durable::read_json(&path).map_err(WorkerError::data(&path))?,
            None => None,
        };
        let drawn = state.is_none();
        let state = state.unwrap_or_else(|| State {
            format: FORMAT,
            node: node.clone(),
            cluster: None,
            revision: Revision::default(),
        });
        let granted = state.revision.epoch;
        let identity = Self { dir: dir.to_owned(), state, granted, _lock: lock };
        if drawn {
            identity.save(&identity.state)?;
        }
        Ok(identity)
    }

    pub(crate) fn node(&self) -> &NodeId {
        &self.state.node
    }

    pub(crate) fn standing(&self) -> Standing {
        Standing { cluster: self.state.cluster, revision: self.state.revision }
    }

    /// Joins `cluster`, if the worker has not joined another one.
    pub(crate) fn join(&mut self, cluster: ClusterId) -> Result<(), WorkerError> {
        let path = || self.dir.clone();
        let joined = self.standing().joining(cluster).map_err(|own| WorkerError::OtherCluster {
            path: path(),
            own,
            theirs: cluster,
        })?;
        self.stand(joined)
    }

    /// The cluster was proved to be of `epoch`.
    pub(crate) fn grant(&mut self, epoch: u64) {
        self.granted = self.granted.max(epoch);
    }

    /// Whether a desired set of `revision` may be acted upon; a higher one than ever before is
    /// on disk when this returns. A higher epoch must have been granted, once there was one.
    pub(crate) fn accept(&mut self, revision: Revision) -> Result<bool, WorkerError> {
        if self.state.revision == Revision::default() {
            self.grant(revision.epoch);
        }
        if revision.epoch > self.granted {
            return Ok(false);
        }
        match self.standing().accepting(revision) {
            Some(accepted) => self.stand(accepted).map(|()| true),
            None => Ok(false),
        }
    }

    fn stand(&mut self, standing: Standing) -> Result<(), WorkerError> {
        if standing == self.standing() {
            return Ok(());
        }
        let Standing { cluster, revision } = standing;
        let state = State { cluster, revision, ..self.state.clone() };
        self.save(&state)?;
        self.state = state;
        Ok(())
    }

    fn save(&self, state: &State) -> Result<(), WorkerError> {
        let path = self.dir.join("identity.json");
        durable::write_json(&path, state).map_err(WorkerError::data(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_outlives_the_agent() {
        let dir = tempfile::tempdir().unwrap();
        let cluster = ClusterId(uuid::Uuid::from_u128(7));
        let node = NodeId::from_random(7);
        let mut first = Identity::open(dir.path(), &node).unwrap();
        first.join(cluster).unwrap();
        assert!(first.accept(Revision { epoch: 1, index: 9 }).unwrap());
        assert!(matches!(Identity::open(dir.path(), &node), Err(WorkerError::Busy { .. })));
        drop(first);
        let other = NodeId::from_random(8);
        let mut again = Identity::open(dir.path(), &other).unwrap();
        assert_eq!((again.node(), again.standing().cluster), (&node, Some(cluster)));
        assert!(!again.accept(Revision { epoch: 1, index: 8 }).unwrap());
        assert!(again.accept(Revision { epoch: 1, index: 9 }).unwrap());
        // Another epoch needs more than a set's word.
        assert!(!again.accept(Revision { epoch: 2, index: 10 }).unwrap());
        again.grant(2);
        assert!(again.accept(Revision { epoch: 2, index: 10 }).unwrap());
        assert!(!again.accept(Revision { epoch: 1, index: 99 }).unwrap(), "it is over");
        let error = again.join(ClusterId(uuid::Uuid::from_u128(8))).unwrap_err();
        assert!(matches!(error, WorkerError::OtherCluster { .. }));
    }

    #[test]
    fn a_newer_format_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("identity.json"), r#"{"format":2,"who":"x"}"#).unwrap();
        let node = NodeId::from_random(7);
        let error = Identity::open(dir.path(), &node).unwrap_err();
        assert!(matches!(error, WorkerError::NewerFormat { found: 2, known: 1, .. }));
        std::fs::write(dir.path().join("identity.json"), "{").unwrap();
        assert!(matches!(Identity::open(dir.path(), &node), Err(WorkerError::DataDir { .. })));
    }
}
