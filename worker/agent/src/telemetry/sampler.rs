//! Takes a sample about once a second and keeps the newest.

use std::{
    collections::BTreeSet,
    io,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use trainyard_proto::v1::NodeSample;

use super::{Gpus, host::Host};

const INTERVAL: Duration = Duration::from_secs(1);

/// The newest figures of the node. The thread ends when this is dropped.
pub(crate) struct Sampler {
    newest: Arc<Mutex<NodeSample>>,
    _stop: SyncSender<()>,
}

impl Sampler {
    /// Starts sampling. `own` gives the processes of our attempts.
    pub(crate) fn start(
        gpus: Gpus,
        data_dir: &Path,
        own: impl Fn() -> BTreeSet<i32> + Send + 'static,
    ) -> io::Result<Self> {
        let mut host = Host::new(data_dir);
        let newest = Arc::new(Mutex::new(take(&host, &gpus, &own)));
        let (stop, stopped) = sync_channel(0);
        let shared = Arc::clone(&newest);
        thread::Builder::new().name("telemetry".into()).spawn(move || {
            while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                host.refresh();
                let sample = take(&host, &gpus, &own);
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

fn take(host: &Host, gpus: &Gpus, own: &impl Fn() -> BTreeSet<i32>) -> NodeSample {
    NodeSample {
        unix_ms: unix_ms(),
        cpu_percent: host.cpu_percent(),
        memory_used: host.memory_used(),
        disk_free: host.disk_free(),
        devices: gpus.sample(own),
        telemetry: gpus.state().to_owned(),
    }
}

/// Milliseconds since the Unix epoch by this node's clock.
pub(crate) fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
