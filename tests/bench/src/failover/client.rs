//! A client that retries by itself, the same for every system: it asks the member that answered
//! last, then the others in turn, and pauses between rounds as `yard` does. Each write carries one
//! key through all its tries.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use anyhow::bail;
use tokio::time::{sleep, timeout};
use tonic::Status;

use crate::cluster::key;

/// The pause after the first round in vain; doubled after each further one, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// How long one member may take to answer: a write that waits for an election is asked elsewhere.
const TRY: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a connection may take to open.
pub(super) const CONNECT: Duration = Duration::from_millis(500);

/// One member of a system, over a connection of its own.
pub(super) trait Member: Send {
    /// Asks for one durable write; gives what the answer names.
    fn write(&mut self, key: &str) -> impl Future<Output = Result<String, Status>> + Send;
}

/// A client of all members.
pub(super) struct Client<M> {
    members: Vec<M>,
    /// Who answered last.
    at: usize,
}

impl<M: Member> Client<M> {
    pub(super) fn new(members: Vec<M>) -> Self {
        Self { members, at: 0 }
    }

    /// The member that answered last.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    /// Asks this member first from now on.
    pub(super) fn ask_first(&mut self, member: usize) {
        self.at = member;
    }

    /// Writes until it is acknowledged; gives the key and what the answer named.
    pub(super) async fn write(&mut self) -> anyhow::Result<(String, String)> {
        let key = key();
        let begun = Instant::now();
        let mut pause = FIRST_PAUSE;
        let mut last = None;
        while begun.elapsed() < PATIENCE {
            for _ in 0..self.members.len() {
                let Some(member) = self.members.get_mut(self.at) else { bail!("no members") };
                match timeout(TRY, member.write(&key)).await {
                    Ok(Ok(name)) => return Ok((key, name)),
                    Ok(Err(status)) => last = Some(status),
                    Err(_) => {}
                }
                self.at = (self.at + 1) % self.members.len();
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        bail!("no write was acknowledged in {PATIENCE:?}: {last:?}")
    }

    /// Writes one after another, `rest` apart, until `done`; gives the longest span between two
    /// acknowledgements, of which the last came after `done` said so, and all that was told.
    pub(super) async fn longest_gap(
        &mut self,
        rest: Duration,
        mut done: impl FnMut() -> bool,
    ) -> anyhow::Result<(Duration, Vec<(String, String)>)> {
        let (mut told, mut longest) = (vec![self.write().await?], Duration::ZERO);
        let mut last = Instant::now();
        loop {
            sleep(rest).await;
            let finished = done();
            told.push(self.write().await?);
            longest = longest.max(last.elapsed());
            last = Instant::now();
            if finished {
                return Ok((longest, told));
            }
        }
    }
}
