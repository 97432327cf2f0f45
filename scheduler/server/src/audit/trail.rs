//! The handle by which everybody writes into the trail, and the thread that does it. Writers
//! never wait: a request is not slower for being recorded.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    time::{Duration, Instant},
};

use trainyard_jobs::ClusterId;

use super::{
    chain::{End, Entry, Event},
    journal::{self, Journal},
};
use crate::{
    access::{Buckets, Pace},
    clock,
};

/// Records that may wait for the disk.
const QUEUE: usize = 1 << 16;

/// Records written together at most.
const BATCH: usize = 1024;

/// How long the first record of a batch waits for others, so that not each of them wakes the
/// thread.
const GATHER: Duration = Duration::from_millis(20);

/// How often what was written is made durable.
const SETTLE: Duration = Duration::from_secs(1);

/// What may lie on this scheduler's disk while the store does not answer. Denials may take half
/// of it, so that whoever is denied cannot crowd out what was done.
const DISK_BYTES: u64 = 256 << 20;

/// Denials that are written of one caller, and of all together; others are counted.
const OF_ONE: Pace = Pace { per_second: 1, burst: 20 };
const OF_ALL: Pace = Pace { per_second: 20, burst: 200 };

/// The trail of this scheduler.
#[derive(Debug, Clone)]
pub(crate) struct Audit {
    queue: SyncSender<Order>,
    shared: Arc<Shared>,
    of_one: Buckets,
    of_all: Buckets,
}

enum Order {
    Write(Box<Entry>),
    /// Answers once everything before it is on disk.
    Flush(SyncSender<()>),
    /// Closes the current segment as well, for its export.
    Close(SyncSender<()>),
}

/// What the thread, the exporter and readers share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) dir: PathBuf,
    pub(super) cluster: ClusterId,
    pub(super) scheduler: u64,
    /// The chain's end, and the first record of the segment that is still written.
    pub(super) position: Mutex<(End, Option<u64>)>,
    /// Bytes in the directory.
    pub(super) bytes: AtomicU64,
    /// Records that were counted and not written, since the last one that was.
    suppressed: AtomicU64,
    /// And since the start.
    lost: AtomicU64,
    denials: Mutex<BTreeMap<String, u64>>,
}

impl Audit {
    /// Opens the trail, and begins to write.
    pub(crate) fn open(
        dir: &Path,
        cluster: ClusterId,
        scheduler: u64,
        rotate: Duration,
    ) -> io::Result<Self> {
        let journal = Journal::open(dir, cluster, scheduler, rotate)?;
        let sizes = journal::segments(dir)?.into_values().map(|path| path.metadata());
        let bytes = sizes.filter_map(Result::ok).map(|meta| meta.len()).sum::<u64>();
        let shared = Arc::new(Shared {
            dir: dir.to_owned(),
            cluster,
            scheduler,
            position: Mutex::new(journal.position()),
            bytes: AtomicU64::new(bytes),
            suppressed: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            denials: Mutex::default(),
        });
        let (queue, orders) = sync_channel(QUEUE);
        let writer = Writer { journal, shared: Arc::clone(&shared), settled: Instant::now() };
        std::thread::Builder::new().name("audit".into()).spawn(move || writer.run(&orders))?;
        let audit =
            Self { queue, shared, of_one: Buckets::new(OF_ONE), of_all: Buckets::new(OF_ALL) };
        audit.write(started());
        Ok(audit)
    }

    /// Writes a record. Denials beyond their rate are counted.
    pub(crate) fn write(&self, entry: Entry) {
        let denied = entry.event == Event::Denied;
        if denied {
            self.shared.count(&entry.outcome);
            let host = entry.address.rsplit_once(':').map_or(entry.address.as_str(), |(h, _)| h);
            let who = if entry.credential == "none" { host } else { entry.principal.as_str() };
            if self.of_one.take(who, 1).is_err() || self.of_all.take("all", 1).is_err() {
                self.shared.suppressed.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
        let room = if denied { DISK_BYTES / 2 } else { DISK_BYTES };
        let full = self.shared.bytes.load(Ordering::Relaxed) >= room;
        if full || self.queue.try_send(Order::Write(Box::new(entry))).is_err() {
            self.shared.lose(1);
        }
    }

    /// Waits until everything that was written so far is on disk.
    pub(crate) async fn flush(&self) {
        self.wait(Order::Flush).await;
    }

    /// Flushes, and closes the current segment, so that it is exported.
    pub(crate) async fn close(&self) {
        self.wait(Order::Close).await;
    }

    async fn wait(&self, order: fn(SyncSender<()>) -> Order) {
        let queue = self.queue.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let (done, wait) = sync_channel(1);
            if queue.send(order(done)).is_ok() {
                let _ = wait.recv_timeout(SETTLE * 5);
            }
        });
        let _ = asked.await;
    }

