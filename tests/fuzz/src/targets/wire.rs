//! What peers send.

use std::collections::BTreeMap;

use prost::Message;
use trainyard_jobs::{AttemptRef, FileEntry, Inventory, Revision};
use trainyard_proto::{convert, v1};
use trainyard_raft::{Config, Driver, Input, RestoreError, StateMachine, Transport};
use trainyard_scheduler::chunks::Joiner;

use super::state::split;

/// The cluster that seeds and target share.
pub(crate) const CLUSTER: [u8; 16] = [7; 16];

/// The member that messages go to.
pub(crate) const MEMBER: u64 = 1;

/// A state machine that counts.
#[derive(Debug, Default)]
pub(crate) struct Counter(u64);

impl StateMachine for Counter {
    fn apply(&mut self, _index: u64, _term: u64, _command: &[u8]) -> Vec<u8> {
        self.0 = self.0.saturating_add(1);
        Vec::new()
    }

    fn snapshot(&self) -> Vec<u8> {
        self.0.to_le_bytes().to_vec()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        let number = snapshot.try_into().map_err(|_| RestoreError("not a number".to_owned()))?;
        self.0 = u64::from_le_bytes(number);
        Ok(())
    }
}

struct Nowhere;

impl Transport for Nowhere {
    fn send(&mut self, _to: u64, _message: Vec<u8>) {}
}

pub(crate) fn config(id: u64, dir: &std::path::Path) -> Config {
    let peers: BTreeMap<u64, String> = (1..=3).map(|id| (id, String::new())).collect();
    Config { election_window: Some(10..11), ..Config::new(id, CLUSTER, dir, peers) }
}

/// A member that is sent messages of others, with time between them. It may stop with an error
/// where a leader's own log contradicts it, and never panics.
pub(super) fn raft_message(input: &[u8]) {
    let Ok(dir) = memory_dir() else { return };
    let Ok(mut driver) = Driver::open(&config(MEMBER, dir.path()), Box::<Counter>::default())
    else {
        return;
    };
    for message in split(input).take(64) {
        driver.step(Input::Message(message.to_vec()));
        driver.step(Input::Tick);
        if driver.flush(&mut Nowhere).is_err() {
            return;
        }
    }
    driver.close();
}

/// A folder in memory, where there is one: a log's fsyncs are not what is looked for.
pub(crate) fn memory_dir() -> std::io::Result<tempfile::TempDir> {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir())
}

/// Chunks of messages: what is joined is what was cut, and never larger than the limit.
pub(super) fn raft_chunks(input: &[u8]) {
    const LIMIT: usize = 4096;
    let mut joiner = Joiner::new(LIMIT);
    for piece in split(input) {
        let Ok(chunk) = v1::RaftChunk::decode(piece) else { continue };
        match joiner.push(&chunk.data, chunk.last) {
            Ok(Some(message)) => assert!(message.len() <= LIMIT),
            Ok(None) => {}
            Err(_) => return,
        }
    }
}

/// Every message that a client, a worker or a peer may send, and what is made of it.
pub(super) fn proto(input: &[u8]) {
    read::<v1::SubmitRequest>(input);
    read::<v1::CancelRequest>(input);
    read::<v1::GetJobRequest>(input);
    read::<v1::ListJobsRequest>(input);
    read::<v1::LogsRequest>(input);
    read::<v1::BundleChunk>(input);
    read::<v1::WorkerMessage>(input);
    read::<v1::SchedulerMessage>(input);
    read::<v1::StartedReport>(input);
    read::<v1::RaftChunk>(input);
    if let Some(report) = read::<v1::EndedReport>(input) {
        for exit in &report.ranks {
            let _ = convert::exit_from(exit);
        }
        let _ = report.artifacts.into_iter().map(FileEntry::try_from).count();
        let _ = report.attempt.map(AttemptRef::try_from);
    }
    if let Some(report) = read::<v1::CheckpointReport>(input) {
        let _ = report.manifest.map(FileEntry::try_from);
    }
    if let Some(inventory) = read::<v1::Inventory>(input)
        && let Ok(inventory) = Inventory::try_from(inventory)
    {
        let again = Inventory::try_from(v1::Inventory::from(&inventory));
        assert!(again.is_ok_and(|again| again == inventory), "an inventory is not what it was");
    }
    if let Some(set) = read::<v1::DesiredSet>(input) {
        let _ = set.revision.map(Revision::from);
    }
}

fn read<M: Message + Default>(input: &[u8]) -> Option<M> {
    M::decode(input).ok()
}
