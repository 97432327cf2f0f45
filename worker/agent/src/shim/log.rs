//! The log spool: appends records in the order of their arrival, whole lines in one write. When
//! the spool is full or the disk does not take a batch, lines are dropped, and one line says so.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::mpsc::{Receiver, SyncSender},
    time::{SystemTime, UNIX_EPOCH},
};

use trainyard_store::log::{Record, encode};

/// Bytes that one write may carry, about.
const BATCH: usize = 1 << 20;

/// What the writer is told.
pub(super) enum Message {
    /// Lines, in order.
    Lines(Vec<Record>),
    /// Write everything that came before, sync, answer and end.
    Finish(SyncSender<io::Result<()>>),
}

/// The log file and its limit.
pub(super) struct Writer {
    file: File,
    size: u64,
    limit: u64,
    full: bool,
    dropped: u64,
}

impl Writer {
    pub(super) fn open(path: &Path, limit: u64) -> io::Result<Self> {
        let file = fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        let size = file.metadata()?.len();
        Ok(Self { file, size, limit, full: false, dropped: 0 })
    }

    /// Writes what arrives until it is told to finish, or until nobody is left to tell it.
    pub(super) fn run(mut self, messages: &Receiver<Message>) {
        while let Ok(message) = messages.recv() {
            let (mut batch, mut records) = (Vec::new(), Vec::new());
            let mut finish = None;
            let mut next = Some(message);
            while let Some(message) = next {
                match message {
                    Message::Lines(lines) => {
                        batch.extend_from_slice(&encode(&lines));
                        records.extend(lines);
                    }
                    Message::Finish(answer) => finish = Some(answer),
                }
                let more = finish.is_none() && batch.len() < BATCH;
                next = if more { messages.try_recv().ok() } else { None };
            }
            self.append(&batch, &records);
            if let Some(answer) = finish {
                let _ = answer.send(self.file.sync_all());
                return;
            }
        }
    }

    fn append(&mut self, batch: &[u8], records: &[Record]) {
        let Some(first) = records.first() else { return };
        let count = u64::try_from(records.len()).unwrap_or(u64::MAX);
        if self.full {
            self.dropped = self.dropped.saturating_add(count);
            return;
        }
        if self.size.saturating_add(length(batch)) > self.limit {
            let mib = self.limit >> 20;
            let text = format!("[trainyard] the log reached {mib} MiB: later lines are dropped");
            self.full = self.write(&notice(first.r, text));
            return;
        }
        if self.dropped > 0 {
            let text = format!("[trainyard] the disk was full: {} lines are lost", self.dropped);
            if self.write(&notice(first.r, text)) {
                self.dropped = 0;
            }
        }
        if !self.write(batch) {
            self.dropped = self.dropped.saturating_add(count);
        }
    }

    /// Appends all of `bytes` or nothing.
    fn write(&mut self, bytes: &[u8]) -> bool {
        match self.file.write_all(bytes) {
            Ok(()) => {
                self.size = self.size.saturating_add(length(bytes));
                true
            }
            Err(error) => {
                let _ = writeln!(io::stderr(), "cannot write the log: {error}");
                let _ = self.file.set_len(self.size);
                false
            }
        }
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

fn notice(rank: u32, text: String) -> Vec<u8> {
    encode(&[Record { t: unix_nanos(), r: rank, e: true, l: text }])
}

/// Nanoseconds since the Unix epoch.
pub(super) fn unix_nanos() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    #[test]
    fn a_full_log_says_so_once_and_stays_readable() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.jsonl");
        let writer = Writer::open(&path, 1 << 20).unwrap();
        let (tx, rx) = sync_channel(64);
        let thread = std::thread::spawn(move || writer.run(&rx));
        for i in 0..40 {
            let line = format!("{i} {}", "x".repeat(50_000));
            let record = Record { t: 1, r: 0, e: false, l: line };
            tx.send(Message::Lines(vec![record])).unwrap();
        }
        let (answer, done) = sync_channel(1);
        tx.send(Message::Finish(answer)).unwrap();
        done.recv().unwrap().unwrap();
        thread.join().unwrap();
        let bytes = fs::read(&path).unwrap();
        let lines: Vec<Record> =
            trainyard_store::log::parse(&bytes).collect::<Result<_, _>>().unwrap();
        let (last, kept) = lines.split_last().unwrap();
        assert!(last.l.contains("later lines are dropped"), "{}", last.l);
        assert!(kept.iter().enumerate().all(|(i, r)| r.l.starts_with(&format!("{i} "))));
        assert!(bytes.len() < (1 << 20) + 200);
    }
}