    /// Records that could not be written since the start.
    pub(crate) fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// Denials since the start, written or not, by the code of the answer.
    pub(crate) fn denials(&self) -> BTreeMap<String, u64> {
        self.shared.denials.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Shared {
    fn lose(&self, records: u64) {
        self.suppressed.fetch_add(records, Ordering::Relaxed);
        if self.lost.fetch_add(records, Ordering::Relaxed) == 0 {
            tracing::error!("the audit trail cannot be written: records are counted alone");
        }
    }

    fn count(&self, outcome: &str) {
        let mut denials = self.denials.lock().unwrap_or_else(PoisonError::into_inner);
        *denials.entry(outcome.to_owned()).or_insert(0) += 1;
    }

    pub(super) fn position(&self) -> (End, Option<u64>) {
        self.position.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Writer {
    journal: Journal,
    shared: Arc<Shared>,
    settled: Instant,
}

impl Writer {
    fn run(mut self, orders: &Receiver<Order>) {
        loop {
            match orders.recv_timeout(SETTLE) {
                Ok(order) => {
                    if matches!(order, Order::Write(_)) {
                        std::thread::sleep(GATHER);
                    }
                    self.take(order, orders);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.settled.elapsed() >= SETTLE {
                self.settle();
            }
        }
        self.settle();
    }

    fn take(&mut self, first: Order, orders: &Receiver<Order>) {
        let mut batch = Vec::new();
        let mut next = Some(first);
        while let Some(order) = next {
            match order {
                Order::Write(entry) => batch.push(*entry),
                Order::Flush(done) => {
                    self.append(std::mem::take(&mut batch));
                    self.settle();
                    let _ = done.send(());
                }
                Order::Close(done) => {
                    self.append(std::mem::take(&mut batch));
                    self.journal.close_soon();
                    self.settle();
                    let _ = done.send(());
                }
            }
            next = if batch.len() < BATCH { orders.try_recv().ok() } else { None };
        }
        self.append(batch);
    }

    fn append(&mut self, batch: Vec<Entry>) {
        if batch.is_empty() {
            return;
        }
        let records = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let suppressed = self.shared.suppressed.swap(0, Ordering::Relaxed);
        let counts = std::iter::once(suppressed).chain(std::iter::repeat(0));
        match self.journal.append(batch.into_iter().zip(counts).collect()) {
            Ok(bytes) => {
                self.shared.bytes.fetch_add(bytes, Ordering::Relaxed);
            }
            Err(error) => {
                self.shared.suppressed.fetch_add(suppressed, Ordering::Relaxed);
                self.shared.lose(records);
                tracing::warn!(%error, records, "audit records not written");
            }
        }
        self.publish();
    }

    fn settle(&mut self) {
        self.settled = Instant::now();
        if let Err(error) = self.journal.settle() {
            tracing::warn!(%error, "the audit trail is not durable yet");
        }
        self.publish();
    }

    fn publish(&self) {
        let position = self.journal.position();
        *self.shared.position.lock().unwrap_or_else(PoisonError::into_inner) = position;
    }
}

/// The first record of each life of the daemon.
fn started() -> Entry {
    Entry {
        time_ms: clock::now().0,
        event: Event::Start,
        principal: "scheduler".to_owned(),
        credential: "none".to_owned(),
        role: String::new(),
        address: String::new(),
        rpc: String::new(),
        subject: env!("CARGO_PKG_VERSION").to_owned(),
        outcome: "ok".to_owned(),
        reason: String::new(),
        request: clock::draw_request_id(),
    }
}
