//! Ships the ranks' output to the store, in pieces of whole lines that begin where the piece
//! before ended. A piece is created once; after a restart the store itself says how far the
//! shipping came, so no line is lost and none is there twice.

use std::{
    io::{self, SeekFrom},
    path::Path,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncSeekExt as _},
    sync::watch,
    time::sleep,
};
use trainyard_jobs::AttemptRef;
use trainyard_store::{Store, StoreError};

use super::transfer::persist;
use crate::{backoff::Backoff, metrics::Counters};

/// The largest piece; more than any record, so that there is always a whole line in it.
const MAX_PIECE: u64 = 1 << 20;
/// As much as this is shipped at once.
const ENOUGH: u64 = 256 << 10;
const SHORTEST: Duration = Duration::from_millis(300);
const LONGEST: Duration = Duration::from_secs(5);

/// Ships one attempt's log.
pub(super) struct Shipper<'a> {
    pub store: &'a Store,
    pub counters: &'a Counters,
    pub attempt: &'a AttemptRef,
    pub node: u32,
    pub log: &'a Path,
}

impl Shipper<'_> {
    /// Ships until the ranks have ended and every whole line is stored. `adopted` says that an
    /// agent before may have shipped some.
    pub(super) async fn run(&self, adopted: bool, mut ends: watch::Receiver<bool>) {
        let begin = Instant::now();
        let mut done = if adopted { self.stored().await } else { 0 };
        loop {
            let ended = *ends.borrow_and_update();
            let before = done;
            while let Some(piece) = self.next(done).await {
                done = self.put(done, piece).await;
            }
            if ended && before == done {
                return;
            }
            if !ended {
                self.pause(done, begin.elapsed(), &mut ends).await;
            }
        }
    }

    /// The next piece, if there is a whole line.
    async fn next(&self, done: u64) -> Option<Bytes> {
        let mut backoff = Backoff::store();
        loop {
            match piece(self.log, done).await {
                Ok(piece) => return piece,
                Err(error) => {
                    tracing::warn!(attempt = %self.attempt, %error, "cannot read the log");
                    backoff.wait().await;
                }
            }
        }
    }

    /// Stores a piece and gives where the next begins.
    async fn put(&self, start: u64, piece: Bytes) -> u64 {
        let size = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        let put = || self.store.put_log_segment(self.attempt, self.node, start, piece.clone());
        match persist(self.attempt, put).await {
            Ok(()) => {
                self.counters.log_bytes.inc_by(size);
                start + size
            }
            // An agent before us stored a piece that began here, and died before it knew.
            Err(StoreError::Conflict { .. }) => self.stored().await.max(start),
            Err(error) => {
                tracing::error!(attempt = %self.attempt, start, %error, "a piece of log is lost");
                start + size
            }
        }
    }

    /// How far the store has this node's log.
    async fn stored(&self) -> u64 {
        let listed =
            persist(self.attempt, || self.store.list_log_segments(&self.attempt.job)).await;
        let segments = listed.unwrap_or_else(|error| {
            tracing::error!(attempt = %self.attempt, %error, "cannot list the log");
            Vec::new()
        });
        let own = segments.iter().filter(|s| s.attempt == *self.attempt && s.node == self.node);
        own.map(|segment| segment.start + segment.size).max().unwrap_or(0)
    }

    /// Waits as long as suits the attempt's age: a reader of a young log wants each line, an old
    /// one makes few objects. The end, or enough to ship, cuts the wait short.
    async fn pause(&self, done: u64, age: Duration, ends: &mut watch::Receiver<bool>) {
        let deadline = Instant::now() + (age / 20).clamp(SHORTEST, LONGEST);
        let waiting = async {
            while Instant::now() < deadline {
                let size = tokio::fs::metadata(self.log).await.map_or(0, |meta| meta.len());
                if size.saturating_sub(done) >= ENOUGH {
                    return;
                }
                sleep(SHORTEST.min(deadline.saturating_duration_since(Instant::now()))).await;
            }
        };
        let ended = async { ends.wait_for(|ended| *ended).await.map(drop) };
        tokio::select! {
            () = waiting => {}
            _ = ended => {}
        }
    }
}

/// Whole lines from `start` on, nothing if there is none yet.
async fn piece(log: &Path, start: u64) -> io::Result<Option<Bytes>> {
    let mut file = match File::open(log).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    file.seek(SeekFrom::Start(start)).await?;
    let mut bytes = Vec::new();
    file.take(MAX_PIECE).read_to_end(&mut bytes).await?;
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    bytes.truncate(whole);
    Ok((whole > 0).then(|| bytes.into()))
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _};

    use trainyard_jobs::{AttemptNo, Generation, JobId};

    use super::*;

    async fn stored_text(store: &Store, attempt: &AttemptRef) -> String {
        let mut text = Vec::new();
        for segment in store.list_log_segments(&attempt.job).await.unwrap() {
            assert_eq!(segment.start, u64::try_from(text.len()).unwrap(), "pieces touch");
            text.extend_from_slice(&store.read_log_segment(&segment.key).await.unwrap());
        }
        String::from_utf8(text).unwrap()
    }

    #[tokio::test]
    async fn agents_that_die_anywhere_ship_every_line_once() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open("memory://").unwrap();
        let attempt = AttemptRef {
            job: JobId::from_random(1),
            attempt: AttemptNo(1),
            generation: Generation(1),
        };
        let log = dir.path().join("log.jsonl");
        let counters = Counters::default();
        let shipper =
            Shipper { store: &store, counters: &counters, attempt: &attempt, node: 0, log: &log };
        let mut file = File::create(&log).await.unwrap().into_std().await;
        let (ended, ends) = watch::channel(false);
        let mut all = String::new();
        for life in 0..5 {
            for i in 0..2000 {
                all += &format!("life {life} line {i}\n");
            }
            file.set_len(0).unwrap();
            file = fs::OpenOptions::new().append(true).open(&log).unwrap();
            file.write_all(all.as_bytes()).unwrap();
            // This agent dies before it learns that its piece was stored.
            let done = shipper.stored().await;
            let piece = piece(&log, done).await.unwrap().unwrap();
            let most = piece.slice(..piece.iter().rposition(|b| *b == b'\n').unwrap() / 2);
            let most = most.slice(..=most.iter().rposition(|b| *b == b'\n').unwrap());
            store.put_log_segment(&attempt, 0, done, most).await.unwrap();
            // One that does not know of it runs into a conflict and goes on behind it.
            assert!(shipper.put(done, piece).await > done);
        }
        file.write_all(b"torn").unwrap();
        ended.send_replace(true);
        shipper.run(true, ends).await;
        assert_eq!(stored_text(&store, &attempt).await, all);
    }
}
