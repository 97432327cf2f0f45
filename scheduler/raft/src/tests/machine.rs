//! A state machine that is its own history.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

pub(super) use crate::sim::Outbox;
use crate::{RestoreError, StateMachine};

/// What every life of every member must agree on: the command at each index.
pub(super) type Truth = Arc<Mutex<BTreeMap<u64, u64>>>;

/// The commands applied, in order, by index.
pub(super) type History = Arc<Mutex<BTreeMap<u64, u64>>>;

/// Applies 8-byte commands; the response is how many it holds.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    pub(super) history: History,
    pub(super) truth: Truth,
    last: u64,
}

impl Recorder {
    pub(super) fn new(history: History, truth: Truth) -> Self {
        Self { history, truth, last: 0 }
    }
}

pub(super) fn number(command: &[u8]) -> u64 {
    u64::from_le_bytes(command[..8].try_into().unwrap())
}

impl StateMachine for Recorder {
    fn apply(&mut self, index: u64, _term: u64, command: &[u8]) -> Vec<u8> {
        assert!(index > self.last, "{index} applied after {}", self.last);
        self.last = index;
        let command = number(command);
        let agreed = *self.truth.lock().unwrap().entry(index).or_insert(command);
        assert_eq!(agreed, command, "members disagree about {index}");
        let mut history = self.history.lock().unwrap();
        history.insert(index, command);
        (history.len() as u64).to_le_bytes().to_vec()
    }

    fn snapshot(&self) -> Vec<u8> {
        let history = self.history.lock().unwrap();
        history
            .iter()
            .flat_map(|(index, command)| [*index, *command])
            .flat_map(u64::to_le_bytes)
            .collect()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        if !snapshot.len().is_multiple_of(16) {
            return Err(RestoreError(format!("{} bytes are no history", snapshot.len())));
        }
        let pairs = snapshot.chunks(16).map(|pair| (number(pair), number(&pair[8..])));
        *self.history.lock().unwrap() = pairs.collect();
        self.last = self.history.lock().unwrap().keys().last().copied().unwrap_or(self.last);
        Ok(())
    }
}
