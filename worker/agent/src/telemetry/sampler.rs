//! Takes a sample about once a second and keeps the newest.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use trainyard_jobs::{Bytes, UnitId};
use trainyard_proto::v1::NodeSample;

use super::{Gpus, Reading, host::Host};
use crate::shares::GpuMemory;

const INTERVAL: Duration = Duration::from_secs(1);

/// What the sampler asks of those who know the attempts.
pub(crate) trait Watch: Send + 'static {
    /// The processes of our attempts.
    fn own(&self) -> BTreeSet<i32>;

    /// Looks at who has how much memory of which GPU. Gives what each share of one uses.
    fn memory(&self, gpus: &[GpuMemory]) -> BTreeMap<UnitId, Bytes>;
}

/// The newest figures of the node. The thread ends when this is dropped.
pub(crate) struct Sampler {
    newest: Arc<Mutex<NodeSample>>,
    _stop: SyncSender<()>,
}

impl Sampler {
    /// Starts sampling.
    pub(crate) fn start(gpus: Gpus, data_dir: &Path, watch: impl Watch) -> io::Result<Self> {
        let mut host = Host::new(data_dir);
        let newest = Arc::new(Mutex::new(take(&host, &gpus, &watch)));
        let (stop, stopped) = sync_channel(0);
        let shared = Arc::clone(&newest);
        thread::Builder::new().name("telemetry".into()).spawn(move || {
            while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                host.refresh();
                let sample = take(&host, &gpus, &watch);
                *shared.lock().unwrap_or_else(PoisonError::into_inner) = sample;
            }
        })?;
        Ok(Self { newest, _stop: stop })
    }

    /// The newest sample; its time tells how old it is.
    pub(crate) fn newest(&self) -> NodeSample {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn take(host: &Host, gpus: &Gpus, watch: &impl Watch) -> NodeSample {
    let Reading { mut devices, memory } = gpus.sample(|| watch.own());
    let used = watch.memory(&memory);
    for sample in &mut devices {
        let of_share = used.get(&UnitId(sample.unit.clone()));
        sample.memory_used = of_share.map(|bytes| bytes.0).or(sample.memory_used);
    }
    NodeSample {
        unix_ms: unix_ms(),
        cpu_percent: host.cpu_percent(),
        memory_used: host.memory_used(),
        disk_free: host.disk_free(),
        devices,
        telemetry: gpus.state().to_owned(),
    }
}

/// Milliseconds since the Unix epoch by this node's clock.
pub(crate) fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
