//! Following a job's logs: after a reconnect the schedulers send them from the beginning, and
//! what has been printed is skipped, so that no line is lost and none comes twice.

use std::{collections::HashMap, time::Duration};

use tokio::time::{Instant, sleep};
use tonic::{Status, Streaming};
use trainyard_proto::v1;

use super::{Cluster, may_repeat};
use crate::error::CliError;

/// The lines of a job's ranks.
#[derive(Debug)]
pub(crate) struct LogTail<'a> {
    cluster: &'a Cluster,
    request: v1::LogsRequest,
    stream: Option<Streaming<v1::LogChunk>>,
    heard: Instant,
    seen: Seen,
    ended: bool,
}

impl<'a> LogTail<'a> {
    /// Reads what `request` asks for.
    pub(crate) fn new(cluster: &'a Cluster, request: v1::LogsRequest) -> Self {
        let heard = Instant::now();
        Self { cluster, request, stream: None, heard, seen: Seen::default(), ended: false }
    }

    /// The next lines; nothing after the last one.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<v1::LogLine>>, CliError> {
        while !self.ended {
            let message = match &mut self.stream {
                Some(stream) => stream.message().await,
                None => {
                    self.stream = Some(self.open().await?);
                    continue;
                }
            };
            match message {
                Ok(Some(chunk)) => {
                    self.heard = Instant::now();
                    let lines = self.seen.unseen(chunk.lines);
                    if !lines.is_empty() {
                        return Ok(Some(lines));
                    }
                }
                Ok(None) => self.ended = true,
                Err(status) if may_repeat(&status) => self.reopen(&status).await?,
                Err(status) => return Err(CliError::refused("read the logs", &status)),
            }
        }
        Ok(None)
    }

    async fn open(&self) -> Result<Streaming<v1::LogChunk>, CliError> {
        self.cluster
            .call("read the logs", async |mut service| service.logs(self.request.clone()).await)
            .await
    }

    async fn reopen(&mut self, status: &Status) -> Result<(), CliError> {
        self.stream = None;
        self.seen.replay();
        if self.heard.elapsed() > self.cluster.patience * 2 {
            return Err(self.cluster.unreachable("read the logs", status));
        }
        sleep(Duration::from_millis(rand::random_range(100..300))).await;
        Ok(())
    }
}

/// How often each `(attempt, rank, instant)` was printed, and how often it came in this replay.
#[derive(Debug, Default)]
struct Seen {
    printed: HashMap<(u32, u32, u64), u32>,
    to_skip: HashMap<(u32, u32, u64), u32>,
}

impl Seen {
    /// The stream begins again.
    fn replay(&mut self) {
        self.to_skip.clone_from(&self.printed);
    }

    /// Drops the lines that were printed before.
    fn unseen(&mut self, lines: Vec<v1::LogLine>) -> Vec<v1::LogLine> {
        lines.into_iter().filter(|line| self.is_new(line)).collect()
    }

    fn is_new(&mut self, line: &v1::LogLine) -> bool {
        let key = (line.attempt, line.rank, line.unix_ns);
        if let Some(left) = self.to_skip.get_mut(&key) {
            *left -= 1;
            if *left == 0 {
                self.to_skip.remove(&key);
            }
            return false;
        }
        *self.printed.entry(key).or_default() += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(rank: u32, unix_ns: u64, text: &str) -> v1::LogLine {
        v1::LogLine { unix_ns, attempt: 1, rank, stderr: false, text: text.into() }
    }

    fn texts(lines: &[v1::LogLine]) -> Vec<&str> {
        lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn a_replay_gives_what_is_new_alone() {
        let mut seen = Seen::default();
        let first = vec![line(0, 1, "a"), line(1, 1, "b"), line(0, 1, "c")];
        assert_eq!(texts(&seen.unseen(first.clone())), ["a", "b", "c"]);
        seen.replay();
        let mut again = first;
        again.insert(2, line(1, 2, "late"));
        again.push(line(0, 1, "same instant"));
        assert_eq!(texts(&seen.unseen(again)), ["late", "same instant"]);
        seen.replay();
        assert!(seen.unseen(vec![line(1, 2, "late"), line(0, 1, "a")]).is_empty());
    }
}
