//! The one history that all members must share: each entry as whoever applied it first had it, and
//! a state of our own that follows it.

use std::collections::BTreeMap;

use trainyard_core::{Command, Event, Refusal, Reply, State, archive::NoArchive, codec};
use trainyard_jobs::{ClusterId, Digest};

use crate::scheduler::CLUSTER;

/// The agreed history so far.
pub struct Reference {
    pub state: State,
    entries: BTreeMap<u64, (u64, Digest)>,
    hashes: BTreeMap<u64, Digest>,
    last: u64,
}

/// An entry that nobody had applied before.
pub struct New {
    pub command: Command,
    pub outcome: Result<Reply, Refusal>,
    pub events: Vec<Event>,
}

impl Reference {
    pub fn new() -> Self {
        Self {
            state: State::new(ClusterId(uuid::Uuid::from_u128(CLUSTER))),
            entries: BTreeMap::new(),
            hashes: BTreeMap::new(),
            last: 0,
        }
    }

    /// A member applied an entry. An error says how that contradicts what another did.
    pub fn applied(
        &mut self,
        index: u64,
        term: u64,
        command: &[u8],
        hash: Option<Digest>,
    ) -> Result<Option<New>, String> {
        let entry = (term, Digest::of(command));
        if let Some(agreed) = self.entries.get(&index) {
            if *agreed != entry {
                return Err(format!("entry {index} is another than a member applied before"));
            }
            let hash = hash.filter(|hash| self.hashes.get(&index) != Some(hash));
            return match hash {
                Some(_) => Err(format!("the states after entry {index} differ")),
                None => Ok(None),
            };
        }
        if index <= self.last {
            return Err(format!("entry {index} was applied after others had gone on without it"));
        }
        self.entries.insert(index, entry);
        self.last = index;
        let envelope = codec::decode_envelope(command).map_err(|error| error.to_string())?;
        let command = envelope.command.clone();
        let mut events = Vec::new();
        let outcome = self.state.apply(index, envelope, &NoArchive, &mut events);
        if let Some(hash) = hash {
            let own = codec::state_hash(&self.state);
            self.hashes.insert(index, own);
            if own != hash {
                return Err(format!("the state after entry {index} does not follow from the log"));
            }
        }
        Ok(Some(New { command, outcome, events }))
    }
}
