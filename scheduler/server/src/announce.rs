//! The state machine as the running daemon drives it: after each step, those who speak to other
//! schedulers are told what the state says of them.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use trainyard_core::state::Member;
use trainyard_raft::{Capture, RestoreError, StateMachine};

use crate::{
    book::Book,
    machine::{Machine, read},
};

pub(crate) struct Announcing {
    machine: Machine,
    book: Book,
    /// The state's epoch, for greetings; 0 while there is no state.
    epoch: Arc<AtomicU64>,
    known: BTreeMap<u64, Member>,
}

impl Announcing {
    pub(crate) const fn new(machine: Machine, book: Book, epoch: Arc<AtomicU64>) -> Self {
        Self { machine, book, epoch, known: BTreeMap::new() }
    }

    fn tell(&mut self) {
        let known = &self.known;
        let (revision, members) = read(&self.machine.state, |state| {
            let members = state.members();
            (state.revision(), (members != known).then(|| members.clone()))
        });
        if let Some(members) = members {
            let addresses = members.iter().map(|(id, member)| (*id, member.address.clone()));
            self.book.record(addresses.collect());
            self.known = members;
        }
        let epoch = if revision.index == 0 { 0 } else { revision.epoch };
        self.epoch.store(epoch, Ordering::Relaxed);
    }
}

impl StateMachine for Announcing {
    fn apply(&mut self, index: u64, term: u64, command: &[u8]) -> Vec<u8> {
        self.machine.apply(index, term, command)
    }

    fn applied(&mut self) {
        self.machine.applied();
        self.tell();
    }

    fn capture(&self) -> Box<dyn Capture> {
        self.machine.capture()
    }

    fn snapshot(&self) -> Vec<u8> {
        self.machine.snapshot()
    }

    fn check(&self, snapshot: &[u8]) -> Result<(), RestoreError> {
        self.machine.check(snapshot)
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        self.machine.restore(snapshot)?;
        self.tell();
        Ok(())
    }
}
