//! Linearizable reads: batches of readers share one round of ReadIndex.
//!
//! A reader never joins a round that began before it asked. `raft` drops a round silently while its
//! leader has not committed in its own term, and when leadership changes; so a silent round is
//! asked again under a fresh context.

use trainyard_probe::{planted, reached};

use super::reply::Reply;
use crate::error::ReadError;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::as_conversions, reason = "tests may fail loudly")]
mod tests;

#[derive(Debug)]
struct Reader {
    reply: Reply<u64, ReadError>,
    ticks_left: u32,
}

#[derive(Debug)]
struct Round {
    context: u64,
    age: u32,
    readers: Vec<Reader>,
}

/// All readers of a member.
#[derive(Debug)]
pub(crate) struct Reads {
    waiting: Vec<Reader>,
    round: Option<Round>,
    confirmed: Vec<(u64, Vec<Reader>)>,
    last_context: u64,
    timeout: u32,
    retry: u32,
}

impl Reads {
    pub(crate) fn new(timeout: u32, retry: u32) -> Self {
        Self {
            waiting: Vec::new(),
            round: None,
            confirmed: Vec::new(),
            last_context: 0,
            timeout,
            retry,
        }
    }

    pub(crate) fn push(&mut self, reply: Reply<u64, ReadError>) {
        self.waiting.push(Reader { reply, ticks_left: self.timeout });
    }

    /// Lets time pass: readers past their deadline give up.
    pub(crate) fn tick(&mut self) {
        let expire = |readers: &mut Vec<Reader>| {
            for reader in std::mem::take(readers) {
                match reader.ticks_left.checked_sub(1) {
                    Some(ticks_left) => readers.push(Reader { ticks_left, ..reader }),
                    None => {
                        reached("raft: a read times out");
                        reader.reply.send(Err(ReadError::TimedOut));
                    }
                }
            }
        };
        expire(&mut self.waiting);
        if let Some(round) = &mut self.round {
            round.age = round.age.saturating_add(1);
            expire(&mut round.readers);
        }
        for (_, readers) in &mut self.confirmed {
            expire(readers);
        }
    }

    /// The context of a round to ask now, if one is due: readers wait and none is under way, or it
    /// has been silent for too long. An asked-again round takes along those who came meanwhile,
    /// since it begins after them.
    pub(crate) fn next_round(&mut self) -> Option<Vec<u8>> {
        if self
            .round
            .as_ref()
            .is_some_and(|round| round.age < self.retry && !round.readers.is_empty())
        {
            return None;
        }
        let mut readers = self.round.take().map(|round| round.readers).unwrap_or_default();
        readers.append(&mut self.waiting);
        if readers.is_empty() {
            return None;
        }
        if !planted("reuse a read context") {
            self.last_context = self.last_context.saturating_add(1);
        }
        self.round = Some(Round { context: self.last_context, age: 0, readers });
        Some(self.last_context.to_le_bytes().to_vec())
    }

    /// A quorum confirmed the round of this context at `index`.
    pub(crate) fn confirm(&mut self, context: &[u8], index: u64) {
        if let Some(round) = self.round.take_if(|round| round.context.to_le_bytes() == context) {
            self.confirmed.push((index, round.readers));
        }
    }

    /// Answers the readers whose index the state machine has reached.
    pub(crate) fn settle(&mut self, applied: u64) {
        if self.confirmed.is_empty() {
            return;
        }
        for (index, readers) in std::mem::take(&mut self.confirmed) {
            if index > applied {
                reached("raft: a read waits for its index");
                self.confirmed.push((index, readers));
                continue;
            }
            for reader in readers {
                reader.reply.send(Ok(applied));
            }
        }
    }

    /// Leadership is gone: unconfirmed readers must ask the new leader. A confirmed one only waits
    /// for its index.
    pub(crate) fn fail(&mut self, error: &ReadError) {
        let mut readers = std::mem::take(&mut self.waiting);
        readers.extend(self.round.take().into_iter().flat_map(|round| round.readers));
        for reader in readers {
            reader.reply.send(Err(error.clone()));
        }
    }

    /// The member stops.
    pub(crate) fn abandon(&mut self) {
        self.fail(&ReadError::Stopped);
        for reader in
            std::mem::take(&mut self.confirmed).into_iter().flat_map(|(_, readers)| readers)
        {
            reader.reply.send(Err(ReadError::Stopped));
        }
    }
}
