//! One member as the rest of the daemon sees it: propose a command, read the state, watch what
//! changes.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use tokio::sync::{broadcast, watch};
use trainyard_core::{Command, Envelope, Refusal, Reply, State, codec};
use trainyard_jobs::Timestamp;
use trainyard_raft::{RaftHandle, Status};
use trainyard_store::Store;

use crate::{
    archive::{ArchiveError, ArchiveStore},
    audit::Audit,
    book::Book,
    clock,
    config::Config,
    decide::watch::HandedOn,
    error::Failure,
    machine::{self, Events, Shared},
    pki::Pki,
    probes::Probes,
    reasons::{Reasons, StateHash},
    seen::SeenBundles,
    sessions::Sessions,
};

/// Everything that services and leader loops share.
#[derive(Clone)]
pub(crate) struct Replica {
    pub(crate) raft: RaftHandle,
    pub(crate) state: Shared,
    pub(crate) events: broadcast::Sender<Events>,
    pub(crate) archive: ArchiveStore,
    pub(crate) store: Store,
    pub(crate) config: Arc<Config>,
    pub(crate) sessions: Sessions,
    /// When this member last handed the leadership on because too many nodes were silent.
    pub(crate) handed_on: Arc<Mutex<HandedOn>>,
    pub(crate) reasons: Reasons,
    pub(crate) hash: StateHash,
    pub(crate) book: Book,
    pub(crate) probes: Probes,
    pub(crate) bundles: SeenBundles,
    /// Who did what, and was denied what.
    pub(crate) audit: Audit,
    /// Who this member is, and what it signs.
    pub(crate) pki: Arc<Pki>,
}

impl Replica {
    /// Proposes a command and waits until it is applied here.
    pub(crate) async fn propose(&self, command: Command) -> Result<Reply, Failure> {
        let level = command.level();
        let has = self.look(State::feature_level);
        // Raising the level is what makes others possible, and is asked of members that can.
        if level > has && !matches!(command, Command::RaiseFeatureLevel { .. }) {
            return Err(Failure::LevelTooLow { needs: level, has });
        }
        self.probes.clock_is_right().await?;
        let envelope = Envelope { level, time: self.now(), command };
        let applied = self
            .raft
            .propose(codec::encode(&envelope))
            .await
            .map_err(|error| Failure::of_proposal(&error, |id| self.address(id)))?;
        let reply: Result<Reply, Refusal> = codec::decode("a reply", &applied.response)
            .map_err(|error| Failure::Invalid(error.to_string()))?;
        Ok(reply?)
    }

    /// Reads the state: linearizably, or as it is here if `stale`.
    pub(crate) async fn read<T>(
        &self,
        stale: bool,
        look: impl FnOnce(&State) -> T,
    ) -> Result<T, Failure> {
        if !stale {
            let read = self.raft.read_index().await;
            read.map_err(|error| Failure::of_read(&error, |id| self.address(id)))?;
        }
        Ok(self.look(look))
    }

    /// Reads the state as it is here.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        machine::read(&self.state, look)
    }

    /// Reads the archive, off the runtime's threads: it may have to wait for the disk.
    pub(crate) async fn archived<T: Send + 'static>(
        &self,
        look: impl FnOnce(&ArchiveStore) -> Result<T, ArchiveError> + Send + 'static,
    ) -> Result<T, Failure> {
        let archive = self.archive.clone();
        let read = tokio::task::spawn_blocking(move || look(&archive)).await;
        Ok(read.map_err(|error| Failure::Interrupted(error.to_string()))??)
    }

    /// This member's own view of the consensus.
    pub(crate) fn status(&self) -> watch::Receiver<Status> {
        self.raft.status()
    }

    /// The term in which this member leads and has applied an entry of its own, if it does.
    pub(crate) fn leading_term(&self) -> Option<u64> {
        let status = self.raft.status();
        let status = status.borrow();
        status.leader_ready.then_some(status.term)
    }

    /// Fails unless this member leads and is up to date.
    pub(crate) fn must_lead(&self) -> Result<u64, Failure> {
        self.leading_term().ok_or_else(|| {
            let leader = self.raft.status().borrow().leader;
            let own = self.config.id;
            Failure::NotLeader {
                leader: leader.filter(|id| *id != own).and_then(|id| self.address(id)),
            }
        })
    }

    pub(crate) fn address(&self, id: u64) -> Option<String> {
        self.book.address(id)
    }

    /// The schedulers' addresses by id.
    pub(crate) fn peers(&self) -> BTreeMap<u64, String> {
        self.book.all()
    }

    /// The wall clock, as proposals carry it.
    pub(crate) fn now(&self) -> Timestamp {
        let Timestamp(now) = clock::now();
        Timestamp(now.saturating_add_signed(self.config.clock_offset_ms))
    }
}
