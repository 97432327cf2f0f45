//! Who waits for which proposal.
//!
//! A waiter is found by the request id in its entry's context, never by index: after a change of
//! leader another entry may stand at the index that this one was proposed for.

use std::collections::BTreeMap;

use serde::Serialize;

use trainyard_probe::reached;

use super::reply::Reply;
use crate::error::ProposeError;

/// A command that was committed and applied on this member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Applied {
    /// Where it stands in the log.
    pub index: u64,
    /// The term it was committed under.
    pub term: u64,
    /// What the state machine answered.
    pub response: Vec<u8>,
}

/// Names one proposal of one life of one member: ids of an earlier life, met again while the log is
/// replayed, must not wake a waiter of this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestId {
    member: u64,
    boot: u64,
    sequence: u64,
}

impl RequestId {
    pub(crate) fn encode(self) -> Vec<u8> {
        [self.member, self.boot, self.sequence].iter().flat_map(|n| n.to_le_bytes()).collect()
    }

    pub(crate) fn decode(context: &[u8]) -> Option<Self> {
        let mut numbers =
            context.chunks_exact(8).map(|chunk| chunk.try_into().map(u64::from_le_bytes));
        let mut next = || numbers.next()?.ok();
        let id = Self { member: next()?, boot: next()?, sequence: next()? };
        (context.len() == 24).then_some(id)
    }
}

#[derive(Debug)]
struct Waiter {
    term: u64,
    reply: Reply<Applied, ProposeError>,
}

/// The proposals of this life that are not decided yet.
#[derive(Debug)]
pub(crate) struct Proposals {
    member: u64,
    boot: u64,
    last: u64,
    waiting: BTreeMap<u64, Waiter>,
}

impl Proposals {
    pub(crate) fn new(member: u64, boot: u64) -> Self {
        Self { member, boot, last: 0, waiting: BTreeMap::new() }
    }

    /// A request id never used before.
    pub(crate) fn next_id(&mut self) -> RequestId {
        self.last = self.last.saturating_add(1);
        RequestId { member: self.member, boot: self.boot, sequence: self.last }
    }

    /// Remembers who waits for an entry that was appended under `term`.
    pub(crate) fn insert(&mut self, id: RequestId, term: u64, reply: Reply<Applied, ProposeError>) {
        self.waiting.insert(id.sequence, Waiter { term, reply });
    }

    /// Whether all are decided.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Who waits for an entry of this context, if it names a proposal of this life.
    pub(super) fn take(&mut self, context: &[u8]) -> Option<Reply<Applied, ProposeError>> {
        let id = RequestId::decode(context)?;
        let own = (id.member, id.boot) == (self.member, self.boot);
        if !own {
            reached("raft: an entry that another life proposed");
        }
        own.then(|| self.waiting.remove(&id.sequence)).flatten().map(|waiter| waiter.reply)
    }

    /// Tells *unknown* to all whose term of leadership is not the present one: their entries may
    /// yet commit or be overridden, and nobody here can tell which.
    pub(crate) fn retain_term(&mut self, leading: Option<u64>) {
        if self.waiting.values().all(|waiter| Some(waiter.term) == leading) {
            return;
        }
        let (keep, lost) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|(_, w)| Some(w.term) == leading);
        self.waiting = keep;
        for waiter in BTreeMap::into_values(lost) {
            reached("raft: an outcome that is not known");
            waiter.reply.send(Err(ProposeError::Unknown));
        }
    }

    /// Tells *unknown* to all: the member stops.
    pub(crate) fn abandon(&mut self) {
        self.retain_term(None);
    }
}
