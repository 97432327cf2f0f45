//! Reads the ranks' pipes, one thread each, and feeds the log. A pipe that an orphan keeps open
//! cannot hold the shim: the wait for the readers is bounded.

use std::{
    io::{self, Read},
    path::Path,
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    thread,
    time::{Duration, Instant},
};

use trainyard_store::log::Record;

use super::{
    lines::Lines,
    log::{Message, Writer, unix_nanos},
};

/// Batches that wait for the disk before the ranks' own writes block.
const QUEUE: usize = 64;
const CHUNK: usize = 64 << 10;

/// The running readers and the writer that they feed.
pub(super) struct Capture {
    sender: SyncSender<Message>,
    readers: usize,
    closed: (SyncSender<()>, Receiver<()>),
}

impl Capture {
    pub(super) fn start(log: &Path, limit: u64) -> io::Result<Self> {
        let writer = Writer::open(log, limit)?;
        let (sender, messages) = sync_channel(QUEUE);
        thread::Builder::new().name("log".into()).spawn(move || writer.run(&messages))?;
        Ok(Self { sender, readers: 0, closed: sync_channel(1024) })
    }

    /// Reads `pipe` to its end.
    pub(super) fn read(
        &mut self,
        rank: u32,
        stderr: bool,
        pipe: impl Read + Send + 'static,
    ) -> io::Result<()> {
        let (sender, closed) = (self.sender.clone(), self.closed.0.clone());
        thread::Builder::new().name(format!("rank {rank}")).spawn(move || {
            read_lines(pipe, rank, stderr, &sender);
            let _ = closed.send(());
        })?;
        self.readers += 1;
        Ok(())
    }

    /// Waits until the pipes are drained, at most `patience`, and until the log is on disk.
    pub(super) fn finish(self, patience: Duration) -> io::Result<()> {
        let deadline = Instant::now() + patience;
        for _ in 0..self.readers {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.closed.1.recv_timeout(left) {
                Ok(()) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        let gone = |_| io::Error::other("the log's writer is gone");
        let (answer, done) = sync_channel(1);
        self.sender.send(Message::Finish(answer)).map_err(|_| gone(()))?;
        done.recv().map_err(|_| gone(()))?
    }
}

fn read_lines(mut pipe: impl Read, rank: u32, stderr: bool, sender: &SyncSender<Message>) {
    let mut lines = Lines::default();
    let mut buffer = vec![0; CHUNK];
    loop {
        let mut batch = Vec::new();
        match pipe.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Ok(0) | Err(_) => break,
            Ok(n) => {
                let t = unix_nanos();
                let bytes = buffer.get(..n).unwrap_or_default();
                lines.push(bytes, |l| batch.push(Record { t, r: rank, e: stderr, l }));
            }
        }
        if !batch.is_empty() && sender.send(Message::Lines(batch)).is_err() {
            return;
        }
    }
    lines.finish(|l| {
        let record = Record { t: unix_nanos(), r: rank, e: stderr, l };
        let _ = sender.send(Message::Lines(vec![record]));
    });
}
